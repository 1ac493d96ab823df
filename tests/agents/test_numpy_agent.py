"""One-market NumPy agents in many markets."""

import numpy as np
import pytest
import torch

from arena.agents.fake_observation import fake_observation
from arena.agents.numpy_agent import NumpyAgent, NumpyObservation, market_rows
from arena.data.types import CLOSE

GENERATOR = torch.Generator()


class CountsBars:
    history_length = 5

    def __init__(self):
        self.bars = 0

    def act(self, obs):
        self.bars += 1
        return np.full(obs.num_assets, self.bars / 100)


def test_each_market_is_shown_its_own_arrays():
    batch = fake_observation(3, 4, 20)
    seen = []
    NumpyAgent(lambda: lambda obs: (seen.append(obs), obs.weight)[1]).act(batch, GENERATOR)
    assert [type(obs) for obs in seen] == [NumpyObservation] * 3
    for market, obs in enumerate(seen):
        assert obs.close.shape == (4, 20)
        np.testing.assert_array_equal(obs.close, batch.history[market, ..., CLOSE].numpy())
        np.testing.assert_array_equal(obs.weight, batch.weight[market].numpy())
        assert obs.step == int(batch.step[market])
        assert obs.num_assets == 4
        assert isinstance(obs.drawdown, float)


def test_no_history_is_no_bars():
    assert market_rows(fake_observation(1, 4, 0), GENERATOR)[0].close.shape == (4, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_come_back_as_the_batch_wants_them(dtype):
    batch = fake_observation(2, 3, 0, dtype)
    found = NumpyAgent(lambda: lambda obs: [1, 0, -1]).act(batch, GENERATOR)
    assert torch.equal(found, torch.tensor([[1, 0, -1]] * 2, dtype=dtype))


def test_every_market_has_its_own_memory_and_a_new_episode_a_new_one():
    agent = NumpyAgent(CountsBars)
    batch = fake_observation(2, 1)
    for steps, expected in [([0, 7], [1, 1]), ([1, 8], [2, 2]), ([2, 0], [3, 1]), ([3, 1], [4, 2])]:
        found = agent.act(batch._replace(step=torch.tensor(steps)), GENERATOR)
        assert found[:, 0].mul(100).round().tolist() == expected
    agent.reset()
    assert agent.act(batch._replace(step=torch.tensor([4, 2])), GENERATOR)[:, 0].mul(100).round().tolist() == [1, 1]


def test_dead_seats_hold_and_are_not_asked():
    batch = fake_observation(2, 1)._replace(alive=torch.tensor([True, False]))
    found = NumpyAgent(CountsBars).act(batch, GENERATOR)
    assert found[0].tolist() == [0.01]
    assert torch.equal(found[1], batch.weight[1])


def test_random_numbers_come_from_the_generator():
    agent, batch = NumpyAgent(lambda: lambda obs: obs.rng.normal(size=obs.num_assets)), fake_observation(2, 3)
    first, second, other = (agent.act(batch, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])


def test_the_record_cannot_be_written():
    def vandal(obs):
        obs.close[:] = 0

    with pytest.raises(ValueError, match="read-only"):
        NumpyAgent(lambda: vandal).act(fake_observation(1, 2), GENERATOR)


@pytest.mark.parametrize(
    ("returned", "found"),
    [
        (np.zeros(3), r"float64 of shape \(3,\)"),
        (np.zeros((4, 1)), r"float64 of shape \(4, 1\)"),
        (0.5, r"float64 of shape \(\)"),
        (None, r"object of shape \(\)"),
        (["a", "b", "c", "d"], r"<U1 of shape \(4,\)"),
    ],
)
def test_a_wrong_shape_names_agent_found_and_expected(returned, found):
    agent = NumpyAgent(lambda: lambda obs: returned, "dip.py:Dip")
    with pytest.raises(ValueError, match=rf"agent 'dip.py:Dip' returned {found}, expected .*\(num_assets,\) = \(4,\)"):
        agent.act(fake_observation(1, 4), GENERATOR)
