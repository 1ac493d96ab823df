"""Where a learner's windows of bars come from; never from seeds or bars that it will be ranked on."""

from dataclasses import replace
from typing import Protocol

import torch

from arena.data.scenarios import random_starts, scenarios
from arena.data.synthetic.market import generate
from arena.data.synthetic.params import SyntheticParams
from arena.data.synthetic.seeds import SEED_RANGES
from arena.data.types import Bars, Scenarios


class WindowSource(Protocol):
    """Draws windows for training."""

    def draw(self, count: int, generator: torch.Generator) -> Scenarios:
        """`count` windows."""


class SyntheticSource:
    """Synthetic markets of training seeds.

    signal_ic  range from which each draw takes its own; None: that of `params`
    """

    def __init__(self, params: SyntheticParams, warmup: int, signal_ic: tuple[float, float] | None = None) -> None:
        self._params, self._warmup, self._signal_ic = params, warmup, signal_ic

    def draw(self, count: int, generator: torch.Generator) -> Scenarios:
        """New seeds each time."""
        first, size = SEED_RANGES["train"]
        seeds = first + torch.randint(size, (count,), generator=generator)
        params = self._params
        if self._signal_ic is not None:
            low, high = self._signal_ic
            share = float(torch.rand((), generator=generator))
            params = replace(params, signal_ic=low + share * (high - low))
        return generate(params, seeds.tolist(), warmup=self._warmup)


class BarsSource:
    """Windows of one history that begin anywhere; pass the training part of it (arena.data.bars.readers.split) only."""

    def __init__(self, bars: Bars, warmup: int, episode_length: int) -> None:
        self._bars, self._warmup, self._episode_length = bars, warmup, episode_length

    def draw(self, count: int, generator: torch.Generator) -> Scenarios:
        """They overlap."""
        starts = random_starts(len(self._bars.values), self._warmup, self._episode_length, count, generator)
        return scenarios(self._bars, episode_length=self._episode_length, starts=starts, warmup=self._warmup)
