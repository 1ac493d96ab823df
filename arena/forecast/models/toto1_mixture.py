"""What Toto 1.0 says of a step to come: a mixture of Student t, its mean and draws from it.

B batch   V variates   T steps   K components
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Mixture(NamedTuple):
    """Student t mixture of every step: value = patch_loc + patch_scale * x, x from component k with probs[k]."""

    df: Tensor  # [B, V, T, K]
    comp_loc: Tensor  # [B, V, T, K]
    comp_scale: Tensor  # [B, V, T, K]
    probs: Tensor  # [B, V, T, K]
    patch_loc: Tensor  # [B, V, T]
    patch_scale: Tensor  # [B, V, T]


def replace_extremes(x: Tensor, largest: float = torch.finfo(torch.float32).max / 2) -> Tensor:
    """0 for what is NaN, infinite or beyond half the largest float32."""
    return x.masked_fill(~(x.abs() < largest), 0.0)


def mixture_mean(mixture: Mixture) -> Tensor:
    """[B, V, T]; df > 2, so every component has its mean."""
    mean = (mixture.probs * mixture.comp_loc).sum(-1)
    return replace_extremes(mean * mixture.patch_scale + mixture.patch_loc)


def mixture_draw(mixture: Mixture, generator: torch.Generator | None) -> Tensor:
    """One value per step, independent of the others: [B, V, T].

    x = loc + scale * n / sqrt(chi2 / df), n standard normal, chi2 of df degrees of freedom. The generator is one of the
    CPU, which then draws for a GPU too.
    """
    device = mixture.df.device
    if generator is not None:
        mixture = Mixture(
            mixture.df.cpu(),
            mixture.comp_loc.cpu(),
            mixture.comp_scale.cpu(),
            mixture.probs.cpu(),
            mixture.patch_loc.cpu(),
            mixture.patch_scale.cpu(),
        )
    shape = mixture.patch_loc.shape
    component = torch.multinomial(mixture.probs.flatten(0, -2), 1, generator=generator).view(shape).unsqueeze(-1)
    df = mixture.df.gather(-1, component).squeeze(-1)
    normal = torch.randn(shape, generator=generator, device=df.device, dtype=df.dtype)
    chi2 = 2.0 * torch._standard_gamma(0.5 * df, generator=generator)
    loc = mixture.comp_loc.gather(-1, component).squeeze(-1)
    scale = mixture.comp_scale.gather(-1, component).squeeze(-1)
    drawn = loc + scale * normal * (df / chi2).sqrt()
    return replace_extremes(drawn * mixture.patch_scale + mixture.patch_loc).to(device)
