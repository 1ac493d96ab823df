"""Forecasts of the bars that agents see, made while the market runs; see VectorMarket."""

import torch
from torch import Tensor

from arena.data.types import CLOSE
from arena.forecast.returns import return_features
from arena.forecast.stamps import extend_stamps
from arena.forecast.types import Forecaster
from arena.market.types import FORECAST_HORIZONS

NS_PER_US = 1000


class LiveFeatures:
    """What an observation shows of a forecaster's opinion on the displayed bars (arena.market.types.LiveForecast).

    Where nobody moved a price it equals `build_table` but for the last bits: the batch has another shape.
    """

    def __init__(self, forecaster: Forecaster, context_length: int) -> None:
        self.forecaster = forecaster
        self.context_length = context_length

    @torch.no_grad()
    def __call__(self, history: Tensor, timestamps: Tensor | None) -> Tensor:
        """[B, A, 4] from displayed bars [B, A, C, 6] and their timestamps [B, C] in microseconds."""
        context = history.float()
        horizon = max(FORECAST_HORIZONS)
        stamps = None if timestamps is None else extend_stamps(timestamps * NS_PER_US, horizon).unsqueeze(1)
        return return_features(self.forecaster.predict(context, stamps, horizon), context[..., -1, CLOSE])
