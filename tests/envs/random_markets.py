"""Random markets for law tests. Hypothesis draws the rules, the sizes and a seed; the seed fills the tensors.

B markets, N agents, A assets. Drawing tensors element by element would cost hypothesis most of its time and find
nothing that a seed does not: the laws have no rare corner that a normal or log-uniform number misses, except the
extreme inputs, which test_laws.py feeds by hand.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import inf
from typing import NamedTuple

import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from torch import Tensor

from arena.market.accounting import nav
from arena.market.presets import preset
from arena.market.types import ImpactMode, MarketParams, MarketState, Quotes

MIXED_MODES = (ImpactMode(0.4, 0.3, 0.5), ImpactMode(0.3, 0.7, 3.0), ImpactMode(0.2, 1.0, inf))
SEEDS = st.integers(0, 2**31 - 1)

# No deadline: the machine is shared. The same examples in every run: a law that fails, fails for everybody.
LAW = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


class Market(NamedTuple):
    """A market in the middle of an episode, and what its agents order next."""

    params: MarketParams
    state: MarketState
    quotes: Quotes
    orders: Tensor  # [B, N, A] shares


@st.composite
def rules(draw: st.DrawFn, num_agents: int, **fixed: object) -> MarketParams:
    """Market rules with any mix of switches; `fixed` fields are not drawn."""
    dt = draw(st.sampled_from([1.0, 1 / 13]))
    base = preset(draw(st.sampled_from(["sqrt", "linear_ow", "athl"])), dt)
    drawn = {
        "modes": draw(st.sampled_from([base.modes, MIXED_MODES])),
        "participation_cap": draw(st.sampled_from([0.1, 0.02, 0.0, inf])),
        "quadratic_cost": draw(st.sampled_from([0.0, 1e-9])),
        "cash_rate": draw(st.sampled_from([0.0, 0.04 / 252])),
        "interest_on_short_proceeds": draw(st.booleans()),
        "margin": draw(st.booleans()),
        "ruin": draw(st.booleans()),
        "varying_liquidity": draw(st.booleans()),
        "owners": draw(st.none() | st.tuples(*[st.integers(0, 2)] * num_agents)),
    }
    return replace(base, **(drawn | fixed))


@st.composite
def markets(draw: st.DrawFn, min_agents: int = 1, constant_price: bool = False, **fixed: object) -> Market:
    """Up to 3 markets, 5 agents, 3 assets, rules included; `fixed` are fields of MarketParams."""
    num_markets, num_assets = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    num_agents = draw(st.integers(min_agents, 5))
    params = draw(rules(num_agents, **fixed))
    return random_market(params, draw(SEEDS), (num_markets, num_agents, num_assets), constant_price)


def random_market(params: MarketParams, seed: int, shape: tuple[int, int, int], constant_price: bool = False) -> Market:
    """State, quotes and orders for `params`; shape (B, N, A).

    With `constant_price` the reference price stands still, all assets trade and nothing is financed or wound down, so
    that impact and explicit costs are all that moves cash.
    """
    generator = torch.Generator().manual_seed(seed)
    quotes = _quotes(generator, shape, params.dt, constant_price)
    state = _state(generator, params, quotes, shape)
    # From far below to several times what outsiders take.
    orders = _normal(generator, shape) * quotes.bar_volume.unsqueeze(-2) * 10.0 ** (_uniform(generator, shape) * 3 - 3)
    return Market(params, state, quotes, orders)


def quote_path(market: Market, seed: int, num_steps: int, constant_price: bool = False) -> Iterator[Quotes]:
    """Quotes of successive bars: each starts at the close of the one before; static numbers stay."""
    generator = torch.Generator().manual_seed(seed)
    shape = (market.state.cash.shape[0], market.state.cash.shape[1], market.quotes.adv.shape[1])
    quotes = market.quotes
    for _ in range(num_steps):
        yield quotes
        fresh = _quotes(generator, shape, market.params.dt, constant_price)
        move = fresh.fill_price / fresh.ref_price, fresh.next_ref_price / fresh.ref_price
        ref_price = quotes.next_ref_price
        quotes = fresh._replace(
            ref_price=ref_price,
            fill_price=ref_price * move[0],
            next_ref_price=ref_price * move[1],
            volatility=quotes.volatility,
            adv=quotes.adv,
            bar_volume=quotes.bar_volume,
            half_spread=quotes.half_spread,
        )


def at_rest(state: MarketState) -> MarketState:
    """The same seats in a market whose books are empty."""
    return state._replace(imbalance=torch.zeros_like(state.imbalance))


def flat(state: MarketState) -> MarketState:
    """Seats that hold cash only, in a market at rest."""
    no_call = torch.zeros_like(state.margin_call)
    return at_rest(state)._replace(position=torch.zeros_like(state.position), margin_call=no_call, alive=~no_call)


def _quotes(generator: torch.Generator, shape: tuple[int, int, int], dt: float, constant_price: bool) -> Quotes:
    num_markets, _, num_assets = shape
    size = (num_markets, num_assets)
    ref_price = 10.0 ** (3 * _uniform(generator, size))
    adv = 10.0 ** (4 + 4 * _uniform(generator, size))
    volatility = 0.005 + 0.055 * _uniform(generator, size)
    move = 0.0 if constant_price else (volatility * dt**0.5).clamp(max=0.1)
    fill_price = ref_price * torch.exp(move * _normal(generator, size))
    next_ref_price = fill_price * torch.exp(move * _normal(generator, size))
    draws = [_uniform(generator, size) for _ in range(6)]
    wind_down = torch.rand(num_markets, generator=generator) < 0.1
    return Quotes(
        ref_price=ref_price,
        fill_price=fill_price,
        next_ref_price=next_ref_price,
        volatility=volatility,
        adv=adv,
        bar_volume=adv * dt * (0.3 + 1.7 * draws[0]),
        half_spread=20e-4 * draws[1],
        borrow_rate=torch.zeros_like(adv) if constant_price else 0.5 / 252 * draws[2],
        tradable=torch.ones_like(adv, dtype=torch.bool) if constant_price else draws[3] < 0.85,
        reduce_only=torch.zeros_like(wind_down) if constant_price else wind_down,
        dividend=None if constant_price else 0.01 * ref_price * (draws[4] < 0.2),
        impact_scale=10.0 ** (draws[5] - 0.5),
    )


def _state(
    generator: torch.Generator, params: MarketParams, quotes: Quotes, shape: tuple[int, int, int]
) -> MarketState:
    """Seats from comfortable to ruined: most solvent, some called, some dead with positions left to sell."""
    num_markets, num_agents, num_assets = shape
    adv, price = quotes.adv.unsqueeze(-2), quotes.ref_price.unsqueeze(-2)
    position = 0.1 * adv * _normal(generator, shape) * (torch.rand(shape, generator=generator) < 0.8)
    gross = (position.abs() * price).sum(-1)
    wealth = (
        gross * 10.0 ** (2 * _uniform(generator, shape[:2]) - 1) + (adv * price).mean((-1, -2)).unsqueeze(-1) * 0.01
    )
    cash = wealth - (position * price).sum(-1)
    value = nav(params, quotes, cash, position, quotes.ref_price)
    imbalance = 0.2 * quotes.adv.unsqueeze(-1) * _normal(generator, (num_markets, num_assets, len(params.modes)))
    scale = 10.0 ** (_uniform(generator, imbalance.shape) - 0.5) if params.varying_liquidity else None
    called = torch.rand(num_markets, num_agents, generator=generator) < 0.2
    alive = (value > 0) & (torch.rand(num_markets, num_agents, generator=generator) < 0.9)
    peak_nav = value * (1 + _uniform(generator, shape[:2]))
    return MarketState(cash, position, imbalance, value, peak_nav, called, alive, scale)


def _uniform(generator: torch.Generator, size: tuple[int, ...]) -> Tensor:
    return torch.rand(size, generator=generator, dtype=torch.float64)


def _normal(generator: torch.Generator, size: tuple[int, ...]) -> Tensor:
    return torch.randn(size, generator=generator, dtype=torch.float64)
