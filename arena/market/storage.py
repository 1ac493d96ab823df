"""Reductions and joins that keep the memory order of their operands.

Axes are always [B, N, A] in the code, but with few assets it is several times faster to let B vary fastest in memory.
Elementwise operations keep such an order; torch's own sum, stack and cat return the default one, and a compiled step
would then transpose back and forth. These keep it.
"""

import ctypes
import sys
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def _slowest_first(x: Tensor) -> list[int]:
    """Axes of x by falling stride."""
    strides = x.stride()
    return sorted(range(len(strides)), key=lambda axis: -strides[axis])


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


def keep_freed_memory() -> bool:
    """Let this process reuse large CPU buffers instead of returning them to the system; True if that is supported.

    glibc unmaps every freed buffer above 32 MB, so that a step with large observations pays a page fault per 4 kB of
    them: at 4096 markets x 4 agents x 100 assets half of its time. Process-wide, hence a call and not a default; the
    process then keeps its peak memory.
    """
    if not sys.platform.startswith("linux"):
        return False
    trim_threshold, top_pad, mmap_max = -1, -2, -4  # M_* of malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # another C library
        return False
    return all(
        mallopt(option, value) for option, value in ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 2**28))
    )
