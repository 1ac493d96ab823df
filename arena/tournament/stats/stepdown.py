"""Which of many means differ from zero, all claims together wrong with 5 %: step-down tests by joint resampling.

    t_p = |mean_s d_sp| / se(d_p)             t*_p = |mean*_p - mean_p| / se*(d_p)   in every draw of S scenarios

with the standard error made anew in every draw: a fixed one rejects 10 to 21 % of the time under rare losses. The
hypotheses are taken from the largest t down, each against the maximum of t* over those not yet rejected.

Axes: S scenarios (rows, drawn together), P hypotheses, B draws.
Romano, Wolf (2005), Econometrica 73:1237; (2016), Stat. Probab. Lett. 113:38, on adjusted p-values.
"""

from collections.abc import Iterator

import numpy as np

from arena.tournament.stats.growth import Floats

NUM_DRAWS = 2000
BLOCK = 2**22  # numbers in one block of draws: bounds the memory at 32 MB an array
CONSTANT = 1e-24  # variance over mean square below which a sample is constant up to rounding


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
