"""Plays one lineup over a batch of scenarios: one market per scenario, one agent per seat, no Ray.

A seat that raises or returns something that is no set of weights forfeits. The unit is then played again from the start
with cash in that seat, so the others meet exactly the market they would have met without the offender.
"""

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from arena.agents.types import Agent
from arena.data.types import Scenarios
from arena.market.observation import own_view, with_forecast
from arena.market.types import MarketParams, Observation
from arena.market.vector import VectorMarket
from arena.tournament.play.ledger import Ledger, path_columns, result_columns
from arena.tournament.play.market_path import MarketPath
from arena.tournament.play.seats import Entrant, Forfeit, decide, forfeit, seated, wanted_forecaster, wanted_history
from arena.tournament.play.transfers import Transfers
from arena.tournament.play.unit_forecasts import ForecastRules, UnitForecasts
from arena.tournament.types import Unit


@dataclass(frozen=True)
class MatchRules:
    """What all matches of a tournament share."""

    market: MarketParams
    seed: int = 0
    initial_wealth: float = 0.02  # nav_0 / (assets * median daily notional)
    half_spread: float = 1.5e-4  # fraction of the price
    borrow_rate: float = 0.01 / 252  # of short notional per step
    wind_down: int = 3  # last bars in which positions can only shrink
    allow_cheats: bool = False  # show agents marked `is_cheat` the signal of a synthetic market
    forecast: ForecastRules = field(default_factory=ForecastRules)


class Played(NamedTuple):
    """Columns of equal length, ready for store.table_from_columns."""

    results: dict[str, Any]  # SCHEMA, rows by scenario and seat
    paths: dict[str, Any]  # PATH_SCHEMA, of the first `num_path_scenarios` scenarios
    markets: dict[str, Any]  # MARKET_SCHEMA, of the first `num_market_scenarios` scenarios
    transfers: dict[str, Any]  # TRANSFER_SCHEMA, of the first `num_path_scenarios` scenarios


@torch.no_grad()
def play_match(
    rules: MatchRules,
    entrants: Mapping[str, Entrant],
    unit: Unit,
    scenarios: Scenarios,
    num_path_scenarios: int = 0,
    num_market_scenarios: int = 0,
    tables: Mapping[str, Tensor] = MappingProxyType({}),
) -> Played:
    """All seats of `unit.lineup` over `scenarios` (one per entry of `unit.scenarios`), in float64, eager.

    tables  [W, T, A, 4] forecasts of these scenarios that were made before, by spec of the forecaster

    The result depends on the arguments only: not on seats taken, process, threads or what was played before.
    """
    forfeits: dict[int, Forfeit] = {}
    retried_seats: set[int] = set()  # seats whose agent was lost once
    forecasts = UnitForecasts(rules.forecast, scenarios, tables)
    while True:
        try:
            with seated(entrants, unit, set(forfeits)) as agents:
                ledger, market_path, transfers = _play_episode(
                    rules, agents, unit, scenarios, forecasts, num_path_scenarios, num_market_scenarios
                )
        except Forfeit as offence:
            if offence.retryable and offence.seat not in retried_seats:
                retried_seats.add(offence.seat)
                continue
            forfeits[offence.seat] = offence
            continue
        reasons = {seat: (offence.reason, offence.trace) for seat, offence in forfeits.items()}
        return Played(
            results=result_columns(ledger, unit, reasons),
            paths=path_columns(ledger, unit, reasons, num_path_scenarios),
            markets=market_path.columns(unit, forfeits),
            transfers=transfers.columns(unit),
        )


def entrant_generator(rules: MatchRules, unit: Unit, entrant: str) -> torch.Generator:
    """Random numbers of one entrant in one unit, keyed by (seed, scenarios, lineup, entrant) and never by its seat."""
    key = repr((rules.seed, unit.scenarios, unit.lineup.lineup, entrant)).encode()
    # Four bytes: the generator on the CPU ignores the rest of a longer seed.
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(key).digest()[:4], "little"))


def _play_episode(
    rules: MatchRules,
    agents: Mapping[int, Agent],
    unit: Unit,
    scenarios: Scenarios,
    forecasts: UnitForecasts,
    num_path_scenarios: int,
    num_market_scenarios: int,
) -> tuple[Ledger, MarketPath, Transfers]:
    """The whole episode, with cash in the seats that have no agent; raises Forfeit at the first offence."""
    names = unit.lineup.agents
    generators = {seat: entrant_generator(rules, unit, names[seat]) for seat in agents}
    wanted = {seat: wanted_history(seat, agent, scenarios.warmup) for seat, agent in agents.items()}
    followed = {seat: wanted_forecaster(seat, agent) for seat, agent in agents.items()}
    history_length = max(wanted.values(), default=0)
    if any(followed.values()):
        history_length = max(history_length, forecasts.history_length)
        forecasts.prepare(sorted({spec for spec in followed.values() if spec}))
    market = VectorMarket(
        rules.market,
        scenarios,
        len(names),
        initial_wealth=rules.initial_wealth,
        half_spread=rules.half_spread,
        borrow_rate=rules.borrow_rate,
        wind_down=rules.wind_down,
        history_length=history_length,
        dtype=torch.float64,
    )
    ledger, market_path = Ledger(market), MarketPath(market, num_market_scenarios)
    transfers = Transfers(market, num_path_scenarios)
    for step in range(market.episode_length):
        bar = scenarios.warmup + step
        seen = market.observe()
        weights = torch.zeros_like(seen.weight)  # [B, N, A]; a seat without agent holds cash
        for seat, agent in agents.items():
            signal = scenarios.signal if rules.allow_cheats and getattr(agent, "is_cheat", False) else None
            view = _seat_copy(seen, seat, wanted[seat], None if signal is None else signal[:, bar].clone())
            if followed[seat]:
                history = None if seen.history is None else seen.history[:, seat]
                view = with_forecast(view, _forecast(seat, forecasts, followed[seat], bar - 1, history).to(weights))
            start = time.perf_counter()
            weights[:, seat] = decide(seat, agent, view, generators[seat])
            ledger.seconds[seat] += time.perf_counter() - start
        before, quotes = market.state, market.quotes
        expected = None
        if scenarios.expected_open is not None and scenarios.expected_close is not None:
            expected = scenarios.expected_open[:, bar], scenarios.expected_close[:, bar]
        fills = market.step(weights).fills
        ledger.record(before, quotes, fills, market.state, expected)
        market_path.record(quotes, fills)
        transfers.record(quotes, fills)
    return ledger, market_path, transfers


def _forecast(seat: int, forecasts: UnitForecasts, spec: str, bar: int, history: Tensor | None) -> Tensor:
    """Who follows a forecaster that breaks forfeits, as if it had broken itself."""
    try:
        return forecasts.at(spec, bar, history)
    except Exception as error:
        raise forfeit(seat, f"follows {spec}, which raised", error) from error


def _seat_copy(seen: Observation, seat: int, history_length: int, signal: Tensor | None) -> Observation:
    """The seat's `own_view` with copies of the small fields, so that an agent that writes into them changes no other's.

    The history stays a view: copying it for every seat would cost more than the market.
    """
    view = own_view(seen, seat, history_length)
    small: dict[str, Any] = {
        name: value.clone() for name, value in view._asdict().items() if isinstance(value, Tensor) and name != "history"
    }
    return view._replace(**small)._replace(signal=signal)
