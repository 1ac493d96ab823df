"""Is it more than luck? Tests between entrants on paired scores; the scenario is the unit of every test."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from arena.tournament.stats.growth import (
    MIN_SCENARIOS,
    Floats,
    ScenarioKind,
    Scores,
    complete_rows,
    mean_interval,
)

MIN_DIFFERENCES = 20  # non-zero paired differences a comparison needs to be decided


class PairedDifference(NamedTuple):
    """How much better `agent` scores than `against` in the same scenarios."""

    agent: str
    against: str
    growth: float  # mean
    growth_low: float | None  # 95 %
    growth_high: float | None
    p_value: float  # two-sided, Holm-adjusted over all pairs


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


def paired_differences(scores: Scores, pairs: Sequence[tuple[str, str]], kind: ScenarioKind) -> list[PairedDifference]:
    """Mean lead of the first of each pair over the second in the scenarios of both; t interval, t test."""
    samples = []
    for pair in pairs:
        mine, theirs = (scores.values[:, scores.agents.index(name)] for name in pair)
        samples.append((mine - theirs)[~np.isnan(mine - theirs)])
    adjusted = holm([paired_p_value(sample, kind) for sample in samples])
    estimates = [mean_interval(sample, kind) for sample in samples]
    return [
        PairedDifference(*pair, growth.value, growth.low, growth.high, p)
        for pair, growth, p in zip(pairs, estimates, adjusted)
    ]


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
