"""Technical indicators of price series. Axes: [..., C] closes, oldest first; results [...] unless said.

Closes are positive. Every function is defined for any C >= 1: a window longer than the series uses what there is, and a
constant series gives the neutral value named in the docstring, exactly: differences from a bar of the series are
averaged, never the prices themselves, so that rounding cannot pass for a signal.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Macd(NamedTuple):
    """Moving average convergence/divergence, in units of the price."""

    line: Tensor  # [..., C] fast average minus slow average
    signal: Tensor  # [..., C] average of the line
    histogram: Tensor  # [..., C] line minus signal


def log_returns(closes: Tensor) -> Tensor:
    """Log return of each bar after the first [..., C - 1]."""
    # The ratio is rounded once; a difference of two logs loses digits when prices are far from 1.
    return torch.log(closes[..., 1:] / closes[..., :-1])


def momentum(closes: Tensor, lookback: int) -> Tensor:
    """Log return over the last `lookback` bars: log(P_t / P_{t - lookback}). Constant series: 0.

    Jegadeesh, Titman (1993), "Returns to Buying Winners and Selling Losers", Journal of Finance 48:65.
    """
    first = max(closes.shape[-1] - 1 - lookback, 0)
    return torch.log(closes[..., -1] / closes[..., first])


def simple_average(series: Tensor, window: int) -> Tensor:
    """Mean of the last `window` values. Constant series: that constant."""
    last = series[..., -1:]
    return (last + (series[..., -window:] - last).mean(-1, keepdim=True)).squeeze(-1)


def trailing_std(series: Tensor, window: int) -> Tensor:
    """Standard deviation (ddof 1) of the last `window` values. Constant series or a single value: 0."""
    recent = series[..., -window:] - series[..., -1:]
    count = recent.shape[-1]
    deviation = recent - recent.mean(-1, keepdim=True)
    return (deviation.square().sum(-1) / max(count - 1, 1)).sqrt()


def z_score(series: Tensor, window: int) -> Tensor:
    """(last value - mean) / std over the last `window` values. Constant series: 0.

    With closes this is Bollinger's %b, centred and in standard deviations (Bollinger, 2001, "Bollinger on Bollinger
    Bands"); here the std has ddof 1.
    """
    std = trailing_std(series, window)
    gap = series[..., -1] - simple_average(series, window)
    return torch.where(std > 0, gap / torch.where(std > 0, std, 1.0), 0.0)


def exponential_average(series: Tensor, span: int) -> Tensor:
    """Exponential moving average at every bar [..., C]. Constant series: that constant.

        y_t = sum_k (1 - a)**k x_{t-k} / sum_k (1 - a)**k,   a = 2 / (span + 1),   k = 0 .. t

    The weights of each bar sum to one, so the average is unbiased from the first bar on: the recursion started at x_0
    would leave that one price a weight of (1 - a)**t. One product with a [C, C] matrix replaces the loop over bars.
    """
    count = series.shape[-1]
    age = torch.arange(count, dtype=series.dtype, device=series.device)
    lag = age[:, None] - age[None, :]  # [t, s]
    weights = torch.where(lag >= 0, (1 - 2 / (span + 1)) ** lag.clamp_min(0), 0.0)
    weights = weights / weights.sum(-1, keepdim=True)
    first = series[..., :1]
    return first + (series - first) @ weights.T


def macd(closes: Tensor, fast: int = 12, slow: int = 26, signal: int = 9) -> Macd:
    """Fast minus slow exponential average, its own average, and the difference of the two. Constant series: 0.

    Appel (2005), "Technical Analysis: Power Tools for Active Investors"; 12/26/9 are his daily settings.
    """
    start = closes[..., :1]
    line = exponential_average(closes - start, fast) - exponential_average(closes - start, slow)
    average = exponential_average(line, signal)
    return Macd(line, average, line - average)


def rsi(closes: Tensor, period: int = 14) -> Tensor:
    """Relative strength index in [0, 100]. Constant series, or one bar: 50.

        RSI = 100 G / (G + L),   G_n = ((p - 1) G_{n-1} + max(d_n, 0)) / p,   d_n = P_n - P_{n-1}

    G, L are Wilder's averages of gains and of losses, started with the mean of the first p changes (of all of them
    where there are fewer). The recursion is written out as a weight per change.

    Wilder (1978), "New Concepts in Technical Trading Systems".
    """
    change = closes[..., 1:] - closes[..., :-1]
    count = change.shape[-1]
    seed = min(period, count)
    order = torch.arange(count, dtype=closes.dtype, device=closes.device)
    age = (count - 1 - order).clamp_max(count - seed)  # the changes of the seed share one age
    weights = (1 - 1 / period) ** age / max(seed, 1)  # [C - 1]
    gain = (change.clamp_min(0) * weights).sum(-1)
    loss = ((-change).clamp_min(0) * weights).sum(-1)
    moved = gain + loss
    return torch.where(moved > 0, 100 * gain / torch.where(moved > 0, moved, 1.0), 50.0)


def covariance(closes: Tensor) -> Tensor:
    """Covariance (ddof 1) of the log returns of [..., A, C] closes: [..., A, A] per bar. Fewer than two returns: 0."""
    returns = log_returns(closes)
    centred = returns - returns.mean(-1, keepdim=True) if returns.shape[-1] else returns
    return centred @ centred.mT / max(returns.shape[-1] - 1, 1)
