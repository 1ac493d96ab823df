"""The causal scaler of Toto 1.0: mean and standard deviation of all valid steps up to the end of every patch.

B batch   V variates   T steps   P patch   S patches
"""

from typing import NamedTuple

import torch
from torch import Tensor

from arena.forecast.models.layers import patch_moments

MIN_VARIANCE = 0.1  # added to every variance, so that a scale is never small; default of arguments below


class Moments(NamedTuple):
    """Of all valid steps up to the end of each patch, float64; see `patch_moments`."""

    num_valid: Tensor  # [B, V, S]
    mean: Tensor  # [B, V, S]
    m2: Tensor  # [B, V, S]


class Bounds(NamedTuple):
    """Within which every scale of a series is kept, float64."""

    low: Tensor  # [B, V, 1]
    high: Tensor  # [B, V, 1]


def moments_of(series: Tensor, valid_mask: Tensor, patch_size: int) -> Moments:
    """Of every patch and those before it, [B, V, T] twice."""
    num_valid, mean, m2 = patch_moments(series, valid_mask, patch_size)
    return Moments(num_valid, mean, m2)


def merged_moments(past: Moments, new: Moments) -> Moments:
    """Moments of the steps of both. Chan, Golub, LeVeque (1983), "Algorithms for Computing the Sample Variance"."""
    num_valid = past.num_valid + new.num_valid
    share = new.num_valid / num_valid.clamp(min=1.0)
    gap = new.mean - past.mean
    return Moments(num_valid, past.mean + gap * share, past.m2 + new.m2 + gap.square() * past.num_valid * share)


def scale_bounds(context: Moments, exponent: float | None, min_variance: float = MIN_VARIANCE) -> Bounds:
    """10**-exponent and 10**exponent of the standard deviation of the whole context; None: no bounds."""
    spread = (context.m2 / context.num_valid.clamp(min=1.0) + min_variance).sqrt()[..., -1:]
    if exponent is None:
        return Bounds(torch.zeros_like(spread), torch.full_like(spread, float("inf")))
    return Bounds((spread * 10.0**-exponent).clamp(min=min_variance), spread * 10.0**exponent)


def patch_scaler(
    moments: Moments, bounds: Bounds, patch_size: int, min_variance: float = MIN_VARIANCE
) -> tuple[Tensor, Tensor]:
    """Location and scale at the end of each patch, repeated over it: [B, V, T] float32 each.

    scale = sqrt(m2 / (n - 1) + 0.1), within its bounds
    """
    variance = moments.m2 / (moments.num_valid - 1.0).clamp(min=1.0)
    scale = torch.minimum(torch.maximum((variance + min_variance).sqrt(), bounds.low), bounds.high)
    patch_loc = moments.mean.float().repeat_interleave(patch_size, -1)
    return patch_loc, scale.float().repeat_interleave(patch_size, -1)
