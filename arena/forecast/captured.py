"""A bar model replayed as a CUDA graph: a call costs the processor one launch instead of one for every kernel.

A small network on a GPU is done with a batch sooner than TorchScript has launched its few hundred kernels.
"""

from collections import OrderedDict
from typing import NamedTuple

import torch
from torch import Tensor, nn

WARMUP_CALLS = 4  # in which TorchScript rewrites its graph and libraries make their workspaces: neither can be captured
MAX_GRAPHS = 4  # of different sizes; each holds the memory of its activations


class _Graph(NamedTuple):
    graph: torch.cuda.CUDAGraph
    context: Tensor
    stamps: Tensor
    quantiles: Tensor
    samples: Tensor
    free: torch.cuda.Event  # the last call has read its answer


class CapturedModel(nn.Module):
    """`module` (see arena.forecast.bar_models) captured at the first call of every size, replayed at the later ones.

    The module must draw nothing, read no value of a tensor and wait for nothing: Toto 2.0 does so, Kronos and Toto 1.0
    cannot. Answers are the same bits as of the module itself. One thread at a time.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._graphs: OrderedDict[tuple, _Graph] = OrderedDict()

    @torch.no_grad()
    def forward(
        self, context: Tensor, stamps: Tensor, horizon: int, num_samples: int, seed: int
    ) -> tuple[Tensor, Tensor]:
        """See `arena.forecast.bar_models`; the context must lie on a GPU."""
        size = (*context.shape, horizon, num_samples, context.dtype, context.device)
        if size not in self._graphs:
            if len(self._graphs) == MAX_GRAPHS:
                self._graphs.popitem(last=False)
            self._graphs[size] = self._capture(context, stamps, horizon, num_samples, seed)
        self._graphs.move_to_end(size)
        graph = self._graphs[size]
        stream = torch.cuda.current_stream(context.device)
        stream.wait_event(graph.free)  # another stream may have called last
        graph.context.copy_(context)
        graph.stamps.copy_(stamps)
        graph.graph.replay()
        answer = graph.quantiles.clone(), graph.samples.clone()
        graph.free.record(stream)
        return answer

    def _capture(self, context: Tensor, stamps: Tensor, horizon: int, num_samples: int, seed: int) -> _Graph:
        # Not as inference tensors, which calls in another mode could not fill.
        with torch.cuda.device(context.device), torch.inference_mode(False), torch.no_grad():
            context, stamps = context.clone(), stamps.clone()
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARMUP_CALLS):
                    self.module(context, stamps, horizon, num_samples, seed)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            # Other threads, a cache that computes ahead for one, may use the GPU meanwhile.
            with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
                quantiles, samples = self.module(context, stamps, horizon, num_samples, seed)
            return _Graph(graph, context, stamps, quantiles, samples, torch.cuda.Event())
