"""What a sampled match showed and did, step by step: prices, displacement, flow, every seat's fills and positions.

Axes: B scenarios, N seats, A assets, T steps.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arena.market.impact import displacement
from arena.market.types import Fills, Quotes
from arena.market.vector import VectorMarket
from arena.tournament.types import OF_MARKET, OF_SEAT, Unit


class MarketPath:
    """Writes down the first `num_scenarios` markets of a unit; asked for none, it costs nothing."""

    def __init__(self, market: VectorMarket, num_scenarios: int):
        self._market, self._num_scenarios = market, num_scenarios
        self._series: dict[str, list[Tensor]] = {name: [] for name in (*OF_MARKET, *OF_SEAT)}
        ref_price, position = market.quotes.ref_price, market.state.position
        nothing, unknown = torch.zeros_like(ref_price), torch.full_like(ref_price, torch.nan)
        self._write(ref_price, market.mid(), nothing, unknown, nothing, torch.zeros_like(position), position)

    def record(self, quotes: Quotes, fills: Fills) -> None:
        """Write down the step that the market has just made with `quotes`."""
        if not self._num_scenarios:
            return
        market, state = self._market, self._market.state
        shown = displacement(market.params, quotes, state.imbalance, state.impact_scale)
        self._write(
            quotes.next_ref_price, market.mid(), shown, fills.price, fills.net_flow, fills.shares, state.position
        )

    def columns(self, unit: Unit, forfeits: Collection[int]) -> dict[str, Any]:
        """Columns of types.MARKET_SCHEMA, rows by scenario, asset, step and seat; a forfeit has no rows."""
        seats = np.array([seat for seat in range(len(unit.lineup.agents)) if seat not in forfeits], dtype=np.int64)
        of_market = {name: self._stacked(name).unsqueeze(-1).numpy() for name in OF_MARKET}  # [B, A, T + 1, 1]
        of_seat = {name: self._stacked(name)[:, seats].movedim(1, -1).numpy() for name in OF_SEAT}  # [B, A, T + 1, N]
        shape = of_seat["position"].shape
        scenario, asset, step, place = np.indices(shape).reshape(4, -1)
        seat = seats[place]
        return {
            "scenario": np.array(unit.scenarios, dtype=np.int64)[scenario],
            "lineup": np.full(len(seat), unit.lineup.lineup),
            "asset": asset,
            "step": step,
            "seat": seat,
            "agent": [unit.lineup.agents[index] for index in seat.tolist()],
            **{name: np.broadcast_to(values, shape).reshape(-1) for name, values in (of_market | of_seat).items()},
        }

    def _write(self, *values: Tensor) -> None:
        for name, value in zip(self._series, values, strict=True):
            self._series[name].append(value[: self._num_scenarios].float())

    def _stacked(self, name: str) -> Tensor:
        return torch.stack(self._series[name], -1)
