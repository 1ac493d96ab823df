"""The diagonal Gaussian of a policy: mean and log_std [..., A], results [...], summed over assets."""

import math

import torch
from torch import Tensor

LOG_2_PI = math.log(2.0 * math.pi)


def sample(mean: Tensor, log_std: Tensor, generator: torch.Generator) -> Tensor:
    """A draw u [..., A]."""
    noise = torch.empty_like(mean).normal_(generator=generator)
    return mean + log_std.exp() * noise


def log_prob(mean: Tensor, log_std: Tensor, action: Tensor) -> Tensor:
    """Log density of an unbounded action."""
    z = (action - mean) * torch.exp(-log_std)
    return (-0.5 * (z.square() + LOG_2_PI) - log_std).sum(-1)


def entropy(log_std: Tensor) -> Tensor:
    """Differential entropy in nats."""
    return (log_std + 0.5 * (1.0 + LOG_2_PI)).sum(-1)


def kl(mean: Tensor, log_std: Tensor, new_mean: Tensor, new_log_std: Tensor) -> Tensor:
    """KL(old || new) in nats."""
    gap = (mean - new_mean) * torch.exp(-new_log_std)
    ratio = torch.exp(2.0 * (log_std - new_log_std))
    return (new_log_std - log_std + 0.5 * (ratio + gap.square() - 1.0)).sum(-1)
