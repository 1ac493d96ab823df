"""Can one number per entrant explain who finishes ahead of whom, or do they beat each other in circles?

Three questions with three answers:
    fit         log odds of finishing ahead = difference of two ratings + cyclic part, by weighted least squares; the
                share that the ratings explain, and a residual chi-square test that the cyclic part is 0 (minimum logit)
    cycles      a beats b, b beats c, c beats a: only edges that are significant, all together at 5 %, count
    alpha-rank  how often a population of copying, rarely mutating players plays each strategy
A field can fail the first without a circle: entrants that win often by little do not fit one scale.

In a population of m players of one strategy s a mutant of strategy r takes over with the fixation probability
    rho = (1 - exp(-a)) / (1 - exp(-m a))        a = alpha (payoff of r against s - payoff of s against r)
The population moves from strategy to strategy with chances rho / (n - 1); its stationary law is the ranking.
Logarithms throughout: masses down to e^-(10^300) keep their digits.

Axes: S scenarios, m entrants, P = m (m - 1) / 2 pairs (i, j) with i < j; n strategies; [...] any batch.
Berkson (1944), J. Am. Stat. Assoc. 39:357, on the weights; Jiang, Lim, Yao, Ye (2011), Math. Program. 127:203, on the
decomposition; Omidshafiei et al. (2019), Sci. Rep. 9:9937; Grassmann, Taksar, Heyman (1985), Oper. Res. 33:1107, on the
stationary law.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arena.tournament.leaderboard import AlphaRank, Transitivity
from arena.tournament.stats.games import Matches, fold_matches
from arena.tournament.stats.growth import CONFIDENCE, MIN_SCENARIOS, Floats
from arena.tournament.stats.paired_tests import BLOCK, MIN_DIFFERENCES, draws, stepdown_p_values

if TYPE_CHECKING:
    import pyarrow as pa

NUM_DRAWS = 1000
ROUNDING = 1e-16  # of sums of squares: where nothing but this is left, ratings explain all
POPULATION = 50
ALPHAS = tuple(0.1 * 2.0**power for power in range(14))  # 0.1 .. 819: of the sweep
SETTLED = 1e-3  # largest distance of a mass from that at the end of the sweep that counts as none


class TransitivityTest(NamedTuple):
    """How far one rating explains the win shares."""

    explained: float | None  # share of the weighted sum of squared log odds in ratings; None where no odds are known
    p_value: float | None  # of "ratings explain all of it"
    cycles: tuple[tuple[int, int, int], ...]  # each significantly beats the next, the last the first


def structure(results: "pa.Table", ranking: list[str], seed: int) -> tuple[Transitivity, AlphaRank | None]:
    """What the win shares say beyond a rating; entrants in the order of the ranking."""
    num = len(ranking)
    leads = win_leads(fold_matches(results, ranking), num)
    found = transitivity(leads, num, np.random.default_rng([seed, 4]))
    cycles = [[ranking[entrant] for entrant in cycle] for cycle in found.cycles]
    shown = Transitivity(explained=found.explained, p_value=found.p_value, cycles=cycles)
    met = ~np.isnan(leads)
    if not met.any(0).all():
        return shown, None
    payoff = np.zeros((num, num))
    payoff[np.triu_indices(num, 1)] = np.nansum(leads, 0) / met.sum(0)
    alpha, mass = sweep(payoff - payoff.T)
    return shown, AlphaRank(alpha=alpha, population=POPULATION, mass=dict(zip(ranking, mass.tolist())))


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


def transitivity(leads: Floats, num_agents: int, generator: np.random.Generator) -> TransitivityTest:
    """Leads [S, P] -> TransitivityTest; scenarios are resampled jointly, pairs that met in few of them carry no weight.

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
        return TransitivityTest(None, None, ())

    exceed, floor = 0, ROUNDING * total
    for counts in draws(len(leads), NUM_DRAWS, generator, max(1, BLOCK // max(leads.shape))):
        drawn, _ = _log_odds(counts @ filled, counts @ met.astype(np.float64))
        deviation = cyclic_part((drawn - flow) * root)  # [draws, P]
        exceed += int((np.square(deviation).sum(1) >= observed - floor).sum())
    return TransitivityTest(1 - observed / total, (1 + exceed) / (1 + NUM_DRAWS), _cycles(leads, num_agents, generator))


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


def alpha_rank(payoff: Floats, alpha: float, population: int = POPULATION) -> Floats:
    """Payoffs [..., n, n] of the row against the column -> masses [..., n] that add to 1."""
    num = payoff.shape[-1]
    if payoff.ndim < 2 or payoff.shape[-2] != num or not np.isfinite(payoff).all():
        raise ValueError(f"payoff has shape {payoff.shape}, expected finite numbers [..., n, n]")
    if not (alpha > 0 and population >= 2):
        raise ValueError(f"alpha = {alpha}, population = {population}; expected alpha > 0 and at least 2 players")
    return np.exp(_log_stationary(_log_transition(payoff, alpha, population)))


def sweep(payoff: Floats) -> tuple[float, Floats]:
    """The first alpha of ALPHAS from which on the masses of payoffs [n, n] stay, and these masses [n].

    A small alpha makes all strategies alike; the ranking is what is left when alpha grows.
    """
    masses = np.stack([alpha_rank(payoff, alpha) for alpha in ALPHAS])
    settled = np.abs(masses - masses[-1]).max(1) <= SETTLED
    first = len(ALPHAS) - int(np.argmin([*settled[::-1], False]))  # after the last that is not settled
    return ALPHAS[first], masses[first]


def _log_transition(payoff: Floats, alpha: float, population: int) -> Floats:
    """[..., n, n] log chance to move from the row's strategy to the column's; the diagonal is not used."""
    a = alpha * (np.swapaxes(payoff, -1, -2) - payoff)  # of the column against the row, minus the reverse
    size = np.abs(a)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_rho = np.log(-np.expm1(-size)) - np.log(-np.expm1(-population * size))
    log_rho = np.where(a == 0, -np.log(population), log_rho - np.where(a < 0, (population - 1) * size, 0.0))
    return log_rho - np.log(max(payoff.shape[-1] - 1, 1))


def _log_stationary(log_chance: Floats) -> Floats:
    """[..., n, n] -> [..., n] log masses: strategies are taken out one by one, without a subtraction."""
    log_chance = log_chance.copy()
    num = log_chance.shape[-1]
    for last in range(num - 1, 0, -1):
        leaving = np.logaddexp.reduce(log_chance[..., last, :last], -1)
        log_chance[..., :last, last] -= leaving[..., None]
        detour = log_chance[..., :last, last, None] + log_chance[..., None, last, :last]
        log_chance[..., :last, :last] = np.logaddexp(log_chance[..., :last, :last], detour)
    log_mass = np.zeros(log_chance.shape[:-1])
    for index in range(1, num):
        log_mass[..., index] = np.logaddexp.reduce(log_mass[..., :index] + log_chance[..., :index, index], -1)
    return log_mass - np.logaddexp.reduce(log_mass, -1)[..., None]
