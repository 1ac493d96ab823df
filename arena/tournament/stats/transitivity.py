"""Can one number per entrant explain who finishes ahead of whom, or do they beat each other in circles?

Two questions with two answers:
    fit      log odds of finishing ahead = difference of two ratings + cyclic part, by weighted least squares; the share
             that the ratings explain, and a test that the cyclic part is 0 (a residual chi-square, minimum logit form)
    cycles   a beats b, b beats c, c beats a: only edges that are significant, all together at 5 %, count
A field can fail the first without a circle: entrants that win often by little do not fit one scale.

Axes: S scenarios, m entrants, P = m (m - 1) / 2 pairs (i, j) with i < j.
Berkson (1944), J. Am. Stat. Assoc. 39:357, on the weights; Jiang, Lim, Yao, Ye (2011), Math. Program. 127:203, on the
decomposition.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arena.tournament.stats.comparison import MIN_DIFFERENCES
from arena.tournament.stats.games import Matches
from arena.tournament.stats.growth import CONFIDENCE, MIN_SCENARIOS, Floats
from arena.tournament.stats.stepdown import BLOCK, draws, stepdown_p_values

NUM_DRAWS = 1000
ROUNDING = 1e-16  # of sums of squares: where nothing but this is left, ratings explain all


class Transitivity(NamedTuple):
    """How far one rating explains the win shares."""

    explained: float | None  # share of the weighted sum of squared log odds in ratings; None where no odds are known
    p_value: float | None  # of "ratings explain all of it"
    cycles: tuple[tuple[int, int, int], ...]  # each significantly beats the next, the last the first


def win_leads(matches: Matches, num_agents: int) -> Floats:
    """[S, P] share of a scenario's matches that i ended ahead of j minus the reverse; NaN where they did not meet."""
    item, rank, _ = matches
    _, cluster = np.unique(matches.scenario, return_inverse=True)
    num_scenarios, num_pairs = int(cluster.max()) + 1, num_agents * (num_agents - 1) // 2
    lead, met = np.zeros((2, num_scenarios * num_pairs))
    for left, right in zip(*np.triu_indices(item.shape[1], 1)):
        low, high = np.minimum(item[:, left], item[:, right]), np.maximum(item[:, left], item[:, right])
        pair = low * (2 * num_agents - low - 1) // 2 + high - low - 1  # its place in triu_indices
        ahead = np.sign(rank[:, right] - rank[:, left]) * np.where(item[:, left] < item[:, right], 1.0, -1.0)
        cell = cluster * num_pairs + pair
        lead += np.bincount(cell, ahead, lead.size)
        met += np.bincount(cell, minlength=met.size)
    with np.errstate(invalid="ignore"):
        return (lead / met).reshape(num_scenarios, num_pairs)


def transitivity(leads: Floats, num_agents: int, generator: np.random.Generator) -> Transitivity:
    """Leads [S, P] -> Transitivity; scenarios are resampled jointly, pairs that met in few of them carry no weight.

    p-value: the weighted sum of squares of the cyclic part against that of its resampled deviations from itself.
    """
    met = ~np.isnan(leads)
    size = met.sum(0).astype(np.float64)  # [P] scenarios in which the pair met
    filled = np.where(met, leads, 0.0)
    flow, weight = _log_odds(filled.sum(0), size)
    # Log odds of few games are biased, and thousands of pairs add that up to a false answer.
    root = np.sqrt(np.where(size >= MIN_SCENARIOS["seed"], weight, 0.0))

    def cyclic_part(weighted: Floats) -> Floats:
        """Weighted flows [..., P] without what ratings explain of them."""
        return weighted - weighted @ project @ design.T

    first, second = np.triu_indices(num_agents, 1)
    design = np.zeros((len(first), num_agents))
    design[np.arange(len(first)), first], design[np.arange(len(first)), second] = root, -root
    project = design @ np.linalg.pinv(design.T @ design)  # [P, m]; a field in separate parts has no unique ratings
    cyclic, total = cyclic_part(root * flow), float(np.square(root * flow).sum())
    observed = float(np.square(cyclic).sum())
    if total == 0:
        return Transitivity(None, None, ())

    exceed, floor = 0, ROUNDING * total
    for counts in draws(len(leads), NUM_DRAWS, generator, max(1, BLOCK // max(leads.shape))):
        drawn, _ = _log_odds(counts @ filled, counts @ met.astype(np.float64))
        deviation = cyclic_part((drawn - flow) * root)  # [draws, P]
        exceed += int((np.square(deviation).sum(1) >= observed - floor).sum())
    return Transitivity(1 - observed / total, (1 + exceed) / (1 + NUM_DRAWS), _cycles(leads, num_agents, generator))


def _log_odds(lead: Floats, size: Floats) -> tuple[Floats, Floats]:
    """Log odds of finishing ahead and their weights, from summed leads and numbers of scenarios [..., P].

    Half a win and half a loss are added, so that an entrant that always wins has finite odds (Anscombe 1956).
    """
    won, lost = (size + lead) / 2 + 0.5, (size - lead) / 2 + 0.5
    return np.log(won / lost), np.where(size > 0, won * lost / (won + lost), 0.0)


def _cycles(leads: Floats, num_agents: int, generator: np.random.Generator) -> tuple[tuple[int, int, int], ...]:
    """Circles of three whose every edge is significant; a longer circle of a complete field contains one of three."""
    differ = (np.nan_to_num(leads) != 0).sum(0)
    tested = ((~np.isnan(leads)).sum(0) >= MIN_SCENARIOS["seed"]) & (differ >= MIN_DIFFERENCES)
    decided = np.zeros(leads.shape[1], dtype=bool)
    decided[tested] = stepdown_p_values(leads[:, tested], generator) <= 1 - CONFIDENCE
    mean = np.nansum(leads, 0)
    beats: NDArray[np.bool_] = np.zeros((num_agents, num_agents), dtype=bool)
    first, second = np.triu_indices(num_agents, 1)
    beats[first, second], beats[second, first] = decided & (mean > 0), decided & (mean < 0)
    return tuple(
        (int(a), int(b), int(c))
        for a, b in np.argwhere(beats)
        for c in np.flatnonzero(beats[b] & beats[:, a])
        if a < min(b, c)  # each circle once, from its first entrant on
    )
