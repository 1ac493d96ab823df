"""Each agent does what its name says, on histories made by hand."""

import pytest
import torch

from arena.agents.fake_observation import fake_observation
from arena.agents.registry import make_agent
from arena.agents.rules.minimum_variance import MinimumVariance, minimum_variance_weights
from arena.agents.rules.shrinkage import shrunk_covariance
from arena.data.types import CLOSE

BARS = 61


def scene(closes, weight=None, step=0, **fields):
    """One market whose displayed closes are `closes` [A, C], nothing held unless said."""
    closes = torch.as_tensor(closes, dtype=torch.float64)
    observation = fake_observation(1, closes.shape[0], closes.shape[1], step=step)
    history = observation.history.clone()
    history[0, ..., CLOSE] = closes
    weight = (
        torch.zeros(1, closes.shape[0], dtype=torch.float64)
        if weight is None
        else torch.tensor([weight], dtype=torch.float64)
    )
    return observation._replace(
        history=history,
        weight=weight,
        cash_weight=1 - weight.sum(-1),
        volatility=torch.full((1, closes.shape[0]), 0.02, dtype=torch.float64),
        **fields,
    )


def act(agent, observation, seed=0):
    return agent.act(observation, torch.Generator().manual_seed(seed))


def trend(*rates):
    """Closes that grow at a constant rate per bar [A, C]."""
    return 100 * torch.exp(torch.tensor(rates, dtype=torch.float64)[:, None] * torch.arange(BARS))


def test_cash_owns_nothing():
    observation = scene(trend(0.01, 0.02), weight=[0.5, -0.5])
    assert torch.equal(act(make_agent("cash"), observation), torch.zeros(1, 2, dtype=torch.float64))


def test_buy_and_hold_buys_once():
    agent = make_agent("buy_and_hold")
    bought = act(agent, scene(trend(0, 0, 0, 0)))
    torch.testing.assert_close(bought, torch.full((1, 4), 0.25, dtype=torch.float64))
    drifted = scene(trend(0, 0, 0, 0), weight=[0.3, 0.1, 0.2, 0.4], step=1)
    assert torch.equal(act(agent, drifted), drifted.weight)


def test_buy_and_hold_buys_what_it_missed_with_the_cash_left():
    observation = scene(trend(0, 0, 0, 0), weight=[0.3, 0.0, 0.2, 0.0], step=7)
    expected = torch.tensor([[0.3, 0.25, 0.2, 0.25]], dtype=torch.float64)
    torch.testing.assert_close(act(make_agent("buy_and_hold"), observation), expected)


def test_equal_weight_sums_to_one_and_stays_inside_its_band():
    agent = make_agent("equal_weight")
    assert float(act(agent, scene(trend(0, 0, 0, 0, 0))).sum()) == pytest.approx(1)
    observation = scene(trend(0, 0, 0, 0), weight=[0.3, 0.2, 0.4, 0.1])
    assert act(agent, observation).tolist() == [[0.3, 0.2, 0.25, 0.25]]


def test_random_redraws_every_20_bars_of_each_market_and_holds_between():
    agent = make_agent("random")
    observation = fake_observation(4, 5)._replace(step=torch.tensor([0, 1, 19, 40]))
    found = act(agent, observation)
    torch.testing.assert_close(found[[0, 3]].abs().sum(-1), torch.ones(2, dtype=torch.float64))
    assert torch.equal(found[[1, 2]], observation.weight[[1, 2]])
    assert torch.equal(found, act(agent, observation))
    assert not torch.equal(found[[0, 3]], act(agent, observation, seed=1)[[0, 3]])


def test_momentum_is_long_winners_and_short_losers():
    weight = act(make_agent("momentum"), scene(trend(0.02, -0.02, 0.0, 0.0)))
    torch.testing.assert_close(weight, torch.tensor([[0.25, -0.25, 0.0, 0.0]], dtype=torch.float64))


def test_momentum_is_partial_while_the_move_is_small():
    # 40 bars at sigma 0.02 have a standard deviation of 0.1265; a move of half of that is half the size.
    rate = 0.5 * 0.02 * 40**0.5 / 40
    assert float(act(make_agent("momentum"), scene(trend(rate)))) == pytest.approx(0.5)


def test_cross_momentum_is_long_the_better_half_and_nets_to_zero():
    weight = act(make_agent("cross_momentum"), scene(trend(0.03, 0.02, 0.01, 0.0)))[0]
    torch.testing.assert_close(weight, torch.tensor([0.375, 0.125, -0.125, -0.375], dtype=torch.float64))


@pytest.mark.parametrize("name", ["cross_momentum", "mean_reversion", "minimum_variance"])
def test_slow_rules_decide_every_5_bars_only(name):
    observation = scene(trend(0.02, -0.02, 0.01), weight=[0.9, -0.7, 0.5], step=3)
    assert torch.equal(act(make_agent(name), observation), observation.weight)
    assert not torch.equal(act(make_agent(name), observation._replace(step=torch.tensor([5]))), observation.weight)


def test_mean_reversion_shorts_winners_and_buys_losers():
    closes = torch.full((4, BARS), 100.0, dtype=torch.float64)
    closes[0, -1], closes[1, -1] = 120.0, 80.0
    weight = act(make_agent("mean_reversion"), scene(closes))
    torch.testing.assert_close(weight, torch.tensor([[-0.25, 0.25, 0.0, 0.0]], dtype=torch.float64))


def test_rsi_buys_oversold_and_shorts_overbought():
    weight = act(make_agent("rsi"), scene(trend(-0.02, 0.02, 0.0, 0.0)))
    torch.testing.assert_close(weight, torch.tensor([[0.25, -0.25, 0.0, 0.0]], dtype=torch.float64))


def test_rsi_holds_its_trade_until_the_index_is_back_at_50():
    held = [0.21, -0.22, 0.23, -0.24]
    # Still oversold, still overbought, back at 50, back at 50.
    weight = act(make_agent("rsi"), scene(trend(-0.02, 0.02, 0.0, 0.0), weight=held))
    torch.testing.assert_close(weight, torch.tensor([[0.21, -0.22, 0.0, 0.0]], dtype=torch.float64))


def test_macd_takes_the_side_of_the_acceleration():
    bars = torch.arange(BARS, dtype=torch.float64)
    closes = torch.stack([100 + 0.01 * bars**2, 100 - 0.01 * bars**2, torch.full_like(bars, 100.0)])
    weight = act(make_agent("macd"), scene(closes))
    torch.testing.assert_close(weight, torch.tensor([[1 / 3, -1 / 3, 0.0]], dtype=torch.float64))


def test_minimum_variance_of_two_assets_is_the_closed_form():
    covariance = torch.tensor([[0.04, 0.006], [0.006, 0.09]], dtype=torch.float64)
    first = (0.09 - 0.006) / (0.04 + 0.09 - 2 * 0.006)
    expected = torch.tensor([first, 1 - first], dtype=torch.float64)
    torch.testing.assert_close(minimum_variance_weights(covariance), expected)

    closes = torch.exp(torch.randn((2, 60), generator=torch.Generator().manual_seed(2)).double().mul(0.02).cumsum(-1))
    shrunk = shrunk_covariance(closes)
    first = float((shrunk[1, 1] - shrunk[0, 1]) / (shrunk[0, 0] + shrunk[1, 1] - 2 * shrunk[0, 1]))
    assert act(MinimumVariance(), scene(closes)).tolist()[0] == pytest.approx([first, 1 - first])


def test_shrinkage_is_ledoit_and_wolfs():
    closes = torch.exp(torch.randn((3, 40), generator=torch.Generator().manual_seed(3)).double().mul(0.02).cumsum(-1))
    returns = closes.log().diff()
    x = returns - returns.mean(-1, keepdim=True)  # [A, T], divided by T as in the paper
    bars = x.shape[1]
    sample = x @ x.T / bars
    mean = sample.trace() / 3
    d2 = ((sample - mean * torch.eye(3)) ** 2).sum()
    b2 = sum(((torch.outer(x[:, t], x[:, t]) - sample) ** 2).sum() for t in range(bars)) / bars**2
    k = min(b2 / d2, torch.tensor(1.0, dtype=torch.float64))
    expected = ((1 - k) * sample + k * mean * torch.eye(3)) / mean
    torch.testing.assert_close(shrunk_covariance(closes), expected)


def test_minimum_variance_of_a_market_that_never_moved_is_equal_weight():
    weight = act(make_agent("minimum_variance"), scene(trend(0.0, 0.0, 0.0, 0.0)))
    torch.testing.assert_close(weight, torch.full((1, 4), 0.25, dtype=torch.float64))


def test_a_rule_without_the_history_it_asked_for_says_so():
    observation = scene(trend(0.01))._replace(history=None)
    with pytest.raises(ValueError, match=r"Momentum: observation.history is None, expected the last 41 bars"):
        act(make_agent("momentum"), observation)
