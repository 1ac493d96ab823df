"""What training asks of an environment and of a policy.

Axes: T time (first), B markets, N agents, A assets, F features.
"""

from typing import NamedTuple, Protocol

from torch import Tensor


class EnvStep(NamedTuple):
    """What TensorEnv.step returns: the transition just made and where the next one starts."""

    obs: Tensor  # [B, N, F] to act on next: of the next episode where one ended
    reward: Tensor  # [B, N]
    terminated: Tensor  # [B, N] bool, nothing follows: the value beyond is 0
    truncated: Tensor  # [B, N] bool, cut off: the value beyond is that of `final_obs`
    final_obs: Tensor  # [B, N, F] before a reset; the very object `obs` in steps in which nothing was reset
    alive: Tensor  # [B, N] bool, False for ruined seats until the episode of their market ends; ignore their `obs`


class TensorEnv(Protocol):
    """B markets of N learning agents, reset in the step that ends an episode. Nothing in it may wait for the device."""

    num_markets: int
    num_agents: int
    num_assets: int
    obs_dim: int

    def reset(self) -> Tensor:
        """Begin an episode everywhere: obs [B, N, F], all alive."""

    def step(self, action: Tensor) -> EnvStep:
        """Act with unbounded numbers u [B, N, A]; the environment makes weights of them."""


class Policy(Protocol):
    """A diagonal Gaussian over actions."""

    def distribution(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation [..., A] of u, from obs [..., F]."""


class Rollout(NamedTuple):
    """T steps of B x N streams, time first. Buffers: the next rollout may overwrite them."""

    obs: Tensor  # [T, B, N, F]
    action: Tensor  # [T, B, N, A] u as sampled
    mean: Tensor  # [T, B, N, A] of the distribution sampled from
    log_std: Tensor  # [T, B, N, A]
    log_prob: Tensor  # [T, B, N] of the action
    reward: Tensor  # [T, B, N]
    terminated: Tensor  # [T, B, N] bool
    truncated: Tensor  # [T, B, N] bool
    valid: Tensor  # [T, B, N] bool, False in rows of the dead: leave them out
    last_obs: Tensor  # [B, N, F] after the last step
    final_obs: Tensor  # [K, B, N, F] before the resets of the K steps in which something was reset
    final_steps: tuple[int, ...]  # which of the T steps these are
