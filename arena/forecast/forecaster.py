"""A network that reads bars, behind the Forecaster protocol.

N series, all leading axes as one   B of them in one batch   C context bars   H horizon   Q levels   S sampled paths
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from arena.data.types import CHANNELS, CLOSE
from arena.forecast.call_stats import Recorder
from arena.forecast.fingerprint import fingerprint, module_hash
from arena.forecast.request import MIN_KNOWN, check_shapes, check_values, flat_stamps
from arena.forecast.types import Forecast, ForecasterInfo, ForecasterStats

logger = logging.getLogger(__name__)

# (context [B, C, 6] float32, stamps [B, C + H], H, S, seed) -> quantiles [B, H, 6, Q], samples [B, S, H, 6]
BarModel = Callable[[Tensor, Tensor, int, int, int], tuple[Tensor, Tensor]]
# What the allocators say; inside TorchScript they say it in a plain RuntimeError.
OUT_OF_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


class ModelForecaster:
    """Splits any number of series into batches for a bar model, and into smaller ones when memory runs out.

    A series' own numbers may differ in the last bits with the size of its batch, and the paths of a model that draws
    them with the others of the batch. A series without a known return is NaN and takes part as a constant.
    """

    def __init__(
        self,
        module: BarModel,
        manifest: Mapping[str, Any],
        *,
        device: torch.device | str = "cpu",
        batch_size: int = 64,
        num_samples: int | None = None,
        seed: int = 0,
        content_hash: str | None = None,
    ) -> None:
        """
        manifest      name, min_context, max_horizon; optional: num_samples, training_cutoff, channels (names
                      of those that the model predicts, default all), config (of the network)
        num_samples   paths to draw, default the manifest's
        content_hash  SHA-256 of the artefact; None: that of the module's tensors
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, expected at least 1")
        self._module = module
        name = str(manifest["name"])
        self._all_channels = tuple(manifest.get("channels", CHANNELS)) == CHANNELS
        self._device = torch.device(device)
        self._num_samples = int(manifest.get("num_samples", 0) if num_samples is None else num_samples)
        self._seed = seed
        self._recorder = Recorder(name)
        self.info = ForecasterInfo(
            name=name,
            fingerprint=fingerprint(
                "model",
                content=content_hash or (module_hash(module) if isinstance(module, nn.Module) else name),
                config=manifest.get("config"),
                batch_size=batch_size,
                num_samples=self._num_samples,
                seed=seed,
                device=self._device.type,
            ),
            min_context=int(manifest["min_context"]),
            max_horizon=manifest["max_horizon"],
            training_cutoff=manifest.get("training_cutoff"),
        )
        self.batch_size = batch_size

    def stats(self) -> ForecasterStats:
        """Since it was made."""
        return self._recorder.stats()

    @torch.no_grad()
    def predict(self, context: Tensor, stamps: Tensor | None, horizon: int) -> Forecast:
        """See `Forecaster.predict`; float32, on the device of the context."""
        check_shapes(self.info, context, stamps, horizon)
        check_values(context)
        leading = context.shape[:-2]
        rows = context.reshape(-1, *context.shape[-2:])  # [N, C, 6]
        times = flat_stamps(context, stamps, horizon)  # [N, C + H]
        with self._recorder.record(len(rows)):
            batches = []
            first = 0
            while first < len(rows):
                batch = self._predict_batch(rows, times, horizon, first)
                batches.append([part.to(context.device) for part in batch])
                first += len(batch[0])
            quantiles, samples = (torch.cat(parts) for parts in zip(*batches))  # [N, H, 6, Q], [N, S, H, 6]
        return Forecast(
            _unflatten(quantiles[:, :, CLOSE], leading),
            _unflatten(samples[..., CLOSE].transpose(1, 2), leading) if samples.size(1) else None,
            _unflatten(quantiles, leading) if self._all_channels else None,
        )

    def _predict_batch(self, rows: Tensor, times: Tensor, horizon: int, first: int) -> tuple[Tensor, Tensor]:
        """Quantiles and samples of `batch_size` series from `first` on; of fewer, from now on, if memory runs out."""
        while True:
            size = self.batch_size
            chosen = slice(first, first + size)
            try:
                return self._run(rows[chosen], times[chosen], horizon, self._seed + first)
            except (RuntimeError, MemoryError) as error:  # torch.OutOfMemoryError is a RuntimeError
                size = min(size, len(rows) - first)
                if size == 1 or not _is_out_of_memory(error):
                    raise
            # Here, where the failed call's frames and tensors are gone.
            self.batch_size = min(self.batch_size, (size + 1) // 2)
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
            logger.warning("%s ran out of memory at %d series; going on with %d", self.info.name, size, self.batch_size)

    def _run(self, context: Tensor, stamps: Tensor, horizon: int, seed: int) -> tuple[Tensor, Tensor]:
        context = context.to(self._device, torch.float32)
        known = context[..., CLOSE].isfinite().sum(1) >= MIN_KNOWN  # [B]
        context = torch.where(known[:, None, None], context, 1.0)  # what no model is asked, without moving the others
        quantiles, samples = self._module(
            context.contiguous(), stamps.to(self._device).contiguous(), horizon, self._num_samples, seed
        )
        unknown = ~known[:, None, None, None]
        return quantiles.masked_fill(unknown, float("nan")), samples.masked_fill(unknown, float("nan"))


def _unflatten(field: Tensor, leading: torch.Size) -> Tensor:
    return field.reshape(*leading, *field.shape[1:])


def _is_out_of_memory(error: Exception) -> bool:
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or any(message in str(error).lower() for message in OUT_OF_MEMORY)
