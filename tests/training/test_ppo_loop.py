import math
from dataclasses import replace

import pytest
import torch
from probes import Delayed, Endless, TwoStates, ValueOnly

from arena.agents.policies.network import MlpPolicy
from arena.rl.ppo.loss import LossParams
from arena.rl.ppo.ppo_loop import PpoParams, PpoTrainer, scheduled

PARAMS = PpoParams(
    rollout_length=16,
    epochs=4,
    minibatch_size=256,
    learning_rate=3e-3,
    num_iterations=40,
    discount=0.9,
    loss=LossParams(value_coef=1.0),
)


def train(env, params=PARAMS, seed=0):
    torch.manual_seed(seed)
    network = MlpPolicy(1, 1, width=16)
    trainer = PpoTrainer(env, network, params, seed)
    return network, [trainer.iterate() for _ in range(params.num_iterations)]


def test_it_learns_the_value_of_what_ends():
    network, _ = train(ValueOnly())
    assert network.value(torch.zeros(1)).item() == pytest.approx(1.0, abs=0.02)


def test_it_learns_the_value_of_what_is_only_cut_off():
    network, _ = train(Endless())
    assert network.value(torch.zeros(1)).item() == pytest.approx(10.0, rel=0.05)


@pytest.mark.parametrize("probe", [TwoStates, Delayed])
def test_it_learns_what_to_do_where(probe):
    network, history = train(probe())
    for state in (-1.0, 1.0):
        mean, _ = network.distribution(torch.tensor([state]))
        assert mean.item() == pytest.approx(0.5 * state, abs=0.1)
    assert history[-1].episode_return > -0.05 > -0.3 > history[0].episode_return
    assert history[-1].log_std < history[0].log_std


def test_the_same_seed_gives_the_same_parameters():
    params = replace(PARAMS, num_iterations=3)
    first, second, other = (train(TwoStates(), params, seed) for seed in (0, 0, 1))
    for name, tensor in first[0].state_dict().items():
        assert torch.equal(tensor, second[0].state_dict()[name])
    assert not torch.equal(first[0].log_std, other[0].log_std)
    assert [row.episode_return for row in first[1]] == [row.episode_return for row in second[1]]


def test_an_update_ends_when_it_has_moved_far_enough():
    params = replace(PARAMS, learning_rate=3e-2, epochs=20, num_iterations=3)
    _, free = train(TwoStates(), params)
    _, bound = train(TwoStates(), replace(params, target_kl=0.02))
    assert max(row.loss.kl for row in bound) < max(row.loss.kl for row in free)


def test_the_learning_rate_falls_in_a_straight_line():
    params = PpoParams(learning_rate=1.0, final_learning_rate=0.2, num_iterations=4)
    assert [scheduled(params, i) for i in (0, 2, 4, 9)] == pytest.approx([1.0, 0.6, 0.2, 0.2])


def test_statistics_count_what_was_done():
    _, history = train(Delayed(num_markets=8, num_agents=2), replace(PARAMS, num_iterations=2))
    assert [row.env_steps for row in history] == [128, 256]
    assert history[-1].episodes == 8 * 2 * PARAMS.rollout_length // 2
    assert all(math.isfinite(value) for value in (*history[-1].loss, history[-1].explained_variance))
