"""A function of tensors on a GPU, recorded once: a call is then one launch, not one for every kernel in it.

A GPU is often done with a small batch sooner than the processor has launched the kernels for it.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARMUP_CALLS = 4  # in which TorchScript rewrites its graph and libraries make their workspaces: neither can be recorded


class CudaGraph:
    """`function(*inputs)` as a CUDA graph; answers are the function's own bits, in memory of their own.

    function  returns tensors, waits for nothing and reads no tensor's value; a tensor that it reads and is not given is
              read where it lay at the recording
    inputs    as large, and of the dtypes, of those of all later calls

    One thread at a time; streams are kept apart.
    """

    def __init__(self, function: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor]) -> None:
        # Not as inference tensors, which calls in another mode could not fill.
        with torch.cuda.device(inputs[0].device), torch.inference_mode(False), torch.no_grad():
            self._inputs = [x.clone() for x in inputs]
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARMUP_CALLS):
                    function(*self._inputs)
            torch.cuda.current_stream().wait_stream(side)
            self._graph, self._read = torch.cuda.CUDAGraph(), torch.cuda.Event()
            # Other threads, say a cache that computes ahead, may use the GPU meanwhile.
            with torch.cuda.graph(self._graph, stream=side, capture_error_mode="thread_local"):
                self._outputs = list(function(*self._inputs))

    @torch.no_grad()
    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """What the function makes of these."""
        stream = torch.cuda.current_stream(self._inputs[0].device)
        stream.wait_event(self._read)  # by the last call, maybe on another stream
        _copy(self._inputs, inputs)
        self._graph.replay()
        fresh = [torch.empty_like(x) for x in self._outputs]
        _copy(fresh, self._outputs)
        self._read.record(stream)
        return fresh


def _copy(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> None:
    """Element-wise, in one launch for each dtype."""
    by_dtype: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
    for target, source in zip(targets, sources, strict=True):
        pair = by_dtype.setdefault(target.dtype, ([], []))
        pair[0].append(target)
        pair[1].append(source)
    for pair in by_dtype.values():
        torch._foreach_copy_(*pair)
