"""Where a single environment gets the window of bars of its next episode.

Letters: W windows, T bars, A assets.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor

from arena.data.synthetic.market import generate
from arena.data.synthetic.params import SyntheticParams
from arena.data.synthetic.seeds import SEED_RANGES
from arena.data.types import Scenarios


class Window(NamedTuple):
    """One window of bars and what is forecast in it."""

    number: int  # names the window for a replay
    scenarios: Scenarios  # W = 1
    forecast: Tensor | None  # [1, T, A, 4]


class WindowSource(Protocol):
    """Windows by number."""

    def draw(self, rng: np.random.Generator) -> int:
        """Number of a window, evenly from all there are to train on."""

    def get(self, number: int) -> Window:
        """That window; the same number gives the same window. ValueError if there is none."""


class SyntheticWindows:
    """Window `number` is the synthetic scenario of that seed; draws are training seeds, never those of a ranking."""

    def __init__(self, params: SyntheticParams, warmup: int):
        self._params, self._warmup = params, warmup

    def draw(self, rng: np.random.Generator) -> int:
        """A seed of the role "train"."""
        first, size = SEED_RANGES["train"]
        return int(rng.integers(first, first + size))

    def get(self, number: int) -> Window:
        """Generated alone, a few milliseconds."""
        return Window(number, generate(self._params, [number], warmup=self._warmup), None)


class GivenWindows:
    """The W windows of `scenarios` with their forecast [W, T, A, 4]; number 0 .. W-1."""

    def __init__(self, scenarios: Scenarios, forecast: Tensor | None = None):
        expected = (*scenarios.bars.shape[:3], 4)
        if forecast is not None and tuple(forecast.shape) != expected:
            raise ValueError(
                f"forecast has shape {tuple(forecast.shape)}, expected (windows, bars, assets, 4) = {expected}, "
                "as the scenarios have"
            )
        self._scenarios, self._forecast = scenarios, forecast

    def draw(self, rng: np.random.Generator) -> int:
        """Any of the windows."""
        return int(rng.integers(self._scenarios.bars.shape[0]))

    def get(self, number: int) -> Window:
        """A view of the data."""
        num_windows = self._scenarios.bars.shape[0]
        if not 0 <= number < num_windows:
            raise ValueError(f"window is {number}, expected 0 .. {num_windows - 1}: the scenarios hold {num_windows}")
        window = slice(number, number + 1)
        cut: dict[str, Any] = {
            name: field[window] for name, field in self._scenarios._asdict().items() if isinstance(field, Tensor)
        }
        forecast = None if self._forecast is None else self._forecast[window]
        return Window(number, self._scenarios._replace(**cut), forecast)
