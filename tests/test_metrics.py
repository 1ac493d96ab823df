"""Metrics against empyrical (six digits), hand values, and the properties that make the utility a fair score."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from arena import metrics

PERIODS = 252


@pytest.fixture(scope="module")
def returns() -> torch.Tensor:
    """[4, 252] simple returns with fat tails."""
    generator = np.random.default_rng(7)
    return torch.from_numpy(0.0004 + 0.01 * generator.standard_t(4, (4, PERIODS)))


@pytest.fixture(scope="module")
def nav(returns: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.ones(4, 1, dtype=torch.float64), (1 + returns).cumprod(-1)], -1)


@pytest.fixture(scope="module")
def empyrical():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own imports
        return pytest.importorskip("empyrical")


def test_agrees_with_empyrical(empyrical, returns, nav) -> None:
    ours = {
        "annual_volatility": metrics.annual_volatility(returns, PERIODS),
        "sharpe_ratio": metrics.sharpe(returns, PERIODS),
        "sortino_ratio": metrics.sortino(returns, PERIODS),
        "max_drawdown": -metrics.max_drawdown(nav),
        "calmar_ratio": metrics.calmar(nav, PERIODS),
        "annual_return": metrics.annual_return(nav, PERIODS),
    }
    for name, values in ours.items():
        for series, value in zip(returns, values):
            theirs = getattr(empyrical, name)(pd.Series(series.numpy()))
            assert float(value) == pytest.approx(theirs, rel=1e-6), name


def test_returns_rebuild_the_nav(returns, nav) -> None:
    torch.testing.assert_close(metrics.simple_return(nav), returns)
    torch.testing.assert_close(metrics.log_return(nav).sum(-1), nav[:, -1].log())


def test_a_batch_equals_its_singles(returns, nav) -> None:
    for row in range(4):
        torch.testing.assert_close(metrics.sharpe(returns, PERIODS)[row], metrics.sharpe(returns[row], PERIODS))
        assert metrics.max_drawdown(nav)[row] == metrics.max_drawdown(nav[row])


@pytest.mark.parametrize("constant", [0.0, 0.001, 1 / 3])
def test_sharpe_of_constant_returns_is_nan(constant: float) -> None:
    assert metrics.sharpe(torch.full((100,), constant, dtype=torch.float64), PERIODS).isnan()


def test_ratios_without_a_denominator_are_nan() -> None:
    rising = torch.tensor([1.0, 1.1, 1.3])
    assert metrics.sortino(metrics.simple_return(rising), PERIODS).isnan()
    assert metrics.calmar(rising, PERIODS).isnan()


def test_hand_values() -> None:
    nav = torch.tensor([100.0, 120.0, 90.0, 108.0, 130.0])
    torch.testing.assert_close(metrics.drawdown(nav), torch.tensor([0.0, 0.0, 0.25, 0.1, 0.0]))
    assert metrics.max_drawdown(nav) == 0.25
    assert metrics.hit_rate(metrics.simple_return(nav)) == 0.75
    assert metrics.max_drawdown(torch.tensor([1.0, -0.5])) == 1.5  # ruin goes deeper than everything
    assert metrics.iqm(torch.tensor([-100.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 900.0])) == 3.5
    sold_and_bought = torch.tensor([[10.0, -5.0], [0.0, 0.0]])
    one_way = metrics.turnover(sold_and_bought, torch.tensor([2.0, 4.0]), torch.tensor([100.0, 50.0]))
    torch.testing.assert_close(one_way, torch.tensor([0.2, 0.0]))
    assert (metrics.turnover(sold_and_bought, torch.tensor([2.0, 4.0]), torch.tensor([-1.0, 0.0])) == 0).all()


def test_utility_is_log_above_the_knee_and_its_tangent_below() -> None:
    assert metrics.utility(torch.tensor(1.0)) == 0
    assert metrics.utility(torch.tensor(math.e, dtype=torch.float64)) == pytest.approx(1.0)
    assert metrics.utility(torch.tensor(0.0)) == pytest.approx(math.log(0.25) - 1)
    final_nav = torch.tensor([-3.0, 0.0, 0.25 - 1e-9, 0.25, 0.25 + 1e-9, 2.0], dtype=torch.float64, requires_grad=True)
    metrics.utility(final_nav).sum().backward()
    slopes = torch.tensor([4.0, 4.0, 4.0, 4.0, 4.0, 0.5], dtype=torch.float64)
    torch.testing.assert_close(final_nav.grad, slopes, rtol=1e-6, atol=0)


def test_no_fair_gamble_raises_the_utility() -> None:
    """Concavity, also across the knee and at negative wealth: a floor would pay for a bet at wealth 0.05."""
    wealth = torch.linspace(-2, 3, 101, dtype=torch.float64)[:, None]
    stake = torch.linspace(0, 4, 81, dtype=torch.float64)[None]
    gamble = 0.8 * metrics.utility(wealth - stake / 4) + 0.2 * metrics.utility(wealth + stake)
    assert (gamble <= metrics.utility(wealth) + 1e-12).all()


def test_rank_shares_ties_and_ignores_the_last_bits() -> None:
    scores = torch.tensor([[0.9, 1.1, 1.1 * (1 + 1e-14), 2.0], [1.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    expected = torch.tensor([[4.0, 2.5, 2.5, 1.0], [2.5] * 4])
    assert torch.equal(metrics.descending_rank(scores), expected)
    assert torch.equal(metrics.descending_rank(torch.tensor([-1.0, -2.0, 0.0])), torch.tensor([2.0, 3.0, 1.0]))
