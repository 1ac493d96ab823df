"""RLlib's AlgorithmConfig from a YAML file.

    algorithm: PPO                # PPO, SAC: RLlib's own; TensorPPO: arena.rl.rllib.algorithm
    environment: {env: arena, env_config: {num_agents: 6, reach: 4.0}}
    policies: shared              # one for all seats; per_agent: one each
    network: {kind: mlp, width: 128}    # of ArenaRLModule; left out: RLlib's own networks
    env_runners: {num_envs_per_env_runner: 16}

Every other section is a method of AlgorithmConfig (SECTIONS) and its fields are that method's arguments, so that all of
RLlib can be said, `grid_search` of Ray Tune included.
"""

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig

from arena.rl.records import Fields
from arena.rl.rllib.algorithm import TensorPPOConfig, shared_policy
from arena.rl.rllib.learner import NormalizingPPOLearner
from arena.rl.rllib.registration import register_rllib
from arena.rl.rllib.rl_module import module_spec

ALGORITHMS: dict[str, type[AlgorithmConfig]] = {
    "PPO": PPOConfig,
    "SAC": SACConfig,
    "TensorPPO": TensorPPOConfig,
}
SECTIONS = (
    *("api_stack", "callbacks", "checkpointing", "debugging", "env_runners", "environment", "evaluation"),
    *("experimental", "fault_tolerance", "framework", "learners", "multi_agent", "offline_data"),
    *("python_environment", "reporting", "resources", "rl_module", "training"),
)
OWN_NETWORK = ("PPO", "TensorPPO")  # whose loss is that of a Gaussian policy with a value


def own_policy(agent_id: str, episode: object, **kwargs: object) -> str:
    """The mapping in which every seat has a module of its name."""
    return agent_id


def make_rllib_config(sections: Fields) -> AlgorithmConfig:
    """The config that sections describe."""
    register_rllib()
    rest = dict(sections)
    name, policies, network = rest.pop("algorithm", None), rest.pop("policies", "shared"), rest.pop("network", None)
    if name not in ALGORITHMS:
        raise ValueError(f"algorithm is {name!r}, expected one of {', '.join(ALGORITHMS)}")
    config = ALGORITHMS[name]()
    if network is not None:
        if name not in OWN_NETWORK:
            raise ValueError(
                f"{name} has networks of its own, leave out `network`; it is for {' and '.join(OWN_NETWORK)}"
            )
        config.rl_module(rl_module_spec=module_spec(**network))
        if name == "PPO":
            config.learners(learner_class=NormalizingPPOLearner)
    _assign_policies(config, policies, rest.get("environment", {}))
    for section, fields in rest.items():
        if section not in SECTIONS:
            raise ValueError(f"unknown section {section!r}, expected one of {', '.join(SECTIONS)}")
        if not isinstance(fields, dict):
            raise ValueError(f"{section} is {fields!r}, expected fields")
        getattr(config, section)(**fields)
    return config


def _assign_policies(config: AlgorithmConfig, policies: str, environment: Fields) -> None:
    if policies == "shared":
        config.multi_agent(policies=["shared"], policy_mapping_fn=shared_policy)
    elif policies == "per_agent":
        num_agents = environment.get("env_config", {}).get("num_agents")
        if num_agents is None:
            raise ValueError("policies is per_agent, expected environment.env_config.num_agents to say how many")
        # A list: the order of a set, and with it the seeds of the weights, differs from process to process.
        config.multi_agent(policies=[f"trader_{seat}" for seat in range(num_agents)], policy_mapping_fn=own_policy)
    else:
        raise ValueError(f"policies is {policies!r}, expected shared or per_agent")
