"""RLlib's view of the market: order of agents, ends of episodes, unbounded actions."""

import numpy as np
import pytest
import torch
from ray.rllib.utils.pre_checks.env import check_multiagent_environments

from arena.agents.policies.policy import target_weights
from arena.envs.rllib import make_arena_env

SMALL = {"num_agents": 3, "synthetic": {"num_assets": 2, "num_bars": 64}}


def test_rllib_accepts_it():
    check_multiagent_environments(make_arena_env(SMALL))
    check_multiagent_environments(make_arena_env(SMALL | {"reach": 4.0}))


def test_agents_keep_their_order():
    """Twelve names that come through a set would be in order once in 12! processes."""
    env = make_arena_env(SMALL | {"num_agents": 12})
    names = [f"trader_{seat}" for seat in range(12)]
    assert env.agents == env.possible_agents == names
    assert list(env.observation_space) == list(env.action_space) == names
    assert list(env.get_observation_space(names[3]).shape) == list(env.observation_space[names[3]].shape)


@pytest.mark.parametrize(
    ("ruined", "cut_off", "over"),
    [
        ((True, True, True), (False, False, False), (True, False)),
        ((False, False, False), (True, True, True), (False, True)),
        ((True, False, False), (False, True, True), (False, True)),  # ruin in the last bar: over all the same
        ((True, True, True), (True, True, True), (True, False)),
        ((True, False, False), (False, False, False), (False, False)),  # the others play on
    ],
)
def test_an_episode_is_over_when_nobody_is_left(monkeypatch, ruined, cut_off, over):
    env = make_arena_env(SMALL)
    env.reset(seed=0)
    names = env.possible_agents

    def step(actions):
        gone = [a or b for a, b in zip(ruined, cut_off)]
        monkeypatch.setattr(env.par_env, "agents", [name for name, left in zip(names, gone) if not left])
        nothing = dict.fromkeys(names, 0.0)
        return nothing, nothing, dict(zip(names, ruined)), dict(zip(names, cut_off)), {}

    monkeypatch.setattr(env.par_env, "step", step)
    _, _, terminated, truncated, _ = env.step({name: np.zeros(2, np.float32) for name in names})
    assert (terminated["__all__"], truncated["__all__"]) == over


def test_an_episode_ends_with_its_window():
    env = make_arena_env(SMALL)
    env.reset(seed=0)
    ends = []
    while not any(ends):
        actions = {name: np.zeros(2, np.float32) for name in env.possible_agents}
        _, _, terminated, truncated, _ = env.step(actions)
        ends.append(terminated["__all__"] or truncated["__all__"])
    assert len(ends) == 4, "64 bars, of which 60 are shown before"


@pytest.mark.parametrize("speed", [1.0, 0.5])
def test_unbounded_actions_become_the_weights_of_the_tensor_path(speed):
    """The same market told weights, and told the u that stand for them."""
    told, squashed = make_arena_env(SMALL), make_arena_env(SMALL | {"reach": 3.0, "speed": speed})
    told.reset(seed=1)
    squashed.reset(seed=1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        u = torch.randn(3, 2, generator=generator)
        held = told.par_env.observe().weight[0]
        weights = target_weights(u, held, 3.0, speed).numpy()
        first = told.step(dict(zip(told.agents, weights)))
        second = squashed.step(dict(zip(squashed.agents, u.numpy())))
        assert first[1] == second[1]
        for name in told.agents:
            np.testing.assert_array_equal(first[0][name], second[0][name])


def test_rewards_are_scaled():
    plain, scaled = make_arena_env(SMALL), make_arena_env(SMALL | {"reward_scale": 100.0})
    rewards = []
    for env in (plain, scaled):
        env.reset(seed=1)
        rewards.append(env.step({name: np.full(2, 0.5, np.float32) for name in env.agents})[1])
    assert any(rewards[0].values())
    assert rewards[1] == {name: 100.0 * reward for name, reward in rewards[0].items()}
