"""The clipped PPO loss as a plain function. Axes: R rows (transitions), A assets, F features."""

from dataclasses import dataclass
from math import inf, isfinite
from typing import NamedTuple

import torch
from torch import Tensor

from arena.rl.ppo import gaussian


@dataclass(frozen=True)
class LossParams:
    """Weights of the loss; plain numbers."""

    clip: float = 0.2  # of the probability ratio, around 1
    value_clip: float = inf  # most that a value may move from what it was; inf = free
    value_coef: float = 0.5
    entropy_coef: float = 0.0


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


class LossTerms(NamedTuple):
    """Scalars; `total` is what to descend."""

    total: Tensor
    policy: Tensor
    value: Tensor
    entropy: Tensor
    kl: Tensor  # KL(old || new), closed form
    clip_fraction: Tensor  # share of rows whose ratio left 1 +- clip


def ppo_loss(params: LossParams, batch: Batch, mean: Tensor, log_std: Tensor, value: Tensor) -> LossTerms:
    """Loss of a policy that now answers mean, log_std [R, A] and value [R] to batch.obs.

        L = -E min(rho A, clip(rho, 1 - c, 1 + c) A) + value_coef * E (V - target)**2 - entropy_coef * H
        rho = exp(log pi(u) - log pi_old(u))

    Schulman, Wolski, Dhariwal, Radford, Klimov (2017), "Proximal Policy Optimization Algorithms", arXiv:1707.06347.
    With value_clip the larger of the squared errors of V and of V held within value_clip of its old self counts.
    """
    weight = batch.valid.to(value.dtype)
    weight = weight / weight.sum().clamp(min=1.0)
    ratio = torch.exp(gaussian.log_prob(mean, log_std, batch.action) - batch.log_prob)
    held = ratio.clamp(1.0 - params.clip, 1.0 + params.clip)
    policy = -(weight * torch.minimum(ratio * batch.advantage, held * batch.advantage)).sum()
    error = (value - batch.value_target).square()
    if isfinite(params.value_clip):
        near = batch.value + (value - batch.value).clamp(-params.value_clip, params.value_clip)
        error = torch.maximum(error, (near - batch.value_target).square())
    value_loss = (weight * error).sum()
    entropy = (weight * gaussian.entropy(log_std)).sum()
    with torch.no_grad():
        kl = (weight * gaussian.kl(batch.mean, batch.log_std, mean, log_std)).sum()
        clipped = (weight * ((ratio - 1.0).abs() > params.clip)).sum()
    total = policy + params.value_coef * value_loss - params.entropy_coef * entropy
    return LossTerms(total, policy, value_loss, entropy, kl, clipped)


def standardise(advantage: Tensor, valid: Tensor) -> Tensor:
    """Advantages with mean 0 and variance 1 over the valid rows, 0 elsewhere; no wait for the device."""
    weight = valid.to(advantage.dtype)
    count = weight.sum().clamp(min=1.0)
    centred = (advantage - (weight * advantage).sum() / count) * weight
    deviation = (centred.square().sum() / count).sqrt()
    return centred / deviation.clamp(min=1e-8)
