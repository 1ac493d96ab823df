"""Who is better than whom: all pairs tested together, what follows for ranks and tiers, and the confidence set.

The model confidence set holds the entrants that cannot be told from the best once all worse ones have been removed: a
detail beside tiers, which say the same pair by pair. It needs the optional package `arch` (extra `stats`).

Axes: S scenarios, m entrants, P = m (m - 1) / 2 pairs (i, j) with i < j.
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arena.metrics import TIE_TOLERANCE
from arena.tournament.leaderboard import Leader, Pair
from arena.tournament.stats.growth import CONFIDENCE, MIN_SCENARIOS, Floats, ScenarioKind, Scores, complete_rows
from arena.tournament.stats.paired_tests import MIN_DIFFERENCES, holm, paired_p_value, stepdown_p_values

IDENTICAL, UNDECIDED, NOT_SEPARATED = "identical", "undecided", "not separated"
BETTER, WORSE = "better", "worse"
NUM_DRAWS = 1000
MAX_AGENTS = 50  # beyond it this detail would cost more than the rest of the ranking


class Pairwise(NamedTuple):
    """Result of the tests of all pairs; matrices are by entrant, the diagonal means nothing."""

    agents: tuple[str, ...]  # m
    difference: Floats  # [m, m] mean lead of the row over the column in the scenarios of both, NaN without any
    half_width: Floats  # [m, m] of its 95 % t interval, of this pair alone; NaN below MIN_SCENARIOS
    p_value: Floats  # [m, m] adjusted over all pairs; 1 where nothing could be tested
    verdict: NDArray[np.str_]  # [m, m] what the row is compared with the column


class Place(NamedTuple):
    """What may be claimed about an entrant's rank."""

    low: int  # 1 + number of entrants that are significantly better
    high: int  # m - number of entrants that are significantly worse
    tier: int  # from 1; nobody in a tier is significantly worse than its first entrant


def paired_leads(scores: Scores) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Leads [S, P] of i over j, NaN where one has not played, and i and j [P]; differences of rounding become 0."""
    first, second = np.triu_indices(len(scores.agents), 1)
    lead = scores.values[:, first] - scores.values[:, second]
    size = np.nanmax(np.abs(scores.values), initial=0.0)
    return np.where(np.abs(lead) <= TIE_TOLERANCE * size, 0.0, lead), first, second


def compare_all(scores: Scores, kind: ScenarioKind, generator: np.random.Generator) -> Pairwise:
    """Test every pair of entrants, all claims together wrong with at most 5 %.

    Synthetic scenarios: Romano-Wolf step-down. Windows of one history, of which there are few: t tests with Holm's
    adjustment. A pair that never differs is identical; one with too few scenarios, or fewer than MIN_DIFFERENCES that
    differ, is undecided: a handful of events decides nothing.
    """
    from scipy import stats

    lead, first, second = paired_leads(scores)
    played, differ = (~np.isnan(lead)).sum(0), (np.nan_to_num(lead) != 0).sum(0)
    needed = min(MIN_DIFFERENCES, MIN_SCENARIOS[kind])
    tested = (played >= MIN_SCENARIOS[kind]) & (differ >= needed)
    p = np.ones(len(first))
    if kind == "seed":
        p[tested] = stepdown_p_values(lead[:, tested], generator)
    else:
        p[:] = holm([paired_p_value(column[~np.isnan(column)], kind) for column in lead.T])
    mean = np.where(played > 0, np.nansum(lead, 0) / np.maximum(played, 1), np.nan)
    decided = tested & (p <= 1 - CONFIDENCE)
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, np.maximum(played - 1, 1))
    variance = np.nansum(np.square(lead - mean), 0) / np.maximum(played - 1, 1)
    half = np.where(played >= MIN_SCENARIOS[kind], quantile * np.sqrt(variance / np.maximum(played, 1)), np.nan)

    num = len(scores.agents)
    difference, half_width, p_value = np.zeros((num, num)), np.zeros((num, num)), np.ones((num, num))
    verdict = np.full((num, num), IDENTICAL, dtype=object)
    difference[first, second], difference[second, first] = mean, -mean
    half_width[first, second] = half_width[second, first] = half
    p_value[first, second] = p_value[second, first] = p
    for rows, columns, sign in ((first, second, 1.0), (second, first, -1.0)):
        ahead = np.where(sign * mean > 0, BETTER, WORSE)
        said = np.where(decided, ahead, np.where(tested, NOT_SEPARATED, UNDECIDED))
        verdict[rows, columns] = np.where((differ == 0) & (played > 0), IDENTICAL, said)
    return Pairwise(scores.agents, difference, half_width, p_value, verdict.astype(str))


def places(pairwise: Pairwise, ranking: Sequence[str]) -> dict[str, Place]:
    """Entrant -> Place, for entrants in the order of the ranking.

    The rank interval is [1 + #significantly better, m - #significantly worse]. Tiers are formed from the top: the best
    entrant without a tier leads the next one, and all who are not significantly worse than it join.
    """
    index = [pairwise.agents.index(agent) for agent in ranking]
    verdict = pairwise.verdict[np.ix_(index, index)]
    better, worse = (verdict == BETTER).sum(1), (verdict == WORSE).sum(1)
    tier = np.zeros(len(ranking), dtype=int)
    while (tier == 0).any():
        leader = int(np.argmin(tier))  # the first without a tier
        joins = (tier == 0) & (verdict[:, leader] != WORSE)
        tier[joins] = tier.max() + 1
    return {
        agent: Place(int(1 + worse[place]), int(len(ranking) - better[place]), int(tier[place]))
        for place, agent in enumerate(ranking)
    }


def leader_of(pairwise: Pairwise, ranking: Sequence[str]) -> Leader:
    """What may be claimed about the first of the ranking: it leads if it is significantly better than every other."""
    first = pairwise.agents.index(ranking[0])
    others = [pairwise.agents.index(agent) for agent in ranking[1:]]
    close = [pairwise.agents[other] for other in others if pairwise.verdict[first, other] != BETTER]
    p_values = {pairwise.agents[other]: float(pairwise.p_value[first, other]) for other in others}
    return Leader(ranking[0], bool(others) and not close, p_values, close)


def pair_rows(pairwise: Pairwise, ranking: Sequence[str]) -> list[Pair]:
    """One row per pair, the entrant that ranks higher first; the interval is of the pair alone, p is adjusted."""
    index = [pairwise.agents.index(agent) for agent in ranking]
    return [_pair(pairwise, i, j) for place, i in enumerate(index) for j in index[place + 1 :]]


def _pair(pairwise: Pairwise, i: int, j: int) -> Pair:
    growth, half = float(pairwise.difference[i, j]), float(pairwise.half_width[i, j])
    return Pair(
        agent=pairwise.agents[i],
        against=pairwise.agents[j],
        growth=None if np.isnan(growth) else growth,
        growth_low=None if np.isnan(half) else growth - half,
        growth_high=None if np.isnan(half) else growth + half,
        p_value=float(pairwise.p_value[i, j]),
        verdict=str(pairwise.verdict[i, j]),
    )


def model_confidence_set(scores: Scores, kind: ScenarioKind, seed: int) -> tuple[str, ...] | None:
    """Names in the 95 % set, sorted; None without `arch`, with too few scenarios or with more than MAX_AGENTS.

    Statistic T_max, scenarios resampled one by one. Entrants with equal scores throughout stand or fall together:
    the difference of two of them has no variance to divide by.
    Hansen, Lunde, Nason (2011), Econometrica 79:453.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the package's own imports
            from arch.bootstrap import MCS
    except ImportError:
        return None
    scores = complete_rows(scores)
    num = len(scores.agents)
    if len(scores.values) < MIN_SCENARIOS[kind] or num > MAX_AGENTS:
        return None
    lead, first, second = paired_leads(scores)
    twin = np.arange(num)  # the first entrant with the same scores
    for i, j in zip(first[(lead == 0).all(0)], second[(lead == 0).all(0)]):
        twin[j] = min(twin[j], twin[i])
    kept = np.flatnonzero(twin == np.arange(num))
    if len(kept) == 1:
        return scores.agents
    tests = MCS(
        -scores.values[:, kept],
        size=1 - CONFIDENCE,
        reps=NUM_DRAWS,
        block_size=1,
        method="max",
        bootstrap="circular",
        seed=seed,
    )
    tests.compute()
    included = {int(kept[int(str(index))]) for index in tests.included}  # typed as any label of a table
    return tuple(agent for agent, represented in zip(scores.agents, twin) if int(represented) in included)


def best_set(scores: Scores, kind: ScenarioKind, ranking: list[str], seed: int) -> list[str] | None:
    """The model confidence set in the order of the ranking; None where it cannot be had."""
    names = model_confidence_set(scores, kind, seed)
    return None if names is None else [agent for agent in ranking if agent in names]
