"""Building blocks of the synthetic market: random numbers keyed by scenario, AR(1) paths, tails, extremes, U shapes.

Letters: T bars, W windows (scenarios), K numbers drawn per bar.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

MAX_SEED = 2**32  # the Mersenne twister behind torch.Generator on the CPU drops higher bits: larger seeds would repeat


def keyed_draws(seeds: Sequence[int], num_bars: int, num_normals: int, num_uniforms: int) -> tuple[Tensor, Tensor]:
    """Standard normals [T, W, num_normals] and uniforms in [0, 1) [T, W, num_uniforms], float64.

    Each scenario draws from its own seed, on the CPU, in an order that only the shape decides: it is the same in any
    batch and on any device.
    """
    normals = torch.empty(num_bars, len(seeds), num_normals, dtype=torch.float64)
    uniforms = torch.empty(num_bars, len(seeds), num_uniforms, dtype=torch.float64)
    generator = torch.Generator()
    for w, seed in enumerate(seeds):
        if not 0 <= seed < MAX_SEED:
            raise ValueError(
                f"seed {seed} at place {w} is outside 0 .. 2**32 - 1; draw seeds with arena.data.synthetic.seeds"
            )
        generator.manual_seed(seed)
        normals[:, w] = torch.randn(num_bars, num_normals, dtype=torch.float64, generator=generator)
        uniforms[:, w] = torch.rand(num_bars, num_uniforms, dtype=torch.float64, generator=generator)
    return normals, uniforms


def ar1(noise: Tensor, half_life: float, dt: float) -> Tensor:
    """Stationary AR(1) path with unit variance from unit noise, along the first axis [T, ...] -> [T, ...].

        x[0] = e[0],   x[t] = a x[t-1] + sqrt(1 - a**2) e[t],   a = 2**(-dt / half_life)

    half_life, dt  [trading days]
    """
    keep = 2.0 ** (-dt / half_life)
    path = noise * math.sqrt(1.0 - keep * keep)
    path[0] = noise[0]
    for t in range(1, len(path)):
        path[t].add_(path[t - 1], alpha=keep)
    return path


def tail_scale(uniforms: Tensor, dof: float) -> Tensor:
    """Random variance W with mean 1 that turns a normal z into a Student t: sqrt(W) z has unit variance.

        W = (nu - 2) / chi2_nu,   chi2_nu = -2 sum_i log U_i  over nu / 2 uniforms

    uniforms [..., nu/2]; returns [...]. An infinite `dof` gives W = 1 (normal tails).
    """
    if math.isinf(dof):
        return torch.ones(uniforms.shape[:-1], dtype=uniforms.dtype, device=uniforms.device)
    return (dof - 2.0) / (-2.0 * torch.log1p(-uniforms).sum(-1))


def bridge_extremes(open_: Tensor, close: Tensor, variance: Tensor, up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
    """High and low of a bar whose log price is a Brownian bridge from open to close; any one shape for all.

        high = open exp((x + sqrt(x**2 - 2 s**2 log U)) / 2),  low the same with a minus,  x = log(close / open)

    variance  s**2 of the log price over the bar [-];  up, down  independent uniforms in [0, 1).
    Each extreme has its exact law; the pair is drawn as if the two were independent.
    """
    x = (close / open_).log()
    high = open_ * torch.exp(0.5 * (x + (x * x - 2.0 * variance * torch.log1p(-up)).sqrt()))
    low = open_ * torch.exp(0.5 * (x - (x * x - 2.0 * variance * torch.log1p(-down)).sqrt()))
    # exp(log(close/open)) is off in the last bit, which would let a close stand above its high.
    return torch.maximum(high, torch.maximum(open_, close)), torch.minimum(low, torch.minimum(open_, close))


def day_profile(bars_per_day: int, morning: float, evening: float, power: float) -> Tensor:
    """U shape over the bars of a day, with mean 1: [bars_per_day].

    1 + morning (1 - x)**power + evening x**power at mid-bar times x in (0, 1), then divided by its mean.
    """
    x = (torch.arange(bars_per_day, dtype=torch.float64) + 0.5) / bars_per_day
    shape = 1.0 + morning * (1.0 - x) ** power + evening * x**power
    return shape / shape.mean()
