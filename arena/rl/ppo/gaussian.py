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
