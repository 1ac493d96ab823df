"""Searches for free money: gradient ascent through the step, an evolution strategy where the cap kills gradients.

Half of the restarts play one agent, half a coalition of four, pooling what they have; half must end with no position,
half are settled at nav. Gains are in basis points of `SIZE`, the scale of one order. The best answer is not to
trade, which gains 0. With a guard taken away, the same searches must find what theory says there is to take.

The frictions that are not impact (half-spread, fee) are off: they only help the defence.
"""

from collections.abc import Callable
from dataclasses import replace
from math import inf

import pytest
import torch
from torch import Tensor

from arena.market.accounting import mark_value
from arena.market.impact import decay, displacement
from arena.market.presets import preset
from arena.market.step import initial_state, step_orders
from arena.market.types import ImpactMode, MarketParams, Quotes

PRICE, ADV, VOLATILITY = 100.0, 1e6, 0.02
SIZE = 0.2 * ADV
BAR = 1 / 13  # half an hour
NUM_AGENTS = 4
NUM_BARS = 8
# Rounding: cash is a sum of up to 80 products exact to 1e-16, so a gain of 1e-12 of SIZE is 1e-8 bps.
NO_GAIN = 1e-6
# A search that ends this close below 0 has found the answer "do not trade" from full-sized starts.
FOUND_ZERO = -0.05
# A search with a guard off must reach this share of what is known to be there.
FOUND = 0.95
PERMANENT = (ImpactMode(0.3, 1.0, inf),)
SLOW = (ImpactMode(0.35, 0.5, 5.0),)

Gain = Callable[[Tensor], Tensor]  # orders [T, B, N, 1] in units of SIZE -> gains [B]


def impact_only(params: MarketParams, **rules: object) -> MarketParams:
    """`params` without spread, fee, interest, margin and ruin, uncapped unless `rules` say otherwise."""
    off = {"fee_rate": 0.0, "margin_spread": 0.0, "margin": False, "ruin": False, "participation_cap": inf}
    return replace(params, **(off | rules))


def quotes_at(params: MarketParams, price: Tensor, impact_scale: float = 1.0) -> Quotes:
    """One asset whose reference price stands at `price` [B] for a whole bar."""
    ones = torch.ones_like(price).unsqueeze(-1)
    price = price.unsqueeze(-1)
    no_wind_down = torch.zeros(len(price), dtype=torch.bool)
    return Quotes(
        ref_price=price,
        fill_price=price,
        next_ref_price=price,
        volatility=VOLATILITY * ones,
        adv=ADV * ones,
        bar_volume=ADV * params.dt * ones,
        half_spread=0 * ones,
        borrow_rate=0 * ones,
        tradable=ones > 0,
        reduce_only=no_wind_down,
        impact_scale=impact_scale * ones,
    )


def gain_bps(
    params: MarketParams,
    orders: Tensor,
    prices: Tensor | None = None,
    scales: list[float] | None = None,
    *,
    execution: str = "fair",
    mark: str = "nav",
    limiter: bool = True,
) -> Tensor:
    """What all seats together gain [B], starting with nothing; orders [T, B, N, 1] in units of SIZE.

    prices [T, B]: constant unless given     scales: raw impact multipliers of the bars
    Guards: execution "fair" or "pre-impact" (each fill at the mid before the bar's flow), mark "nav" or "mid"
    (positions left over at the displaced mid), limiter on or off.
    """
    num_bars, num_markets = orders.shape[:2]
    prices = torch.full((num_bars, num_markets), PRICE, dtype=orders.dtype) if prices is None else prices
    state = initial_state(params, orders.new_zeros(orders.shape[1:3]), 1)
    refund = orders.new_zeros(orders.shape[1:3])
    for t in range(num_bars):
        quotes = quotes_at(params, prices[t], scales[t] if scales else 1.0)
        if not limiter and state.impact_scale is not None:  # as in the first bar: nothing before to be limited by
            state = state._replace(impact_scale=torch.full_like(state.impact_scale, inf))
        before = decay(params, state.imbalance)
        state, fills = step_orders(params, state, quotes, SIZE * orders[t])
        if execution == "pre-impact":
            mid = quotes.fill_price * (1 + displacement(params, quotes, before, state.impact_scale))
            refund = refund + (fills.shares * (fills.price - mid).unsqueeze(-2)).sum(-1)
    value = state.nav
    if mark == "mid":
        impact = displacement(params, quotes, state.imbalance, state.impact_scale)
        value = mark_value(state.cash, state.position, quotes.next_ref_price * (1 + impact))
    return (value + refund).sum(-1) / (SIZE * PRICE) * 1e4


def seats_and_endings(num_markets: int, *, flat_only: bool = False) -> tuple[Tensor, Tensor]:
    """Who plays [B, N, 1] and who must end flat [B]: lone agent and coalition, each with both endings."""
    index = torch.arange(num_markets)
    coalition, flat = index % 2 == 0, (index // 2) % 2 == 0
    plays = coalition.unsqueeze(-1) | (torch.arange(NUM_AGENTS) == 0)
    return plays.unsqueeze(-1).double(), flat | flat_only


def schedule(raw: Tensor, plays: Tensor, flat: Tensor) -> Tensor:
    """Any numbers [T, B, N, 1] to orders within 1, less their mean over bars and players where `flat`."""
    orders = torch.tanh(raw) * plays
    mean = orders.sum((0, 2)) / (plays.sum(1) * len(raw))  # [B, 1]
    return orders - (mean * flat.unsqueeze(-1)).unsqueeze(-2) * plays


def ascend(gain: Gain, shape: tuple[int, ...], num_steps: int, seed: int = 0) -> Tensor:
    """Gains [B] of `shape[1]` restarts of Adam from full-sized random schedules, step size falling to 0."""
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
    optimizer = torch.optim.Adam([raw], lr=0.08)
    for step in range(num_steps):
        optimizer.param_groups[0]["lr"] = 0.08 * (1 - step / num_steps)
        (raw.grad,) = torch.autograd.grad(-gain(raw).sum(), raw)
        optimizer.step()
    with torch.no_grad():
        return gain(raw)


def evolve(gain: Gain, shape: tuple[int, ...], num_generations: int, width: float, seed: int = 0) -> Tensor:
    """Best gain of a (mu, lambda) evolution strategy, mu a sixteenth, one step size per number, at first `width`."""
    generator = torch.Generator().manual_seed(seed)
    num_bars, num_offspring, *rest = shape
    mean = torch.zeros(num_bars, 1, *rest, dtype=torch.float64)
    spread = torch.full_like(mean, width)
    best = torch.tensor(-inf, dtype=torch.float64)
    for _ in range(num_generations):
        offspring = mean + spread * torch.randn(shape, generator=generator, dtype=torch.float64)
        gains = gain(offspring)
        parents = offspring[:, gains.topk(num_offspring // 16).indices]
        mean, spread = parents.mean(1, keepdim=True), parents.std(1, keepdim=True)
        best = torch.maximum(best, gains.max())
    return best


# Guards on


@pytest.mark.parametrize("cap", [inf, 0.1], ids=["uncapped", "capped"])
@pytest.mark.parametrize("name", ["sqrt", "linear_ow"])
def test_gradient_ascent_finds_nothing(name: str, cap: float) -> None:
    check_gradient_ascent(name, cap, num_bars=6, num_restarts=64, num_steps=80)


@pytest.mark.slow
@pytest.mark.parametrize("cap", [inf, 0.1], ids=["uncapped", "capped"])
@pytest.mark.parametrize("name", ["sqrt", "linear_ow", "athl"])
def test_long_gradient_ascent_finds_nothing(name: str, cap: float) -> None:
    check_gradient_ascent(name, cap, num_bars=20, num_restarts=128, num_steps=300)


def check_gradient_ascent(name: str, cap: float, num_bars: int, num_restarts: int, num_steps: int) -> None:
    params = impact_only(preset(name, BAR), participation_cap=cap)
    plays, flat = seats_and_endings(num_restarts)
    gains = ascend(
        lambda raw: gain_bps(params, schedule(raw, plays, flat)), (num_bars, num_restarts, NUM_AGENTS, 1), num_steps
    )
    assert float(gains.max()) <= NO_GAIN
    if cap == inf:  # where a whole side is rationed the gradient is 0, and the evolution strategy takes over
        for group in (plays[:, 1, 0] == 1, plays[:, 1, 0] == 0, flat, ~flat):
            assert float(gains[group].max()) > FOUND_ZERO


@pytest.mark.parametrize("name", ["sqrt", "linear_ow"])
def test_adapting_to_a_martingale_gains_nothing(name: str) -> None:
    """The price moves by 20 % up or down each bar; orders are free at each node of the tree; the mean gain is exact."""
    check_martingale(name, num_bars=5, num_restarts=8, num_steps=80)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sqrt", "linear_ow", "athl"])
def test_adapting_to_a_longer_martingale_gains_nothing(name: str) -> None:
    check_martingale(name, num_bars=8, num_restarts=16, num_steps=300)


def check_martingale(name: str, num_bars: int, num_restarts: int, num_steps: int) -> None:
    params = impact_only(preset(name, BAR))
    num_paths = 2 ** (num_bars - 1)
    plays, flat = (x.repeat_interleave(num_paths, 0) for x in seats_and_endings(num_restarts))
    path = torch.arange(num_paths)
    # Bit k of the path, counted from the top, is the move after bar k; paths that agree so far share a node.
    up = torch.stack([(path >> (num_bars - 2 - k)) & 1 for k in range(num_bars - 1)]).double()
    prices = PRICE * torch.cat([torch.ones(1, num_paths), (0.8 + 0.4 * up).cumprod(0)]).double().repeat(1, num_restarts)

    def gain(raw: Tensor) -> Tensor:
        """raw [2**num_bars - 1 nodes, R, N, 1], node by node."""
        bars = []
        for k in range(num_bars):
            nodes = raw[2**k - 1 : 2 ** (k + 1) - 1]  # [2**k, R, N, 1]
            bars.append(nodes.repeat_interleave(num_paths // 2**k, 0).transpose(0, 1).flatten(0, 1))
        orders = torch.tanh(torch.stack(bars)) * plays
        unwind = torch.where(flat[:, None, None], -orders[:-1].sum(0), orders[-1])
        orders = torch.cat([orders[:-1], unwind.unsqueeze(0)])
        return gain_bps(params, orders, prices).reshape(num_restarts, num_paths).mean(-1)

    gains = ascend(gain, (2**num_bars - 1, num_restarts, NUM_AGENTS, 1), num_steps)
    assert float(gains.max()) <= NO_GAIN
    assert float(gains.max()) > FOUND_ZERO


@pytest.mark.parametrize("num_players", [1, NUM_AGENTS])
@pytest.mark.parametrize("name", ["sqrt", "linear_ow"])
def test_evolution_finds_nothing_through_the_cap(name: str, num_players: int) -> None:
    check_evolution(name, num_players, num_bars=10, num_offspring=256, num_generations=40)


@pytest.mark.slow
@pytest.mark.parametrize("num_players", [1, NUM_AGENTS])
@pytest.mark.parametrize("name", ["sqrt", "linear_ow", "athl"])
def test_long_evolution_finds_nothing_through_the_cap(name: str, num_players: int) -> None:
    check_evolution(name, num_players, num_bars=20, num_offspring=1024, num_generations=100)


def check_evolution(name: str, num_players: int, num_bars: int, num_offspring: int, num_generations: int) -> None:
    """Settled at nav; starting from orders well above the cap, where rationing makes plateaus, and well below it."""
    params = impact_only(preset(name, BAR), participation_cap=0.1)
    capacity = 0.1 * ADV * BAR / SIZE
    gain = lambda raw: gain_bps(params, capacity * raw) / capacity  # noqa: E731  bps of one capped fill
    shape = (num_bars, num_offspring, num_players, 1)
    best = [float(evolve(gain, shape, num_generations, width)) for width in (2.0, 0.4)]
    assert max(best) <= NO_GAIN
    assert max(best) > 2 * FOUND_ZERO  # coarser than the optimiser


# Guards off


def test_execution_before_impact_is_found() -> None:
    """Linear permanent impact, fills at the mid before the flow: a round trip x gains S c sum(x**2) / 2.

    Largest with orders of full size, half of them buys: c SIZE**2 NUM_BARS / 2 for a lone agent, and for the coalition,
    which trades as one, NUM_AGENTS**2 times as much. Taking the mean off orders lowers sum(x**2), never raises it.
    """
    params = impact_only(replace(preset("linear_ow", BAR), modes=PERMANENT))
    plays, flat = seats_and_endings(32, flat_only=True)
    gains = ascend(
        lambda raw: gain_bps(params, schedule(raw, plays, flat), execution="pre-impact"),
        (NUM_BARS, 32, NUM_AGENTS, 1),
        num_steps=90,
    )
    known = 0.3 * VOLATILITY * (SIZE / ADV) * NUM_BARS / 2 * 1e4
    for players, group in ((1, plays[:, 1, 0] == 0), (NUM_AGENTS, plays[:, 1, 0] == 1)):
        best = float(gains[group].max())
        assert FOUND * known * players**2 <= best <= known * players**2 * (1 + 1e-9)


def test_execution_before_impact_is_found_in_the_default_market() -> None:
    """Default books: at least what buying SIZE at rest and selling it at the decayed displacement one bar on gains."""
    params = impact_only(preset("sqrt", BAR), temporary_coef=0.0)
    two_bars = torch.zeros(2, 1, NUM_AGENTS, 1, dtype=torch.float64)
    two_bars[0, 0, 0], two_bars[1, 0, 0] = 1.0, -1.0
    known = sum(
        mode.coef * VOLATILITY * (2 ** (-BAR / mode.half_life) * SIZE / ADV) ** mode.exponent for mode in params.modes
    )
    assert float(gain_bps(params, two_bars, execution="pre-impact")) == pytest.approx(known * 1e4, rel=1e-9)
    plays, flat = seats_and_endings(32)
    gains = ascend(
        lambda raw: gain_bps(params, schedule(raw, plays, flat), execution="pre-impact"),
        (NUM_BARS, 32, NUM_AGENTS, 1),
        num_steps=50,
    )
    assert float(gains[plays[:, 1, 0] == 0].max()) > known * 1e4


def test_marking_at_the_mid_is_found() -> None:
    """Linear permanent impact, positions worth the displaced mid: holding h gains S c h**2 / 2 on paper."""
    params = impact_only(replace(preset("linear_ow", BAR), modes=PERMANENT))
    plays, _ = seats_and_endings(32)
    free = torch.zeros(32, dtype=torch.bool)
    gains = ascend(
        lambda raw: gain_bps(params, schedule(raw, plays, free), mark="mid"), (NUM_BARS, 32, NUM_AGENTS, 1), 90
    )
    known = 0.3 * VOLATILITY * (SIZE / ADV) * NUM_BARS**2 / 2 * 1e4
    for players, group in ((1, plays[:, 1, 0] == 0), (NUM_AGENTS, plays[:, 1, 0] == 1)):
        best = float(gains[group].max())
        assert FOUND * known * players**2 <= best <= known * players**2 * (1 + 1e-9)


def test_marking_at_the_mid_is_found_in_the_default_market() -> None:
    """Default books: at least what one last-bar purchase of SIZE gains on paper, c SIZE**delta delta / (1 + delta)."""
    params = impact_only(preset("sqrt", BAR), temporary_coef=0.0)
    known = 1e4 * sum(
        mode.coef * VOLATILITY * (SIZE / ADV) ** mode.exponent * mode.exponent / (1 + mode.exponent)
        for mode in params.modes
    )
    one_bar = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64).reshape(1, 1, NUM_AGENTS, 1)
    assert float(gain_bps(params, one_bar, mark="mid")) == pytest.approx(known, rel=1e-9)
    assert float(gain_bps(params, one_bar)) < 0
    plays, _ = seats_and_endings(32)
    free = torch.zeros(32, dtype=torch.bool)
    gains = ascend(
        lambda raw: gain_bps(params, schedule(raw, plays, free), mark="mid"), (NUM_BARS, 32, NUM_AGENTS, 1), 50
    )
    assert float(gains[plays[:, 1, 0] == 0].max()) > known


def test_evolution_finds_the_paper_gain_through_the_cap() -> None:
    """As above with the cap on: nothing beats buying the whole capacity K in each of T bars, S c (T K)**2 / 2."""
    params = impact_only(replace(preset("linear_ow", BAR), modes=PERMANENT), participation_cap=0.1)
    capacity = 0.1 * ADV * BAR / SIZE
    gain = lambda raw: gain_bps(params, capacity * raw, mark="mid")  # noqa: E731
    known = 0.3 * VOLATILITY * (SIZE / ADV) * (10 * capacity) ** 2 / 2 * 1e4
    for num_players in (1, NUM_AGENTS):
        best = float(evolve(gain, (10, 256, num_players, 1), num_generations=40, width=2.0))
        assert FOUND * known <= best <= known * (1 + 1e-9)


# Liquidity that varies


def test_push_and_cancel_across_a_drop_in_depth() -> None:
    """Impact triples between two bars, one slow book: buy M, sell M. Without the limiter, gains as on paper:

    S [c' Phi(a M) - c' Phi((1 - a) M) - c Phi(M)],  c' = 3 c;  with it, c' = c a**-(1 + delta) and the trip costs.
    """
    params = impact_only(preset("sqrt", BAR), modes=SLOW, temporary_coef=0.0, varying_liquidity=True)
    orders = torch.tensor([1.0, -1.0], dtype=torch.float64).reshape(2, 1, 1, 1)
    a, energy = 2 ** (-BAR / 5.0), 0.35 * VOLATILITY * (SIZE / ADV) ** 0.5 / 1.5 * 1e4
    known = energy * (3 * a**1.5 - 3 * (1 - a) ** 1.5 - 1)
    assert known > 30
    off = gain_bps(params, orders, scales=[1.0, 3.0], limiter=False)
    assert float(off) == pytest.approx(known, rel=1e-9)
    on = gain_bps(params, orders, scales=[1.0, 3.0])
    assert float(on) == pytest.approx(-energy * ((1 - a) / a) ** 1.5, rel=1e-9)


def u_shape(num_bars: int) -> list[float]:
    """Impact multiplier over a day: 1.5 at the open and the close, 0.5 at noon."""
    return [0.5 + (2 * t / (num_bars - 1) - 1) ** 2 for t in range(num_bars)]


def test_limiter_stops_what_the_search_finds_without_it() -> None:
    """U-shaped liquidity and a slow book: a lone agent's round trips gain without the limiter, never with it."""
    params = impact_only(preset("sqrt", BAR), modes=SLOW, temporary_coef=0.0, varying_liquidity=True)
    num_bars, num_restarts = 10, 32
    ones, flat = torch.ones(num_restarts, 1, 1, dtype=torch.float64), torch.ones(num_restarts, dtype=torch.bool)
    shape, scales = (num_bars, num_restarts, 1, 1), u_shape(num_bars)
    noon_to_close = torch.zeros(num_bars, 1, 1, 1, dtype=torch.float64)
    noon_to_close[num_bars // 2], noon_to_close[-1] = 1.0, -1.0
    known = float(gain_bps(params, noon_to_close, scales=scales, limiter=False))
    assert known > 15
    off = ascend(lambda raw: gain_bps(params, schedule(raw, ones, flat), scales=scales, limiter=False), shape, 60)
    assert float(off.max()) > known
    on = ascend(lambda raw: gain_bps(params, schedule(raw, ones, flat), scales=scales), shape, 100)
    assert FOUND_ZERO < float(on.max()) <= NO_GAIN


@pytest.mark.slow
@pytest.mark.parametrize("scales", [u_shape(20), [1.0] * 7 + [3.0] * 13], ids=["U-shape", "tripling"])
def test_limiter_holds_in_the_default_market(scales: list[float]) -> None:
    """All default books, lone agent and coalition, both endings, 20 bars."""
    params = impact_only(preset("sqrt", BAR), varying_liquidity=True)
    plays, flat = seats_and_endings(128)
    gains = ascend(
        lambda raw: gain_bps(params, schedule(raw, plays, flat), scales=scales), (20, 128, NUM_AGENTS, 1), 300
    )
    assert FOUND_ZERO < float(gains.max()) <= NO_GAIN
