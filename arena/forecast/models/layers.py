"""What the Toto models share: causal moments of a series, and rotary positions with a decay over distance.

P patch size   S patches   T steps   e width of a head   w leading dimensions of a head that rotate
"""

import torch
from torch import Tensor

# Defaults of arguments below, because a compiled function cannot read the constants of its module.
ROPE_BASE = 10000.0
XPOS_OFFSET = 0.4


def patch_moments(x: Tensor, observed: Tensor, patch_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and sum of squared deviations of all observed steps up to the end of every patch.

        n_t = sum(o),   mean_t = sum(o x) / n_t,   m2_t = sum(o (x_i - mean_(i-1)) (x_i - mean_i))       over i <= t

    x         [.., T] finite wherever observed; T is a multiple of the patch size
    observed  [.., T] bool
    -> n, mean, m2 [.., S], float64: the sums of a price series lose too many digits in float32

    Welford (1962), "Note on a Method for Calculating Corrected Sums of Squares and Products", Technometrics 4:419.
    """
    value = x.double().masked_fill(~observed, 0.0)
    count = observed.double().cumsum(-1)
    mean = value.cumsum(-1) / count.clamp(min=1.0)
    previous = torch.nn.functional.pad(mean[..., :-1], [1, 0])
    step = ((value - previous) * (value - mean)).masked_fill(~observed, 0.0)
    m2 = step.unflatten(-1, [-1, patch_size]).sum(-1).cumsum(-1)
    return count[..., patch_size - 1 :: patch_size], mean[..., patch_size - 1 :: patch_size], m2


def rotary_turns(first: int, length: int, width: int, head_width: int, like: Tensor, base: float = ROPE_BASE) -> Tensor:
    """exp(i t theta_j), theta_j = base**(-2 j / w), for t = first .. first + length - 1 and each pair of dimensions j.

    -> complex [length, e/2], 1 for the pairs beyond the first w/2, on the device of `like`; single precision unless
    `like` is double. Su et al. (2021), "RoFormer", arXiv 2104.09864.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    frequency = base ** (-torch.arange(0, width, 2, dtype=torch.float32, device=like.device) / width)
    frequency = torch.nn.functional.pad(frequency, [0, (head_width - width) // 2])
    position = torch.arange(first, first + length, dtype=torch.float32, device=like.device)
    angle = (position.unsqueeze(1) * frequency).to(dtype)  # [length, e/2]
    return torch.polar(torch.ones_like(angle), angle)


def xpos_decay(
    first: int, length: int, centre: int, width: int, scale_base: float, like: Tensor, offset: float = XPOS_OFFSET
) -> Tensor:
    """zeta_j**((t - centre) / scale_base), zeta_j = (2 j / w + 0.4) / 1.4, for t = first .. first + length - 1.

    Queries are multiplied by it and keys divided, so that a product of the two decays with their distance.
    -> [length, w/2], float32 or float64 as `rotary_turns`. Sun et al. (2022), arXiv 2212.10554.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    pair = torch.arange(0, width, 2, dtype=torch.float32, device=like.device)
    zeta = (pair / width + offset) / (1.0 + offset)
    power = (torch.arange(first, first + length, dtype=torch.float32, device=like.device) - centre) / scale_base
    return (zeta ** power.unsqueeze(1)).to(dtype)


def turn_pairs(x: Tensor, turns: Tensor) -> Tensor:
    """Multiply each pair of dimensions (2 j, 2 j + 1), taken as a complex number, by turns[t, j].

    x [R, T, h, e]; turns complex [T, e/2] -> [R, T, h, e]. One pass over memory, unlike the same in cos and sin.
    """
    pairs = torch.view_as_complex(x.to(torch.promote_types(x.dtype, torch.float32)).unflatten(-1, [-1, 2]))
    return torch.view_as_real(pairs * turns.unsqueeze(1)).flatten(-2).to(x.dtype)
