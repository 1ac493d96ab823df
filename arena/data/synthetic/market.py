"""A synthetic market: many assets, open to close, with the stylised facts of real daily and intraday bars.

The simple return of a block (night, bar) is its mean plus a shock that is symmetric given the past (`factors`), so
means are exact: without drift and signal every price is a martingale. The path inside a bar is a Brownian bridge with
the realised variance, which gives high and low; volume follows the same variance.

Letters: T bars (first axis inside this file), W windows (scenarios), A assets.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from arena.data.features import forecast_bar_volume, frozen_features
from arena.data.synthetic.factors import draw_shocks, draw_volume, tail_draws
from arena.data.synthetic.noise import ar1, bridge_extremes, keyed_draws
from arena.data.synthetic.params import SyntheticParams, fair
from arena.data.types import VOLUME, Scenarios
from arena.units import DAYS_PER_YEAR

__all__ = ["SyntheticParams", "fair", "generate"]

CHUNK_CELLS = 200_000  # scenarios x bars x assets built at once: bounds the memory of the draws


def generate(
    params: SyntheticParams,
    seeds: Sequence[int],
    *,
    warmup: int = 60,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Scenarios:
    """One scenario per seed: bars [W, T, A, 6] with exact conditional means; see `Scenarios` for every field.

    A scenario depends on `params` and its own seed only. The close before bar 0 is `params.initial_price`. Fills are
    made at opens: trade on `signal`, the mean of bar t's open-to-close return known at close t - 1 (drift included);
    `signal_ic` is per bar. A delisted asset gaps down at an open and is untradable from that bar on.
    """
    if not len(seeds):
        raise ValueError("generate got no seeds, expected at least one; see arena.data.synthetic.seeds.scenario_seeds")
    if not 2 <= warmup < params.num_bars:
        raise ValueError(f"warmup is {warmup}, expected 2 <= warmup < num_bars = {params.num_bars}")
    numbers = [int(seed) for seed in seeds]
    size = max(1, CHUNK_CELLS // (params.num_bars * params.num_assets))
    chunks = [_generate(params, numbers[i : i + size], warmup) for i in range(0, len(numbers), size)]
    joined: dict[str, Any] = {}
    for name, first in chunks[0]._asdict().items():
        if isinstance(first, Tensor):
            whole = torch.cat([getattr(chunk, name) for chunk in chunks])
            joined[name] = whole.to(device, dtype if whole.is_floating_point() else None)
    return chunks[0]._replace(**joined)


def _generate(params: SyntheticParams, seeds: list[int], warmup: int) -> Scenarios:
    num_factors = 1 + params.num_sectors + params.num_assets
    tails = sum(n * tail_draws(nu) for n, nu in zip((1, params.num_sectors, params.num_assets), params.dof))
    # One extra row holds what is drawn once per scenario: the make-up of its assets.
    normals, uniforms = keyed_draws(
        seeds, params.num_bars + 1, 5 * num_factors + 4 * params.num_assets + 1, 2 * tails + 3 * params.num_assets
    )
    assets = normals[0, :, : 5 * params.num_assets].unflatten(-1, (5, params.num_assets))  # [W, 5, A]
    noise, volume_noise, signal_noise = normals[1:].split(
        [5 * num_factors, 3 * params.num_assets + 1, params.num_assets], -1
    )
    tail_noise, extremes, killing = uniforms[1:].split([2 * tails, 2 * params.num_assets, params.num_assets], -1)

    shocks = draw_shocks(params, assets, noise.unflatten(-1, (5, num_factors)), tail_noise)
    killed, hazard = _killed(params, killing, warmup)
    mean_night, mean_day = _means(params, shocks.day_sd, signal_noise)
    alive = ~killed
    was_alive = torch.cat([torch.ones_like(alive[:1]), alive[:-1]])  # at the close before
    survivor = (mean_night - params.killed_return * hazard) / (1.0 - hazard)  # pays for the delisting in the mean
    night = torch.where(alive, survivor + shocks.night, torch.where(was_alive, params.killed_return, 0.0))
    day = torch.where(alive, mean_day + shocks.day, 0.0)

    start = params.initial_price * (params.price_spread * assets[:, 3]).exp()  # [W, A]
    close = start * ((1.0 + night) * (1.0 + day)).cumprod(0)
    before = torch.cat([start[None], close[:-1]])
    open_ = before * (1.0 + night)
    up, down = extremes.chunk(2, -1)
    high, low = bridge_extremes(open_, close, torch.where(alive, shocks.day_variance, 0.0), up, down)
    volume = torch.where(alive, draw_volume(params, assets[:, 4], shocks, volume_noise), 0.0)
    amount = volume * (open_ + high + low + close) / 4.0

    bars = torch.stack([open_, high, low, close, volume, amount], -1).transpose(0, 1)  # [W, T, A, 6]
    volatility, adv = frozen_features(bars[:, :warmup], params.dt)
    slots = torch.arange(params.num_bars) % params.bars_per_day
    return Scenarios(
        bars,
        alive.transpose(0, 1),
        volatility,
        adv,
        forecast_bar_volume(bars[..., VOLUME], slots, params.dt),
        warmup,
        params.dt,
        expected_open=(before * torch.where(was_alive, 1.0 + mean_night, 1.0)).transpose(0, 1),
        expected_close=(open_ * torch.where(alive, 1.0 + mean_day, 1.0)).transpose(0, 1),
        signal=torch.where(was_alive, mean_day * (1.0 - hazard), 0.0).transpose(0, 1),
    )


def _killed(params: SyntheticParams, uniforms: Tensor, warmup: int) -> tuple[Tensor, Tensor]:
    """Delisted at bar t or before [T, W, A] bool, and the hazard of bar t given life before it [T, 1, 1].

    None in the warm-up: an episode starts with every asset alive.
    """
    place = torch.arange(params.num_bars)
    daily = 1.0 - (1.0 - params.killed_per_year) ** (1.0 / DAYS_PER_YEAR)
    hazard = torch.where((place % params.bars_per_day == 0) & (place >= warmup), daily, 0.0).double()[:, None, None]
    return (uniforms < hazard).cummax(0).values, hazard


def _means(params: SyntheticParams, day_sd: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Means of the overnight and of the bar's return of a living asset, known at close t - 1: [T, W, A] each."""
    daily = params.drift_per_year / DAYS_PER_YEAR
    night = (params.overnight_share * daily) * (torch.arange(params.num_bars) % params.bars_per_day == 0).double()
    predictable = params.signal_ic * day_sd * ar1(noise, params.signal_half_life, params.dt)
    day = (1.0 - params.overnight_share) * daily * params.dt + predictable
    return night[:, None, None].expand_as(day), day
