"""The rows that PPO learns from: a rollout with advantages and value targets.

Axes: T time, B markets, N agents, R rows (transitions), A assets, F features.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from arena.rl.ppo.gae import gae, next_values
from arena.rl.types import Rollout


class Critic(Protocol):
    """What estimates the value of an observation: the networks of arena.agents.policies.network do."""

    def value(self, obs: Tensor) -> Tensor:
        """V [...] of obs [..., F]."""


class Batch(NamedTuple):
    """Rows to learn from; what is marked `old` is from the policy that acted."""

    obs: Tensor  # [R, F]
    action: Tensor  # [R, A]
    mean: Tensor  # [R, A] old
    log_std: Tensor  # [R, A] old
    log_prob: Tensor  # [R] old
    value: Tensor  # [R] old
    advantage: Tensor  # [R]
    value_target: Tensor  # [R]
    valid: Tensor  # [R] bool, rows that count


@torch.no_grad()
def make_batch(critic: Critic, rollout: Rollout, discount: float, gae_lambda: float) -> Batch:
    """Rows of a rollout with advantages and value targets; R = T * B * N, those not valid included."""
    value = torch.stack([critic.value(obs) for obs in rollout.obs])  # step by step: bounds the memory of activations
    next_value = next_values(
        value,
        critic.value(rollout.last_obs),
        critic.value(rollout.final_obs),
        rollout.final_steps,
        rollout.truncated,
    )
    advantage, value_target = gae(
        rollout.reward,
        value,
        next_value,
        rollout.terminated,
        rollout.truncated,
        rollout.valid,
        discount,
        gae_lambda,
    )
    return Batch(
        obs=rollout.obs.flatten(0, 2),
        action=rollout.action.flatten(0, 2),
        mean=rollout.mean.flatten(0, 2),
        log_std=rollout.log_std.flatten(0, 2),
        log_prob=rollout.log_prob.flatten(),
        value=value.flatten(),
        advantage=advantage.flatten(),
        value_target=value_target.flatten(),
        valid=rollout.valid.flatten(),
    )


def standardize(advantage: Tensor, valid: Tensor) -> Tensor:
    """Advantages with mean 0 and variance 1 over the valid rows, 0 elsewhere; no wait for the device."""
    weight = valid.to(advantage.dtype)
    count = weight.sum().clamp(min=1.0)
    centered = (advantage - (weight * advantage).sum() / count) * weight
    deviation = (centered.square().sum() / count).sqrt()
    return centered / deviation.clamp(min=1e-8)
