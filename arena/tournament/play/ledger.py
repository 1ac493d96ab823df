"""Books of one unit of matches, step by step, and the rows made of them. Axes: B scenarios, N seats, T steps."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arena.market.reward import surprise
from arena.market.types import Fills, MarketState, Quotes
from arena.market.vector import VectorMarket
from arena.metrics import descending_rank, max_drawdown, turnover, utility
from arena.tournament.types import FORFEIT, FORFEIT_FINAL_NAV, OK, Unit

# Returns and the control variate are per max(nav, this * nav_0): near and below ruin a ratio to nav means nothing.
NAV_FLOOR = 0.05

Reasons = Mapping[int, tuple[str, str]]  # seat -> reason and traceback of its forfeit


class Ledger:
    """Sums what each step did to each seat, in fractions of its initial nav."""

    def __init__(self, market: VectorMarket):
        self.initial_nav = market.initial_nav.unsqueeze(-1)  # [B, 1]
        self.nav = [market.state.nav / self.initial_nav]  # T + 1 times [B, N]
        zero = torch.zeros_like(self.nav[0])
        self.cost, self.impact_cost, self.financing = [zero], [zero], [zero]  # as nav: step 0 is before the first fill
        self.penalty, self.turnover, self.margin_calls = zero.clone(), zero.clone(), zero.clone()
        self.rejected, self.fee, self.fee_rate = zero.clone(), zero.clone(), market.params.fee_rate
        self.luck: Tensor | None = zero.clone()  # the control variate; None where conditional means are unknown
        self.alive = market.state.alive
        self.seconds = [0.0] * market.num_agents  # wall clock of each seat's decisions

    def record(
        self,
        before: MarketState,
        quotes: Quotes,
        fills: Fills,
        after: MarketState,
        expected: tuple[Tensor, Tensor] | None,
    ) -> None:
        """Book one step; `expected` are the conditional means of its open and of its close given the open [B, A]."""
        self.nav.append(after.nav / self.initial_nav)
        self.cost.append(fills.cost / self.initial_nav)
        self.financing.append(fills.financing / self.initial_nav)
        slippage = (fills.price - quotes.fill_price).unsqueeze(-2)  # [B, 1, A]
        self.impact_cost.append((fills.shares * slippage).sum(-1) / self.initial_nav)
        notional = (fills.shares.abs() * quotes.fill_price.unsqueeze(-2)).sum(-1)
        self.fee += self.fee_rate * notional / self.initial_nav
        self.penalty += fills.penalty / self.initial_nav
        self.turnover += turnover(fills.shares, quotes.ref_price, before.nav)
        self.margin_calls += before.margin_call
        self.rejected += fills.rejected
        self.alive = after.alive
        if self.luck is None or expected is None:
            self.luck = None
            return
        self.luck += surprise(before, quotes, after, *expected) / torch.maximum(
            before.nav, NAV_FLOOR * self.initial_nav
        )


def result_columns(ledger: Ledger, unit: Unit, forfeits: Reasons) -> dict[str, Any]:
    """Columns of types.SCHEMA, rows by scenario and then seat. A forfeit gets the row that ResultRow prescribes."""
    nav = torch.stack(ledger.nav, -1)  # [B, N, T + 1]
    num_scenarios, num_seats, num_points = nav.shape
    returns = (nav[..., 1:] - nav[..., :-1]) / nav[..., :-1].clamp(min=NAV_FLOOR)
    offender = torch.zeros(num_seats, dtype=torch.bool)
    offender[list(forfeits)] = True

    final_nav = torch.where(offender, FORFEIT_FINAL_NAV, nav[..., -1])
    growth_raw = utility(final_nav)
    luck = torch.full_like(growth_raw, torch.nan) if ledger.luck is None else ledger.luck
    # Below every honest seat, ruined ones included, whatever its score.
    standing = torch.where(offender, final_nav.amin(-1, keepdim=True) - 1.0, final_nav)
    per_seat = {
        "final_nav": final_nav,
        "growth_raw": growth_raw,
        "growth_cv": torch.where(offender, growth_raw, growth_raw - luck),
        "rank": descending_rank(standing),
        "return_sum": returns.sum(-1),
        "return_square_sum": returns.square().sum(-1),
        "downside_square_sum": returns.clamp(max=0).square().sum(-1),
        "max_drawdown": torch.where(offender, 1.0, max_drawdown(nav)),
        "turnover": ledger.turnover,
        "cost": torch.stack(ledger.cost).sum(0),
        "fee": ledger.fee,
        "penalty": ledger.penalty,
        "impact_cost": torch.stack(ledger.impact_cost).sum(0),
        "financing": torch.stack(ledger.financing).sum(0),
        "margin_calls": ledger.margin_calls,
        "ruined": ~ledger.alive & ~offender,
        "rejected": ledger.rejected,
        "num_steps": torch.where(offender, 0, num_points - 1).expand(num_scenarios, -1),
    }
    kept = {"final_nav", "growth_raw", "growth_cv", "rank", "max_drawdown", "ruined", "num_steps"}
    arrays = {
        name: (value if name in kept else torch.where(offender, 0.0, value)).flatten().numpy()
        for name, value in per_seat.items()
    }
    blank = [("", "")] * num_seats
    reasons = [forfeits.get(seat, blank[seat]) for seat in range(num_seats)]
    return {
        **_keys(unit, np.arange(num_scenarios), np.arange(num_seats)),
        **arrays,
        "status": [FORFEIT if seat in forfeits else OK for seat in range(num_seats)] * num_scenarios,
        "reason": [reason for reason, _ in reasons] * num_scenarios,
        "traceback": [trace for _, trace in reasons] * num_scenarios,
        "seconds": np.tile(ledger.seconds, num_scenarios),
    }


def path_columns(ledger: Ledger, unit: Unit, forfeits: Reasons, num_scenarios: int) -> dict[str, Any]:
    """Columns of types.PATH_SCHEMA of the first `num_scenarios` scenarios; a forfeit has no path."""
    seats = np.array([seat for seat in range(len(unit.lineup.agents)) if seat not in forfeits], dtype=np.int64)
    series = {name: torch.stack(getattr(ledger, name), -1) for name in ("nav", "cost", "impact_cost", "financing")}
    num_points = len(ledger.nav)
    return {
        **_keys(unit, np.arange(num_scenarios), seats, num_points),
        "step": np.tile(np.arange(num_points), num_scenarios * len(seats)),
        **{name: values[:num_scenarios, seats].flatten().numpy() for name, values in series.items()},
    }


def _keys(unit: Unit, scenarios: NDArray[np.int64], seats: NDArray[np.int64], repeat: int = 1) -> dict[str, Any]:
    """The first columns of all rows, scenario by scenario, seat by seat, each `repeat` times."""
    seat = np.tile(np.repeat(seats, repeat), len(scenarios))
    scenario = np.array(unit.scenarios, dtype=np.int64)[scenarios]
    return {
        "scenario": np.repeat(scenario, len(seats) * repeat),
        "lineup": np.full(len(seat), unit.lineup.lineup),
        "seat": seat,
        "agent": [unit.lineup.agents[index] for index in seat.tolist()],
    }
