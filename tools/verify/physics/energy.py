"""Energy of the books, the growth limiter, and the marks after one block bought from rest."""

import re
from collections.abc import Iterator
from dataclasses import replace
from math import inf

import torch
from torch import Tensor

from arena.market.accounting import mark_value
from arena.market.impact import decay, displacement, potential
from arena.market.step import initial_state, step_orders
from arena.market.types import ImpactMode, MarketParams, Quotes
from tools.verify.physics.checks import RELATIVE, ROUNDING, Check, at_most_zero, compare, skip
from tools.verify.physics.replay import bare_rules, flat_quotes, replay
from tools.verify.physics.truth import Entry, TruthError


def check_energy(truth: Entry) -> Iterator[Check]:
    """S constant, no explicit cost, no temporary impact."""
    given = truth.entry("params")
    listed = given.tensor_with_null("modes_Y_delta_halflife", null=inf, shape=(-1, 3))
    modes = tuple(ImpactMode(*map(float, mode)) for mode in listed)
    params = bare_rules(modes, given.number("dt"))
    quotes = flat_quotes(given.number("S0"), given.number("V"), given.number("sigma"))
    yield from _check_path(truth.entries("steps"), params, quotes)
    yield from _check_limiter(truth.entry("limiter"), modes, given.number("dt"))
    yield from _check_block(truth.entry("block_buy_from_rest"), params, quotes)


def _check_path(steps: list[Entry], params: MarketParams, quotes: Quotes) -> Iterator[Check]:
    """Impact paid = dissipated + stored, each a running total in currency and never negative."""
    price = quotes.ref_price[0, 0]
    state = initial_state(params, torch.zeros(1, 1, dtype=torch.float64), num_assets=1)
    paid = dissipated = torch.zeros((), dtype=torch.float64)
    scale = torch.zeros((), dtype=torch.float64)
    for index, step in enumerate(steps):
        name, order = f"h.steps[{index}]", step.tensor("X").reshape(1, 1, 1)
        rested = decay(params, state.imbalance)
        lost = potential(params, quotes, state.imbalance) - potential(params, quotes, rested)
        dissipated = dissipated + price * lost[0, 0]
        state, fills = step_orders(params, state, quotes, order)
        paid = paid + (fills.net_flow * (fills.price - quotes.fill_price))[0, 0]
        stored = price * potential(params, quotes, state.imbalance)[0, 0]
        scale = scale + price * order.abs().sum()
        yield compare(f"{name}.impact_paid", paid, step.number("impact_paid"), scale)
        yield compare(f"{name}.dissipated", dissipated, step.number("dissipated"), stored)
        yield compare(f"{name}.stored", stored, step.number("stored"), paid.abs())
        yield compare(f"{name}.I", displacement(params, quotes, state.imbalance)[0, 0], step.number("I"), scale=0.01)
        yield compare(f"{name}.paid_is_dissipated_plus_stored", dissipated + stored, paid, scale)
        least = torch.stack([paid, dissipated, stored]).min()
        yield at_most_zero(f"{name}.nothing_negative", -least, paid.abs() + ROUNDING / RELATIVE * scale)


def _check_limiter(limiter: Entry, modes: tuple[ImpactMode, ...], dt: float) -> Iterator[Check]:
    """The raw multiplier goes through the step; the file lists the effective ones of the first decaying modes."""
    raw = limiter.tensor("raw_multiplier", (-1,))  # [K]
    expected = limiter.tensor("eff_multiplier_fast_slow", (len(raw), -1))  # [K, columns]
    decaying = tuple(mode for mode in modes if mode.half_life != inf)
    if not 1 <= expected.shape[1] <= len(decaying):
        raise TruthError(
            f"{limiter.where} eff_multiplier_fast_slow has shape {tuple(expected.shape)}, expected (bars, at most "
            f"{len(decaying)} decaying modes)"
        )
    params = replace(bare_rules(decaying[: expected.shape[1]], dt), varying_liquidity=True)
    state = initial_state(params, torch.zeros(1, 1, dtype=torch.float64), num_assets=1)
    effective = []
    for multiplier in raw:
        quotes = flat_quotes(1.0)._replace(impact_scale=multiplier.reshape(1, 1))
        state, _ = step_orders(params, state, quotes, torch.zeros(1, 1, 1, dtype=torch.float64))
        assert state.impact_scale is not None
        effective.append(state.impact_scale[0, 0])
    found = torch.stack(effective)
    for mode_index in range(expected.shape[1]):
        yield compare(f"h.limiter.eff_multiplier.mode_{mode_index}", found[:, mode_index], expected[:, mode_index])


def _check_block(block: Entry, params: MarketParams, quotes: Quotes) -> Iterator[Check]:
    """One agent buys X from rest; then n agents buy X / n each in one bar."""
    name = "h.block_buy_from_rest"
    shares, scale = block.number("X"), quotes.ref_price[0, 0] * abs(block.number("X"))
    found, price, mid = _buy(params, quotes, shares, num_agents=1)
    yield compare(f"{name}.exec_price", price, block.number("exec_price"))
    yield compare(f"{name}.mid_after", mid, block.number("mid_after"))
    for mark, gain in found.items():
        yield compare(f"{name}.{mark}_gain", gain, block.number(f"{mark}_gain"), scale)
    coalitions = [key for key in block if re.fullmatch(r"n\d+_equal_coalition_sum", key)]
    for key in coalitions:
        marks = block.entry(key)
        found, _, _ = _buy(params, quotes, shares, num_agents=int(re.sub(r"\D", "", key)))
        for mark, gain in found.items():
            yield compare(f"{name}.{key}.{mark}", gain, marks.number(mark), scale)
    for place in (
        f"{name}.v_liq_gain",
        f"{name}.v_joint_gain",
        *[f"{name}.{k}.{m}" for k in coalitions for m in _UNUSED],
    ):
        yield skip(place, "a mark the market does not use: positions are valued at v_rest")


_UNUSED = ("v_liq", "v_joint")


def _buy(
    params: MarketParams, quotes: Quotes, shares: float, num_agents: int
) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Gains summed over agents by each mark, the price of the fills and the mid after them."""
    orders = torch.full((1, num_agents, 1), shares / num_agents, dtype=torch.float64)
    bought = replay(params, quotes, orders)
    state = bought.state
    mid = quotes.ref_price * (1.0 + displacement(params, quotes, state.imbalance))
    gains = {
        "v_mid": mark_value(state.cash, state.position, mid).sum(),
        "v_ref": mark_value(state.cash, state.position, quotes.ref_price).sum(),
        "v_rest": state.nav.sum(),
    }
    return gains, bought.price[0, 0], mid[0, 0]
