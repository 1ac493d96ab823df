"""The smallest environments that a learner must solve, each a test of one part of it (TensorEnv, A = 1, F = 1)."""

import torch
from torch import Tensor

from arena.rl.types import EnvStep


class Probe:
    """B x N streams of short episodes; a subclass says what is seen and what is paid."""

    episode_length = 1
    truncates = False  # False: an episode ends by termination

    def __init__(self, num_markets: int = 64, num_agents: int = 1, seed: int = 0):
        self.num_markets, self.num_agents, self.num_assets, self.obs_dim = num_markets, num_agents, 1, 1
        self._generator = torch.Generator().manual_seed(seed)

    def reset(self) -> Tensor:
        self._age, self._state = 0, self._draw()
        return self._see()

    def step(self, action: Tensor) -> EnvStep:
        reward = self.reward(self._state, action[..., 0])
        self._age += 1
        final_obs = obs = self._see()
        ended = torch.full(reward.shape, self._age == self.episode_length)
        if self._age == self.episode_length:
            obs = self.reset()
        never = torch.zeros_like(ended)
        terminated, truncated = (never, ended) if self.truncates else (ended, never)
        return EnvStep(obs, reward, terminated, truncated, final_obs, ~never)

    def reward(self, state: Tensor, action: Tensor) -> Tensor:
        return torch.ones_like(action)

    def _draw(self) -> Tensor:
        return torch.zeros(self.num_markets, self.num_agents)

    def _see(self) -> Tensor:
        return self._state.unsqueeze(-1)


class ValueOnly(Probe):
    """Nothing to see or do, 1 a step: the value is 1."""


class Endless(Probe):
    """1 a step for ever, cut off every 4 steps: the value is 1 / (1 - discount) at every step."""

    episode_length = 4
    truncates = True


class TwoStates(Probe):
    """The state is -1 or 1, and the best action is half of it."""

    def reward(self, state: Tensor, action: Tensor) -> Tensor:
        return -(action - 0.5 * state).square()

    def _draw(self) -> Tensor:
        return torch.randint(0, 2, (self.num_markets, self.num_agents), generator=self._generator) * 2.0 - 1.0


class Delayed(TwoStates):
    """The same, paid a step later, when the state is no longer seen."""

    episode_length = 2

    def reward(self, state: Tensor, action: Tensor) -> Tensor:
        if self._age == 0:
            self._promised = super().reward(state, action)
            return torch.zeros_like(action)
        return self._promised

    def _see(self) -> Tensor:
        return (self._state * (self._age == 0)).unsqueeze(-1)
