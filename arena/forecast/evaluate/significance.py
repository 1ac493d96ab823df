"""How sure an average score is: intervals and tests over independent units.

A unit is a scenario where there are many (synthetic seeds share nothing), or a block of consecutive dates where there
is one history: neighbouring dates share their weather, and forecasts over h bars share outcomes. Within a unit
everything is added up first, assets too. Below MIN_UNITS nothing is claimed.

Letters: W scenarios, O forecast dates in order, U units.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

CONFIDENCE = 0.95
MIN_UNITS = 8
NUM_BLOCKS = 12  # of one history


class Estimate(NamedTuple):
    """A number with its 95 % interval; the ends are None where no honest interval exists."""

    value: float
    low: float | None = None
    high: float | None = None


class Comparison(NamedTuple):
    """Is one mean loss smaller than the other?"""

    statistic: float  # negative: the first loses less
    p_value: float | None  # two-sided; None where there is too little to decide


def unit_sums(values: Tensor, overlap: int) -> Tensor:
    """[W, O] one value a date, NaN = missing -> [U] sums by unit: the scenarios if W > 1, else blocks of dates.

    overlap  dates whose outcomes overlap with that of a date, itself included: ceil(horizon / stride)

    Blocks are at least twice as long as an overlap, so that at most every second outcome reaches into the next.
    """
    if len(values) > 1:
        return values.nansum(1)
    count = min(NUM_BLOCKS, values.shape[1] // (2 * overlap))
    return torch.stack([block.nansum() for block in values[0].tensor_split(max(count, 1))])


def ratio(numerator: Tensor, denominator: Tensor) -> Estimate:
    """sum(numerator) / sum(denominator) over units [U], with the t(U - 1) interval of the linearised ratio.

    With counts as denominators, a mean; with the losses of a reference, a relative loss. On blocks of one history this
    holds for any dependence that is short beside a block, and for a volatility that changes from block to block.
    Ibragimov, Mueller (2010), J. Bus. Econ. Stat. 28:453; Cochran (1977), "Sampling Techniques", section 6.3.
    """
    from scipy import stats

    num, total = len(numerator), float(denominator.sum())
    if total == 0:
        return Estimate(math.nan)
    value = float(numerator.sum()) / total
    if num < MIN_UNITS:
        return Estimate(value)
    influence = (numerator - value * denominator) / (total / num)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, num - 1) * influence.std() / math.sqrt(num))
    return Estimate(value, value - half, value + half)


def mean(values: Tensor, overlap: int) -> Estimate:
    """Mean of [W, O] with its interval by unit; NaN is left out."""
    return ratio(unit_sums(values, overlap), unit_sums((~values.isnan()).to(values.dtype), overlap))


def skill(loss: Tensor, reference: Tensor, overlap: int) -> Estimate:
    """1 - mean loss / mean reference loss, [W, O] each, with its interval by unit: 0 no better, 1 perfect."""
    relative = ratio(unit_sums(loss, overlap), unit_sums(reference, overlap))
    low, high = (None if end is None else 1 - end for end in (relative.high, relative.low))
    return Estimate(1 - relative.value, low, high)


def compare_losses(loss: Tensor, reference: Tensor, overlap: int) -> Comparison:
    """Test of equal mean losses [W, O]: Diebold-Mariano on one history, paired t over scenarios where W > 1.

    Paired over scenarios it is the same test with the independent units that it has to estimate on one history.
    """
    from scipy import stats

    difference = loss - reference
    if len(difference) == 1:
        return diebold_mariano(difference[0], overlap)
    per_unit = difference.nanmean(1)
    if not bool(difference.nan_to_num().any()):
        return Comparison(0.0, 1.0)  # the same forecasts
    result = stats.ttest_1samp(per_unit.numpy(), 0.0)
    return Comparison(float(result.statistic), float(result.pvalue) if len(per_unit) >= MIN_UNITS else None)


def diebold_mariano(difference: Tensor, overlap: int) -> Comparison:
    """Test that the loss difference [O] of two forecasters has mean 0.

        DM = mean(d) / sqrt((g_0 + 2 sum_{k=1}^{h-1} g_k) / n)        times sqrt((n + 1 - 2h + h (h-1)/n) / n), t(n-1)

    g_k  autocovariance of d at lag k, h = `overlap`: errors of forecasts over h dates are correlated up to lag h - 1.
    Where the estimated variance is not positive, that of the Bartlett kernel stands in, which always is. Dependence
    beyond lag h - 1 makes the test claim too much: of differences that follow an AR(1) with 0.9 it rejects 65 % at a
    mean of 0, where the interval by blocks (`skill`) still covers 94 % at n = 1000. If the two disagree, believe it.

    Diebold, Mariano (1995), J. Bus. Econ. Stat. 13:253; the factor: Harvey, Leybourne, Newbold (1997), Int. J.
    Forecast. 13:281.
    """
    from scipy import stats

    d = difference[~difference.isnan()]
    n, h = len(d), overlap
    if n and not bool(d.any()):
        return Comparison(0.0, 1.0)  # the same forecasts
    if n < 4 * h:
        return Comparison(math.nan, None)
    centred = d - d.mean()
    covariance = [float((centred[k:] * centred[: n - k]).sum()) / n for k in range(h)]
    variance = covariance[0] + 2 * sum(covariance[1:])
    if variance <= 0:
        variance = covariance[0] + 2 * sum((1 - k / h) * covariance[k] for k in range(1, h))
    if variance <= 0:
        return Comparison(math.nan, None)  # a constant difference
    factor = math.sqrt((n + 1 - 2 * h + h * (h - 1) / n) / n)
    statistic = float(d.mean()) / math.sqrt(variance / n) * factor
    return Comparison(statistic, float(2 * stats.t.sf(abs(statistic), n - 1)))
