"""Swiss rounds for large fields, and a final: who meets whom depends on results, and on nothing else that changes.

Every round has scenarios of its own, and every entrant plays them once, in a lineup of its round. In every second
round, from the first on, lineups are random; in the others neighbours of the table meet. Meeting neighbours only would
bias a rating (by simulation it spreads ratings by 18 % too much; by 3 % when every second round is random).
The best then play balanced lineups over scenarios that no round has used: being chosen for a lucky score in the rounds
is no advantage there.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from arena.config.schedule import ScheduleConfig
from arena.tournament.schedule.lineups import build_lineups, build_units
from arena.tournament.stats.growth import growth_estimates
from arena.tournament.store.digest import sort_rows
from arena.tournament.types import Lineup, Unit

if TYPE_CHECKING:
    import pyarrow as pa

SEATS, ROUNDS, FINALISTS = 8, 10, 16  # if not told
CASH = "cash"


class SwissSchedule(NamedTuple):
    """The schedule; see arena.tournament.schedule.formats.Schedule."""

    agents: tuple[str, ...]
    num_seats: int
    rounds: tuple[tuple[int, ...], ...]  # scenarios of each
    final: tuple[int, ...]  # scenarios
    num_finalists: int
    batch_size: int
    seed: int

    @property
    def num_units(self) -> int:
        """Of all rounds and the final, whose size does not depend on who is in it."""
        batches = sum(math.ceil(len(scenarios) / self.batch_size) for scenarios in self.rounds)
        return batches * self.lineups_per_round + len(self.sampled)

    @property
    def lineups_per_round(self) -> int:
        """As many as seat everybody."""
        return math.ceil(len(self.agents) / self.num_seats)

    @property
    def first_final_lineup(self) -> int:
        """Lineups are numbered through all rounds; from this number on they are of the final."""
        return len(self.rounds) * self.lineups_per_round

    @property
    def sampled(self) -> Sequence[Unit]:
        """Those of the final, whoever will be in it: they are the games to look at."""
        return self._final(self.agents[: self.num_finalists])

    def stage(self, index: int, results: "pa.Table | None") -> list[Unit]:
        """A round, or after the last round the final."""
        if index < len(self.rounds):
            lineups = self.round_lineups(index, results)
            return _named(f"{index + 1:03d}", build_units(lineups, self.rounds[index], self.batch_size))
        if index > len(self.rounds) or results is None:
            return []
        return self._final(self.finalists(results))

    def round_lineups(self, index: int, results: "pa.Table | None") -> list[Lineup]:
        """Lineups of a round, from the rows of all rounds before it.

        Where the seats do not divide the field, some entrants, drawn anew in every round, play it twice: a lineup with
        an empty seat would be another game.
        """
        generator = np.random.default_rng([self.seed, len(self.agents), index])
        drawn = [self.agents[place] for place in generator.permutation(len(self.agents))]
        order = drawn if index % 2 == 0 or results is None else standings(results)
        lineups = []
        for lineup in range(self.lineups_per_round):
            members = order[lineup * self.num_seats : (lineup + 1) * self.num_seats]
            others = [agent for agent in drawn if agent not in members]
            members = [*members, *others[: self.num_seats - len(members)]]
            seats = generator.permutation(self.num_seats)
            number = index * self.lineups_per_round + lineup
            lineups.append(Lineup(number, tuple(members[place] for place in seats)))
        return lineups

    def finalists(self, results: "pa.Table") -> tuple[str, ...]:
        """The best of the rounds. Cash has a place if it plays: growth is measured from it, and it moves no price."""
        order = standings(self.ranked(results))
        best = order[: self.num_finalists]
        return tuple(best if CASH in best or CASH not in order else [*best[:-1], CASH])

    def ranked(self, results: "pa.Table") -> "pa.Table":
        """The rows of the rounds, which everybody has played."""
        return results.filter(results["lineup"].to_numpy() < self.first_final_lineup)

    def finale(self, results: "pa.Table") -> "pa.Table | None":
        """The rows of the final."""
        rows = results.filter(results["lineup"].to_numpy() >= self.first_final_lineup)
        return rows if rows.num_rows else None

    def _final(self, finalists: Sequence[str]) -> list[Unit]:
        seats = min(self.num_seats, len(finalists))
        lineups = [
            Lineup(self.first_final_lineup + lineup, members)
            for lineup, members in build_lineups(finalists, seats, self.seed)
        ]
        return _named("final", build_units(lineups, self.final, self.batch_size))


def swiss_schedule(agents: Sequence[str], config: ScheduleConfig, seed: int, scenarios: Sequence[int]) -> SwissSchedule:
    """The first half of the scenarios is dealt out to the rounds, the second half is for the final."""
    count = len(scenarios) // 2
    num_rounds = config.rounds or ROUNDS
    if num_rounds > count:
        raise ValueError(f"{count} scenarios cannot be dealt out to {num_rounds} rounds; raise data.scenarios")
    bounds = [count * index // num_rounds for index in range(num_rounds + 1)]
    return SwissSchedule(
        agents=tuple(agents),
        num_seats=min(config.seats or SEATS, len(agents)),
        rounds=tuple(tuple(scenarios[start:end]) for start, end in pairwise(bounds)),
        final=tuple(scenarios[count:]),
        num_finalists=min(config.finalists or FINALISTS, len(agents)),
        batch_size=config.batch_size,
        seed=seed,
    )


def standings(results: "pa.Table") -> list[str]:
    """Entrants by growth so far, ties by name; the same for the same rows in any order."""
    return list(growth_estimates(sort_rows(results), "growth_cv", CASH))


def _named(stage: str, units: Sequence[Unit]) -> list[Unit]:
    """Names by stage; in alphabetical order the final follows the numbers of the rounds, as in time."""
    return [unit._replace(name=f"round-{stage}-{unit.name}") for unit in units]
