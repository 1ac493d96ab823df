"""From a distribution of prices to what an agent trades on: an expected return, and how sure its sign is.

The log return x over h bars is known at the nine quantile levels. Between them it is taken as a piecewise linear
function of the normal score z, u = Phi(z); beyond them the outermost pieces go on. So the mean and the probability of a
sign have closed forms, both exact for a log-normal forecast. Sampled paths, which a forecaster has already summed up in
its quantiles, are not read again.

K horizons   Q quantile levels
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from arena.forecast.types import QUANTILE_LEVELS, Forecast
from arena.market.types import FORECAST_HORIZONS

# Returns below this many units in the last place of a price near 1 are rounding, and no opinion.
RESOLUTION = 8
SCORES = torch.special.ndtri(torch.tensor(QUANTILE_LEVELS, dtype=torch.float64))  # [Q] z at the levels


class Reliability(NamedTuple):
    """Predicted probabilities beside what happened, in bins of equal width; NaN in empty ones."""

    confidence: Tensor  # [num_bins] mean predicted probability
    hit_rate: Tensor  # [num_bins]
    num_cases: Tensor  # [num_bins]
    expected_error: float  # mean of |confidence - hit_rate| over cases


def expected_return(forecast: Forecast, price: Tensor, horizons: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Expected log return over each horizon, and the probability that its sign comes true: [..., K] each.

    price     [...] now, in the units of the forecast
    horizons  K of 1 .. H bars

    A forecast that expects no return has confidence 1/2. NaN stays NaN, and so is a horizon of which any quantile is
    no price.
    """
    log_return = _log_returns(forecast, price, horizons)  # [..., K, Q]
    mean = _mean(log_return)
    below, upto = _probability_below(log_return, strict=True), _probability_below(log_return, strict=False)
    down = (below + upto) / 2  # a price that stays is half a hit
    p = torch.where(mean > 0, 1.0 - down, down)
    confidence = torch.where(mean == 0, 0.5, p)
    return mean, torch.where(mean.isnan(), mean, confidence)


def return_features(forecast: Forecast, price: Tensor) -> Tensor:
    """What an observation shows of a forecast made at `price` [...]: float32 [..., 4].

    Expected log returns over FORECAST_HORIZONS, and log(q0.9 / q0.1) of the first. What is NaN shows as 0.
    """
    log_return = _log_returns(forecast, price, FORECAST_HORIZONS)
    spread = log_return[..., :1, -1] - log_return[..., :1, 0]
    return torch.cat([_mean(log_return), spread], dim=-1).nan_to_num(0.0).float()


def reliability(p: Tensor, hit: Tensor, num_bins: int = 10) -> Reliability:
    """How often what was predicted with probability p [N] came true, hit [N]; bins of equal width over 0 .. 1."""
    p, hit = p.double(), hit.double()
    bins = (p * num_bins).long().clamp(0, num_bins - 1)
    num_cases = torch.bincount(bins, minlength=num_bins)
    confidence = torch.bincount(bins, weights=p, minlength=num_bins) / num_cases
    hit_rate = torch.bincount(bins, weights=hit, minlength=num_bins) / num_cases
    error = ((confidence - hit_rate).abs() * num_cases).nansum() / len(p)
    return Reliability(confidence, hit_rate, num_cases, float(error))


def _log_returns(forecast: Forecast, price: Tensor, horizons: Sequence[int]) -> Tensor:
    """[..., K, Q], NaN where the forecast is no positive price."""
    longest = forecast.quantiles.size(-2)
    if not horizons or min(horizons) < 1 or max(horizons) > longest:
        raise ValueError(f"horizons are {tuple(horizons)}, expected some of 1 .. {longest}, the bars forecast")
    if price.shape != forecast.quantiles.shape[:-2]:
        raise ValueError(
            f"price has shape {tuple(price.shape)}, expected {tuple(forecast.quantiles.shape[:-2])}, one per series"
        )
    ratio = forecast.quantiles[..., [h - 1 for h in horizons], :] / price[..., None, None]
    return torch.where((ratio > 0) & (ratio < math.inf), ratio, math.nan).log()


def _mean_weights() -> Tensor:
    """w with E[x] = sum_q w[q] x[q], [Q].

    Over a piece from z1 to z2, with u = Phi(z) and phi its density, the mass is u2 - u1 and the moment of z is
    phi(z1) - phi(z2); x = x1 + (x2 - x1) (z - z1) / (z2 - z1) is linear in both.
    """
    edges = torch.cat([SCORES.new_tensor([-math.inf]), SCORES[1:-1], SCORES.new_tensor([math.inf])])
    mass = torch.special.ndtr(edges).diff()  # [Q - 1] tails belong to the outermost pieces
    moment = -torch.exp(-0.5 * edges.square()).diff() / math.sqrt(2.0 * math.pi)
    share = (moment - SCORES[:-1] * mass) / SCORES.diff()  # of the right end
    weights = torch.zeros_like(SCORES)
    weights[:-1] += mass - share
    weights[1:] += share
    return (weights + weights.flip(0)) / 2  # symmetric but for rounding


MEAN_WEIGHTS = _mean_weights()


def _mean(log_return: Tensor) -> Tensor:
    """Expected value of x [..., Q] -> [...]; what rounding alone could leave is 0."""
    mean = log_return @ MEAN_WEIGHTS.to(log_return)
    return torch.where(mean.abs() < RESOLUTION * torch.finfo(mean.dtype).eps, torch.zeros_like(mean), mean)


def _probability_below(log_return: Tensor, strict: bool) -> Tensor:
    """P(x < 0), or P(x <= 0) if not strict: x [..., Q], non-decreasing -> [...]."""
    crossed = (log_return < 0) if strict else (log_return <= 0)
    piece = (crossed.sum(-1, keepdim=True) - 1).clamp(0, log_return.size(-1) - 2)  # [..., 1]
    left, right = log_return.gather(-1, piece), log_return.gather(-1, piece + 1)
    scores = SCORES.to(log_return)
    start, end = scores[piece], scores[piece + 1]
    zero_at = (start - left * (end - start) / (right - left)).squeeze(-1)  # normal score of x = 0
    # 0 / 0 where the outermost piece lies flat on 0: all of it is below or none.
    return torch.special.ndtr(zero_at.nan_to_num(-math.inf if strict else math.inf))
