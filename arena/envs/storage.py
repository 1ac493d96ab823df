"""Reductions and joins that keep the memory order of their operands.

Axes are always [B, N, A] in the code, but with few assets it is several times faster to let B vary fastest in memory.
Elementwise operations keep such an order; torch's own sum, stack and cat return the default one, and a compiled step
would then transpose back and forth. These keep it.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def _slowest_first(x: Tensor) -> list[int]:
    """Axes of x by falling stride."""
    return sorted(range(x.dim()), key=lambda axis: -x.stride(axis))


def reduce(reduction: Callable[[Tensor, int], Tensor], x: Tensor, axis: int) -> Tensor:
    """reduction(x, axis) for a reduction that drops the axis, in the memory order of x."""
    order = _slowest_first(x)
    axis %= x.dim()
    kept = [a for a in order if a != axis]
    reduced = reduction(x.permute(order), order.index(axis))
    return reduced.permute([kept.index(a) for a in sorted(kept)])


def total(x: Tensor, axis: int) -> Tensor:
    """x.sum(axis) in the memory order of x."""
    return reduce(torch.sum, x, axis)


def stack(tensors: Sequence[Tensor]) -> Tensor:
    """torch.stack(tensors, -1), the new axis slowest in memory: each tensor stays one block."""
    order = _slowest_first(tensors[0])
    stacked = torch.stack([t.permute(order) for t in tensors])
    return stacked.movedim(0, -1).permute([*(order.index(a) for a in range(len(order))), len(order)])
