"""The forecaster that comes with arena: a small Toto 2.0 network on what bars say about returns and their size.

The network is `Toto2`; what goes in and how its output is read are its own:

    in    three variates of one group per asset, all in units of s: the return within the bar, the logarithm of its
          range, the logarithm of its volume (against the mean so far)
    out   quantiles of the CUMULATIVE log return over the next h = 1 .. P bars, in units of s sqrt(h)
    s     root mean square of all close-to-close log returns so far

so an output of standard normal quantiles is a random walk, and one patch is a whole forecast. Returns are not centred
before they go in, because their mean is the signal.

B series   C context bars   T = S P bars in whole patches   S patches   P patch size   V variates   H horizon
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from arena.forecast.fingerprint import file_hash
from arena.forecast.forecaster import ModelForecaster
from arena.forecast.models.checkpoint import CONFIG, WEIGHTS, load_checkpoint, load_strict
from arena.forecast.models.toto import Toto2, by_patch, patch_ids, time_mask
from arena.forecast.models.toto_config import Toto2Config
from arena.forecast.types import QUANTILE_LEVELS

FOLDER = Path(__file__).parents[1] / "weights"
MIN_CONTEXT = 8  # bars; it was trained on 8 and more
BATCH_SIZE = 1024
SCALE_FLOOR = 1e-6  # s of a price that never moved
RANGE_FLOOR = 0.05  # in units of s, of bars without a range


class BarSeries(NamedTuple):
    """What the network sees of bars, in whole patches."""

    values: Tensor  # [B, V, T], 0 where not observed
    observed: Tensor  # [B, V, T] bool
    scale: Tensor  # [B, S] s at the end of each patch
    price: Tensor  # [B] last known close, NaN if there is none


def bar_series(
    context: Tensor, patch_size: int, scale_floor: float = SCALE_FLOOR, range_floor: float = RANGE_FLOOR
) -> BarSeries:
    """Variates and scale of bars [B, T, 6], T a multiple of the patch size; whatever is NaN is not observed.

    A missing close repeats the last one and says nothing; a missing open is the close before. A patch is told of bars
    up to its own end. The range is in units of the volatility that it speaks of, since E[log(high / low)^2] =
    4 ln 2 variance: Parkinson (1980), Journal of Business 53:61.
    """
    open_, high, low, close, volume, _ = context.unbind(-1)  # [B, T] each
    known = close > 0  # False for NaN
    step = torch.arange(close.size(1), device=close.device).expand(close.shape)
    last = step.masked_fill(~known, 0).cummax(1).values  # last known close up to each bar
    filled = close.gather(1, last)
    before = torch.cat([filled[:, :1], filled[:, :-1]], 1)
    has_before = torch.cat([torch.zeros_like(known[:, :1]), known.gather(1, last)[:, :-1]], 1)
    open_ = torch.where(open_ > 0, open_, before)

    moved = known & has_before
    squared = (close / before).log().square().masked_fill(~moved, 0.0)
    mean_square = _so_far(squared, patch_size) / _so_far(moved.to(squared.dtype), patch_size).clamp(min=1.0)
    scale = mean_square.sqrt().clamp(min=scale_floor)  # [B, S]
    unit = scale.repeat_interleave(patch_size, 1)  # [B, T]

    within = (close / open_).log() / unit
    high_low = (high / low).log()
    log_range = (high_low / (2.0 * math.sqrt(math.log(2.0)) * unit)).clamp(min=range_floor).log()
    traded = volume > 0
    log_volume = volume.log().masked_fill(~traded, 0.0)
    usual = _so_far(log_volume, patch_size) / _so_far(traded.to(unit.dtype), patch_size).clamp(min=1.0)
    log_volume = log_volume - usual.repeat_interleave(patch_size, 1)

    observed = torch.stack([known & (open_ > 0), high_low >= 0, traded], 1)
    values = torch.stack([within, log_range, log_volume], 1).masked_fill(~observed, 0.0)
    return BarSeries(values, observed, scale, filled[:, -1])


def _so_far(x: Tensor, patch_size: int) -> Tensor:
    """Sum up to the end of each patch, [B, T] -> [B, S]."""
    return x.unflatten(1, [-1, patch_size]).sum(-1).cumsum(1)


class EmbeddedModel(nn.Module):
    """Quantiles of the close up to P bars ahead from the last `max_context` bars; all other channels are NaN.

    A bar model (arena.forecast.models.bar_models). It draws no paths and reads no calendar.
    """

    def __init__(self, model: Toto2, max_context: int) -> None:
        super().__init__()
        self.model = model
        self.patch_size = model.patch_size
        self.max_context = max_context

    def forward(
        self, context: Tensor, stamps: Tensor, horizon: int, num_samples: int, seed: int
    ) -> tuple[Tensor, Tensor]:
        """`num_samples`, `seed` and the stamps change nothing."""
        if context.dim() != 3 or context.size(1) < 1 or context.size(2) != 6:
            raise ValueError(f"context has shape {context.shape}, expected [B, C, 6] with C >= 1")
        if horizon < 1 or horizon > self.patch_size:
            raise ValueError(f"horizon is {horizon}, the embedded model forecasts 1 to {self.patch_size} bars")
        series = bar_series(self.whole_patches(context), self.patch_size)
        unit = self.unit_quantiles(series, 1)[:, 0, :horizon].sort(dim=-1).values  # [B, H, Q]
        growth = torch.arange(1, horizon + 1, device=unit.device).to(unit.dtype).sqrt()
        log_return = unit * (series.scale[:, -1:] * growth).unsqueeze(-1)
        close = series.price[:, None, None] * log_return.exp()
        unknown = torch.full_like(close, float("nan"))
        quantiles = torch.stack([unknown, unknown, unknown, close, unknown, unknown], 2)
        return quantiles, close.new_zeros([close.size(0), 0, horizon, 6])

    def whole_patches(self, context: Tensor) -> Tensor:
        """The last `max_context` bars [B, C, 6], with bars of NaN before them to a multiple of P: [B, T, 6]."""
        context = context[:, -self.max_context :].float()
        return nn.functional.pad(context, [0, 0, -context.size(1) % self.patch_size, 0], value=float("nan"))

    def unit_quantiles(self, series: BarSeries, num_read: int) -> Tensor:
        """Quantiles behind each of the last `num_read` patches in units of s sqrt(h), unsorted: [B, num_read, P, Q]."""
        observed = by_patch(series.observed, self.patch_size)  # [B, V, S, P]
        tokens = torch.cat([by_patch(series.values.asinh(), self.patch_size), observed.logical_not().float()], -1)
        # Patches without any observation are not attended to.
        ids = patch_ids(torch.zeros_like(observed[:, :, 0, 0], dtype=torch.long), observed.any(-1))  # [B, V, S]
        num_patches = ids.size(2)
        state = self.model.patch_proj(tokens.to(self.model.patch_proj.linear1.weight.dtype))
        mask = time_mask(ids, 0, num_patches, True)
        state = self.model.transformer(state, ids, mask, 0, num_patches // 2, num_read)
        head = self.model.output_head(state[:, 0]).float()  # of the returns: [B, num_read, P * Q]
        return head.unflatten(-1, [self.patch_size, -1]).sinh()


def new_embedded(config: dict[str, Any], generator: torch.Generator) -> EmbeddedModel:
    """An untrained model, which says that prices are a random walk with normal returns."""
    network = Toto2(Toto2Config.from_json(config))
    network.initialise(generator)
    head = network.output_head.param_projection.proj
    normal = torch.special.ndtri(torch.tensor(QUANTILE_LEVELS))
    level = normal.asinh().repeat(network.patch_size) / (head.linear2.gain * head.output_gain)
    with torch.no_grad():
        head.linear2.weight.zero_()
        head.skip_proj.weight.zero_()
        head.linear2.get_parameter("bias").copy_(level)
    return EmbeddedModel(network, int(config["max_context"]))


def embedded_model(folder: Path = FOLDER) -> tuple[EmbeddedModel, dict[str, Any]]:
    """The bar model of a folder, ready to forecast, and its manifest."""
    config, tensors = load_checkpoint(folder)
    network = Toto2(Toto2Config.from_json(config))
    load_strict(network, tensors, folder)
    module = EmbeddedModel(network.fold(), int(config["max_context"])).eval()
    return module, {
        "name": "embedded",
        "kind": "embedded",
        "source": "arena.forecast.weights" if folder == FOLDER else str(folder),
        "sha256": {name: file_hash(folder / name) for name in (CONFIG, WEIGHTS)},
        "config": config,
        "context": module.max_context,
        "min_context": MIN_CONTEXT,
        "max_horizon": module.patch_size,
        "num_samples": 0,
        "training_cutoff": None,  # it has seen synthetic bars only
        "channels": ["close"],
    }


def load_embedded(device: torch.device | str = "cpu", folder: Path = FOLDER) -> ModelForecaster:
    """The forecaster with the weights that come with arena, or with those of another training in `folder`."""
    module, manifest = embedded_model(folder)
    content = " ".join(manifest["sha256"].values())
    return ModelForecaster(module.to(device), manifest, device=device, batch_size=BATCH_SIZE, content_hash=content)
