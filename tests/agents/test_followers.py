"""Followers against their formulas, and what they do where a forecast says nothing."""

import pytest
import torch
from scipy.stats import rankdata

from arena.agents.fake_observation import fake_observation
from arena.agents.registry import make_agent
from arena.agents.rules.forecast_agents import SPREAD_SIGMAS
from arena.agents.rules.shrinkage import shrunk_covariance
from arena.data.types import CLOSE
from arena.market.types import FORECAST_HORIZONS

AT_ONCE = {"speed": 1.0, "band": 0.0}  # to the aim in one step, so that it can be read off
FOLLOWERS = ("mean_variance", "rank")


def act(name, observation, **params):
    return make_agent(name, params).act(observation, torch.Generator())


def silent(observation):
    """The same market, with a forecaster that expects no price to move."""
    return observation._replace(forecast_return=torch.zeros_like(observation.forecast_return))


@pytest.mark.parametrize("dt", [1.0, 1 / 13])
@pytest.mark.parametrize("horizon", FORECAST_HORIZONS)
def test_mean_variance_is_a_fraction_of_kelly(horizon, dt):
    observation = fake_observation(3, 5, 60)._replace(dt=dt)
    found = act("mean_variance", observation, horizon=horizon, kelly=0.3, gross=1e6, **AT_ONCE)
    for market in range(3):
        bar_volatility = observation.volatility[market] * dt**0.5
        column = FORECAST_HORIZONS.index(horizon)
        mean = observation.forecast_return[market, :, column] * bar_volatility / horizon  # log return per bar
        deviation = observation.forecast_spread[market] * bar_volatility / SPREAD_SIGMAS
        sample = shrunk_covariance(observation.history[market, ..., CLOSE])
        size = sample.diagonal().sqrt()
        covariance = sample * torch.outer(deviation / size, deviation / size)
        expected = 0.3 * torch.linalg.inv(covariance) @ mean
        torch.testing.assert_close(found[market], expected, rtol=1e-9, atol=1e-12)


def test_rank_is_long_the_best_and_short_the_worst():
    observation = fake_observation(4, 6, 0)
    found = act("rank", observation, horizon=5, gross=0.8, **AT_ONCE)
    for market in range(4):
        score = observation.forecast_return[market, :, 1] / observation.forecast_spread[market]
        centred = rankdata(score.numpy()) - 3.5
        assert found[market].tolist() == pytest.approx((0.8 * centred / abs(centred).sum()).tolist())
    assert found.sum(-1).abs().max() < 1e-15
    assert (act("rank", fake_observation(4, 1, 0), **AT_ONCE) == 0).all(), "one asset alone has no rival"


def test_equals_share_their_rank():
    observation = fake_observation(1, 4, 0)._replace(
        forecast_return=torch.tensor([3.0, 1.0, 1.0, 2.0]).view(1, 4, 1).expand(1, 4, 3).double(),
        forecast_spread=torch.ones(1, 4).double(),
    )
    assert act("rank", observation, **AT_ONCE)[0].tolist() == pytest.approx([3 / 8, -1 / 4, -1 / 4, 1 / 8])


@pytest.mark.parametrize("name", FOLLOWERS)
def test_an_empty_slot_means_hold(name):
    observation = fake_observation(4, 3, 60)
    empty = observation._replace(
        forecast_return=torch.zeros_like(observation.forecast_return),
        forecast_spread=torch.zeros_like(observation.forecast_spread),
        forecast_present=torch.tensor([0.0, 1.0, 0.0, 1.0]).double(),
    )
    found = act(name, empty, speed=0.5, band=0.0)
    assert torch.equal(found[[0, 2]], empty.weight[[0, 2]])
    assert (found[[1, 3]] != empty.weight[[1, 3]]).all(), "a forecast of nothing is something else: back to cash"


@pytest.mark.parametrize("name", FOLLOWERS)
def test_a_forecast_of_no_return_keeps_cash_and_leads_back_to_it(name):
    observation = silent(fake_observation(3, 4, 60))
    flat = observation._replace(weight=torch.zeros_like(observation.weight))
    assert (act(name, flat) == 0).all()
    torch.testing.assert_close(act(name, observation, speed=0.25, band=0.0), 0.75 * observation.weight)


def test_mean_variance_holds_no_asset_without_an_opinion():
    observation = fake_observation(2, 4, 60)
    spread, forecast = observation.forecast_spread.clone(), observation.forecast_return.clone()
    spread[:, 1], forecast[:, 1] = 0.0, 0.0
    blank = observation._replace(forecast_spread=spread, forecast_return=forecast)
    found = act("mean_variance", blank, **AT_ONCE)
    assert (found[:, 1] == 0).all()
    assert (found[:, [0, 2, 3]] != 0).all()
    assert act("rank", blank).isfinite().all()


@pytest.mark.parametrize("name", FOLLOWERS)
def test_each_bar_goes_a_share_of_the_way_and_small_gaps_are_left(name):
    observation = fake_observation(3, 4, 60)
    aim, held = act(name, observation, **AT_ONCE), observation.weight
    found = act(name, observation, speed=0.2, band=0.4)
    small = (aim - held).abs() < 0.1  # 0.4 / A
    assert small.any()
    assert not small.all()
    assert torch.equal(found[small], held[small])
    torch.testing.assert_close(found[~small], (held + 0.2 * (aim - held))[~small])


@pytest.mark.parametrize("name", FOLLOWERS)
@pytest.mark.parametrize("scene", ["ordinary", "extreme"])
def test_the_aim_keeps_its_gross(name, scene):
    observation = fake_observation(5, 6, 60, scene=scene)
    observation = observation._replace(forecast_return=1e6 * observation.forecast_return)
    assert (act(name, observation, gross=0.7, **AT_ONCE).abs().sum(-1) <= 0.7 + 1e-9).all()


def test_what_a_follower_follows_is_a_parameter():
    assert make_agent("rank").forecaster == "embedded"
    assert make_agent("mean_variance", {"forecaster": "persistence"}).forecaster == "persistence"
    with pytest.raises(ValueError, match=r"Rank: horizon is 7, expected one of \(1, 5, 20\)"):
        make_agent("rank", {"horizon": 7})
