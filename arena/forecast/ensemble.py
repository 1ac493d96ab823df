"""Several forecasters as one, by averaging their quantiles.

    q(u) = sum_m w[m] q_m(u)

Averaging quantiles, "Vincentization", keeps the shape that the members agree on, where averaging densities would widen
it. Lichtendahl, Grushka-Cockayne, Winkler (2013), "Is It Better to Average Probabilities or Quantiles?", Management
Science 59(7).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from arena.forecast.call_stats import Recorder
from arena.forecast.fingerprint import fingerprint
from arena.forecast.request import check_shapes
from arena.forecast.types import Forecast, Forecaster, ForecasterInfo, ForecasterStats


class Ensemble:
    """A Forecaster that averages its members'.

    A series that one member has no opinion on (NaN) is NaN. The ensemble has no sampled paths: a pool of the members'
    would follow the average of their densities, not of their quantiles.
    """

    def __init__(
        self, members: Sequence[Forecaster], weights: Sequence[float] | None = None, name: str | None = None
    ) -> None:
        """weights  one per member, not negative; divided by their sum; None: equal"""
        if not members:
            raise ValueError("an ensemble got no members, expected at least one")
        weights = [1.0] * len(members) if weights is None else list(weights)
        if len(weights) != len(members) or not all(0 <= w < math.inf for w in weights) or sum(weights) <= 0:
            raise ValueError(f"weights are {weights}, expected {len(members)} numbers >= 0, not all of them 0")
        self._members = tuple(members)
        self._weights = tuple(weight / sum(weights) for weight in weights)
        infos = [member.info for member in members]
        longest = [info.max_horizon for info in infos if info.max_horizon is not None]
        cutoffs = [info.training_cutoff for info in infos if info.training_cutoff is not None]
        self.info = ForecasterInfo(
            name=name or "+".join(info.name for info in infos),
            fingerprint=fingerprint("ensemble", members=[info.fingerprint for info in infos], weights=self._weights),
            min_context=max(info.min_context for info in infos),
            max_horizon=min(longest, default=None),
            training_cutoff=max(cutoffs, default=None),  # the latest: ISO dates sort as text
        )
        self._recorder = Recorder()

    @property
    def members(self) -> tuple[Forecaster, ...]:
        """In the order of the weights."""
        return self._members

    @property
    def weights(self) -> tuple[float, ...]:
        """One per member, summing to 1."""
        return self._weights

    def stats(self) -> ForecasterStats:
        """Since it was made."""
        return self._recorder.stats()

    def predict(self, context: Tensor, stamps: Tensor | None, horizon: int) -> Forecast:
        """See `Forecaster.predict`; channels only if all members predict them."""
        check_shapes(self.info, context, stamps, horizon)
        with self._recorder.record(context.shape[:-2].numel()):
            return self.combine([member.predict(context, stamps, horizon) for member in self._members])

    def combine(self, forecasts: Sequence[Forecast]) -> Forecast:
        """The forecast of the ensemble from those of its members, in their order."""
        channels = [forecast.channels for forecast in forecasts if forecast.channels is not None]
        return Forecast(
            self._average([forecast.quantiles for forecast in forecasts]),
            None,
            self._average(channels) if len(channels) == len(forecasts) else None,
        )

    def _average(self, fields: Sequence[Tensor]) -> Tensor:
        total = torch.zeros_like(fields[0])
        for weight, field in zip(self._weights, fields):
            total = total + weight * field
        return total
