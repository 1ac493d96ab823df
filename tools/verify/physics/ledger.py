"""A ledger with everything on: financing, decay, crossing, cap, rationing, one price, costs, marks."""

from collections.abc import Iterator
from dataclasses import replace
from math import inf, log

import torch
from torch import Tensor

from arena.market.accounting import mark_value
from arena.market.impact import decay_factors, displacement, mode_displacements
from arena.market.step import initial_state, step_orders
from arena.market.types import ImpactMode, MarketParams, Quotes
from tools.verify.physics.checks import Check, compare
from tools.verify.physics.truth import Entry


def check_golden_ledger(truth: Entry) -> Iterator[Check]:
    """Replay every bar: N seats, A assets, fills at the reference price of the bar, marks at the same price."""
    given, steps = truth.entry("params"), truth.entries("steps")
    num_agents, num_assets = int(given.number("N")), int(given.number("A"))
    params, quotes = _rules(given), _quotes(given, num_assets)
    yield from _check_coefficients(given, params, quotes)

    initial_cash = given.vector("initial_cash", num_agents)
    state = initial_state(params, initial_cash.unsqueeze(0), num_assets)
    price = given.vector("S0", num_assets)  # of the last mark
    external_cash, house_cash = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    external_position = torch.zeros(num_assets, dtype=torch.float64)
    wealth, volume = initial_cash.sum(), given.tensor("V_adv").max()
    for index, step in enumerate(steps):
        name = f"f.steps[{index}]"
        new_price, orders = step.tensor("S", (num_assets,)), step.tensor("orders", (num_agents, num_assets))
        seen = quotes._replace(ref_price=price[None], fill_price=new_price[None], next_ref_price=new_price[None])
        state, fills = step_orders(params, state, seen, orders[None])
        price = new_price
        cash, position, net = state.cash[0], state.position[0], fills.net_flow[0]
        external_cash = external_cash + (net * fills.price[0]).sum()
        external_position = external_position - net
        house_cash = house_cash + (fills.cost - fills.financing).sum()
        total_displacement = displacement(params, seen, state.imbalance)
        found = {
            "financing": fills.financing[0],
            "fills": fills.shares[0],
            "net": net,
            "exec_price": fills.price[0],
            "explicit_cost": fills.cost[0],
            "E": state.imbalance[0],
            "I": total_displacement[0],
            "cash": cash,
            "h": position,
            "external_cash": external_cash,
            "external_h": external_position,
            "house_cash": house_cash,
            "v_ref": mark_value(cash, position, price),
            "v_rest": state.nav[0],
            "v_mid": mark_value(cash, position, price * (1.0 + total_displacement[0])),
        }
        for key, value in found.items():
            scale = _size_of_terms(key, value, wealth, volume)
            yield compare(f"{name}.{key}", value, step.tensor(key), scale)
        conserved = cash.sum() + external_cash + house_cash
        yield compare(f"{name}.cash_is_conserved", conserved, wealth, cash.abs().sum() + external_cash.abs())
        everything = position.sum(0) + external_position
        yield compare(f"{name}.shares_are_conserved", everything, torch.zeros_like(net), volume)


def _size_of_terms(key: str, value: Tensor, wealth: Tensor, volume: Tensor) -> Tensor | float:
    """Size of the numbers that a column of the ledger adds up, which sets its rounding."""
    if key in ("fills", "net", "E", "h", "external_h"):
        return volume
    if key in ("cash", "external_cash", "v_ref", "v_rest", "v_mid"):
        return wealth
    return 1.0 if key == "I" else value.abs().max()


def _rules(given: Entry) -> MarketParams:
    """Rates per step from rates per year; the cap comes in shares with the quotes; no margin, no ruin."""
    modes = tuple(
        ImpactMode(
            mode.number("Y"), mode.number("delta"), inf if mode["half_life"] is None else mode.number("half_life")
        )
        for mode in given.entries("modes")
    )
    years = given.number("dt") / given.number("days_per_year")
    return MarketParams(
        dt=given.number("dt"),
        modes=modes,
        temporary_coef=given.number("eta"),
        temporary_exponent=given.number("beta"),
        fee_rate=given.number("fee"),
        participation_cap=1.0,
        margin=False,
        ruin=False,
        cash_rate=given.number("r_cash") * years,
        margin_spread=given.number("r_margin_spread") * years,
        interest_on_short_proceeds=True,
    )


def _quotes(given: Entry, num_assets: int) -> Quotes:
    def per_asset(key: str) -> Tensor:
        return given.vector(key, num_assets)[None]

    years = given.number("dt") / given.number("days_per_year")
    price = per_asset("S0")
    return Quotes(
        ref_price=price,
        fill_price=price,
        next_ref_price=price,
        volatility=per_asset("sigma_d"),
        adv=per_asset("V_adv"),
        bar_volume=per_asset("cap_shares"),
        half_spread=per_asset("half_spread"),
        borrow_rate=per_asset("r_borrow") * years,
        tradable=torch.ones(1, num_assets, dtype=torch.bool),
        reduce_only=torch.zeros(1, dtype=torch.bool),
    )


def _check_coefficients(given: Entry, params: MarketParams, quotes: Quotes) -> Iterator[Check]:
    """The file also states each mode's coefficient per share**delta, its delta and its decay rate."""
    if "c" in given:
        one_share = torch.ones(1, int(given.number("A")), len(params.modes), dtype=torch.float64)
        per_mode = torch.stack(mode_displacements(params, quotes, one_share, None), -1)[0]
        yield compare("f.params.c", per_mode, given.tensor("c"))
    if "delta" in given:
        yield compare(
            "f.params.delta", torch.tensor([mode.exponent for mode in params.modes]).double(), given.tensor("delta")
        )
    if "rho_per_day" in given:
        rates = torch.tensor([-log(a) for a in decay_factors(replace(params, dt=1.0))], dtype=torch.float64)
        yield compare("f.params.rho_per_day", rates, given.tensor("rho_per_day"))
