"""How much of a Sharpe ratio is luck: for the one continuous path of returns of one strategy on real data.

All ratios are per period, never annualised. Not for a tournament of many episodes: there the pooled ratio with its
interval by scenario (`growth.pooled_sharpe`) is the honest one. With returns of one 125-bar episode a probabilistic
Sharpe above 0.95 finds a true annual ratio of 2 in 43 % only.
"""

import math

import numpy as np

from arena.tournament.stats.growth import Floats


def sharpe_ratio(returns: Floats) -> float:
    """[T] excess returns -> mean / standard deviation (ddof 1); NaN if they never vary."""
    deviation = float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
    constant = len(returns) == 0 or returns.max() == returns.min()  # the std of equal numbers need not be 0
    return math.nan if constant else float(returns.mean()) / deviation


def probabilistic_sharpe(returns: Floats, benchmark: float = 0.0) -> float:
    """Probability that the true ratio exceeds `benchmark`, given [T] returns; NaN if they never vary.

        PSR = N((SR - SR*) sqrt(T - 1) / sqrt(1 - g3 SR + (g4 - 1)/4 SR^2))

    g3, g4  skewness and kurtosis (3 for a normal law), moments without correction for bias

    Bailey, Lopez de Prado (2012), J. Risk 15(2).
    """
    from scipy import stats

    return float(stats.norm.cdf((sharpe_ratio(returns) - benchmark) / standard_error(returns)))


def standard_error(returns: Floats) -> float:
    """Of the ratio of [T] returns that are independent; NaN if they never vary. Mertens (2002)."""
    ratio = sharpe_ratio(returns)
    return math.nan if math.isnan(ratio) else math.sqrt(_variance(returns, ratio) / (len(returns) - 1))


def expected_max_sharpe(variance: float, num_trials: int) -> float:
    """Expected best ratio of `num_trials` strategies without skill whose ratios have this variance.

        SR0 = sqrt(V) [(1 - e) N^-1(1 - 1/K) + e N^-1(1 - 1/(K exp(1)))]          e = 0.5772, Euler's constant

    One trial selects nothing: 0. Bailey, Lopez de Prado (2014), J. Portf. Manag. 40(5):94.
    """
    from scipy import stats

    if num_trials < 1:
        raise ValueError(f"num_trials is {num_trials}, expected all that were tried, at least 1")
    if num_trials == 1:
        return 0.0
    quantiles = stats.norm.isf([1 / num_trials, 1 / (num_trials * math.e)])
    return math.sqrt(variance) * float((1 - np.euler_gamma) * quantiles[0] + np.euler_gamma * quantiles[1])


def deflated_sharpe(returns: Floats, variance: float, num_trials: int) -> float:
    """Probability that the ratio exceeds the best of `num_trials` (all submissions, counted) without skill.

    variance  of the trials' ratios, per period. Bailey, Lopez de Prado (2014).
    """
    return probabilistic_sharpe(returns, expected_max_sharpe(variance, num_trials))


def min_track_record_length(returns: Floats, benchmark: float = 0.0, confidence: float = 0.95) -> float:
    """Periods needed for `probabilistic_sharpe` to reach `confidence`; inf where the ratio is not above `benchmark`.

        MinTRL = 1 + (1 - g3 SR + (g4 - 1)/4 SR^2) (z / (SR - SR*))^2

    Bailey, Lopez de Prado (2012).
    """
    from scipy import stats

    ratio = sharpe_ratio(returns)
    if not ratio > benchmark:
        return math.nan if math.isnan(ratio) else math.inf
    return 1 + _variance(returns, ratio) * float(stats.norm.ppf(confidence) / (ratio - benchmark)) ** 2


def _variance(returns: Floats, ratio: float) -> float:
    """Asymptotic variance of the ratio times the number of returns. Mertens (2002); at g3 = 0, g4 = 3 that of Lo."""
    from scipy import stats

    skewness, kurtosis = float(stats.skew(returns)), float(stats.kurtosis(returns, fisher=False))
    return 1 - skewness * ratio + (kurtosis - 1) / 4 * ratio**2
