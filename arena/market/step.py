"""One step of the market, t -> t+1, as pure functions on [B, N, A] tensors.

    weights -> orders_from_weights -> orders -> step_orders:
        market's own rules (halts, wind-down, margin calls, ruin) -> financing -> decay of old impact
        -> crossing, cap, uniform rule -> one price for all -> settle -> new impact -> mark at the next close

Agents decide at the close of bar t and are filled in bar t+1. They meet in one expression only: the sum over seats that
makes the net flow.
"""

import torch
from torch import Tensor

from arena.market.accounting import (
    explicit_cost,
    financing,
    forced_fraction,
    margin_call,
    nav,
)
from arena.market.clearing import clear
from arena.market.impact import add_flow, average_impact, decay, limit_scale, temporary_impact
from arena.market.storage import total
from arena.market.types import Fills, MarketParams, MarketState, Quotes

HUGE_WEIGHT = 1e6  # larger targets are cut here, so that their sum cannot overflow; the gross cap scales them anyway


def initial_state(params: MarketParams, cash: Tensor, num_assets: int) -> MarketState:
    """Seats with `cash` [B, N] and no position in a market at rest."""
    num_markets, num_agents = cash.shape
    # The mode is the slowest axis in memory: each mode is one block, which vector instructions need.
    imbalance = cash.new_zeros(len(params.modes), num_markets, num_assets).permute(1, 2, 0)
    return MarketState(
        cash=cash,
        position=cash.new_zeros(num_markets, num_agents, num_assets),
        imbalance=imbalance,
        nav=cash.clone(),
        peak_nav=cash.clone(),
        margin_call=torch.zeros_like(cash, dtype=torch.bool),
        alive=torch.ones_like(cash, dtype=torch.bool),
        # No limit before the first bar.
        impact_scale=torch.full_like(imbalance, torch.inf) if params.varying_liquidity else None,
    )


def orders_from_weights(
    params: MarketParams, state: MarketState, quotes: Quotes, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Orders [B, N, A] in shares that lead to target `weights` [B, N, A] (signed fractions of nav at ref_price).

    Non-finite weights keep their position; the number of them [B, N] comes second. So do halted assets. Others are
    capped per asset, then scaled so that the gross, kept positions included, is at most max_gross_leverage. Orders
    worth less than min_order * nav are exactly 0. Sizing and cap use the same price, so the cap holds by construction
    for orders that fill; where a sale is rationed while a purchase fills, the margin call bounds the gross.
    """
    price = quotes.ref_price.unsqueeze(-2)
    nav_safe = torch.where(state.nav > 0, state.nav, 1.0).unsqueeze(-1)  # ruined seats: their orders are overruled
    finite = torch.isfinite(weights)
    bound = min(params.max_asset_weight, HUGE_WEIGHT)
    movable = finite & quotes.tradable.unsqueeze(-2)
    wanted = torch.where(movable, weights, 0.0).clamp(-bound, bound)
    kept = total(torch.where(movable, 0.0, state.position.abs() * price), -1) / nav_safe.squeeze(-1)
    room = (params.max_gross_leverage - kept).clamp(min=0.0)
    gross = total(wanted.abs(), -1)
    # Divide only where the quotient is used: near gross = 0 its slope overflows, and 0 * inf is a NaN gradient.
    scale = torch.where(gross > room, room / torch.where(gross > room, gross, 1.0), 1.0).unsqueeze(-1)
    orders = wanted * (scale * nav_safe) * (1.0 / price) - state.position
    too_small = orders.abs() * price < params.min_order * nav_safe
    orders = torch.where(movable & ~too_small, orders, 0.0)
    return orders, total((~finite).to(state.nav.dtype), -1)


def step(params: MarketParams, state: MarketState, quotes: Quotes, weights: Tensor) -> tuple[MarketState, Fills]:
    """One step from target weights [B, N, A]; see orders_from_weights and step_orders."""
    orders, rejected = orders_from_weights(params, state, quotes, weights)
    state, fills = step_orders(params, state, quotes, orders)
    return state, Fills(*fills[:-1], rejected)  # not by _replace, whose result torch 2.11 cannot compile


def step_orders(params: MarketParams, state: MarketState, quotes: Quotes, orders: Tensor) -> tuple[MarketState, Fills]:
    """One step from signed orders [B, N, A] in shares. Differentiable in `orders`."""
    orders, forced = enforce(params, state, quotes, orders)
    received = financing(params, quotes, state.cash, state.position)
    if params.ruin:  # a ruined seat that has nothing left to sell is frozen
        idle = ~state.alive & (total(state.position.abs(), -1) == 0)
        received = torch.where(idle, 0.0, received)

    imbalance = decay(params, state.imbalance)
    scale = state.impact_scale
    if params.varying_liquidity:
        if quotes.impact_scale is None or scale is None:
            raise ValueError("varying_liquidity needs Quotes.impact_scale [B, A] and a state made by initial_state")
        scale = limit_scale(params, scale, quotes.impact_scale)

    shares = clear(orders, params.participation_cap * quotes.bar_volume, params.owners)
    net_flow = total(shares, -2)
    impact = average_impact(params, quotes, imbalance, net_flow, scale) + temporary_impact(params, quotes, net_flow)
    price = quotes.fill_price * (1.0 + impact)

    cost = explicit_cost(params, quotes, shares)
    forced_notional = total(torch.minimum(shares.abs(), forced) * quotes.fill_price.unsqueeze(-2), -1)
    penalty = params.forced_penalty * forced_notional
    cash = state.cash + received - total(shares * price.unsqueeze(-2), -1) - cost - penalty
    position = state.position + shares
    new_nav = nav(params, quotes, cash, position, quotes.next_ref_price)
    alive, called = state.alive, state.margin_call
    if params.ruin:
        alive = alive & (new_nav > 0)
    if params.margin:
        called = margin_call(params, called, new_nav, position, quotes.next_ref_price)

    state = MarketState(
        cash=cash,
        position=position,
        imbalance=add_flow(imbalance, net_flow),
        nav=new_nav,
        peak_nav=torch.maximum(state.peak_nav, new_nav),
        margin_call=called,
        alive=alive,
        impact_scale=scale,
    )
    return state, Fills(orders, shares, price, net_flow, cost, penalty, received, rejected=torch.zeros_like(cost))


def enforce(params: MarketParams, state: MarketState, quotes: Quotes, orders: Tensor) -> tuple[Tensor, Tensor]:
    """Orders after the market's own rules, and the part of each that the market forces [B, N, A] (shares, >= 0).

    Wind-down, margin call and ruin make a seat reduce-only: an order may only bring a position towards 0. On top,
        margin call   at least the fraction phi of every position is closed (accounting.forced_fraction)
        ruin          everything is closed
    in the bar after the mark that caused it, through the same clearing as all flow. Forced shares that fill, and only
    these, pay `forced_penalty`. Halted assets trade nothing.
    """
    called = state.margin_call if params.margin else torch.zeros_like(state.margin_call)
    ruined = ~state.alive if params.ruin else torch.zeros_like(state.alive)
    held = state.position.abs()
    fraction = torch.where(called, forced_fraction(params, quotes, state.nav, state.position), 0.0)
    forced = torch.where(ruined, 1.0, fraction).unsqueeze(-1) * held
    own = torch.where(ruined.unsqueeze(-1), 0.0, orders)
    toward_zero = -torch.sign(state.position)
    reducing = torch.minimum((own * toward_zero).clamp(min=0.0), held)
    reduce_only = (called | ruined | quotes.reduce_only.unsqueeze(-1)).unsqueeze(-1)
    orders = torch.where(reduce_only, toward_zero * torch.maximum(reducing, forced), orders)
    tradable = quotes.tradable.unsqueeze(-2)
    return torch.where(tradable, orders, 0.0), torch.where(tradable, forced, 0.0)
