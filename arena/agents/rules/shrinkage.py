"""A covariance that can be inverted, whatever the sample."""

import torch
from torch import Tensor

from arena.agents.rules import indicators


def shrunk_covariance(closes: Tensor) -> Tensor:
    """Positive definite covariance of log returns [..., A, A], in units of the mean variance; closes [..., A, C].

        (1 - k) S / m + k I,   m = tr(S) / A,   k = min(b2, d2) / d2
        d2 = |S / m - I|**2,   b2 = sum_t |x_t x_t' / m - S / m|**2 / T**2   (Frobenius norms)

    S, x_t  sample covariance (over T) and centred log returns. Where nothing moved the result is I.

    Ledoit, Wolf (2004), "A well-conditioned estimator for large-dimensional covariance matrices", Journal of
    Multivariate Analysis 88:365.
    """
    num_assets = closes.shape[-2]
    returns = indicators.log_returns(closes)  # [..., A, T]
    bars = returns.shape[-1]
    identity = torch.eye(num_assets, dtype=closes.dtype, device=closes.device)
    sample = indicators.covariance(closes) * (max(bars - 1, 1) / max(bars, 1))
    mean_variance = sample.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    flat = mean_variance <= 0
    scale = torch.where(flat, 1.0, mean_variance)
    sample = sample / scale
    squared = sample.square().sum((-2, -1))
    distance = (sample - identity).square().sum((-2, -1))
    centred = returns - returns.mean(-1, keepdim=True) if bars else returns
    lengths = (centred.square() / scale).sum(-2)  # [..., T] of |x_t|**2 / m
    noise = (lengths.square().sum(-1) - bars * squared) / max(bars, 1) ** 2
    # Never without any shrinkage, so that the inverse exists whatever the sample.
    tiny = torch.finfo(closes.dtype).tiny
    intensity = (noise / distance.clamp_min(tiny)).clamp(1e-3, 1)[..., None, None]
    return torch.where(flat, identity, (1 - intensity) * sample + intensity * identity)
