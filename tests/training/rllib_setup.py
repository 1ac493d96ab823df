"""What the tests of both of RLlib's paths share: small configs of one market, and how weights are compared."""

import numpy as np

from arena.rl.rllib.config_file import make_rllib_config

AGENTS, ASSETS, EPISODE, MARKETS, STEPS = 2, 2, 6, 8, 4
SYNTHETIC = {"num_assets": ASSETS, "num_bars": 60 + EPISODE}
NETWORK = {"kind": "mlp", "width": 8}


def tensor_config(**sections):
    """A few milliseconds an iteration."""
    return make_rllib_config(
        {
            "algorithm": "TensorPPO",
            "environment": {
                "env": "arena_tensor",
                "env_config": {"num_agents": AGENTS, "synthetic": SYNTHETIC, "num_windows": 4},
            },
            "network": NETWORK,
            "env_runners": {"num_envs_per_env_runner": MARKETS, "rollout_fragment_length": STEPS},
            "training": {"minibatch_size": 32, "lr": 3e-3},
            "debugging": {"seed": 3},
            **sections,
        }
    )


def stock_config():
    return make_rllib_config(
        {
            "algorithm": "PPO",
            "environment": {
                "env": "arena",
                "env_config": {"num_agents": AGENTS, "synthetic": SYNTHETIC, "reach": 4.0},
            },
            "network": NETWORK,
            "env_runners": {"num_env_runners": 0, "num_envs_per_env_runner": 2},
            "training": {"train_batch_size_per_learner": 12, "minibatch_size": 12, "num_epochs": 1},
        }
    )


def weights(algorithm, module_id="shared"):
    return algorithm.get_module(module_id).get_state()


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)
