"""Sharpe, Sortino and Calmar ratios: pooled over the games of an entrant, and how much of a Sharpe ratio is luck.

Of many episodes the pooled ratio with its interval by scenario (`pooled_sharpe`) is the honest one. The probabilistic
and deflated ratios are for the one continuous path of returns of one strategy on real data; they are per period, never
annualised. With returns of one 125-bar episode a probabilistic Sharpe above 0.95 finds a true annual ratio of 2 in 43 %
only.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from arena.metrics import annual_return
from arena.tournament.stats.growth import CONFIDENCE, MIN_SCENARIOS, Estimate, Floats, ScenarioKind

if TYPE_CHECKING:
    import pyarrow as pa


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


def pooled_sortino(results: "pa.Table", agent: str, periods_per_year: float, kind: ScenarioKind) -> Estimate:
    """Sortino ratio of all per-step simple returns of an entrant, per sqrt(year), with a scenario-cluster interval.

        SO = m1 / sqrt(d)          m1, d means of r and of min(r, 0)^2 over all n steps
        psi_s = [d (a_s - m1 n_s) - m1/2 (c_s - d n_s)] / (d^1.5 mean n_s)   a_s, c_s sums of both in scenario s
        interval: SO +- t(S-1) sd(psi) / sqrt(S)          (delta method on scenario sums, as `pooled_sharpe`)

    NaN if no return was negative. Sortino, Price (1994), J. Investing 3(3).
    """
    from scipy import stats

    mine = np.asarray(results["agent"].to_pylist(), dtype=str) == agent
    _, cluster = np.unique(results["scenario"].to_numpy()[mine], return_inverse=True)
    columns = ("num_steps", "return_sum", "downside_square_sum")
    steps, sums, squares = (np.bincount(cluster, results[name].to_numpy()[mine]) for name in columns)  # [S] each
    count, num = steps.sum(), len(steps)
    if count == 0 or not squares.sum() > 0:
        return Estimate(math.nan, None, None)
    m1, downside = sums.sum() / count, squares.sum() / count
    scale = math.sqrt(periods_per_year)
    value = float(m1 / math.sqrt(downside) * scale)
    if num < MIN_SCENARIOS[kind]:
        return Estimate(value, None, None)
    influence = (downside * (sums - m1 * steps) - m1 / 2 * (squares - downside * steps)) / (
        downside**1.5 * steps.mean()
    )
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, num - 1) * influence.std(ddof=1) / math.sqrt(num) * scale)
    return Estimate(value, value - half, value + half)


def median_calmar(results: "pa.Table", agent: str, periods_per_year: float) -> float:
    """Median over the games of an entrant of the annualised return of a game / its deepest drawdown.

    A game that never fell counts as infinite if it earned; NaN where the median has no number, as for cash. A forfeit
    counts as -1: all was lost. Drawdowns grow with the length of a game: compare it between games of one length only.
    """
    mine = np.asarray(results["agent"].to_pylist(), dtype=str) == agent
    final, deepest, steps = (results[name].to_numpy()[mine] for name in ("final_nav", "max_drawdown", "num_steps"))
    # A game is one period of a path of two points. A forfeit has no step, and loses all in any time.
    games_per_year = torch.from_numpy(periods_per_year / np.maximum(steps, 1))
    growth = annual_return(torch.from_numpy(np.stack([np.ones_like(final), final], -1)), games_per_year).numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        median = float(np.median(growth / deepest))
    return median if math.isfinite(median) else math.nan


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
