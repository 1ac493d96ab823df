"""Windows of many kinds of synthetic market, for a forecaster to learn from.

Half of the markets are the default one, the others have settings drawn around it, intraday bars among them: the wider
the range, the less a forecaster relies on what only one setting has. Seeds are of the role "train".

N windows   L bars of a window   W scenarios   T bars of a scenario   A assets
"""

import math
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from arena.data.synthetic.market import generate
from arena.data.synthetic.params import SyntheticParams, fair
from arena.data.synthetic.seeds import scenario_seeds
from arena.data.types import CLOSE, OPEN

SCENARIOS = 16  # of one market
DEFAULT_SHARE = 0.5  # of markets with the default settings
FAIR_SHARE = 0.3  # of markets without drift and signal
INTRADAY_SHARE = 0.3  # of markets with drawn settings
BARS_PER_DAY = (2, 7, 13, 26, 48, 78)
WARMUP = 60  # bars at whose end a scenario freezes its features; not used here


class Lessons(NamedTuple):
    """Windows of bars, each of one asset, with what no forecaster can see: the true mean of every return."""

    bars: Tensor  # [N, L, 6] float32
    log_return: Tensor  # [N, L] float32, from the close before to the close of each bar
    mean_return: Tensor  # [N, L] float32, mean of the simple return of each bar given all that is known one bar before


def draw_lessons(first_seed: int, num_markets: int, length: int, stride: int, num_windows: int) -> Iterator[Lessons]:
    """Endless lessons of `num_markets` markets each; windows of `length` bars, `stride` bars apart.

    first_seed   offset in the training range of the first scenario; each market uses the next SCENARIOS seeds
    num_windows  of one asset of one scenario
    """
    num_bars = length + stride * (num_windows - 1)
    offset = first_seed
    while True:
        markets = []
        for _ in range(num_markets):
            params = draw_params(random.Random(offset), num_bars)
            markets.append(lessons_of(params, scenario_seeds("train", SCENARIOS, offset), length, stride))
            offset += SCENARIOS
        yield Lessons(*(torch.cat(parts) for parts in zip(*markets)))


def lessons_of(params: SyntheticParams, seeds: tuple[int, ...], length: int, stride: int) -> Lessons:
    """All windows of the scenarios of one market."""
    scenarios = generate(params, seeds, warmup=min(WARMUP, params.num_bars - 1))
    assert scenarios.expected_open is not None
    assert scenarios.expected_close is not None
    bars = scenarios.bars  # [W, T, A, 6]
    first = torch.full_like(bars[:, :1, :, CLOSE], params.initial_price)
    before = torch.cat([first, bars[:, :-1, :, CLOSE]], 1)  # [W, T, A]
    log_return = (bars[..., CLOSE] / before).log()
    mean_return = scenarios.expected_open / before - 1.0 + scenarios.expected_close / bars[..., OPEN] - 1.0

    def windows(x: Tensor) -> Tensor:
        """[W, T, A, ...] -> [N, ..., L]."""
        return x.transpose(1, 2).unfold(2, length, stride).flatten(0, 2).float()

    return Lessons(windows(bars).transpose(1, 2).contiguous(), windows(log_return), windows(mean_return))


def draw_params(draw: random.Random, num_bars: int) -> SyntheticParams:
    """The settings of one market."""
    default = SyntheticParams(num_bars=num_bars)
    is_fair, is_default = draw.random() < FAIR_SHARE, draw.random() < DEFAULT_SHARE
    if is_default:
        return fair(default) if is_fair else default
    clustering = draw.uniform(0.5, 1.3)
    market_sd, sector_sd, own_sd = default.log_volatility_sd
    fast, slow, common, rough = (sd * draw.uniform(0.6, 2.0) for sd in default.volume_sd)
    drawn = replace(
        default,
        bars_per_day=draw.choice(BARS_PER_DAY) if draw.random() < INTRADAY_SHARE else 1,
        signal_ic=draw.uniform(0.02, 0.14),
        signal_half_life=math.exp(draw.uniform(math.log(8.0), math.log(50.0))),
        drift_per_year=draw.uniform(0.0, 0.12),
        daily_volatility=math.exp(draw.uniform(math.log(0.008), math.log(0.03))),
        volatility_spread=draw.uniform(0.1, 0.5),
        market_share=draw.uniform(0.10, 0.35),
        sector_share=draw.uniform(0.02, 0.14),
        overnight_share=draw.uniform(0.1, 0.45),
        dof=(draw.choice((6.0, 8.0, math.inf)), draw.choice((4.0, 6.0, math.inf)), draw.choice((4.0, 6.0, 10.0))),
        log_volatility_sd=(clustering * market_sd, clustering * sector_sd, clustering * own_sd),
        leverage=(draw.uniform(-0.8, -0.3), draw.uniform(-0.3, 0.0), draw.uniform(-0.3, 0.0)),
        volume_variance_slope=draw.uniform(0.2, 0.5),
        volume_sd=(fast, slow, common, rough),
    )
    return fair(drawn) if is_fair else drawn
