"""What a forecast is, and what every forecaster, from a random walk to a transformer, answers to.

C context bars   H horizon   Q quantile levels   S sampled paths   6 channels: open, high, low, close, volume, amount
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from torch import Tensor

QUANTILE_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
MEDIAN = QUANTILE_LEVELS.index(0.5)


class Forecast(NamedTuple):
    """The distribution of the next H closes, given bars up to now."""

    # Close price [currency/share, as in the context] at QUANTILE_LEVELS, non-decreasing along Q; each step by itself.
    quantiles: Tensor  # [..., H, Q]
    samples: Tensor | None = None  # [..., H, S] close price along S paths, from forecasters that draw paths
    channels: Tensor | None = None  # [..., H, 6, Q] all CHANNELS in the units of the context, where they are predicted

    @property
    def median(self) -> Tensor:
        """[..., H] close price that is exceeded with probability 1/2."""
        return self.quantiles[..., MEDIAN]


class ForecasterStats(NamedTuple):
    """What a forecaster has done since it was made."""

    predictions: int  # series forecast; one prediction is one asset over the whole horizon
    calls: int
    latency_ms_p50: float  # of one call; NaN before the first
    latency_ms_p95: float
    predictions_per_second: float  # wall clock, while predicting


@dataclass(frozen=True)
class ForecasterInfo:
    """Identity and limits of a forecaster."""

    name: str  # in tables and reports
    fingerprint: str  # hash of all that the numbers depend on but the context: weights, settings, code version
    min_context: int  # bars below which `predict` refuses
    max_horizon: int | None = None  # longest horizon; None: any
    training_cutoff: str | None = None  # ISO date of the last bar in the training data; None: no real bars in it


class Forecaster(Protocol):
    """Forecasts many series at once, from their own past only."""

    @property
    def info(self) -> ForecasterInfo:
        """Constant: what holds for all calls of `predict`."""

    def predict(self, context: Tensor, stamps: Tensor | None, horizon: int) -> Forecast:
        """Forecast the closes of the next `horizon` bars, each series from its own past.

        context  [..., C, 6] CHANNELS of raw bars: prices [currency/share], volume [shares], amount [currency]; NaN
                 where missing; C at least `info.min_context`
        stamps   [..., C + H] int64, naive local time of every bar in ns since 1970, of the context and of the bars to
                 come; None: daily bars on business days (arena.forecast.stamps)
        horizon  H, bars ahead, 1 to `info.max_horizon`
        """

    def stats(self) -> ForecasterStats:
        """Since it was made."""
