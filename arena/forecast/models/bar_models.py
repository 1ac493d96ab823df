"""Networks behind one call on raw bars: what an exported file holds.

    forward(context, stamps, horizon, num_samples, seed) -> quantiles, samples

context      [B, C, 6] float32 raw bars (open, high, low, close, volume, amount), NaN where missing
stamps       [B, C + H] int64, naive local time of every bar in ns since 1970, the H bars to come included
quantiles    [B, H, 6, 9] at QUANTILE_LEVELS, in the units of the context, ascending along the last axis
samples      [B, S, H, 6] sampled paths; S = 0 from a network that draws none

B series   C context bars   H horizon   S paths   6 channels   P patch
Everything happens inside: missing values, padding, normalisation, decoding. All modules can be scripted, and the
network stays reachable as `.model`, with entry points of its own.
"""

import math

import torch
from torch import Tensor, nn

from arena.forecast.models.kronos import Kronos, calendar_stamps
from arena.forecast.models.toto import Toto2
from arena.forecast.models.toto1 import Toto1
from arena.forecast.types import QUANTILE_LEVELS


def check_shapes(context: Tensor, stamps: Tensor, horizon: int) -> None:
    """Refuse what is not [B, C, 6] bars with [B, C + H] stamps."""
    if context.dim() != 3 or context.size(1) < 1 or context.size(2) != 6:
        raise ValueError(f"context has shape {context.shape}, expected [B, C, 6] with C >= 1")
    if horizon < 1:
        raise ValueError(f"horizon is {horizon}, expected at least 1")
    if stamps.dim() != 2 or stamps.size(0) != context.size(0) or stamps.size(1) != context.size(1) + horizon:
        raise ValueError(f"stamps have shape {stamps.shape}, expected [B, C + H] for {context.shape} and H = {horizon}")


def fill_forward(values: Tensor, known: Tensor) -> Tensor:
    """Each gap takes the last value known before it, or the first known one where there is none; 0 in an empty row.

    values, known  [.., T] -> [.., T]
    """
    step = torch.arange(values.size(-1), device=values.device).expand(values.shape)
    last = step.masked_fill(~known, -1).cummax(-1).values  # [.., T], -1 before the first known step
    first = known.to(torch.uint8).argmax(-1, keepdim=True)  # [.., 1]
    return values.masked_fill(~known, 0.0).gather(-1, torch.where(last < 0, first, last))


def sample_quantiles(samples: Tensor, levels: list[float]) -> Tensor:
    """Linear interpolation between ordered paths, [B, S, H, 6] -> [B, H, 6, Q].

    The same numbers as torch.quantile, which refuses tensors above 16 million elements.
    """
    ordered = samples.sort(dim=1).values
    place = torch.tensor(levels, dtype=samples.dtype, device=samples.device) * (samples.size(1) - 1)  # [Q]
    low = place.floor().long()
    high = (low + 1).clamp(max=samples.size(1) - 1)
    share = (place - low).view(-1, 1, 1)
    return torch.lerp(ordered[:, low], ordered[:, high], share.to(samples.dtype)).permute(0, 2, 3, 1)


def variates(context: Tensor, patch_size: int) -> tuple[Tensor, Tensor]:
    """Bars as six series of whole patches, padded on the left, and which of their steps were observed.

    A step that is missing repeats the last value before it, or the first known one: Toto 2.0 takes its last patch for
    observed whatever the mask says, and Toto 1.0 lets padding be seen. Patches that end before anything was observed
    are 0, the location that both networks still assume there.

    context [B, C, 6] -> values [B, 6, T] finite, observed [B, 6, T]
    """
    lacking = -context.size(1) % patch_size
    values = torch.nn.functional.pad(context.float().transpose(1, 2), [lacking, 0], value=float("nan"))
    observed = torch.isfinite(values)
    begun = observed.unflatten(-1, [-1, patch_size]).any(-1).long().cummax(-1).values  # [B, 6, T / P]
    begun = begun.repeat_interleave(patch_size, -1) > 0
    return fill_forward(values, observed).masked_fill(~begun, 0.0), observed


class TotoOnBars(nn.Module):
    """Toto 2.0: the six channels of an asset are the variates of one group. Quantiles of each step, no paths.

    A channel without any observation says nothing to the others and is forecast as NaN.
    """

    decode_block_size: int  # steps decoded at a time; 0: all of them in one pass
    min_obs: int  # patches that close before so many observations are scaled by the first so many
    cap: float  # a quantile stays within so many scales of what was observed; 0: it is free

    def __init__(self, model: Toto2, decode_block_size: int = 0, min_obs: int = 8, cap: float = 1e4) -> None:
        super().__init__()
        self.model = model
        self.decode_block_size = decode_block_size
        self.min_obs = min_obs
        self.cap = cap

    def forward(
        self, context: Tensor, stamps: Tensor, horizon: int, num_samples: int, seed: int
    ) -> tuple[Tensor, Tensor]:
        """Nothing is drawn and no calendar is read: `num_samples`, `seed` and the stamps change nothing."""
        check_shapes(context, stamps, horizon)
        values, observed = variates(context, self.model.patch_size)
        silent = ~observed.any(-1)  # [B, 6]
        quantiles = self.model.forecast(
            values,
            observed,
            silent.long(),
            horizon,
            self.decode_block_size,
            True,
            self.min_obs,
            self.cap,
        )  # [9, B, 6, H]
        quantiles = quantiles.masked_fill(silent.unsqueeze(-1), float("nan")).permute(1, 3, 2, 0)
        return quantiles, context.new_zeros([context.size(0), 0, horizon, 6])


class Toto1OnBars(nn.Module):
    """Toto 1.0: the six channels of an asset are the variates of one group. Paths and their quantiles.

    With num_samples = 0 it is the mean forecast, every quantile being that one value. A channel without any observation
    says nothing to the others and is forecast as NaN.
    """

    samples_per_batch: int  # paths of a series drawn side by side, or the largest part of it that divides their number

    def __init__(self, model: Toto1, samples_per_batch: int = 64) -> None:
        super().__init__()
        self.model = model
        self.samples_per_batch = samples_per_batch
        self.levels = list(QUANTILE_LEVELS)

    def forward(
        self, context: Tensor, stamps: Tensor, horizon: int, num_samples: int, seed: int
    ) -> tuple[Tensor, Tensor]:
        """No calendar is read: the stamps change nothing; the same seed draws the same paths."""
        check_shapes(context, stamps, horizon)
        values, observed = variates(context, self.model.patch_size)
        silent = ~observed.any(-1)  # [B, 6]
        group = silent.long().unsqueeze(-1).expand_as(values)
        if num_samples == 0:
            mean = self.model.forecast(values, observed, horizon, group)  # [B, 6, H]
            mean = mean.masked_fill(silent.unsqueeze(-1), float("nan")).transpose(1, 2)
            samples = context.new_zeros([context.size(0), 0, horizon, 6])
            return mean.unsqueeze(-1).repeat(1, 1, 1, len(self.levels)), samples
        generator = torch.Generator()  # TorchScript makes none for a GPU
        generator.manual_seed(seed)
        together = num_samples
        if num_samples > self.samples_per_batch:
            together = math.gcd(num_samples, self.samples_per_batch)
        paths = self.model.sample(
            values, observed, horizon, num_samples, together, group, generator=generator
        )  # [B, 6, H, S]
        samples = paths.permute(0, 3, 2, 1).masked_fill(silent[:, None, None, :], float("nan"))
        return sample_quantiles(samples, self.levels), samples


class KronosOnBars(nn.Module):
    """Sampled paths of bars, and their quantiles.

    Bars before the first one with all four prices do not exist for the network; later gaps in a price repeat its last
    value. A missing volume counts as none traded, with amount 0; a missing amount alone is volume times the mean price,
    as the upstream fills it in. A series without a single whole bar is forecast as NaN.
    """

    temperature: float
    top_k: int
    top_p: float
    window: str  # beyond max_context: exact, fit or stream
    repair: bool  # make every path bars that a market could print

    def __init__(
        self,
        model: Kronos,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 0.9,
        window: str = "exact",
        repair: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.top_k = top_k
        self.top_p = top_p
        self.window = window
        self.repair = repair
        self.levels = list(QUANTILE_LEVELS)

    def whole_bars(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Bars without gaps [B, C, 6], and how many of them exist [B]."""
        prices = context[..., :4]
        known = torch.isfinite(prices)
        exists = known.all(-1).long().cummax(-1).values  # [B, C], 1 from the first whole bar on
        prices = fill_forward(prices.transpose(1, 2), known.transpose(1, 2)).transpose(1, 2)
        volume, amount = context[..., 4], context[..., 5]
        volume_known = torch.isfinite(volume)
        volume = volume.masked_fill(~volume_known, 0.0)
        amount = torch.where(torch.isfinite(amount) & volume_known, amount, volume * prices.mean(-1))
        return torch.cat([prices, volume.unsqueeze(-1), amount.unsqueeze(-1)], dim=-1), exists.sum(-1)

    def forward(
        self, context: Tensor, stamps: Tensor, horizon: int, num_samples: int, seed: int
    ) -> tuple[Tensor, Tensor]:
        """`num_samples` paths of each series, at least one; the same seed draws the same paths."""
        check_shapes(context, stamps, horizon)
        if num_samples < 1:
            raise ValueError(f"num_samples is {num_samples}, expected at least 1: the forecast is made of paths")
        bars, num_valid = self.whole_bars(context)
        unknown = num_valid == 0
        whole = bool((num_valid == bars.size(1)).all())
        generator = torch.Generator()  # TorchScript makes none for a GPU
        generator.manual_seed(seed)
        forecast = self.model(
            bars,
            calendar_stamps(stamps),
            num_samples,
            self.temperature,
            self.top_k,
            self.top_p,
            self.window,
            None if whole else num_valid.clamp(min=1),
            generator,
            self.repair,
        )
        samples = forecast.paths.masked_fill(unknown[:, None, None, None], float("nan"))
        return sample_quantiles(samples, self.levels), samples
