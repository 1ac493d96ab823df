"""Markets without accounts' rules, at a constant reference price, in which given orders are played bar by bar.

Axes: B markets, N seats, K trades (one per bar), one asset.
"""

from math import inf, log
from typing import NamedTuple

import torch
from torch import Tensor

from arena.market.step import initial_state, step_orders
from arena.market.types import ImpactMode, MarketParams, MarketState, Quotes


class Replay(NamedTuple):
    """What a sequence of orders did."""

    state: MarketState
    price: Tensor  # [B, K] of the fills
    position: Tensor  # [B, N, K] after each trade


def half_life(rate: float) -> float:
    """Trading days in which exp(-rate * days) halves; inf for a permanent mode."""
    return log(2.0) / rate if rate else inf


def bare_rules(
    modes: tuple[ImpactMode, ...],
    dt: float,
    theta: float = 0.0,
    temporary_coef: float = 0.0,
    temporary_exponent: float = 1.0,
) -> MarketParams:
    """Impact and the quadratic cost theta [1/share] alone: no cap, financing, margin, ruin or commission."""
    return MarketParams(
        dt=dt,
        modes=modes,
        temporary_coef=temporary_coef,
        temporary_exponent=temporary_exponent,
        fee_rate=0.0,
        quadratic_cost=theta,
        participation_cap=inf,
        margin=False,
        forced_penalty=0.0,
        ruin=False,
        margin_spread=0.0,
    )


def flat_quotes(
    price: Tensor | float, adv: float = 1.0, volatility: Tensor | float = 1.0, half_spread: float = 0.0
) -> Quotes:
    """Quotes of one asset whose reference price stays at `price` (a number or [B, 1]).

    With adv = volatility = 1 the coefficient of a mode is the displacement per share**exponent.
    """
    ref_price, sigma = _one_asset(price), _one_asset(volatility)
    return Quotes(
        ref_price=ref_price,
        fill_price=ref_price,
        next_ref_price=ref_price,
        volatility=sigma,
        adv=_one_asset(adv),
        bar_volume=_one_asset(adv),
        half_spread=_one_asset(half_spread),
        borrow_rate=_one_asset(0.0),
        tradable=torch.ones(1, 1, dtype=torch.bool),
        reduce_only=torch.zeros(1, dtype=torch.bool),
    )


def replay(params: MarketParams, quotes: Quotes, orders: Tensor, position: Tensor | float = 0.0) -> Replay:
    """Play `orders` [B, N, K], buys positive, from rest, no cash and `position` (a number or [B, N])."""
    num_markets, num_agents, _ = orders.shape
    state = initial_state(params, orders.new_zeros(num_markets, num_agents), num_assets=1)
    start = torch.as_tensor(position, dtype=orders.dtype).expand(num_markets, num_agents)
    state = state._replace(position=start.unsqueeze(-1))
    prices, positions = [], []
    for order in orders.unbind(-1):
        state, fills = step_orders(params, state, quotes, order.unsqueeze(-1))
        prices.append(fills.price.squeeze(-1))
        positions.append(state.position.squeeze(-1))
    return Replay(state, torch.stack(prices, -1), torch.stack(positions, -1))


def selling_cost(params: MarketParams, quotes: Quotes, sales: Tensor) -> Tensor:
    """Value at the reference price minus cash received [B, N], currency, of `sales` [B, N, K], sells positive."""
    return quotes.ref_price * sales.sum(-1) - replay(params, quotes, -sales).state.cash


def traded_value(quotes: Quotes, sales: Tensor) -> Tensor:
    """Notional of everything traded [B, N]: the scale of the rounding in a cost."""
    return quotes.ref_price * sales.abs().sum(-1)


def _one_asset(number: Tensor | float) -> Tensor:
    value = torch.as_tensor(number, dtype=torch.float64)
    return value if value.dim() == 2 else value.reshape(1, 1)
