"""Growth: who earns more, and how sure that is. The scenario is the unit of every interval and test here.

A row of scores is one scenario: an entrant's lineups inside it are averaged first. Axes: S scenarios, m entrants.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]
ScenarioKind = Literal["seed", "window"]  # independent synthetic universes, or disjoint windows of real bars

CONFIDENCE = 0.95
MIN_SCENARIOS = {"seed": 50, "window": 8}  # fewer: no growth interval (one rare loss breaks it), descriptive only
CAUTION_SCENARIOS = 300  # below this a once-in-100 loss still makes intervals too short
MIN_DIFFERENCES = 20  # non-zero paired differences a comparison needs to be decided


class Estimate(NamedTuple):
    """A number with its 95 % interval; the ends are None where no honest interval exists."""

    value: float
    low: float | None
    high: float | None


class Scores(NamedTuple):
    """One number per scenario and entrant."""

    scenarios: NDArray[np.int64]  # [S]
    agents: tuple[str, ...]  # m, sorted
    values: Floats  # [S, m], NaN where the entrant has not played the scenario yet


class Leader(NamedTuple):
    """Is the first significantly ahead? Paired differences of the first against every other, Holm-adjusted."""

    agent: str
    significant: bool  # ahead of all others at the 5 % level, jointly
    p_values: dict[str, float]  # other entrant -> adjusted two-sided p
    not_separated: tuple[str, ...]  # others the first is not significantly ahead of


def score_table(results: "pa.Table", column: str) -> Scores:
    """Mean of a result column over the lineups inside each scenario."""
    scenarios, row = np.unique(results["scenario"].to_numpy(), return_inverse=True)
    names, column_index = np.unique(np.asarray(results["agent"].to_pylist(), dtype=str), return_inverse=True)
    total = np.zeros((len(scenarios), len(names)))
    count = np.zeros_like(total)
    np.add.at(total, (row, column_index), results[column].to_numpy())
    np.add.at(count, (row, column_index), 1)
    with np.errstate(invalid="ignore"):
        return Scores(scenarios, tuple(names.tolist()), total / count)


def excess(scores: Scores, cash: str) -> Scores:
    """Scores minus those of the cash baseline in the same scenario; unchanged without such an entrant."""
    if cash not in scores.agents:
        return scores
    return scores._replace(values=scores.values - scores.values[:, [scores.agents.index(cash)]])


def mean_interval(sample: Floats, kind: ScenarioKind) -> Estimate:
    """[S] independent scores (NaN = missing) -> mean with the symmetric t(S-1) interval, None below MIN_SCENARIOS.

    Symmetric on purpose: at S = 50 with t3 tails it covers 94.8 %, where a BCa bootstrap covers 89.5 %.
    """
    from scipy import stats

    sample = sample[~np.isnan(sample)]
    num = len(sample)
    if num == 0:
        return Estimate(float("nan"), None, None)
    mean = float(sample.mean())
    if num < MIN_SCENARIOS[kind]:
        return Estimate(mean, None, None)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, num - 1) * sample.std(ddof=1) / np.sqrt(num))
    return Estimate(mean, mean - half, mean + half)


def growth_estimates(
    results: "pa.Table", column: str = "growth_raw", cash: str = "cash", kind: ScenarioKind = "seed"
) -> dict[str, Estimate]:
    """Entrant -> growth above cash with its interval, best first. Cheap: also serves a live ticker."""
    scores = excess(score_table(results, column), cash)
    estimates = {agent: mean_interval(scores.values[:, index], kind) for index, agent in enumerate(scores.agents)}
    return dict(sorted(estimates.items(), key=lambda item: (-np.nan_to_num(item[1].value, nan=-np.inf), item[0])))


def complete_rows(scores: Scores) -> Scores:
    """Only the scenarios that every entrant has played: what paired comparisons use."""
    whole = ~np.isnan(scores.values).any(1)
    return scores._replace(scenarios=scores.scenarios[whole], values=scores.values[whole])


def equality_p_value(scores: Scores, generator: np.random.Generator, num_draws: int = 1000) -> float:
    """One simultaneous test that the entrants are equal: p-value.

        d_si = x_si - mean over i of x_si,   t_i = mean_s d_si / se(d_i),   statistic max_i |t_i|

    The reference distribution permutes the scores inside every scenario: exact for copies of one agent, whatever the
    law of their scores, and close to its level for entrants of equal means but unequal laws (3.6 to 6.4 % at 5 %, where
    flipping signs of scenarios rejects up to 28 %). Entrants whose scores are equal throughout give p = 1.
    Romano (1990), J. Am. Stat. Assoc. 85:686; Chung, Romano (2013), Ann. Stat. 41:484, on studentising.
    """
    rows = complete_rows(scores).values
    centred = rows - rows.mean(1, keepdims=True)  # [S, m]; a permutation keeps the mean of a row
    num, num_agents = centred.shape
    if num < 2 or num_agents < 2 or np.abs(centred).max() <= 1e-12 * np.abs(rows).max():
        return 1.0

    def statistic(sample: Floats) -> Floats:
        """[..., S, m] -> [...]; the floor of the variance stands for entrants that always have the same score."""
        mean = sample.mean(-2)
        variance = np.maximum(np.square(sample).mean(-2) - np.square(mean), 1e-24)
        return (np.abs(mean) / np.sqrt(variance)).max(-1)

    observed = statistic(centred)
    exceed = 0
    for start in range(0, num_draws, 50):  # blocks bound the memory
        block = np.broadcast_to(centred, (min(50, num_draws - start), num, num_agents))
        exceed += int((statistic(generator.permuted(block, axis=-1)) >= observed * (1 - 1e-12)).sum())
    return (1 + exceed) / (1 + num_draws)


def leader_test(scores: Scores, leader: str, kind: ScenarioKind) -> Leader:
    """Compare the first of the ranking with every other entrant: paired differences by scenario, t test, Holm.

    A pair without enough non-zero differences, and any pair below MIN_SCENARIOS, stays undecided (p = 1).
    Holm (1979), Scand. J. Stat. 6:65.
    """
    scores = complete_rows(scores)
    first = scores.agents.index(leader)
    others = [index for index in range(len(scores.agents)) if index != first]
    lead = scores.values[:, [first]] - scores.values  # [S, m]
    raw = [paired_p_value(lead[:, other], kind) if lead[:, other].sum() > 0 else 1.0 for other in others]
    p_values = dict(zip([scores.agents[other] for other in others], holm(raw)))
    not_separated = tuple(agent for agent, p in p_values.items() if p >= 1 - CONFIDENCE)
    return Leader(leader, bool(others) and not not_separated, p_values, not_separated)


def paired_p_value(difference: Floats, kind: ScenarioKind) -> float:
    """Two-sided p of mean 0 for [S] paired differences; 1 where there is too little to decide."""
    from scipy import stats

    num = len(difference)
    needed = min(MIN_DIFFERENCES, MIN_SCENARIOS[kind])
    if num < MIN_SCENARIOS[kind] or np.count_nonzero(difference) < needed:
        return 1.0
    error = difference.std(ddof=1) / np.sqrt(num)
    return float(2 * stats.t.sf(abs(difference.mean()) / error, num - 1)) if error > 0 else 0.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Step-down adjusted p-values in the given order."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    result = np.empty_like(p)
    result[order] = adjusted
    return [float(value) for value in result]


def pooled_sharpe(results: "pa.Table", agent: str, periods_per_year: float, kind: ScenarioKind) -> Estimate:
    """Sharpe ratio of all per-step simple returns of an entrant, per sqrt(year), with a scenario-cluster interval.

        SR = m1 / sqrt(v),  v = (m2 - m1^2) n/(n-1),   m1, m2 means of r and r^2 over all n steps
        psi_s = [m2 (a_s - m1 n_s) - m1/2 (b_s - m2 n_s)] / (v^1.5 mean n_s)      a_s, b_s sums of r, r^2 in scenario s
        interval: SR +- t(S-1) sd(psi) / sqrt(S)          (delta method on scenario sums)

    NaN if v = 0 (cash). Returns inside a scenario need not be independent; scenarios are. Lo (2002), FAJ 58(4).
    """
    from scipy import stats

    mine = np.asarray(results["agent"].to_pylist(), dtype=str) == agent
    _, cluster = np.unique(results["scenario"].to_numpy()[mine], return_inverse=True)
    columns = ("num_steps", "return_sum", "return_square_sum")
    steps, sums, squares = (np.bincount(cluster, results[name].to_numpy()[mine]) for name in columns)  # [S] each
    count, num = steps.sum(), len(steps)
    if count < 2:
        return Estimate(float("nan"), None, None)
    m1, m2 = sums.sum() / count, squares.sum() / count
    variance = (m2 - m1**2) * count / (count - 1)
    if variance <= 1e-12 * m2 or m2 == 0:
        return Estimate(float("nan"), None, None)
    scale = np.sqrt(periods_per_year)
    value = float(m1 / np.sqrt(variance) * scale)
    if num < MIN_SCENARIOS[kind]:
        return Estimate(value, None, None)
    influence = (m2 * (sums - m1 * steps) - m1 / 2 * (squares - m2 * steps)) / (variance**1.5 * steps.mean())
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, num - 1) * influence.std(ddof=1) / np.sqrt(num) * scale)
    return Estimate(value, value - half, value + half)
