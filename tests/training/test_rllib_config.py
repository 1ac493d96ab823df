"""Configs of RLlib's algorithms from files."""

from functools import partial
from pathlib import Path

import pytest
import yaml
from ray.rllib.algorithms.sac import SACConfig

from arena.rl.app.config import load_train_config
from arena.rl.app.loop import algorithm_config
from arena.rl.rllib.algorithm import TensorPPOConfig
from arena.rl.rllib.config_file import make_rllib_config
from arena.rl.rllib.rl_module import ArenaRLModule, make_network, module_spec

CONFIGS = Path(__file__).parents[2] / "configs" / "train"


def test_the_shipped_files_are_valid():
    stock, off_policy, tensor = (
        algorithm_config(load_train_config(CONFIGS / f"{name}.yaml", ("--run.iterations", "1")))
        for name in ("stock_ppo", "stock_sac", "tensor_ppo")
    )
    for config in (stock, off_policy, tensor):
        config.validate()
    assert isinstance(off_policy, SACConfig)
    assert isinstance(tensor, TensorPPOConfig)
    assert stock.rl_module_spec.module_class is tensor.rl_module_spec.module_class is ArenaRLModule
    for name in ("clip_param", "lambda_", "vf_loss_coeff", "vf_clip_param", "use_kl_loss", "grad_clip", "lr", "gamma"):
        assert getattr(stock, name) == getattr(tensor, name), name


def test_a_policy_for_all_or_one_each():
    sections = {"algorithm": "PPO", "environment": {"env": "arena", "env_config": {"num_agents": 3}}}
    assert set(make_rllib_config(sections).policies) == {"shared"}
    config = make_rllib_config(sections | {"policies": "per_agent"})
    assert set(config.policies) == {"trader_0", "trader_1", "trader_2"}
    assert config.policy_mapping_fn("trader_2", None) == "trader_2"


def test_sections_are_methods_and_tune_searches_in_them():
    config = make_rllib_config({"algorithm": "TensorPPO", "training": {"lr": {"grid_search": [1e-3, 1e-4]}}})
    assert config.to_dict()["lr"] == {"grid_search": [1e-3, 1e-4]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("algorithm: DQN", "expected one of PPO, SAC, TensorPPO"),
        ("{algorithm: PPO, trainings: {lr: 1.0}}", "unknown section 'trainings'"),
        ("{algorithm: PPO, policies: many}", "expected shared or per_agent"),
        ("{algorithm: PPO, training: {learning_rate: 1.0}}", "learning_rate"),
        ("{algorithm: PPO, training: 3}", "training is 3, expected fields"),
        ("{algorithm: PPO, build_algo: {}}", "unknown section 'build_algo'"),
        ("{algorithm: PPO, network: {kind: mlp, widht: 3}}", "network 'mlp' has no option 'widht'"),
        ("{algorithm: SAC, network: {kind: mlp}}", "SAC has networks of its own"),
        (
            "{algorithm: PPO, policies: per_agent, environment: {env: arena}}",
            "expected environment.env_config.num_agents",
        ),
    ],
)
def test_the_error_says_what_cannot_be_used(text, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make_rllib_config(yaml.safe_load(text))


def test_the_tensor_path_refuses_what_it_cannot_do():
    config = TensorPPOConfig().environment("arena_tensor")
    with pytest.raises(ValueError, match="number of steps T"):
        config.copy().env_runners(rollout_fragment_length="auto").validate()
    with pytest.raises(ValueError, match="leave it out"):
        config.copy().training(train_batch_size_per_learner=1000).validate()
    with pytest.raises(ValueError, match="multiple of num_learners"):
        config.copy().learners(num_learners=3).validate()


def test_an_unknown_network_is_refused():
    for make in (partial(make_network, "cnn", 10, 2, {}), partial(module_spec, "cnn")):
        with pytest.raises(ValueError, match="expected one of mlp, assets"):
            make()
