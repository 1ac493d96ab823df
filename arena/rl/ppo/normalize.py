"""Running mean and variance of observations, merged batch by batch into the buffers of a network."""

from typing import NamedTuple

import torch
from torch import Tensor


class Moments(NamedTuple):
    """Of the numbers seen so far."""

    num_rows: Tensor  # scalar
    mean: Tensor  # [F]
    var: Tensor  # [F] of the population


def batch_moments(obs: Tensor, valid: Tensor) -> Moments:
    """Moments of the rows obs [..., F] that are valid [...]."""
    rows, weight = obs.reshape(-1, obs.shape[-1]), valid.reshape(-1, 1).to(obs.dtype)
    num_rows = weight.sum()
    mean = (weight * rows).sum(0) / num_rows.clamp(min=1.0)
    var = (weight * (rows - mean).square()).sum(0) / num_rows.clamp(min=1.0)
    return Moments(num_rows, mean, var)


def merge(first: Moments, second: Moments) -> Moments:
    """Moments of both sets of rows together; an empty set changes nothing.

        n = n1 + n2,   d = m2 - m1,   m = m1 + d n2 / n,   M = M1 + M2 + d**2 n1 n2 / n     (M = n var)

    Chan, Golub, LeVeque (1983), "Algorithms for Computing the Sample Variance", The American Statistician 37:242.
    """
    num_rows = first.num_rows + second.num_rows
    share = second.num_rows / num_rows.clamp(min=1.0)
    gap = second.mean - first.mean
    mean = first.mean + gap * share
    var = first.var + (second.var - first.var) * share + gap.square() * share * (1.0 - share)
    return Moments(num_rows, mean, var)


def pool_assets(moments: Moments, num_asset_features: int, num_seat_features: int) -> Moments:
    """Moments of a flat, feature-major observation [P * A + S] pooled over assets: [P + S]."""
    assets = len(moments.mean) - num_seat_features
    mean = moments.mean[:assets].unflatten(0, (num_asset_features, -1))  # [P, A]
    var = moments.var[:assets].unflatten(0, (num_asset_features, -1))
    pooled = mean.mean(-1)
    return Moments(
        moments.num_rows,
        torch.cat([pooled, moments.mean[assets:]]),
        torch.cat([var.mean(-1) + mean.var(-1, correction=0), moments.var[assets:]]),
    )
