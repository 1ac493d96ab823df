"""A bar model replayed as a CUDA graph: TorchScript takes longer to launch a small network than a GPU to run it."""

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from arena.cuda_graph import CudaGraph

MAX_GRAPHS = 4  # of different sizes; each holds the memory of its activations
# Without cuDNN's, which torch prefers in half precision: on an H200 it takes three times as long for 17 patches.
ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


class CapturedModel(nn.Module):
    """`module`, a bar model, recorded at the first call of every size and replayed at the later ones.

    The module must draw nothing, read no value of a tensor and wait for nothing: Toto 2.0 does so, Kronos and Toto 1.0
    cannot. One thread at a time.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._graphs: OrderedDict[tuple, CudaGraph] = OrderedDict()

    def forward(
        self, context: Tensor, stamps: Tensor, horizon: int, num_samples: int, seed: int
    ) -> tuple[Tensor, Tensor]:
        """See `arena.forecast.models.bar_models`; the context must lie on a GPU."""
        size = (*context.shape, horizon, num_samples, context.dtype, context.device)
        if size not in self._graphs:
            if len(self._graphs) == MAX_GRAPHS:
                self._graphs.popitem(last=False)
            with sdpa_kernel(ATTENTION):
                self._graphs[size] = CudaGraph(
                    lambda bars, times: self.module(bars, times, horizon, num_samples, seed), [context, stamps]
                )
        self._graphs.move_to_end(size)
        quantiles, samples = self._graphs[size]([context, stamps])
        return quantiles, samples
