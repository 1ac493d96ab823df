"""Laws of the market step, as properties of random markets in float64. Each test names its law in the first line."""

from dataclasses import replace
from math import inf, nan

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from random_markets import LAW, SEEDS, Market, at_rest, flat, markets, quote_path, random_market
from torch import Tensor
from torch.utils._pytree import tree_map

from arena.market.accounting import nav
from arena.market.impact import decay, displacement, limit_scale, potential
from arena.market.presets import preset
from arena.market.step import initial_state, orders_from_weights, step, step_orders
from arena.market.types import Fills, ImpactMode, MarketState, Quotes

# Float64 keeps 16 digits; a step adds some 40 numbers of one size, and several steps add a few more.
SUM = 1e-12  # of the largest number added
PATH = 1e-9  # of the same, over several steps: the conservation bound the design asks for

IMPACT_ONLY = {"margin": False, "ruin": False, "quadratic_cost": 0.0, "cash_rate": 0.0, "margin_spread": 0.0}


def assert_same(actual: tuple, expected: tuple, tolerance: float = SUM) -> None:
    """Records equal field by field, up to `tolerance` of the field's largest finite entry."""
    for name, got, want in zip(actual._fields, actual, expected):
        if want is None:
            assert got is None, name
            continue
        finite = want[torch.isfinite(want)].double()
        atol = tolerance * float(finite.abs().max()) if finite.numel() else 0.0
        torch.testing.assert_close(got, want, rtol=tolerance, atol=atol, msg=lambda text, name=name: f"{name}: {text}")


def to_dtype(record: tuple, dtype: torch.dtype) -> tuple:
    """The same record with its floating-point tensors in `dtype`."""
    return tree_map(lambda x: x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x, record)


def turnover(market: Market, fills: Fills) -> Tensor:
    """Scale of a seat's cash arithmetic in one step: what it held and what it traded [B, N]."""
    traded = (fills.shares.abs() * fills.price.unsqueeze(-2)).sum(-1)
    return market.state.cash.abs() + traded + fills.financing.abs()


# 1. Conservation


@LAW
@given(markets(), SEEDS)
def test_cash_and_shares_are_conserved(market: Market, seed: int) -> None:
    """Seats + house + outsiders: nobody makes money or shares, over several steps with everything on."""
    state, orders = market.state, market.orders
    cash_total, shares_total = state.cash.sum(-1), state.position.sum(-2)
    house, outside_cash = torch.zeros_like(cash_total), torch.zeros_like(cash_total)
    outside_shares = torch.zeros_like(shares_total)
    scale = state.cash.abs().sum(-1)
    for quotes in quote_path(market, seed, 5):
        state, fills = step_orders(market.params, state, quotes, orders)
        house += (fills.cost + fills.penalty - fills.financing).sum(-1)
        outside_cash += (fills.net_flow * fills.price).sum(-1)
        outside_shares -= fills.net_flow
        scale += (fills.shares.abs() * fills.price.unsqueeze(-2)).sum((-1, -2)) + state.cash.abs().sum(-1)
        orders = orders.roll(1, 1) * -0.7
    error = (state.cash.sum(-1) + house + outside_cash - cash_total).abs()
    assert (error <= PATH * scale).all()
    torch.testing.assert_close(
        state.position.sum(-2) + outside_shares, shares_total, rtol=PATH, atol=PATH * float(market.quotes.adv.max())
    )


@LAW
@given(markets())
def test_each_seat_pays_the_one_price_for_what_it_got(market: Market) -> None:
    """Seat by seat: cash and position change by the fills, at the price all share, and by nothing else."""
    state, fills = step_orders(*market)
    assert torch.equal(state.position, market.state.position + fills.shares)
    assert torch.equal(fills.net_flow, fills.shares.sum(-2))
    paid = (fills.shares * fills.price.unsqueeze(-2)).sum(-1) + fills.cost + fills.penalty - fills.financing
    error = (market.state.cash - paid - state.cash).abs()
    assert (error <= SUM * turnover(market, fills)).all()
    assert (fills.cost >= 0).all()
    assert (fills.penalty >= 0).all()


# 2. Energy


@pytest.mark.parametrize("varying_liquidity", [False, True])
def test_impact_paid_is_stored_or_dissipated(varying_liquidity: bool) -> None:
    """At a constant price: paid = stored + dissipated, each >= 0; with the limiter also in varying liquidity."""

    @LAW
    @given(markets(constant_price=True, temporary_coef=0.0, varying_liquidity=varying_liquidity, **IMPACT_ONLY), SEEDS)
    def law(market: Market, seed: int) -> None:
        params, state, orders = market.params, flat(market.state), market.orders
        if varying_liquidity:
            state = state._replace(impact_scale=torch.full_like(state.imbalance, inf))
        paid = dissipated = stored = torch.zeros_like(market.quotes.adv)
        for quotes in quote_path(market, seed, 6, constant_price=True):
            before = decay(params, state.imbalance)
            state, fills = step_orders(params, state, quotes, orders)
            paid = paid + fills.net_flow * (fills.price / quotes.fill_price - 1.0)
            lost = stored - potential(params, quotes, before, state.impact_scale)
            stored = potential(params, quotes, state.imbalance, state.impact_scale)
            dissipated = dissipated + lost
            noise = SUM * quotes.adv
            assert (lost >= -noise).all()
            assert (stored >= -noise).all()
            orders = orders.roll(1, 1) * -0.8
        assert (paid >= -PATH * market.quotes.adv).all()
        torch.testing.assert_close(paid, stored + dissipated, rtol=PATH, atol=SUM * float(market.quotes.adv.max()))

    law()


# 3. Nothing traded


@LAW
@given(markets(min_agents=2, margin=False, ruin=False), st.booleans())
def test_without_net_flow_impact_only_decays(market: Market, crossing: bool) -> None:
    """X = 0, whether nobody trades or a buyer meets a seller: E decays and the price is S (1 + I)."""
    params, state, quotes, orders = market
    quotes = quotes._replace(reduce_only=torch.zeros_like(quotes.reduce_only))
    deal = orders[:, :1] * crossing
    orders = torch.cat([deal, -deal, torch.zeros_like(orders[:, 2:])], 1)
    after, fills = step_orders(params, state, quotes, orders)
    decayed = decay(params, state.imbalance)
    mid = quotes.fill_price * (1 + displacement(params, quotes, decayed, after.impact_scale))
    assert torch.equal(fills.shares, orders * quotes.tradable.unsqueeze(-2))
    assert (fills.net_flow == 0).all()
    assert torch.equal(after.imbalance, decayed)
    torch.testing.assert_close(fills.price, mid, rtol=SUM, atol=0.0)


@LAW
@given(markets(margin=False, ruin=False))
def test_no_action_means_no_fill(market: Market) -> None:
    """Zero orders, and target weights that are not numbers, leave positions to the last bit."""
    for state, fills in (
        step_orders(market.params, market.state, market.quotes, torch.zeros_like(market.orders)),
        step(market.params, market.state, market.quotes, torch.full_like(market.orders, nan)),
    ):
        assert (fills.shares == 0).all()
        assert torch.equal(state.position, market.state.position)
        torch.testing.assert_close(state.cash, market.state.cash + fills.financing, rtol=SUM, atol=0.0)


@LAW
@given(markets(max_gross_leverage=1e9))
def test_holding_the_current_weights_trades_nothing(market: Market) -> None:
    """A seat that asks for the weights it has sends no order, in spite of rounding."""
    worth = market.state.nav.where(market.state.nav > 0, inf).unsqueeze(-1)
    weights = market.state.position * market.quotes.ref_price.unsqueeze(-2) / worth
    orders, rejected = orders_from_weights(market.params, market.state, market.quotes, weights)
    solvent = market.state.nav > 0
    assert (orders[solvent] == 0).all()
    assert (rejected == 0).all()


# 4. Splitting


@LAW
@given(
    markets(constant_price=True, temporary_coef=0.0, participation_cap=inf, varying_liquidity=False, **IMPACT_ONLY),
    st.floats(0, 1),
)
def test_splitting_a_fill_changes_nothing(market: Market, share: float) -> None:
    """Without decay, temporary impact or spread, one fill costs what its two parts cost, in one bar or in two."""
    forever = tuple(replace(mode, half_life=inf) for mode in market.params.modes)
    params = replace(market.params, modes=forever, fee_rate=0.0, owners=None)
    quotes = market.quotes._replace(half_spread=torch.zeros_like(market.quotes.half_spread))
    orders = market.orders[:, :1]
    one = Market(params, initial_state(params, market.state.cash[:, :1], orders.shape[-1]), quotes, orders)
    one = one._replace(state=one.state._replace(imbalance=market.state.imbalance))
    whole, fills = step_orders(*one)
    first, _ = step_orders(params, one.state, quotes, share * orders)
    second, _ = step_orders(params, first, quotes, (1 - share) * orders)
    scale = turnover(one, fills)
    assert ((second.cash - whole.cash).abs() <= SUM * scale).all()
    two_seats = initial_state(params, market.state.cash[:, :1].repeat(1, 2) / 2, orders.shape[-1])
    two_seats = two_seats._replace(imbalance=market.state.imbalance)
    shared, _ = step_orders(params, two_seats, quotes, torch.cat([share * orders, (1 - share) * orders], 1))
    assert ((shared.cash.sum(-1, keepdim=True) - whole.cash).abs() <= SUM * scale).all()


# 5. Caps


@LAW
@given(markets())
def test_fills_respect_orders_and_capacity(market: Market) -> None:
    """|X| <= K; |x_i| <= |o_i|, on the same side; what is not tradable does not trade."""
    _, fills = step_orders(*market)
    capacity = market.params.participation_cap * market.quotes.bar_volume
    assert (fills.net_flow.abs() <= capacity + SUM * fills.orders.abs().sum(-2)).all()
    assert (fills.shares.abs() <= fills.orders.abs() * (1 + SUM)).all()
    assert (fills.shares * fills.orders >= 0).all()
    halted = ~market.quotes.tradable.unsqueeze(-2).expand_as(fills.shares)
    assert (fills.shares[halted] == 0).all()


@LAW
@given(markets())
def test_seats_in_trouble_only_reduce(market: Market) -> None:
    """Wind-down, margin call, ruin: a position never grows nor changes sign, whatever is ordered."""
    params, state, quotes, _ = market
    _, fills = step_orders(*market)
    restricted = quotes.reduce_only.unsqueeze(-1).expand_as(state.alive)
    restricted = restricted | (state.margin_call & params.margin) | (~state.alive & params.ruin)
    position = state.position[restricted]
    after = position + fills.shares[restricted]
    assert (after * position >= -SUM * position * position).all()
    assert (after.abs() <= position.abs()).all()


@LAW
@given(markets(), st.sampled_from([0.5, 2.0]), st.sampled_from([0.3, inf]), st.floats(0.1, 1e4), SEEDS)
def test_sizing_keeps_the_gross_cap(market: Market, gross: float, per_asset: float, size: float, seed: int) -> None:
    """Orders keep |weight| and gross within their caps at the sizing price; what must stay uses up room first."""
    params = replace(market.params, max_gross_leverage=gross, max_asset_weight=per_asset)
    generator = torch.Generator().manual_seed(seed)
    weights = size * torch.randn(market.orders.shape, generator=generator, dtype=torch.float64)
    weights[torch.rand(weights.shape, generator=generator) < 0.2] = nan
    orders, _ = orders_from_weights(params, market.state, market.quotes, weights)
    worth = market.state.nav.unsqueeze(-1)
    after = ((market.state.position + orders) * market.quotes.ref_price.unsqueeze(-2) / worth).abs()
    stays = weights.isnan() | ~market.quotes.tradable.unsqueeze(-2)
    kept = torch.where(stays, after, 0.0).sum(-1)
    dust = params.min_order * (1 + SUM)  # a reduction smaller than this is not sent
    solvent = market.state.nav > 0
    allowed = kept.clamp(min=gross) + dust * weights.shape[-1]
    assert (after.sum(-1) <= allowed)[solvent].all()
    assert (after <= per_asset + dust)[solvent.unsqueeze(-1) & ~stays].all()


# 6. Symmetries


def permuted(market: Market, markets: Tensor, agents: Tensor, assets: Tensor) -> Market:
    """The same world with its rows named in another order."""
    params, state, quotes, orders = market
    if params.owners is not None:
        params = replace(params, owners=tuple(params.owners[i] for i in agents.tolist()))
    fields = {name: x[markets] if x is None or x.dim() == 1 else x[markets][:, assets] for name, x in _present(quotes)}
    return Market(
        params,
        permuted_state(state, markets, agents, assets),
        quotes._replace(**fields),
        orders[markets][:, agents][:, :, assets],
    )


def permuted_state(state: MarketState, markets: Tensor, agents: Tensor, assets: Tensor) -> MarketState:
    fields = {name: x[markets] for name, x in _present(state)}
    for name in ("cash", "position", "nav", "peak_nav", "margin_call", "alive"):
        fields[name] = fields[name][:, agents]
    fields["position"] = fields["position"][:, :, assets]
    for name in ("imbalance", "impact_scale"):
        if name in fields:
            fields[name] = fields[name][:, assets]
    return state._replace(**fields)


def _present(record: tuple) -> list[tuple[str, Tensor]]:
    return [(name, x) for name, x in record._asdict().items() if x is not None]


@LAW
@given(markets(), SEEDS)
def test_names_do_not_matter(market: Market, seed: int) -> None:
    """Permuting markets, agents and assets permutes the result."""
    generator = torch.Generator().manual_seed(seed)
    order = [torch.randperm(size, generator=generator) for size in market.orders.shape]
    state, fills = step_orders(*market)
    other_state, other_fills = step_orders(*permuted(market, *order))
    assert_same(other_state, permuted_state(state, *order))
    torch.testing.assert_close(other_fills.price, fills.price[order[0]][:, order[2]], rtol=SUM, atol=SUM)


@LAW
@given(markets())
def test_a_batch_is_its_markets_one_by_one(market: Market) -> None:
    """B markets at once equal B runs of one market (up to vector units rounding transcendental functions)."""
    params, *tensors = market
    state, fills = step_orders(*market)
    for b in range(market.orders.shape[0]):
        one = [only_market(part, b) for part in tensors]
        alone_state, alone_fills = step_orders(params, *one)
        assert_same(alone_state, only_market(state, b))
        assert_same(alone_fills, only_market(fills, b))


def only_market(part: tuple | Tensor, b: int) -> tuple | Tensor:
    return tree_map(lambda x: x[b : b + 1] if isinstance(x, Tensor) else x, part)


@LAW
@given(markets(), st.floats(1e-3, 1e3))
def test_shares_have_no_absolute_size(market: Market, k: float) -> None:
    """Positions, orders, volumes and cash times k: the same prices, k times the money."""
    params, state, quotes, orders = market
    state_fields = ("cash", "position", "imbalance", "nav", "peak_nav")
    bigger = state._replace(**{name: getattr(state, name) * k for name in state_fields})
    deeper = quotes._replace(adv=quotes.adv * k, bar_volume=quotes.bar_volume * k)
    params_k = replace(params, quadratic_cost=params.quadratic_cost / k)
    expected_state, expected = step_orders(*market)
    got_state, got = step_orders(params_k, bigger, deeper, orders * k)
    torch.testing.assert_close(got.price, expected.price, rtol=PATH, atol=0.0)
    assert_same(got_state, expected_state._replace(**{n: getattr(expected_state, n) * k for n in state_fields}), PATH)


@LAW
@given(markets(), st.floats(1e-3, 1e3))
def test_currency_has_no_absolute_size(market: Market, k: float) -> None:
    """Reference prices and cash times k: prices and money times k, the same shares."""
    params, state, quotes, orders = market
    money = ("cash", "nav", "peak_nav")
    prices = {name: getattr(quotes, name) * k for name in ("ref_price", "fill_price", "next_ref_price")}
    if quotes.dividend is not None:
        prices["dividend"] = quotes.dividend * k
    richer = state._replace(**{name: getattr(state, name) * k for name in money})
    expected_state, expected = step_orders(*market)
    got_state, got = step_orders(params, richer, quotes._replace(**prices), orders)
    torch.testing.assert_close(got.price, expected.price * k, rtol=PATH, atol=0.0)
    assert_same(got_state, expected_state._replace(**{n: getattr(expected_state, n) * k for n in money}), PATH)


@LAW
@given(markets(constant_price=True, **IMPACT_ONLY))
def test_buying_mirrors_selling(market: Market) -> None:
    """At a constant price, flipping every position and order flips the displacement; costs and exit costs stay."""
    params, state, quotes, orders = market
    mirrored = state._replace(position=-state.position, imbalance=-state.imbalance)
    after, fills = step_orders(*market)
    after_mirrored, fills_mirrored = step_orders(params, mirrored, quotes, -orders)
    assert torch.equal(fills_mirrored.shares, -fills.shares)
    torch.testing.assert_close(fills_mirrored.cost, fills.cost, rtol=SUM, atol=0.0)
    impact, mirrored_impact = (f.price / quotes.fill_price - 1 for f in (fills, fills_mirrored))
    torch.testing.assert_close(mirrored_impact, -impact, rtol=SUM, atol=SUM)  # of the price itself
    torch.testing.assert_close(
        displacement(params, quotes, after_mirrored.imbalance, after_mirrored.impact_scale),
        -displacement(params, quotes, after.imbalance, after.impact_scale),
        rtol=SUM,
        atol=0.0,
    )
    paper, paper_mirrored = (
        s.cash + (s.position * quotes.next_ref_price.unsqueeze(-2)).sum(-1) - s.nav for s in (after, after_mirrored)
    )
    atol = SUM * float((state.cash.abs() + (state.position.abs() * quotes.ref_price.unsqueeze(-2)).sum(-1)).max())
    torch.testing.assert_close(paper_mirrored, paper, rtol=SUM, atol=10 * atol)


# 9. The mark


@LAW
@given(markets(), SEEDS)
def test_nav_is_below_the_reference_value_and_ignores_the_others(market: Market, seed: int) -> None:
    """V_rest <= cash + h S, and it is a function of own cash, own position and S alone."""
    params, _, quotes, _ = market
    state, _ = step_orders(*market)
    reference_value = state.cash + (state.position * quotes.next_ref_price.unsqueeze(-2)).sum(-1)
    scale = state.cash.abs() + (state.position.abs() * quotes.next_ref_price.unsqueeze(-2)).sum(-1)
    assert (state.nav <= reference_value + SUM * scale).all()
    generator = torch.Generator().manual_seed(seed)
    seat = int(torch.randint(state.cash.shape[1], (1,), generator=generator))
    others = torch.arange(state.cash.shape[1]) != seat
    crowd = torch.randn(state.position.shape, generator=generator, dtype=torch.float64) * quotes.adv.unsqueeze(-2)
    position = torch.where(others.unsqueeze(-1), crowd, state.position)
    among_others = nav(params, quotes, state.cash, position, quotes.next_ref_price)
    assert torch.equal(among_others[:, seat], state.nav[:, seat])


# 10. Rubbish in

RUBBISH = st.one_of(
    st.sampled_from([nan, inf, -inf, 0.0, -0.0, 1e308, -1e308, 5e-324, -1e-310, 1e-160, 1e-20, 1e-7, 1.0, 1e6]),
    st.floats(),
    st.floats(-3, 3),
)


@LAW
@given(
    markets(participation_cap=0.1),
    st.lists(RUBBISH, min_size=1, max_size=12),
    st.sampled_from([torch.float64, torch.float32]),
    SEEDS,
)
def test_no_weights_break_the_market(market: Market, numbers: list[float], dtype: torch.dtype, seed: int) -> None:
    """NaN, infinite, huge and denormal weights: everything stays finite, prices positive, gradients finite."""
    params, _, _, orders = market
    rubbish = torch.tensor(numbers, dtype=torch.float64).to(dtype).repeat(orders.numel())[: orders.numel()]
    state = to_dtype(market.state, dtype)
    for quotes in quote_path(market, seed, 4):
        quotes = to_dtype(quotes, dtype)
        weights = rubbish.reshape(orders.shape).requires_grad_()
        new_state, fills = step(params, state, quotes, weights)
        (gradient,) = torch.autograd.grad(new_state.nav.sum() + fills.price.sum(), weights)
        state, fills = tree_map(lambda x: x.detach() if isinstance(x, Tensor) else x, (new_state, fills))
        assert torch.isfinite(gradient).all()
        for name, value in [*_present(state), *_present(fills)]:
            assert torch.isfinite(value).all(), name
        mid = quotes.next_ref_price * (1 + displacement(params, quotes, state.imbalance, state.impact_scale))
        assert (fills.price > 0).all()
        assert (mid > 0).all()
        assert torch.equal(fills.rejected, (~weights.isfinite()).sum(-1).to(dtype))
        rubbish = rubbish.detach().roll(1)


@LAW
@given(markets())
def test_gradients_at_rest_are_finite(market: Market) -> None:
    """The first trade of a match: no order, empty books, nothing held, where |x|**delta has an infinite slope."""
    for state in (flat(market.state), at_rest(market.state), market.state):
        orders = torch.zeros_like(market.orders).requires_grad_()
        after, fills = step_orders(market.params, state, market.quotes, orders)
        (gradient,) = torch.autograd.grad(after.nav.sum() + fills.price.sum(), orders)
        assert torch.isfinite(gradient).all()


def test_gradient_of_a_step_matches_finite_differences() -> None:
    """Three agents, two assets, both sides, the cap binding in one asset; costs, margin calls and owners on."""
    params = replace(preset("sqrt"), quadratic_cost=1e-9, owners=(0, 1, 1), participation_cap=0.02)
    market = random_market(params, seed=3, shape=(2, 3, 2), constant_price=True)
    orders = market.orders.clone().requires_grad_()

    def outcome(orders: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        state, fills = step_orders(params, market.state, market.quotes, orders)
        worth = market.state.nav.abs()
        return (
            state.nav / worth,
            state.imbalance / market.quotes.adv.unsqueeze(-1),
            fills.price / market.quotes.ref_price,
        )

    # Orders are thousands of shares: a difference of 1e-2 shares leaves 8 digits, compared to 1e-5 of the slope.
    assert torch.autograd.gradcheck(outcome, (orders,), eps=1e-2, atol=1e-14, rtol=1e-5)


# 11. Round trips

NUM_ROUND_TRIPS = 100_000


def plain_quotes(num_markets: int) -> Quotes:
    """One asset at a constant price of 100, one million shares a day, 2 % a day, no spread."""
    ones = torch.ones(num_markets, 1, dtype=torch.float64)
    price, volume = 100 * ones, 1e6 * ones
    tradable, reduce_only = ones > 0, torch.zeros(num_markets, dtype=torch.bool)
    return Quotes(price, price, price, 0.02 * ones, volume, volume, 0 * ones, 0 * ones, tradable, reduce_only)


@pytest.mark.parametrize("num_agents", [1, 4])
@pytest.mark.parametrize("name", ["sqrt", "linear_ow", "mixed"])
def test_no_random_round_trip_gains(name: str, num_agents: int) -> None:
    """1e5 random schedules of 12 bars whose total starts and ends at 0: together, the agents never gain cash."""
    modes = (ImpactMode(0.4, 0.3, 0.5), ImpactMode(0.3, 0.7, 3.0), ImpactMode(0.2, 1.0, inf))
    base = replace(preset("sqrt"), modes=modes) if name == "mixed" else preset(name)
    params = replace(base, temporary_coef=0.0, fee_rate=0.0, participation_cap=inf, **IMPACT_ONLY)
    generator = torch.Generator().manual_seed(num_agents)
    num_bars, num_markets = 12, NUM_ROUND_TRIPS // num_agents
    schedule = torch.randn(num_bars, num_markets, num_agents, 1, generator=generator, dtype=torch.float64)
    schedule *= torch.rand(num_bars, num_markets, 1, 1, generator=generator) < 0.7  # pauses
    schedule -= schedule.mean((0, 2), keepdim=True)
    schedule *= 1e6 * 10 ** (-5 * torch.rand(num_markets, 1, 1, generator=generator, dtype=torch.float64))
    quotes = plain_quotes(num_markets)
    state = initial_state(params, torch.zeros(num_markets, num_agents, dtype=torch.float64), 1)
    for orders in schedule:
        state, _ = step_orders(params, state, quotes, orders)
    gain = (state.cash + 100 * state.position.squeeze(-1)).sum(-1)  # single agents may end with opposite positions
    traded = 100 * schedule.abs().sum((0, 2, 3))
    assert float((gain / traded).max()) < -1e-9  # strictly: every one of these trades leaves energy behind
    assert (state.position.sum((1, 2)).abs() <= SUM * schedule.abs().sum((0, 2, 3))).all()


def test_no_random_round_trip_through_the_cap_gains() -> None:
    """Orders beyond the cap, then unwinding until flat, with all costs off: cash never grows."""
    params = replace(preset("sqrt"), temporary_coef=0.0, fee_rate=0.0, **IMPACT_ONLY)
    num_markets = 20_000
    generator = torch.Generator().manual_seed(5)
    quotes = plain_quotes(num_markets)
    state = initial_state(params, torch.zeros(num_markets, 1, dtype=torch.float64), 1)
    rationed = 0
    for bar in range(16):
        orders = 2e5 * torch.randn(num_markets, 1, 1, generator=generator, dtype=torch.float64)
        state, fills = step_orders(params, state, quotes, orders if bar < 8 else -state.position)
        rationed += int((fills.shares != fills.orders).sum())
    assert rationed > num_markets
    assert (state.position == 0).all()
    assert float(state.cash.max()) < 0


# 14. Limiter


@LAW
@given(markets(varying_liquidity=True), SEEDS)
def test_limiter(market: Market, seed: int) -> None:
    """The multiplier never exceeds the raw one, falls at once, rises by at most exp((1 + delta) rho dt) a bar, and a
    permanent mode never rises; against the recursion written for one number."""
    params = market.params
    size = market.quotes.adv.shape
    raw = 10 ** (torch.rand(8, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 - 1)
    scale = torch.full_like(market.state.imbalance, inf)
    for bar, raw_now in enumerate(raw):
        new = limit_scale(params, scale, raw_now)
        if bar == 0:
            assert torch.equal(new, raw_now.unsqueeze(-1).expand_as(new))
        for m, mode in enumerate(params.modes):
            surviving = 2.0 ** (-params.dt / mode.half_life)  # of the imbalance, hence its energy ** (1 / (1 + delta))
            energy_kept = surviving ** (1 + mode.exponent)
            expected = [
                min(r, s / energy_kept) for r, s in zip(raw_now.flatten().tolist(), scale[..., m].flatten().tolist())
            ]
            assert new[..., m].flatten().tolist() == pytest.approx(expected, rel=SUM)
            assert (new[..., m] <= raw_now).all()
            if mode.half_life == inf:
                assert (new[..., m] <= scale[..., m]).all()
        assert (limit_scale(params, scale * 0.5, raw_now) <= new).all()  # tighter before, not looser after
        scale = new


# Precision


def test_float32_drifts_little() -> None:
    """The same 60 bars of 6 busy agents in both precisions: net asset values agree to `drift`."""
    drift = 5e-5  # of nav: 60 steps of cash held to 6e-8 each, and fills of some 5 % of daily volume
    params = preset("sqrt")
    market = random_market(params, seed=1, shape=(4, 6, 3), constant_price=True)
    cash = (market.quotes.adv * market.quotes.ref_price).sum(-1, keepdim=True).expand(4, 6)
    states = {dtype: initial_state(params, cash.to(dtype), 3) for dtype in (torch.float32, torch.float64)}
    generator = torch.Generator().manual_seed(2)
    for quotes in quote_path(market, 7, 60):
        orders = 0.05 * quotes.adv.unsqueeze(-2) * torch.randn(4, 6, 3, generator=generator, dtype=torch.float64)
        for dtype, state in states.items():
            states[dtype], _ = step_orders(params, state, to_dtype(quotes, dtype), orders.to(dtype))
    error = (states[torch.float32].nav / states[torch.float64].nav - 1).abs().max()
    assert 0 < float(error) < drift
