"""How net flow displaces the price: a sum of independent books, each with a convex potential.

Volumes enter as e = E / V (days of average volume), so every coefficient is dimensionless and, per mode,

    D(e) = Y sigma sgn(e) |e|**delta          Phi(e) = V Y sigma |e|**(1 + delta) / (1 + delta)

Because Phi is convex and minimal at rest, and the price paid is the exact average of D along the fill, no round trip
against a martingale gains (Alfonsi & Schied 2010, SIAM J. Fin. Math. 1:490; Gatheral 2010, Quant. Finance 10:749).
|e| is smoothed to (e**2 + eps**2)**(1/2): that potential is even and convex too, and its gradient is finite at 0.
"""

import math

import torch
from torch import Tensor

from arena.market.storage import stack
from arena.market.types import ImpactMode, MarketParams, Quotes

# Smoothing width in days of volume: far below any order, far above underflow of eps**2 in the dtype.
SMOOTHING = {torch.float64: 1e-12, torch.float32: 1e-8}


def smooth_power(x: Tensor, exponent: float) -> Tensor:
    """sgn(x) |x|**exponent with a finite slope at 0: x (x**2 + eps**2)**((exponent - 1) / 2)."""
    if exponent == 1.0:
        return x
    square = x * x + SMOOTHING[x.dtype] ** 2
    if exponent == 0.5:
        return x * square.sqrt().rsqrt()
    return x * torch.exp2(0.5 * (exponent - 1.0) * torch.log2(square))  # pow() is several times slower


def average_displacement(start: Tensor, change: Tensor, exponent: float) -> Tensor:
    """Mean of smooth_power over the path start -> start + change, without cancellation as change -> 0.

    start   e before the fill [days of volume]    change  x, the fill [days of volume]    any one shape

    delta = 1:    e + x / 2
    delta = 1/2:  with u, v = (e**2 + eps**2)**(1/4) before and after,
                  (2/3) (2e + x) (u**2 + u v + v**2) / ((u + v) (u**2 + v**2))
    otherwise:    with p, q = e**2 + eps**2 before and after and s = (1 + delta) / 2, the divided difference
                  (q**s - p**s) / (q - p) = (p q)**((s - 1) / 2) sinh(s w) / sinh(w),  w = ln(q / p) / 2
    """
    end = start + change
    if exponent == 1.0:
        return start + 0.5 * change
    eps_square = SMOOTHING[change.dtype] ** 2
    before, after = start * start + eps_square, end * end + eps_square
    if exponent == 0.5:
        u_square, v_square = before.sqrt(), after.sqrt()
        u, v = u_square.sqrt(), v_square.sqrt()
        return (2 / 3) * (start + end) * (u_square + u * v + v_square) / ((u + v) * (u_square + v_square))
    s = 0.5 * (1.0 + exponent)
    log_before, log_after = torch.log(before), torch.log(after)
    w = 0.5 * (log_after - log_before)
    near = w.abs() < 1e-4  # the series is exact to 1e-16 there, and the quotient would be 0 / 0 at w = 0
    w_safe = torch.where(near, 1.0, w)
    ratio = torch.where(near, s * (1.0 + (s * s - 1.0) * w * w / 6.0), torch.sinh(s * w_safe) / torch.sinh(w_safe))
    return (start + end) * torch.exp(0.5 * (s - 1.0) * (log_before + log_after)) * ratio / (2.0 * s)


def rest_average(volume: Tensor, modes: tuple[tuple[float, float], ...]) -> Tensor:
    """Sum over (coef, exponent) of coef times the average displacement of a fill `volume` that starts at rest."""
    total = torch.zeros_like(volume)
    for coef, exponent in modes:
        if exponent == 0.5:  # average_displacement at start = 0, where u is a constant
            u = SMOOTHING[volume.dtype] ** 0.5
            v_square = (volume * volume + u**4).sqrt()
            v = v_square.sqrt()
            shape = (2 / 3) * volume * (u * u + u * v + v_square) / ((u + v) * (u * u + v_square))
        else:
            shape = average_displacement(torch.zeros_like(volume), volume, exponent)
        total = total + coef * shape
    return total


def modes_by_exponent(modes: tuple[ImpactMode, ...]) -> tuple[tuple[float, float], ...]:
    """(sum of coefs, exponent) per distinct exponent: from rest, modes of one exponent act as one."""
    exponents = dict.fromkeys(mode.exponent for mode in modes)
    return tuple((sum(m.coef for m in modes if m.exponent == exponent), exponent) for exponent in exponents)


def mode_displacements(params: MarketParams, quotes: Quotes, imbalance: Tensor, scale: Tensor | None) -> list[Tensor]:
    """Displacement of each mode, M tensors [B, A], fractions of the reference price.

    imbalance  E_m, decayed net flow [shares] [B, A, M]     scale  limited multiplier of the coefficients [B, A, M]
    """
    inverse_adv = 1.0 / quotes.adv
    displacements = []
    for index, mode in enumerate(params.modes):
        shape = smooth_power(imbalance[..., index] * inverse_adv, mode.exponent)
        displacements.append(_coef(mode, index, quotes, scale) * shape)
    return displacements


def displacement(params: MarketParams, quotes: Quotes, imbalance: Tensor, scale: Tensor | None = None) -> Tensor:
    """Total displacement I [B, A]: the observed mid is ref_price * (1 + I)."""
    return _sum(mode_displacements(params, quotes, imbalance, scale), quotes)


def average_impact(
    params: MarketParams, quotes: Quotes, imbalance: Tensor, net_flow: Tensor, scale: Tensor | None = None
) -> Tensor:
    """Mean displacement along the fill of `net_flow` [B, A] shares: what everybody pays, fraction of ref_price.

    sum_m [Phi_m(E_m + X) - Phi_m(E_m)] / X
    """
    inverse_adv = 1.0 / quotes.adv
    parts = []
    for index, mode in enumerate(params.modes):
        shape = average_displacement(imbalance[..., index] * inverse_adv, net_flow * inverse_adv, mode.exponent)
        parts.append(_coef(mode, index, quotes, scale) * shape)
    return _sum(parts, quotes)


def potential(params: MarketParams, quotes: Quotes, imbalance: Tensor, scale: Tensor | None = None) -> Tensor:
    """Energy stored in the books, sum_m Phi_m(E_m) [B, A], fraction of ref_price times shares."""
    parts = []
    for index, mode in enumerate(params.modes):
        e = imbalance[..., index] / quotes.adv
        shape = e * average_displacement(torch.zeros_like(e), e, mode.exponent)
        parts.append(_coef(mode, index, quotes, scale) * quotes.adv * shape)
    return _sum(parts, quotes)


def temporary_impact(params: MarketParams, quotes: Quotes, net_flow: Tensor) -> Tensor:
    """Fraction of the reference price that this bar's net flow pays and that leaves no trace.

        tau(X) = sgn(X) eta sigma (|X| / (V dt))**beta

    X      net flow of all agents [shares]     net_flow   [..., A]
    sigma  volatility [1/sqrt(day)]            V  average daily volume [shares/day]     dt  bar length [trading days]
    eta, beta  temporary_coef 0.142, temporary_exponent 0.6 [-]

    Almgren, Thum, Hauptmann, Li (2005), "Direct Estimation of Equity Market Impact", Risk 18:57.
    """
    participation = net_flow / (quotes.adv * params.dt)
    return params.temporary_coef * quotes.volatility * smooth_power(participation, params.temporary_exponent)


def decay_factors(params: MarketParams) -> list[float]:
    """Share of each mode's imbalance that survives one bar, a_m = 2**(-dt / half_life)."""
    return [math.exp2(-params.dt / mode.half_life) for mode in params.modes]


def decay(params: MarketParams, imbalance: Tensor) -> Tensor:
    """Imbalance [B, A, M] after one bar without flow; a new tensor."""
    if not params.modes:
        return imbalance
    return stack([imbalance[..., m] * a for m, a in enumerate(decay_factors(params))])


def add_flow(imbalance: Tensor, net_flow: Tensor) -> Tensor:
    """Imbalance [B, A, M] after a fill of `net_flow` [B, A]: every mode sees the whole of it."""
    if not imbalance.shape[-1]:
        return imbalance
    return stack([mode + net_flow for mode in imbalance.unbind(-1)])  # mode by mode: each stays one block of memory


def limit_scale(params: MarketParams, previous: Tensor, raw: Tensor) -> Tensor:
    """Growth limiter: coefficients may fall freely but rise only as fast as stored energy decays.

        c_eff,t = min(c_raw,t, c_eff,t-1 exp((1 + delta) rho dt))

    previous [B, A, M] (inf before the first bar)    raw [B, A]    ->  [B, A, M]
    With it the impact paid at a constant price stays a sum of non-negative terms (Fruth, Schoeneborn, Urusov 2014,
    Math. Finance; Alfonsi & Infante Acevedo 2014). A permanent mode never rises.
    """
    rates = [(1.0 + mode.exponent) * math.log(2.0) * params.dt / mode.half_life for mode in params.modes]
    growth = [math.exp(min(rate, 80.0)) for rate in rates]  # e**80 is no limit at all and finite in float32
    return torch.minimum(raw.unsqueeze(-1), previous * previous.new_tensor(growth))


def _coef(mode: ImpactMode, index: int, quotes: Quotes, scale: Tensor | None) -> Tensor:
    coef = mode.coef * quotes.volatility
    return coef if scale is None else coef * scale[..., index]


def _sum(parts: list[Tensor], quotes: Quotes) -> Tensor:
    total = torch.zeros_like(quotes.volatility)
    for part in parts:
        total = total + part
    return total
