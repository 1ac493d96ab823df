"""Who paid whom through impact: the impact that each seat paid, split by whose flow had moved the price.

In a bar with net flow X, mode m (imbalance E before it, of which E^j is j's decayed flow) displaces the price on
average by D_m, and the temporary impact is tau. With fills x_i at the reference price S of the fill,

    T_ij = sum over bars and assets of  x_i S [ sum_m D_m (E_m^j + x_j / 2) / (E_m + X / 2) + tau x_j / X ]

so that sum_j T_ij is what i paid (`impact_cost`). T_ij > 0: j's flow cost i money, T_ij < 0: it served i.
Axes: B scenarios, N seats, A assets, M modes.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arena.market.impact import average_impact, decay, temporary_impact
from arena.market.types import Fills, MarketParams, Quotes
from arena.market.vector import VectorMarket
from arena.tournament.types import Unit


class Transfers:
    """Keeps the books of the first `num_scenarios` markets of a unit; asked for none, it costs nothing."""

    def __init__(self, market: VectorMarket, num_scenarios: int):
        self._market, self._num_scenarios = market, num_scenarios
        position = market.state.position[:num_scenarios]
        num_kept, num_seats, _ = position.shape
        self._own = position.new_zeros(*position.shape, len(market.params.modes))  # E^j before the bar [B, N, A, M]
        self._total = position.new_zeros(num_kept, num_seats, num_seats)

    def record(self, quotes: Quotes, fills: Fills) -> None:
        """Book the step that the market has just made with `quotes`."""
        if not self._num_scenarios:
            return
        kept, params, scale = self._num_scenarios, self._market.params, self._market.state.impact_scale
        quotes = quotes._replace(
            adv=quotes.adv[:kept], volatility=quotes.volatility[:kept], fill_price=quotes.fill_price[:kept]
        )
        shares = fills.shares[:kept]
        own = decay(params, self._own)
        moved = moved_by(params, quotes, own, shares, None if scale is None else scale[:kept])
        self._total += torch.einsum("bia,ba,bja->bij", shares, quotes.fill_price, moved)
        self._own = own + shares.unsqueeze(-1)  # every mode sees the whole flow

    def matrix(self) -> Tensor:
        """T of every kept match so far [B, N, N], in fractions of the initial nav."""
        return self._total / self._market.initial_nav[: self._num_scenarios].reshape(-1, 1, 1)

    def columns(self, unit: Unit) -> dict[str, Any]:
        """Columns of types.TRANSFER_SCHEMA, rows by scenario, payer and cause; a forfeit's seat held cash, so zeros."""
        matrix = self.matrix().numpy()
        scenario, payer, cause = np.indices(matrix.shape).reshape(3, -1)
        names = np.array(unit.lineup.agents, dtype=object)
        return {
            "lineup": np.full(matrix.size, unit.lineup.lineup),
            "scenario": np.array(unit.scenarios, dtype=np.int64)[scenario],
            "agent": names[payer].tolist(),
            "by": names[cause].tolist(),
            "cost": matrix.reshape(-1),
        }


def moved_by(params: MarketParams, quotes: Quotes, own: Tensor, shares: Tensor, scale: Tensor | None = None) -> Tensor:
    """Fraction of the reference price by which each seat's flow moved the bar's execution price [B, N, A].

    own     E^j: decayed flow of each seat before the bar [shares]  [B, N, A, M]
    shares  fills of the bar [B, N, A]          scale  limited multiplier of the coefficients [B, A, M]

    Sums over seats to the price's impact. A mode that moves nothing (flows that cancel exactly) is caused by nobody.
    """
    net_flow = shares.sum(-2)  # [B, A]
    moved = _share(shares, net_flow) * temporary_impact(params, quotes, net_flow).unsqueeze(-2)
    for index, mode in enumerate(params.modes):
        one = replace(params, modes=(mode,))
        imbalance = own[..., index].sum(-2)
        of_mode = None if scale is None else scale[..., index : index + 1]
        impact = average_impact(one, quotes, imbalance.unsqueeze(-1), net_flow, of_mode)  # [B, A]
        half_way = own[..., index] + 0.5 * shares
        moved = moved + _share(half_way, half_way.sum(-2)) * impact.unsqueeze(-2)
    return moved


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """[B, N, A] of [B, A]; 0 where the whole is 0."""
    zero = (whole == 0).unsqueeze(-2)
    return torch.where(zero, 0.0, part / torch.where(zero, 1.0, whole.unsqueeze(-2)))
