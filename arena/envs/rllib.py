"""The PettingZoo market as an environment of RLlib's stock path.

register_arena_env()
config = PPOConfig().environment("arena", env_config={"num_agents": 6, "reach": 4.0})
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Space
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
from ray.tune.registry import register_env

from arena.agents.policies.policy import target_weights
from arena.data.synthetic.params import SyntheticParams
from arena.envs.parallel import ArenaParallelEnv
from arena.market.presets import preset


class ArenaRllibEnv(ParallelPettingZooEnv):
    """ParallelPettingZooEnv whose agents keep one order in every process, and whose episodes end when no agent is left.

    reach, speed  None: actions are target weights, as in ArenaParallelEnv. Numbers: actions are unbounded u [A], of
                  which arena.agents.policies.policy.target_weights makes weights, as in the tensor path
    reward_scale  on every reward. 100, the tensor path's default, is growth in percent: beside the first guesses of a
                  critic, which are of order 1, the growth of a step as a fraction would be lost
    """

    def __init__(
        self, env: ArenaParallelEnv, reach: float | None = None, speed: float = 1.0, reward_scale: float = 1.0
    ) -> None:
        super().__init__(env)
        self._reach, self._speed, self._reward_scale = reach, speed, reward_scale
        self.agents = list(env.possible_agents)
        self.possible_agents = list(env.possible_agents)
        self.observation_spaces: dict[str, Space] = {agent: env.observation_space(agent) for agent in self.agents}
        self.action_spaces: dict[str, Space] = {
            agent: self._action_space(env.action_space(agent)) for agent in self.agents
        }
        self.observation_space = Dict(list(self.observation_spaces.items()))  # a mapping would be sorted
        self.action_space = Dict(list(self.action_spaces.items()))

    def step(self, action_dict: Mapping[str, np.ndarray]) -> tuple[dict, dict, dict, dict, dict]:
        """One market step, with `__all__` set in the step in which the last agents leave, for whatever reasons."""
        if self._reach is not None:
            action_dict = self._weights(action_dict, self._reach)
        observations, rewards, terminated, truncated, infos = self.par_env.step(action_dict)
        over, ruined = not self.par_env.agents, all(terminated.values())
        # RLlib ends an episode on either flag; ruin and the last bar may meet in one step.
        terminated["__all__"] = over and ruined
        truncated["__all__"] = over and not ruined
        rewards = {agent: self._reward_scale * reward for agent, reward in rewards.items()}
        return observations, rewards, terminated, truncated, infos

    def _weights(self, actions: Mapping[str, np.ndarray], reach: float) -> dict[str, np.ndarray]:
        """Target weights [A] by agent."""
        agents = list(actions)
        u = torch.from_numpy(np.stack([actions[agent] for agent in agents]))
        held = u  # not read at speed 1
        if self._speed != 1.0:
            held = self.par_env.observe().weight[0, [self.agents.index(agent) for agent in agents]]
        return dict(zip(agents, target_weights(u, held, reach, self._speed).numpy()))

    def _action_space(self, weights: Box) -> Box:
        return weights if self._reach is None else Box(-np.inf, np.inf, weights.shape, np.float32)


def make_arena_env(context: Mapping[str, Any]) -> ArenaRllibEnv:
    """The environment of an `env_config`.

    preset        name of the rules                    synthetic   fields of SyntheticParams
    reach, speed, reward_scale  see ArenaRllibEnv      the rest    arguments of ArenaParallelEnv
    """
    options = dict(context)
    own = {name: options.pop(name) for name in ("reach", "speed", "reward_scale") if name in options}
    synthetic = SyntheticParams(**options.pop("synthetic", {}))
    params = preset(options.pop("preset", "sqrt"), synthetic.dt)
    return ArenaRllibEnv(ArenaParallelEnv(synthetic=synthetic, params=params, **options), **own)


def register_arena_env(name: str = "arena") -> None:
    """Make the environment known to Ray under a name, in every process of the cluster."""
    register_env(name, make_arena_env)
