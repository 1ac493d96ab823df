"""Is it more than luck? Tests between entrants on paired scores; the scenario is the unit of every test.

`stepdown_p_values` tests which of many means differ from zero, all claims together wrong with 5 %:

    t_p = |mean_s d_sp| / se(d_p)             t*_p = |mean*_p - mean_p| / se*(d_p)   in every draw of S scenarios

with the standard error made anew in every draw: a fixed one rejects 10 to 21 % of the time under rare losses. The
hypotheses are taken from the largest t down, each against the maximum of t* over those not yet rejected.

Axes: S scenarios (rows, drawn together), P hypotheses, B draws.
Romano, Wolf (2005), Econometrica 73:1237; (2016), Stat. Probab. Lett. 113:38, on adjusted p-values.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from arena.tournament.leaderboard import PairedDifference
from arena.tournament.stats.growth import MIN_SCENARIOS, Floats, ScenarioKind, Scores, complete_rows, mean_interval

MIN_DIFFERENCES = 20  # non-zero paired differences a comparison needs to be decided
NUM_DRAWS = 2000
BLOCK = 2**22  # numbers in one block of draws: bounds the memory at 32 MB an array
CONSTANT = 1e-24  # variance over mean square below which a sample is constant up to rounding


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


def stepdown_p_values(sample: Floats, generator: np.random.Generator, num_draws: int = NUM_DRAWS) -> Floats:
    """[S, P] independent rows (NaN = not observed) -> [P] adjusted two-sided p-values of mean 0.

    A sample that never varies is certain: it gets the smallest p, 1/(B + 1). What is left out, and what has too few
    observations to be tested, is the caller's business. All samples need at least two.
    """
    num, count = sample.shape
    if count == 0:
        return np.empty(0)
    seen = ~np.isnan(sample)
    whole = bool(seen.all())
    mean = np.nanmean(sample, 0)
    centred = np.where(seen, sample - mean, 0.0)
    size = seen.sum(0)
    square = np.square(centred)
    varies = square.sum(0) > CONSTANT * size * np.square(mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = np.where(varies, np.abs(mean) / np.sqrt(square.sum(0) / (size * (size - 1.0))), np.inf)
    centred, square = np.where(varies, centred, 0.0), np.where(varies, square, 0.0)
    order = np.argsort(-observed, kind="stable")
    centred, square, observed, seen = centred[:, order], square[:, order], observed[order], seen[:, order]

    exceed = np.zeros(count)
    for weights in draws(num, num_draws, generator, max(1, BLOCK // max(num, count))):
        drawn = float(num) if whole else weights @ seen.astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            shift = (weights @ centred) / drawn
            variance = np.maximum((weights @ square) / drawn - np.square(shift), 0.0)
            statistic = np.abs(shift) / np.sqrt(variance / (drawn - 1.0))
        statistic = np.where(np.isnan(statistic), 0.0, statistic)  # 0 / 0: nothing was drawn that differs
        worst = np.maximum.accumulate(statistic[:, ::-1], 1)[:, ::-1]  # over those not yet rejected
        exceed += (worst >= observed).sum(0)
    adjusted = np.empty(count)
    adjusted[order] = np.maximum.accumulate((1 + exceed) / (1 + num_draws))
    return adjusted


def draws(num: int, num_draws: int, generator: np.random.Generator, block: int) -> Iterator[Floats]:
    """Bootstrap weights [<= block, S] of all draws: how often each of `num` rows was drawn."""
    for start in range(0, num_draws, block):
        size = min(block, num_draws - start)
        cells = generator.integers(0, num, (size, num)) + num * np.arange(size)[:, None]
        yield np.bincount(cells.ravel(), minlength=size * num).reshape(size, num).astype(np.float64)
