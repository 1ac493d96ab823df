"""Margin calls, forced reductions, the penalty, ruin, halts and wind-down over scripted prices, against a ledger.

Unless said, seats are long 2 shares bought at 100 with 100 of cash and 100 borrowed, or short 2 with 300 of cash, in a
market without friction but the penalty: long nav = 2 p - 100, short nav = 300 - 2 p, gross notional 2 p.
"""

from collections import Counter
from dataclasses import replace
from math import exp, inf

import pytest
import torch
from ledger import Account, Bar, Ledger, Rates

from arena.market.presets import frictionless
from arena.market.step import initial_state, step_orders
from arena.market.types import Fills, ImpactMode, MarketParams, MarketState, Quotes

CLOSE = 1e-9  # of cash and shares: float64 sums over up to 60 bars, where release thresholds are met exactly by design
HELD = replace(frictionless(), forced_penalty=10e-4)
PENALTY = 10e-4
FEES = {"fee_rate": 4e-4, "margin_spread": 1e-3}
BORROW = 5e-4


class Match:
    """The shipped market and the ledger, side by side, on one script."""

    def __init__(
        self,
        params: MarketParams,
        cash: list[float],
        position: list[list[float]],
        prices: list[float],
        gamma: float = 0.0,
    ) -> None:
        """Seats with `cash` [N] and `position` [N][A], marked at `prices` [A]; gamma: permanent impact coefficient."""
        self.params = replace(params, modes=(ImpactMode(gamma, 1.0, inf),)) if gamma else params
        self.adv, self.volatility = 1000.0, 0.02
        num_assets = len(prices)
        per_share = gamma * self.volatility / self.adv
        frictional = params.fee_rate > 0
        rates = Rates([per_share] * num_assets, params.fee_rate, params.margin_spread, BORROW if frictional else 0.0)
        accounts = [Account(c, list(h)) for c, h in zip(cash, position)]
        self.ledger = Ledger(rates, accounts, [0.0] * num_assets)
        for account in accounts:
            self.ledger.mark(account, prices)
        self.prices = prices
        state = initial_state(self.params, torch.tensor([cash], dtype=torch.float64), num_assets)
        worth = torch.tensor([[account.nav for account in accounts]], dtype=torch.float64)
        called = torch.tensor([[account.called for account in accounts]])
        self.state = state._replace(
            position=torch.tensor([position], dtype=torch.float64), nav=worth, peak_nav=worth, margin_call=called
        )

    def bar(
        self,
        close: list[float],
        orders: list[list[float]] | None = None,
        *,
        fill_price: list[float] | None = None,
        capacity: float = inf,
        halted: tuple[int, ...] = (),
        wind_down: bool = False,
    ) -> tuple[MarketState, Fills]:
        """One bar through both; they must agree. Filled at its close unless `fill_price` says otherwise."""
        num_assets = len(close)
        orders = orders or [[0.0] * num_assets for _ in self.ledger.accounts]
        fill_price = fill_price or close
        tradable = [a not in halted for a in range(num_assets)]
        self.ledger.step(Bar(self.prices, fill_price, close, [capacity] * num_assets, tradable, wind_down), orders)
        quotes = Quotes(
            *(torch.tensor([x], dtype=torch.float64) for x in (self.prices, fill_price, close)),
            volatility=torch.full((1, num_assets), self.volatility, dtype=torch.float64),
            adv=torch.full((1, num_assets), self.adv, dtype=torch.float64),
            bar_volume=torch.full((1, num_assets), 1.0, dtype=torch.float64),
            half_spread=torch.zeros(1, num_assets, dtype=torch.float64),
            borrow_rate=torch.full((1, num_assets), self.ledger.rates.borrow, dtype=torch.float64),
            tradable=torch.tensor([tradable]),
            reduce_only=torch.tensor([wind_down]),
        )
        params = replace(self.params, participation_cap=capacity)  # times a bar volume of 1
        self.state, fills = step_orders(params, self.state, quotes, torch.tensor([orders], dtype=torch.float64))
        self.prices = close
        self.compare(fills)
        return self.state, fills

    def compare(self, fills: Fills) -> None:
        accounts = self.ledger.accounts
        for name in ("cash", "position", "nav", "called", "alive"):
            got = getattr(self.state, "margin_call" if name == "called" else name)[0].tolist()
            expected = [getattr(account, name) for account in accounts]
            for mine, theirs in zip(got, expected):
                assert mine == (theirs if isinstance(theirs, bool) else pytest.approx(theirs, rel=CLOSE, abs=CLOSE)), (
                    name
                )
        assert fills.penalty[0].tolist() == pytest.approx([a.penalty for a in accounts], rel=CLOSE, abs=CLOSE)


def long_and_short(**rules: float) -> Match:
    return Match(replace(HELD, **rules), [-100.0, 300.0], [[2.0], [-2.0]], [100.0])


def test_call_starts_below_maintenance_and_forces_the_next_bar() -> None:
    """Long: 2 p - 100 < 0.25 * 2 p from p < 66.67; the bar of the breach itself trades nothing."""
    match = long_and_short()
    for price in (80.0, 67.0):
        state, fills = match.bar([price])
        assert state.margin_call.tolist() == [[False, False]]
    state, fills = match.bar([66.0])
    assert state.margin_call.tolist() == [[True, False]]
    assert (fills.shares == 0).all()
    state, fills = match.bar([66.0])
    phi = (132.0 - 32.0 / 0.36) / 132.0  # gross 132, nav 32
    assert fills.shares.flatten().tolist() == pytest.approx([-2.0 * phi, 0.0], rel=CLOSE)
    assert float(state.position[0, 0, 0]) * 66.0 == pytest.approx(32.0 / 0.36, rel=CLOSE)
    assert float(state.nav[0, 0]) == pytest.approx(32.0 - PENALTY * 132.0 * phi, rel=CLOSE)
    assert not state.margin_call[0, 0]  # 36 % less the penalty is above 35 %: one forced bar is enough at a flat price


def test_short_maintenance_is_higher() -> None:
    """Short: 300 - 2 p < 0.30 * 2 p from p > 115.38."""
    match = long_and_short()
    assert match.bar([115.0])[0].margin_call.tolist() == [[False, False]]
    assert match.bar([116.0])[0].margin_call.tolist() == [[False, True]]
    _, fills = match.bar([116.0])
    assert fills.shares.flatten().tolist() == pytest.approx([0.0, 2.0 * (1 - 68.0 / 0.36 / 232.0)], rel=CLOSE)


def test_call_is_released_at_35_percent_not_at_maintenance() -> None:
    """Recovery between 25 % and 35 % keeps the call; at 35 % it ends, and the seat may buy again."""
    match = long_and_short()
    match.bar([66.0])
    state, _ = match.bar([70.0], fill_price=[70.0], halted=(0,))  # nav 40 of gross 140: 28.6 %
    assert state.margin_call.tolist() == [[True, False]]
    state, _ = match.bar([77.0], halted=(0,))  # 54 of 154: 35.06 %
    assert state.margin_call.tolist() == [[False, False]]
    _, fills = match.bar([77.0], [[0.5], [0.0]])
    assert fills.shares.flatten().tolist() == [0.5, 0.0]


def test_penalty_is_ten_basis_points_of_forced_shares_that_filled() -> None:
    """Own selling beyond the forced part is free of it; forced shares beyond the cap are not charged yet."""
    match = long_and_short()
    match.bar([66.0])
    forced = 2.0 * (1 - 32.0 / 0.36 / 132.0)
    _, fills = match.bar([66.0], [[-1.5], [0.0]])
    assert float(fills.shares[0, 0, 0]) == -1.5
    assert fills.penalty.flatten().tolist() == pytest.approx([PENALTY * 66.0 * forced, 0.0], rel=CLOSE)
    match = long_and_short()
    match.bar([66.0])
    _, fills = match.bar([60.0], [[-1.5], [0.0]], capacity=0.1)
    assert fills.shares.flatten().tolist() == pytest.approx([-0.1, 0.0], rel=CLOSE)
    assert fills.penalty.flatten().tolist() == pytest.approx([PENALTY * 60.0 * 0.1, 0.0], rel=CLOSE)


def test_called_seat_may_only_reduce() -> None:
    """Buying more is dropped, selling more than held is cut at flat, new positions in other assets are dropped."""
    for order, expected in (([1.0, 1.0], None), ([-5.0, -1.0], [-2.0, 0.0])):
        match = Match(HELD, [-100.0], [[2.0, 0.0]], [100.0, 50.0])
        match.bar([66.0, 50.0])
        _, fills = match.bar([66.0, 50.0], [order])
        forced = [-2.0 * (1 - 32.0 / 0.36 / 132.0), 0.0]
        assert fills.shares[0, 0].tolist() == pytest.approx(expected or forced, rel=CLOSE)


def test_several_assets_shrink_together_and_halted_ones_are_made_up_for() -> None:
    """nav 30 of gross 160 (long 100, short 60): the same share of each; with one halted, the other bears it all."""
    start = ([30.0 - 100.0 + 60.0], [[2.0, -3.0]], [50.0, 20.0])
    excess = 160.0 - 30.0 / 0.36  # 74.3
    match = Match(HELD, *start)
    assert match.state.margin_call.tolist() == [[True]]  # 30 < 25 + 18
    _, fills = match.bar([50.0, 20.0])
    assert fills.shares[0, 0].tolist() == pytest.approx([-2.0 * excess / 160, 3.0 * excess / 160], rel=CLOSE)
    match = Match(HELD, *start)
    _, fills = match.bar([50.0, 20.0], halted=(1,))
    assert fills.shares[0, 0].tolist() == pytest.approx([-2.0 * excess / 100, 0.0], rel=CLOSE)
    match = Match(HELD, *start)
    _, fills = match.bar([50.0, 20.0], halted=(0,))
    assert fills.shares[0, 0].tolist() == [0.0, 3.0]  # 74.3 > 60: all of what trades
    _, fills = match.bar([50.0, 20.0])  # nav 30 less the penalty on 60, of gross 100: still below 35 %
    worth = 30.0 - PENALTY * 60.0
    assert fills.shares[0, 0].tolist() == pytest.approx([-2.0 * (1 - worth / 0.36 / 100), 0.0], rel=CLOSE)


def test_liquidation_through_the_cap_takes_several_bars() -> None:
    """0.1 share a bar: the call holds, the fraction is computed anew each bar, and ends when 35 % is reached."""
    match = long_and_short()
    match.bar([66.0])
    sold = []
    for _ in range(6):
        _, fills = match.bar([66.0], capacity=0.1)
        sold.append(-float(fills.shares[0, 0, 0]))
    assert sold == pytest.approx([0.1] * 6, rel=CLOSE)  # of 0.615 that the first bar asked for
    _, fills = match.bar([66.0], capacity=0.1)
    worth = 32.0 - PENALTY * 66.0 * 0.6
    assert -float(fills.shares[0, 0, 0]) == pytest.approx(1.4 - worth / 0.36 / 66.0, rel=CLOSE)
    state, _ = match.bar([68.0], capacity=0.1)
    assert not bool(state.margin_call[0, 0])


def test_two_called_seats_share_the_cap_and_cross_with_each_other() -> None:
    """Equal liquidations get equal parts of the cap; a liquidated long meets a liquidated short without outsiders."""
    match = Match(HELD, [-100.0, -100.0], [[2.0], [2.0]], [100.0])
    match.bar([66.0])
    _, fills = match.bar([66.0], capacity=0.5)
    assert fills.shares.flatten().tolist() == pytest.approx([-0.25, -0.25], rel=CLOSE)
    match = Match(HELD, [-100.0, 164.0], [[2.0], [-2.0]], [66.0])  # both nav 32 of gross 132
    assert match.state.margin_call.tolist() == [[True, True]]
    forced = 2 * (1 - 32 / 0.36 / 132)
    _, fills = match.bar([66.0], capacity=0.0)
    assert fills.shares.flatten().tolist() == pytest.approx([-forced, forced], rel=CLOSE)


def test_ruin_liquidates_keeps_the_debt_and_is_for_good() -> None:
    """A gap to 40 leaves -20: everything is sold in the next bar, then nothing happens any more, whatever the price."""
    match = long_and_short(**FEES)
    state, _ = match.bar([40.0])
    assert state.alive.tolist() == [[False, True]]
    assert float(state.nav[0, 0]) < -20.0
    state, fills = match.bar([40.0], [[5.0], [0.0]])  # its own order is ignored
    assert fills.shares.flatten().tolist() == [-2.0, 0.0]
    assert float(fills.penalty[0, 0]) == pytest.approx(PENALTY * 80.0)
    debt = float(state.cash[0, 0])
    assert debt < -20.0
    assert float(state.nav[0, 0]) == debt
    for price in (80.0, 200.0, 120.0):
        state, fills = match.bar([price], [[1.0], [0.0]])
        assert state.alive.tolist()[0][0] is False
        assert float(fills.shares[0, 0, 0]) == 0.0
        assert float(state.cash[0, 0]) == debt  # no interest on the debt of a frozen seat
        assert float(state.nav[0, 0]) == debt
    assert float(state.cash[0, 1]) != 300.0  # the other seat goes on paying its borrow fee


def test_ruined_seat_in_a_halt_stays_ruined_when_the_price_recovers() -> None:
    """It cannot sell at 40, is worth something again at 90, is still sold, and keeps what it got."""
    match = long_and_short()
    match.bar([40.0])
    state, fills = match.bar([90.0], halted=(0,))
    assert (fills.shares == 0).all()
    assert float(state.nav[0, 0]) == pytest.approx(80.0)
    assert state.alive.tolist() == [[False, True]]
    state, fills = match.bar([95.0])
    assert float(fills.shares[0, 0, 0]) == -2.0
    assert float(state.cash[0, 0]) == pytest.approx(90.0 - PENALTY * 190.0)
    assert state.alive.tolist() == [[False, True]]


def test_ruined_seat_sells_through_the_cap_and_then_freezes() -> None:
    """2 shares at 0.75 a bar: three bars, interest until flat, none after."""
    match = long_and_short(**FEES)
    match.bar([40.0])
    sold = [float(match.bar([40.0], capacity=0.75)[1].shares[0, 0, 0]) for _ in range(4)]
    assert sold == pytest.approx([-0.75, -0.75, -0.5, 0.0], abs=CLOSE)
    assert float(match.state.position[0, 0, 0]) == 0.0
    before = float(match.state.cash[0, 0])
    _, fills = match.bar([41.0])
    assert float(fills.financing[0, 0]) == 0.0
    assert float(match.state.cash[0, 0]) == before


def test_wind_down_is_reduce_only_without_penalty() -> None:
    """Longs may sell up to flat, shorts may buy up to flat; nothing else trades, and nobody is forced."""
    match = long_and_short()
    for orders, expected in (
        ([[1.0], [-1.0]], [0.0, 0.0]),
        ([[0.0], [0.0]], [0.0, 0.0]),
        ([[-0.5], [0.25]], [-0.5, 0.25]),
        ([[-9.0], [9.0]], [-1.5, 1.75]),
        ([[1.0], [1.0]], [0.0, 0.0]),
    ):
        _, fills = match.bar([100.0], orders, wind_down=True)
        assert fills.shares.flatten().tolist() == expected
        assert (fills.penalty == 0).all()


def test_call_in_wind_down_is_still_forced() -> None:
    match = long_and_short()
    match.bar([66.0])
    _, fills = match.bar([66.0], wind_down=True)
    assert float(fills.shares[0, 0, 0]) == pytest.approx(-2.0 * (1 - 32.0 / 0.36 / 132.0), rel=CLOSE)


def test_switches_turn_the_rules_off() -> None:
    """margin = False: no calls; ruin = False: a seat below zero trades on."""
    params = replace(HELD, margin=False, ruin=False)
    state = Match(params, [-100.0], [[2.0]], [100.0]).state
    ones = torch.ones(1, 1, dtype=torch.float64)
    no = torch.zeros(1, dtype=torch.bool)
    quotes = Quotes(100 * ones, 40 * ones, 40 * ones, 0.02 * ones, ones, ones, 0 * ones, 0 * ones, ones > 0, no)
    state, _ = step_orders(params, state, quotes, 0 * ones.unsqueeze(-1))
    assert (state.margin_call.item(), state.alive.item()) == (False, True)
    assert state.nav.item() == -20.0
    _, fills = step_orders(params, state, quotes, ones.unsqueeze(-1))
    assert fills.shares.item() == 1.0


def test_random_scripts_agree_with_the_ledger() -> None:
    """Five seats, three assets, 8 x 60 bars of jumps, halts, caps, impact and costs; calls and ruin must occur."""
    generator = torch.Generator().manual_seed(0)

    def normal(*size: int) -> list:
        return torch.randn(size, generator=generator, dtype=torch.float64).tolist()

    def chance(probability: float) -> bool:
        return float(torch.rand(1, generator=generator)) < probability

    events = Counter()
    for _ in range(8):
        prices = [70.0, 40.0, 90.0]
        position = [[6.0 * z for z in row] for row in normal(5, 3)]
        worth = [[h * s for h, s in zip(held, prices)] for held in position]
        cash = [0.45 * sum(map(abs, notional)) - sum(notional) for notional in worth]
        match = Match(replace(HELD, **FEES), cash, position, prices, gamma=0.3)
        for t in range(60):
            jump = 0.5 if t in (15, 35) else 0.03
            fill = [s * exp(0.03 * z) for s, z in zip(prices, normal(3))]
            prices = [s * exp(jump * z) for s, z in zip(fill, normal(3))]
            halted = tuple(a for a in range(3) if chance(0.15))
            capacity = 0.3 if chance(0.5) else 3.0
            wind_down = t >= 57
            orders = normal(5, 3)
            state, fills = match.bar(
                prices, orders, fill_price=fill, halted=halted, capacity=capacity, wind_down=wind_down
            )
            events["calls"] += int(state.margin_call.sum())
            events["penalties"] += int((fills.penalty > 0).sum())
            events["capped"] += int((fills.net_flow.abs() >= capacity - CLOSE).sum())
            events["sold after ruin"] += int(((fills.shares != 0).any(-1) & ~state.alive).sum())
        events["alive"] += int(state.alive.sum())
        events["frozen with a debt"] += int(((state.position == 0).all(-1) & (state.nav < 0)).sum())
        events["releases"] += int((state.alive & ~state.margin_call).sum())
    assert all(events[name] > 3 for name in events), events
