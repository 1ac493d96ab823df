"""Random returns and volumes of the synthetic market, before means and prices.

Every bar has two blocks, the night before it (first bar of a day only) and the bar itself. A block moves asset a by

    r[a] = clip(sigma[a] * (bm[a] f_market + bs[a] f_sector(a) + be[a] f_own[a]), -0.6, 0.6)
    f    = exp(g - var g) sqrt(share) sqrt(W) z

    z      standard normal;  W  random variance with mean 1 (Student t tails); both new in every block
    g      log volatility of the factor in bar t, known at t - 1: three AR(1) of half-lives 1.5, 15 and 120 days whose
           noise leans against the factor's last shock (leverage effect)
    share  of the day's variance that falls into the block

r is symmetric given the past, so its mean is exactly 0. Stochastic volatility (Taylor 1986; Harvey, Ruiz, Shephard
1994, Review of Economic Studies 61:247) rather than GARCH keeps the market stationary by construction.

Letters: T bars (first axis), W windows (scenarios), A assets, S sectors, F = 1 + S + A factors, K uniforms.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from arena.data.synthetic.noise import ar1, day_profile, tail_scale
from arena.data.synthetic.params import SyntheticParams

LOG_VOLATILITY_HALF_LIVES = (1.5, 15.0, 120.0)  # [trading days]
MAX_SHOCK = 0.6  # clip of a block's random return: keeps prices positive; symmetric, so without a bias


class Shocks(NamedTuple):
    """Random returns of one chunk and the variances behind them, each [T, W, A]."""

    night: Tensor  # random overnight return
    day: Tensor  # random return within the bar
    day_sd: Tensor  # its standard deviation given the past
    day_variance: Tensor  # its variance given the past and W: what the path inside the bar moves with
    variance_ratio: Tensor  # realised over long-run variance of the bar with its night


def tail_draws(dof: float) -> int:
    """Uniforms behind one random variance."""
    return 0 if math.isinf(dof) else int(dof) // 2


def _tail_scales(params: SyntheticParams, uniforms: Tensor) -> Tensor:
    """Random variances of all factors in one block, [T, W, K] -> [T, W, F]."""
    counts = (1, params.num_sectors, params.num_assets)
    parts = uniforms.split([n * tail_draws(nu) for n, nu in zip(counts, params.dof)], -1)
    return torch.cat(
        [tail_scale(u.unflatten(-1, (n, tail_draws(nu))), nu) for u, n, nu in zip(parts, counts, params.dof)], -1
    )


def _per_factor(params: SyntheticParams, three: tuple[float, float, float]) -> Tensor:
    """[F] from a number for the market, one for sectors and one for the idiosyncratic factors."""
    counts = torch.tensor([1, params.num_sectors, params.num_assets])
    return torch.tensor(three, dtype=torch.float64).repeat_interleave(counts)


def _variance_shares(params: SyntheticParams) -> tuple[Tensor, Tensor]:
    """Shares of a day's variance in the night before each bar and in the bar, [T, 1, 1] each."""
    slots = torch.arange(params.num_bars) % params.bars_per_day
    night = torch.where(slots == 0, params.overnight_share, 0.0).double()
    profile = day_profile(params.bars_per_day, 1.71, 1.44, 3.85).square()
    day = (1.0 - params.overnight_share) * (profile / profile.sum())[slots]
    return night[:, None, None], day[:, None, None]


def draw_shocks(params: SyntheticParams, assets: Tensor, noise: Tensor, tail_noise: Tensor) -> Shocks:
    """Random parts of all returns; assets [W, 5, A], noise [T, W, 5, F], tail_noise [T, W, K]."""
    z_night, z_day = noise[:, :, 0], noise[:, :, 1]  # [T, W, F]
    share_night, share_day = _variance_shares(params)
    scale_night, scale_day = (_tail_scales(params, u) for u in tail_noise.chunk(2, -1))  # [T, W, F]
    total = share_night + share_day
    shock = ((share_night / total).sqrt() * z_night) + ((share_day / total).sqrt() * z_day)
    level = _factor_volatility(params, shock, noise[:, :, 2:])  # [T, W, F]

    sigma = params.daily_volatility * (params.volatility_spread * assets[:, 0]).exp()  # [W, A]
    market = params.market_share * (0.3 * assets[:, 1]).exp().clamp(0.4, 2.0)
    sector = params.sector_share * (0.3 * assets[:, 2]).exp().clamp(0.4, 2.0)
    loads = torch.stack([market, sector, 1.0 - market - sector], -1).sqrt() * sigma[..., None]  # [W, A, 3]
    members = torch.arange(params.num_assets) % params.num_sectors

    def mix(x: Tensor, weights: Tensor) -> Tensor:
        """Sum over an asset's three factors, [T, W, F] -> [T, W, A]."""
        own = x[..., 1 + params.num_sectors :] * weights[..., 2]
        return x[..., :1] * weights[..., 0] + x[..., 1:][..., members] * weights[..., 1] + own

    size_night, size_day = level * scale_night.sqrt(), level * scale_day.sqrt()
    night = share_night.sqrt() * mix(size_night * z_night, loads)
    day = share_day.sqrt() * mix(size_day * z_day, loads)
    night_variance = share_night * mix(size_night.square(), loads.square())
    day_variance = share_day * mix(size_day.square(), loads.square())
    return Shocks(
        night.clamp(-MAX_SHOCK, MAX_SHOCK),
        day.clamp(-MAX_SHOCK, MAX_SHOCK),
        (share_day * mix(level.square(), loads.square())).sqrt(),
        day_variance,
        (night_variance + day_variance) / (total * sigma.square()),
    )


def _factor_volatility(params: SyntheticParams, shock: Tensor, noise: Tensor) -> Tensor:
    """exp(g - var g) of each factor, mean square 1, from shocks before t: [T, W, F], noise [T, W, 3, F]."""
    lean = _per_factor(params, params.leverage)
    sd = _per_factor(params, params.log_volatility_sd)
    last = torch.cat([noise[:1, :, 0] * 0.0, shock[:-1]])  # no shock is known at bar 0
    level, variance = torch.zeros_like(shock), torch.zeros_like(sd)
    keeps = [2.0 ** (-params.dt / half_life) for half_life in LOG_VOLATILITY_HALF_LIVES]
    for i, (half_life, weight) in enumerate(zip(LOG_VOLATILITY_HALF_LIVES, params.log_volatility_mix)):
        fresh = noise[:, :, i] * (1.0 - lean.square()).sqrt() + lean * last
        fresh[0] = noise[0, :, i]
        level += math.sqrt(weight) * ar1(fresh, half_life, params.dt)
        for j, other in enumerate(params.log_volatility_mix):
            # Both lean against the same shock, so they are correlated.
            shared = 1.0 if i == j else lean.square()
            common = math.sqrt((1 - keeps[i] ** 2) * (1 - keeps[j] ** 2)) / (1 - keeps[i] * keeps[j])
            variance += math.sqrt(weight * other) * common * shared
    return torch.exp(sd * level - sd.square() * variance)


def draw_volume(params: SyntheticParams, adv_noise: Tensor, shocks: Shocks, noise: Tensor) -> Tensor:
    """Shares traded in each bar, [T, W, A]; adv_noise [W, A], noise [T, W, 3 A + 1]."""
    fast, slow, rough, market = noise.split([params.num_assets] * 3 + [1], -1)
    sd_fast, sd_slow, sd_market, sd_rough = params.volume_sd
    log_volume = params.volume_variance_slope * shocks.variance_ratio.log()
    log_volume += sd_fast * ar1(fast, 2.5, params.dt) + sd_slow * ar1(slow, 60.0, params.dt)
    log_volume += sd_market * ar1(market, 10.0, params.dt) + sd_rough * rough
    log_volume += params.volume_return_slope * shocks.day / shocks.day_sd
    level = params.adv * (params.adv_spread * adv_noise).exp() * params.dt  # [W, A]
    slots = torch.arange(params.num_bars) % params.bars_per_day
    return level * day_profile(params.bars_per_day, 6.63, 5.53, 4.19)[slots][:, None, None] * log_volume.exp()
