"""Financing, explicit costs, exit cost and nav of single seats against the formulas written for plain numbers."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from random_markets import LAW, Market, markets

from arena.market.accounting import exit_cost, explicit_cost, financing, mark_value, nav
from arena.market.types import MarketParams, Quotes

SUM = 1e-12  # of the largest term: sums of up to a dozen float64 products
SMOOTHED = 1e-9  # |h|**delta is smoothed on a scale of 1e-12 days of volume, relative to positions above 1e-4


def close(value: float, terms: list[float], tolerance: float = SUM) -> None:
    assert value == pytest.approx(sum(terms), rel=0, abs=tolerance * max(map(abs, [*terms, 1e-300])))


@LAW
@given(markets())
def test_financing(market: Market) -> None:
    """Credit on cash net of short proceeds (or on all cash), debit interest, borrow fee, dividends."""
    params, state, quotes, _ = market
    got = financing(params, quotes, state.cash, state.position)
    for b, seats in enumerate(state.cash.tolist()):
        prices, fees, dividends = (x[b].tolist() for x in (quotes.ref_price, quotes.borrow_rate, quotes.dividend))
        for i, cash in enumerate(seats):
            held = state.position[b, i].tolist()
            shorts = [max(-h, 0.0) * s for h, s in zip(held, prices)]
            earning = cash if params.interest_on_short_proceeds else cash - sum(shorts)
            terms = [params.cash_rate * max(earning, 0.0)]
            terms += [-(params.cash_rate + params.margin_spread) * max(-cash, 0.0)]
            terms += [-fee * short for fee, short in zip(fees, shorts)]
            terms += [h * dividend for h, dividend in zip(held, dividends)]
            close(float(got[b, i]), terms)


def test_short_proceeds_earn_nothing_by_default() -> None:
    """100 of own cash and a short of 200: interest on 100, or on all 300 with the plain rule; debt pays the spread."""
    one = torch.ones(1, 1, dtype=torch.float64)
    quotes = Quotes(100 * one, one, one, one, one, one, one, 0.001 * one, one > 0, torch.zeros(1, dtype=torch.bool))
    cash, position = 300 * one, torch.full((1, 1, 1), -2.0, dtype=torch.float64)
    params = MarketParams(cash_rate=0.01, margin_spread=0.02)
    plain = replace(params, interest_on_short_proceeds=True)
    assert float(financing(params, quotes, cash, position)) == pytest.approx(0.01 * 100 - 0.2)
    assert float(financing(plain, quotes, cash, position)) == pytest.approx(0.01 * 300 - 0.2)
    assert float(financing(params, quotes, -cash, -position)) == pytest.approx(-0.03 * 300)


@LAW
@given(markets())
def test_costs_and_marks(market: Market) -> None:
    """Explicit cost of a fill; exit cost = block sale from rest; nav and mark value, asset by asset."""
    params, state, quotes, orders = market
    cost = explicit_cost(params, quotes, orders)
    leaving = exit_cost(params, quotes, state.position, quotes.next_ref_price)
    worth = nav(params, quotes, state.cash, state.position, quotes.next_ref_price)
    shown = mark_value(state.cash, state.position, quotes.next_ref_price)
    columns = (quotes.fill_price, quotes.next_ref_price, quotes.half_spread, quotes.volatility, quotes.adv)
    for b, seats in enumerate(state.cash.tolist()):
        rows = list(zip(*(x[b].tolist() for x in columns)))
        for i, cash in enumerate(seats):
            fees, exits, values = [], [], []
            for a, (fill, mark, half_spread, sigma, volume) in enumerate(rows):
                x, h = float(orders[b, i, a]), float(state.position[b, i, a])
                rate = half_spread + params.fee_rate
                fees.append(fill * (rate * abs(x) + params.quadratic_cost * x * x))
                size = abs(h) / volume
                impact = sum(m.coef * sigma * size**m.exponent / (1 + m.exponent) for m in params.modes)
                impact += params.temporary_coef * sigma * (size / params.dt) ** params.temporary_exponent
                exits.append(mark * (abs(h) * (impact + rate) + params.quadratic_cost * h * h))
                values.append(h * mark)
                assert float(leaving[b, i, a]) == pytest.approx(exits[-1], rel=SMOOTHED)
            close(float(cost[b, i]), fees)
            close(float(shown[b, i]), [cash, *values])
            close(float(worth[b, i]), [cash, *values, *(-e for e in exits)], SMOOTHED)
