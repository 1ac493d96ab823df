"""An observation in memory that a match and the process of an agent share.

The match writes, the agent's process reads and copies; the match never reads what lies there. The memory has no name,
cannot change its size (a file that shrinks under a writer would kill the writer) and goes with the two processes.
A tensor keeps the order of its axes in memory, because sums over another order may differ in the last bit.
"""

import fcntl
import mmap
import os
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from arena.market.types import Observation

ALIGNMENT = 64  # bytes
GENERATOR = "generator"  # the entry that holds the state of the random numbers

Entry = tuple[str, str, list[int], list[int], int]  # name, dtype, shape in memory order, axes in that order, offset


class Written(NamedTuple):
    """What the reader must be told."""

    layout: list[Entry]
    descriptor: int | None  # of new memory, where the old was too small


class Writer:
    """The side of the match."""

    def __init__(self) -> None:
        self._memory: mmap.mmap | None = None
        self._descriptor = -1

    def write(self, observation: Observation, state: Tensor | None) -> Written:
        """All tensors of the observation but the oracle's signal, and the state of a generator if it is given."""
        tensors = {
            name: value
            for name, value in observation._asdict().items()
            if isinstance(value, Tensor) and name != "signal"
        }
        if state is not None:
            tensors[GENERATOR] = state
        layout: list[Entry] = []
        arrays: list[np.ndarray] = []
        size = 0
        for name, tensor in tensors.items():
            order = sorted(range(tensor.dim()), key=tensor.stride().__getitem__, reverse=True)
            array = tensor.detach().permute(order).numpy()
            layout.append((name, array.dtype.name, list(array.shape), order, size))
            arrays.append(array)
            size += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        new = self._reserve(size)
        assert self._memory is not None
        for array, (_, kind, shape, _, offset) in zip(arrays, layout):
            np.ndarray(shape, kind, self._memory, offset)[...] = array
        return Written(layout, self._descriptor if new else None)

    def close(self) -> None:
        """Give the memory back."""
        if self._memory is not None:
            self._memory.close()
            os.close(self._descriptor)
            self._memory = None

    def _reserve(self, size: int) -> bool:
        if self._memory is not None and len(self._memory) >= size:
            return False
        self.close()
        self._descriptor = os.memfd_create("observation", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self._descriptor, max(size, mmap.PAGESIZE))
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, seals)
        self._memory = mmap.mmap(self._descriptor, 0)
        return True


class Reader:
    """The side of the agent."""

    def __init__(self) -> None:
        self._memory: mmap.mmap | None = None

    def open(self, descriptor: int) -> None:
        """Read from this memory from now on."""
        self._memory = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        os.close(descriptor)

    def read(self, layout: list[Entry], dt: float) -> tuple[Observation, Tensor | None]:
        """The observation, in tensors of its own that the agent may keep, and a generator's state if one came."""
        assert self._memory is not None
        tensors: dict[str, Any] = {}
        for name, kind, shape, order, offset in layout:
            array = np.array(np.ndarray(shape, kind, self._memory, offset))
            back = [order.index(axis) for axis in range(len(order))]
            tensors[name] = torch.from_numpy(array).permute(back)
        state = tensors.pop(GENERATOR, None)
        return Observation(**tensors, dt=dt), state
