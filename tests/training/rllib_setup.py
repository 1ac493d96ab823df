"""What the tests of both of RLlib's paths share: small configs of one market, and how weights are compared."""

import numpy as np
from ray.tune.registry import register_env

from arena.rl.rllib.algorithm import TensorPPOConfig
from arena.rl.rllib.config_file import make_rllib_config
from arena.rl.rllib.rl_module import module_spec

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


def probe_config(env, num_steps, width, iterations, **training):
    """TensorPPO of the MLP in this very environment; the learning rate falls to 0 in `iterations`."""
    register_env("probe", lambda context: env)
    end = iterations * num_steps * env.num_markets
    config = TensorPPOConfig().environment("probe").debugging(seed=0)
    config.env_runners(num_envs_per_env_runner=env.num_markets, rollout_fragment_length=num_steps)
    config.training(lr=[[0, 3e-3], [end, 0.0]], **training)
    return config.rl_module(rl_module_spec=module_spec("mlp", width=width))


def learner_network(algorithm):
    """The network that is trained, critic included."""
    (found,) = algorithm.learner_group.foreach_learner(lambda learner: learner.module["shared"].network)
    return found.get()


def weights(algorithm, module_id="shared"):
    return algorithm.get_module(module_id).get_state()


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)
