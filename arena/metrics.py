"""Performance of nav paths. Input [..., T], output [...]; per-step inside, annualised only by `periods_per_year`.

Definitions agree with empyrical where it has them (a test compares). Drawdowns and losses are positive.
"""

import math

import torch
from torch import Tensor

UTILITY_KNEE = 0.25  # of the initial nav: below it the utility continues as its tangent
TIE_TOLERANCE = 1e-12  # relative: final navs closer than this are the same result


def simple_return(nav: Tensor) -> Tensor:
    """[..., T] nav -> [..., T-1] nav'/nav - 1 per step."""
    return nav[..., 1:] / nav[..., :-1] - 1


def log_return(nav: Tensor) -> Tensor:
    """[..., T] nav > 0 -> [..., T-1] ln(nav'/nav) per step."""
    return torch.log(nav[..., 1:] / nav[..., :-1])


def annual_volatility(returns: Tensor, periods_per_year: float) -> Tensor:
    """[..., T] simple returns -> [...] standard deviation (ddof 1) per sqrt(year)."""
    return returns.std(-1) * math.sqrt(periods_per_year)


def sharpe(returns: Tensor, periods_per_year: float, risk_free: float = 0.0) -> Tensor:
    """[..., T] simple returns -> [...] mean/std of the excess over `risk_free` (per step), per sqrt(year).

    NaN if the standard deviation is 0: of constant returns the ratio says nothing. Lo (2002), FAJ 58(4).
    """
    excess = returns - risk_free
    # The std of n equal numbers is often 1e-19 and not 0, hence the comparison of the extremes.
    constant = returns.amax(-1) == returns.amin(-1)
    ratio = excess.mean(-1) / excess.std(-1) * math.sqrt(periods_per_year)
    return torch.where(constant, math.nan, ratio)


def sortino(returns: Tensor, periods_per_year: float, required: float = 0.0) -> Tensor:
    """[..., T] simple returns -> [...] mean excess over `required` / downside deviation, per sqrt(year).

        downside = sqrt(mean over all T of min(r - required, 0)**2)

    NaN where no return falls below `required`. Sortino, Price (1994), J. Investing 3(3).
    """
    excess = returns - required
    downside = excess.clamp(max=0).square().mean(-1).sqrt()
    ratio = excess.mean(-1) / downside * math.sqrt(periods_per_year)
    return torch.where(downside == 0, math.nan, ratio)


def drawdown(nav: Tensor) -> Tensor:
    """[..., T] nav with nav_0 > 0 -> [..., T] 1 - nav / running maximum; above 1 when nav is negative."""
    return 1 - nav / nav.cummax(-1).values


def max_drawdown(nav: Tensor) -> Tensor:
    """[..., T] nav -> [...] the deepest drawdown."""
    return drawdown(nav).amax(-1)


def annual_return(nav: Tensor, periods_per_year: float | Tensor) -> Tensor:
    """[..., T] nav -> [...] compound growth per year; -1 where the path ends at or below 0.

    periods_per_year  of all paths, or [...] of each
    """
    years = (nav.shape[-1] - 1) / periods_per_year
    return (nav[..., -1] / nav[..., 0]).clamp(min=0) ** (1 / years) - 1


def calmar(nav: Tensor, periods_per_year: float) -> Tensor:
    """[..., T] nav -> [...] annual return / max drawdown; NaN without a drawdown. Young (1991), Futures 20(1)."""
    deepest = max_drawdown(nav)
    return torch.where(deepest == 0, math.nan, annual_return(nav, periods_per_year) / deepest)


def hit_rate(returns: Tensor) -> Tensor:
    """[..., T] returns -> [...] share of steps with a positive return."""
    return (returns > 0).to(returns.dtype).mean(-1)


def turnover(shares: Tensor, price: Tensor, nav: Tensor) -> Tensor:
    """One-way turnover of a step: half the absolute fill notional per nav.

    shares  signed fills [shares]        [..., N, A]
    price   per asset [currency/share]   [..., A]
    nav     before the fills [currency]  [..., N]; 0 is returned where it is not positive
    """
    notional = (shares.abs() * price.unsqueeze(-2)).sum(-1)  # [..., N]
    return torch.where(nav > 0, 0.5 * notional / torch.where(nav > 0, nav, 1.0), 0.0)


def iqm(scores: Tensor) -> Tensor:
    """[..., S] scores -> [...] interquartile mean: floor(S/4) dropped at each end.

    Agarwal et al. (2021), "Deep RL at the Edge of the Statistical Precipice", NeurIPS.
    """
    trim = scores.shape[-1] // 4
    ordered = scores.sort(-1).values
    return ordered[..., trim : scores.shape[-1] - trim].mean(-1)


def utility(final_nav: Tensor) -> Tensor:
    """Growth of one episode: u(w) of w = nav_T / nav_0, elementwise.

        u(w) = ln w                        w >= 1/4
        u(w) = ln(1/4) + (w - 1/4)/(1/4)   below: the tangent

    Concave everywhere, so ruin stays costly and a fair gamble at low or negative wealth gains nothing.
    """
    tangent = math.log(UTILITY_KNEE) + (final_nav - UTILITY_KNEE) / UTILITY_KNEE
    # Inner clamp: log of a negative number would poison the gradient of the branch not taken.
    return torch.where(final_nav >= UTILITY_KNEE, final_nav.clamp(min=UTILITY_KNEE).log(), tangent)


def descending_rank(scores: Tensor) -> Tensor:
    """[..., N] scores -> [..., N] rank, 1 = highest; equal scores share the average of their ranks.

    Equal means within TIE_TOLERANCE relative: last-bit noise must not decide a match.
    """
    mine, other = scores.unsqueeze(-1), scores.unsqueeze(-2)  # [..., N, 1], [..., 1, N]
    margin = TIE_TOLERANCE * torch.maximum(mine.abs(), other.abs())
    better = (other > mine + margin).sum(-1)
    equal = ((other - mine).abs() <= margin).sum(-1)  # counts itself
    return better + (equal + 1) / 2
