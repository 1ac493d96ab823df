"""RLlib's stock path and the tensor path learn one task to one return: same network, PPO, market and reward."""

from functools import cache

import numpy as np
import pytest
import ray
import torch
from scipy import stats

from arena.data.synthetic.market import generate
from arena.data.synthetic.params import SyntheticParams
from arena.data.synthetic.seeds import scenario_seeds
from arena.market.presets import preset
from arena.rl.market_env import EnvParams, MarketEnv
from arena.rl.rewards import RewardParams
from arena.rl.rllib.config_file import make_rllib_config

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(1800)]

SEEDS = range(6)
AGENTS, WARMUP, EPISODE, HELD_OUT = 2, 60, 12, 512
ITERATIONS, STEPS = 8, 1024  # market steps of an iteration: ends on the slope, where the speed of learning shows
# Prices that can be foreseen well enough for a few thousand steps to teach something; the default rules, costs and all.
SYNTHETIC = {
    "num_assets": 2,
    "num_bars": WARMUP + EPISODE,
    "drift_per_year": 0.5,
    "signal_ic": 0.49,
    "signal_half_life": 10.0,
    "daily_volatility": 0.03,
}
MARKET = {"num_agents": AGENTS, "synthetic": SYNTHETIC, "reach": 4.0}
PPO = {
    "minibatch_size": 512,
    "num_epochs": 4,
    "lr": 1e-3,
    "gamma": 0.9,
    "lambda_": 0.9,
    "clip_param": 0.2,
    "vf_clip_param": float("inf"),
    "vf_loss_coeff": 0.5,
    "use_kl_loss": False,
    "grad_clip": 0.5,
}
# The widest that the interval of the difference may be to either side, as a share of what was learnt; 0.13 was found.
RESOLUTION = 0.2


@pytest.fixture(scope="module", autouse=True)
def local_ray():
    """Everything happens in this process."""
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def stock(seed):
    return make_rllib_config(
        {
            "algorithm": "PPO",
            "environment": {"env": "arena", "env_config": MARKET | {"reward_scale": 100.0}},
            "network": {"kind": "mlp", "width": 32},
            "env_runners": {"num_env_runners": 0, "num_envs_per_env_runner": 32},
            "training": PPO | {"train_batch_size_per_learner": STEPS},
            "debugging": {"seed": seed},
        }
    )


def tensor(seed):
    # Windows enough that hardly one is seen twice: the stock environment draws a new one for every episode.
    reward = {"reward": {"scale": 100.0, "without_luck": False}, "num_windows": 4096}
    return make_rllib_config(
        {
            "algorithm": "TensorPPO",
            "environment": {"env": "arena_tensor", "env_config": MARKET | reward},
            "network": {"kind": "mlp", "width": 32},
            "env_runners": {"num_envs_per_env_runner": STEPS // 32, "rollout_fragment_length": 32},
            "training": PPO,
            "debugging": {"seed": seed},
        }
    )


@cache
def held_out():
    return generate(SyntheticParams(**SYNTHETIC), scenario_seeds("validation", HELD_OUT), warmup=WARMUP)


@torch.no_grad()
def mean_return(algorithm):
    """Growth in percent per episode and seat of the mean actions in the held-out windows, less what was luck."""
    source = type("HeldOut", (), {"draw": staticmethod(lambda count, generator: held_out())})()
    params = EnvParams(num_markets=HELD_OUT, num_windows=HELD_OUT, num_learners=AGENTS, reward=RewardParams())
    env = MarketEnv(params, preset("sqrt"), source, seed=0)
    module = algorithm.get_module("shared")
    obs, total = env.reset(), torch.zeros(HELD_OUT, AGENTS)
    for _ in range(EPISODE):
        step = env.step(module.distribution(obs)[0])
        obs, total = step.obs, total + step.reward
    return float(total.mean())


def returns(make):
    """[seeds, 2] before and after training."""
    table = []
    for seed in SEEDS:
        algorithm = make(seed).build_algo()
        before = mean_return(algorithm)
        for _ in range(ITERATIONS):
            result = algorithm.train()
        assert result["num_env_steps_sampled_lifetime"] == ITERATIONS * STEPS
        table.append((before, mean_return(algorithm)))
        algorithm.stop()
    return np.array(table)


def interval(values):
    """Mean and half-width of its 95 % t interval over seeds."""
    return float(values.mean()), float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1))


def test_both_paths_learn_to_the_same_return():
    of_stock, of_tensor = returns(stock), returns(tensor)
    found = f"before and after, by seed:\nstock\n{of_stock}\ntensor\n{of_tensor}"
    # One seed makes the same first weights on both paths, so that seeds are pairs.
    np.testing.assert_allclose(of_stock[:, 0], of_tensor[:, 0], rtol=1e-5)
    gains = []
    for table in (of_stock, of_tensor):
        gain, margin = interval(table[:, 1] - table[:, 0])
        assert gain > margin, f"nothing was learnt; {found}"
        gains.append(gain)
    difference, margin = interval(of_tensor[:, 1] - of_stock[:, 1])
    assert margin < RESOLUTION * min(gains), f"+-{margin:.3g} cannot tell one path from the other; {found}"
    assert abs(difference) < margin, f"{difference:.3g} +-{margin:.3g}; {found}"
