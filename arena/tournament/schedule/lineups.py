"""Who meets whom: balanced lineups of a field, cut into units of work.

Every lineup plays the same scenarios (common random numbers). Random numbers are keyed by (scenario, lineup, entrant),
never by seat, so the same entrants in other seats would repeat the same match: a lineup stands for all its rotations
and a set of entrants is scheduled once. Seats are still balanced, against effects of float order.
"""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from arena.tournament.types import Lineup, Unit

NUM_RESTARTS = 5  # of the design; the best one is kept
NUM_SWAPS = 2000  # tried per restart


def build_lineups(agents: Sequence[str], num_seats: int, seed: int, num_lineups: int | None = None) -> list[Lineup]:
    """Lineups of `num_seats` distinct entrants; appearances differ by at most 1 and pairs meet about equally often.

    num_lineups  None: the fewest in which all entrants appear equally often and every pair could have met.
                 A field as large as the lineup has one lineup; its seat rotations would be duplicates.
    """
    _check_field(agents, num_seats)
    num_agents = len(agents)
    possible = math.comb(num_agents, num_seats)
    if num_lineups is None:
        cycle = num_agents // math.gcd(num_agents, num_seats)  # lineups until all have appeared equally often
        pairs = num_agents * (num_agents - 1) / max(num_seats * (num_seats - 1), 1)
        cycles = max(math.ceil(pairs / cycle - 1e-9), 1)  # a field of one has no pairs, and still plays
        num_lineups = min(cycle * cycles, possible)
    if not 1 <= num_lineups <= possible:
        raise ValueError(
            f"num_lineups is {num_lineups}, but {num_agents} entrants in {num_seats} seats make {possible} different "
            f"lineups; seat rotations are duplicates. Ask for 1 to {possible}, or for more scenarios"
        )
    generator = np.random.default_rng([seed, num_agents, num_seats, num_lineups])
    best = _best_design(num_agents, num_seats, num_lineups, generator)
    return [Lineup(index, tuple(agents[member] for member in seats)) for index, seats in enumerate(_assign_seats(best))]


def build_units(lineups: Sequence[Lineup], scenarios: Sequence[int], batch_size: int) -> list[Unit]:
    """Units of work in the order to play them: all lineups of the first batch of scenarios, then the next batch.

    So an interrupted run has whole scenarios, which is what paired comparisons need.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}, expected at least 1")
    if len(set(scenarios)) != len(scenarios):
        raise ValueError("scenarios repeat: the same scenario twice is one observation, not two")
    batches = [tuple(scenarios[start : start + batch_size]) for start in range(0, len(scenarios), batch_size)]
    return [
        Unit(f"batch-{batch:05d}-lineup-{lineup.lineup:05d}", lineup, chosen)
        for batch, chosen in enumerate(batches)
        for lineup in lineups
    ]


def _check_field(agents: Sequence[str], num_seats: int) -> None:
    repeated = sorted({agent for agent in agents if agents.count(agent) > 1})
    if repeated:
        raise ValueError(f"entrants share the name {repeated[0]!r}; give every copy its own name")
    if num_seats < 1:
        raise ValueError(f"num_seats is {num_seats}, expected at least 1")
    if num_seats > len(agents):
        raise ValueError(
            f"a lineup of {num_seats} seats is larger than the field of {len(agents)} entrants "
            f"({', '.join(agents)}); lower num_seats or add entrants"
        )


def _best_design(
    num_agents: int, num_seats: int, num_lineups: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """[L, N] entrant indices, no set twice if the search can help it."""
    possible = math.comb(num_agents, num_seats)
    if 2 * num_lineups > possible:  # choosing evenly what to leave out is easier, and leaves an even rest
        num_out = possible - num_lineups
        left_out = _best_design(num_agents, num_seats, num_out, generator).tolist() if num_out else []
        banned = {tuple(sorted(members)) for members in left_out}
        kept = [members for members in combinations(range(num_agents), num_seats) if members not in banned]
        return np.array(kept, dtype=np.int64)[:num_lineups]
    best = _greedy_design(num_agents, num_seats, num_lineups, generator)
    for _ in range(NUM_RESTARTS):
        if _unevenness(best) == (0, _least_meetings(num_agents, num_seats, num_lineups)):
            break
        design = _greedy_design(num_agents, num_seats, num_lineups, generator)
        best = min(best, _even_meetings(design, num_agents, generator), key=_unevenness)
    return best


def _greedy_design(
    num_agents: int, num_seats: int, num_lineups: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """[L, N] entrant indices. Each pick has the fewest appearances, then the fewest meetings with those picked."""
    appearances = np.zeros(num_agents, dtype=np.int64)
    meetings = np.zeros((num_agents, num_agents), dtype=np.int64)
    design = np.empty((num_lineups, num_seats), dtype=np.int64)
    for members in design:
        free = np.ones(num_agents, dtype=bool)
        for seat in range(num_seats):
            met = meetings[:, members[:seat]].sum(1)
            order = np.lexsort((generator.random(num_agents), met, appearances, ~free))
            members[seat] = order[0]
            free[order[0]] = False
        appearances[members] += 1
        meetings[np.ix_(members, members)] += 1
    return design


def _even_meetings(design: NDArray[np.int64], num_agents: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Swap members between lineups while the sum of squared meetings does not grow; appearances stay as they are."""
    members = [frozenset(row) for row in design.tolist()]
    used = Counter(members)
    present = np.zeros((len(design), num_agents), dtype=np.int64)
    np.put_along_axis(present, design, 1, axis=1)
    meetings = present.T @ present
    target = _least_meetings(num_agents, design.shape[1], len(design))
    total = int(np.square(meetings).sum())
    num_swaps = NUM_SWAPS if len(members) > 1 else 0
    pairs = generator.integers(0, (len(members), max(len(members) - 1, 1)), (num_swaps, 2)).tolist()
    for first, second in pairs:
        if total <= target and len(used) == len(members):
            break
        second += second >= first  # any but the first
        only_first, only_second = members[first] - members[second], members[second] - members[first]
        if not only_first:
            continue
        a = sorted(only_first)[generator.integers(len(only_first))]
        b = sorted(only_second)[generator.integers(len(only_second))]
        swapped = members[first] - {a} | {b}, members[second] - {b} | {a}
        if swapped[0] in used or swapped[1] in used:
            continue
        losing, gaining = list(only_first - {a}), list(only_second - {b})  # whom a leaves, and whom it joins
        change = (meetings[b, losing] - meetings[a, losing] + 1).sum()
        change += (meetings[a, gaining] - meetings[b, gaining] + 1).sum()
        if change > 0:
            continue
        total += 4 * int(change)  # both halves of the symmetric matrix, and (n + 1)^2 - n^2 = 2n + 1
        for group, joins, leaves in ((losing, b, a), (gaining, a, b)):
            meetings[joins, group] += 1
            meetings[group, joins] += 1
            meetings[leaves, group] -= 1
            meetings[group, leaves] -= 1
        for old, new in zip((members[first], members[second]), swapped):
            used[new] += 1
            used[old] -= 1
            if used[old] == 0:
                del used[old]
        members[first], members[second] = swapped
    return np.array([sorted(row) for row in members])


def _least_meetings(num_agents: int, num_seats: int, num_lineups: int) -> int:
    """Lower bound of the sum of squared meetings: appearances and pairs both as equal as integers can be."""

    def least(total: int, cells: int) -> int:
        each, over = divmod(total, cells)
        return over * (each + 1) ** 2 + (cells - over) * each**2

    pairs = num_agents * (num_agents - 1) // 2
    meetings = num_lineups * num_seats * (num_seats - 1) // 2
    return least(num_lineups * num_seats, num_agents) + (2 * least(meetings, pairs) if pairs else 0)


def _unevenness(design: NDArray[np.int64]) -> tuple[int, int]:
    """Repeated sets first (they are wasted work), then the sum of squared meetings: smallest when all are equal."""
    repeats = len(design) - len({tuple(sorted(members)) for members in design.tolist()})
    present = np.zeros((len(design), design.max() + 1), dtype=np.int64)
    np.put_along_axis(present, design, 1, axis=1)
    return repeats, int(np.square(present.T @ present).sum())


def _assign_seats(design: NDArray[np.int64]) -> NDArray[np.int64]:
    """[L, N] the same sets with members put into the seats they have had least."""
    from scipy.optimize import linear_sum_assignment

    num_seats = design.shape[1]
    taken = np.zeros((design.max() + 1, num_seats))
    seated = np.empty_like(design)
    for lineup, members in enumerate(design):
        who, seats = linear_sum_assignment(np.square(taken[members] + 1) - np.square(taken[members]))
        seated[lineup, seats] = members[who]
        taken[members[who], seats] += 1
    return seated
