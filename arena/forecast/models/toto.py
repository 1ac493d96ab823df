"""Toto 2.0: quantiles of many related series, several patches ahead, in one pass over patches of their past.

B series   V variates of a series   K known variates   W = V + K   T context steps   H horizon   P steps of a patch
S patches   N patches of a forecast or of one block of it   Q quantile levels 0.1 .. 0.9   d width

Datadog, "Toto 2.0", weights `Datadog/Toto-2.0-*` under Apache-2.0. Where its decoder has a quirk that changes numbers,
a comment says so and the quirk is kept.
"""

import math
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arena.forecast.models.checkpoint import load_checkpoint, load_strict
from arena.forecast.models.layers import patch_moments
from arena.forecast.models.toto_config import Toto2Config
from arena.forecast.models.toto_layers import Layer, ResidualMLP, Transformer
from arena.forecast.types import MEDIAN, QUANTILE_LEVELS

SCALE_FLOOR = 1e-6  # smallest standard deviation, in units of the series
EMPTY = -1  # id of a patch without any observed step


class Series(NamedTuple):
    """Context and forecast region in one; what is to come is unobserved."""

    x: Tensor  # [B, W, S * P], 0 where unobserved
    observed: Tensor  # [B, W, S * P] bool
    ids: Tensor  # [B, W, S] int64, EMPTY at patches of the context without any observed step


class Toto2Trace(NamedTuple):
    """The intermediates of a single pass in which nothing is left out."""

    loc: Tensor  # [B, V, S * P]
    scale: Tensor  # [B, V, S * P]
    embed: Tensor  # [B, V, S, d]
    layers: list[Tensor]  # behind each layer: over time [B * V, S, d], across variates [B * S, V, d]
    out_norm: Tensor  # [B, V, S, d]
    head: Tensor  # [Q, B, V, N, P] in asinh space, unsorted


def patch_scaler(
    x: Tensor, observed: Tensor, patch_size: int, min_observed: int = 0, floor: float = SCALE_FLOOR
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of all that was observed up to the end of each patch: x [.., T] -> two [.., S].

    With min_observed > 0, a patch with fewer observations behind it takes those of the first `min_observed` instead.
    Computed in float64, returned in the dtype of x.
    """
    count, loc, m2 = patch_moments(x, observed, patch_size)
    scale = (m2 / (count - 1.0).clamp(min=1.0)).sqrt()
    if min_observed > 0:
        first = observed & (observed.cumsum(-1) <= min_observed)
        first_count = first.sum(-1, keepdim=True)
        value = x.double().masked_fill(~first, 0.0)
        first_loc = value.sum(-1, keepdim=True) / first_count.clamp(min=1)
        first_m2 = (value - first_loc).square().masked_fill(~first, 0.0).sum(-1, keepdim=True)
        few = count < min_observed
        loc = torch.where(few, first_loc, loc)
        scale = torch.where(few, (first_m2 / (first_count - 1).clamp(min=1)).sqrt(), scale)
    return loc.to(x.dtype), scale.clamp(min=floor).to(x.dtype)


def by_patch(x: Tensor, patch_size: int) -> Tensor:
    """[.., S * P] -> [.., S, P]."""
    return x.unflatten(-1, [-1, patch_size])


def patch_ids(series_ids: Tensor, used: Tensor, empty: int = EMPTY) -> Tensor:
    """series_ids [B, W] at every patch of `used` [B, W, S] bool; EMPTY where it is False -> [B, W, S]."""
    return torch.where(used, series_ids.unsqueeze(-1), empty)


def with_future(target: Tensor, target_mask: Tensor, series_ids: Tensor, num_patches: int, patch_size: int) -> Series:
    """Append N unobserved patches to target [B, V, T]; its own last patch counts as observed in any case."""
    observed = target_mask.clone()
    observed[..., -patch_size:].fill_(True)  # unlike `= True`, which TorchScript has copied from the processor
    future = [0, num_patches * patch_size]
    x = F.pad(target.masked_fill(~target_mask, 0.0), future)
    used = F.pad(by_patch(observed, patch_size).any(-1), [0, num_patches], value=True)
    return Series(x, F.pad(observed, future, value=False), patch_ids(series_ids, used))


def with_known(
    series: Series, known: Tensor, known_mask: Tensor | None, known_ids: Tensor | None, num_steps: int, horizon: int
) -> Series:
    """Append variates whose future is known; known and its mask [B, K, >= T + H], its ids [B, K]."""
    if known_mask is None or known_ids is None:
        raise ValueError("known_dynamic comes without its mask or without its series ids")
    if known.size(2) < num_steps + horizon:
        raise ValueError(f"known_dynamic has {known.size(2)} steps, expected at least {num_steps + horizon}")
    length, patch_size = series.x.size(2), series.x.size(2) // series.ids.size(2)
    missing = [0, length - known.size(2)]  # negative: surplus
    observed = F.pad(known_mask, missing, value=False)
    used = by_patch(observed, patch_size).any(-1)
    used[..., num_steps // patch_size :].fill_(True)
    return Series(
        torch.cat([series.x, F.pad(known.masked_fill(~known_mask, 0.0), missing)], dim=1),
        torch.cat([series.observed, observed], dim=1),
        torch.cat([series.ids, patch_ids(known_ids, used)], dim=1),
    )


def time_mask(ids: Tensor, first: int, last: int, by_id: bool, empty: int = EMPTY) -> Tensor:
    """Which patches of its own variate a patch may see: bool, broadcast to [B * W, 1, last - first, last].

    Itself and earlier ones. In the first pass and by_id, only those of its own id, so that empty patches see and are
    seen by empty ones only. Later, by_id or not, no empty patch of the context (a quirk of upstream).

    ids [B, W, S]; the seeing patches lie at first .. last - 1
    """
    causal = torch.ones(last - first, last, dtype=torch.bool, device=ids.device).tril(first)
    own = ids[..., :last].flatten(0, 1)  # [B * W, last]
    if first > 0:
        return (causal & (own != empty).unsqueeze(1)).unsqueeze(1)
    if by_id:
        return (causal & (own.unsqueeze(1) == own.unsqueeze(2))).unsqueeze(1)
    return causal


def real_quantiles(head: Tensor, loc: Tensor, scale: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """sinh(head) * scale + loc, between low and high, ascending: head [B, V, N, P, Q] -> [B, V, N, P, Q].

    What overflows becomes the largest or smallest finite value of its quantile in the patch.
    loc, scale [B, V, N]; low, high [B, V]
    """
    q = head.to(loc.dtype).sinh() * scale[..., None, None] + loc[..., None, None]
    overflow = ~q.isfinite()
    smallest = q.masked_fill(overflow, math.inf).amin(3, keepdim=True)
    largest = q.masked_fill(overflow, -math.inf).amax(3, keepdim=True)
    q = q.clamp(smallest, largest).clamp(low[..., None, None, None], high[..., None, None, None])
    return q.sort(dim=-1).values


class ParamProjection(nn.Module):
    """Exists for the name of its part in the published files."""

    def __init__(self, proj: ResidualMLP) -> None:
        super().__init__()
        self.proj = proj

    def forward(self, state: Tensor) -> Tensor:
        return self.proj(state)


class OutputHead(nn.Module):
    """[.., d] -> [.., P * Q], the quantiles of a step side by side."""

    def __init__(self, proj: ResidualMLP) -> None:
        super().__init__()
        self.param_projection = ParamProjection(proj)

    def forward(self, state: Tensor) -> Tensor:
        return self.param_projection(state)


class Toto2(nn.Module):
    """The network with its normalisation; parameters and buffers named as in the published files.

    A new module has zero weights: `load_toto2` fills them from a checkpoint, `initialise` draws them for training.
    """

    def __init__(self, config: Toto2Config) -> None:
        super().__init__()
        self.config = config
        self.patch_size, self.num_quantiles, self.median = config.patch_size, len(QUANTILE_LEVELS), MEDIAN
        width, hidden = config.d_model, 4 * config.d_model
        self.patch_proj = ResidualMLP(2 * config.patch_size, hidden, width, readout=False)
        self.transformer = Transformer(config)
        head = ResidualMLP(width, hidden, config.patch_size * self.num_quantiles, readout=True)
        self.output_head = OutputHead(head)

    def forward(
        self, target: Tensor, target_mask: Tensor, cpm_mask: Tensor, series_ids: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the model is trained on: at every patch the quantiles of the next one.

        target       [B, V, T], T a multiple of P; what is unobserved or hidden may hold anything
        target_mask  [B, V, T] bool, True = observed
        cpm_mask     [B, V, T] bool, False = hidden from the model, which has to predict it (contiguous patch masking)
        series_ids   [B, V] int64 >= 0, variates of equal id see each other
        -> head [B, V, S, P, Q] in asinh space, unsorted; loc and scale [B, V, T]. [.., s, p, :] is about step p behind
           the end of patch s: with loc and scale of patch s, sinh(head) * scale + loc is in units of the series
        """
        hidden = ~by_patch(cpm_mask, self.patch_size).all(-1)
        ids = patch_ids(series_ids, by_patch(target_mask, self.patch_size).any(-1) | hidden)
        series = Series(target, target_mask & cpm_mask, ids)
        loc, scale = patch_scaler(target, series.observed, self.patch_size)
        num_patches = ids.size(-1)
        mask = time_mask(ids, 0, num_patches, by_id=True)
        embed = self._embed(series, loc, scale, 0, num_patches)
        head = self._head(self.transformer(embed, ids, mask, 0, num_patches // 2, num_patches))
        return head, loc.repeat_interleave(self.patch_size, -1), scale.repeat_interleave(self.patch_size, -1)

    @torch.jit.export
    def forecast(
        self,
        target: Tensor,
        target_mask: Tensor,
        series_ids: Tensor,
        horizon: int,
        decode_block_size: int = 0,
        has_missing_values: bool = True,
        scaler_fallback_min_obs: int = 0,
        quantile_real_cap_k: float = 0.0,
        known_dynamic: Tensor | None = None,
        known_dynamic_mask: Tensor | None = None,
        known_dynamic_series_ids: Tensor | None = None,
    ) -> Tensor:
        """Quantiles 0.1 .. 0.9 of the next `horizon` steps in units of the series, ascending: [Q, B, V, H].

        target                   [B, V, T], T a multiple of P: pad on the left, mask False
        target_mask              [B, V, T] bool, True = observed; the rest may hold anything
        series_ids               [B, V] int64 >= 0, variates of equal id see each other
        decode_block_size        steps of one pass, a multiple of P; 0 or >= horizon: all in one. Between passes the
                                 median is taken for observed
        has_missing_values       False: in the first pass, patches see empty ones too
        scaler_fallback_min_obs  see `patch_scaler`
        quantile_real_cap_k      k > 0 keeps the quantiles within k scales of the range of the context
        known_dynamic            [B, K, >= T + H] more variates, whose future is known; with a mask of the same shape
                                 and series ids [B, K]
        """
        P, num_targets, num_steps = self.patch_size, target.size(1), target.size(2)
        if num_steps == 0 or num_steps % P != 0:
            raise ValueError(f"target has {num_steps} steps, expected a multiple of {P}: pad it on the left, masked")
        if horizon < 1:
            raise ValueError(f"horizon is {horizon}, expected at least 1")
        if decode_block_size < 0 or decode_block_size % P != 0:
            raise ValueError(f"decode_block_size is {decode_block_size}, expected a multiple of {P}")
        context, num_patches = num_steps // P, (horizon + P - 1) // P
        block = num_patches if decode_block_size == 0 else min(decode_block_size // P, num_patches)
        series = with_future(target, target_mask, series_ids, num_patches, P)
        if known_dynamic is not None:
            series = with_known(series, known_dynamic, known_dynamic_mask, known_dynamic_series_ids, num_steps, horizon)
        x, observed, ids = series
        loc, scale = patch_scaler(x, observed, P, scaler_fallback_min_obs)  # [B, W, S]
        seen, unseen = x[:, :num_targets, :num_steps], ~observed[:, :num_targets, :num_steps]
        margin = scale[:, :num_targets, context - 1] * (quantile_real_cap_k if quantile_real_cap_k > 0.0 else math.inf)
        low = seen.masked_fill(unseen, math.inf).amin(-1) - margin  # [B, V]
        high = seen.masked_fill(unseen, -math.inf).amax(-1) + margin

        cache: list[Tensor] | None = None
        if block < num_patches:
            like = self.patch_proj.linear1.weight
            cache = self.transformer.empty_cache(x.size(0) * x.size(1), context + num_patches, like)
        blocks: list[Tensor] = []
        done = 0
        while done < num_patches:
            num_new = min(block, num_patches - done)
            start, end = context + done, context + done + num_new
            first = 0 if done == 0 else start - block  # the last block again, now that it is taken for observed
            fed = end - 1 - first  # without the last masked patch, which nobody would read
            mask = time_mask(ids, first, end - 1, by_id=has_missing_values)
            # Two quirks: a later block takes the ids of the first patches of the context for its own, and keys that
            # are in the cache already keep the xPos centre of the pass that made them.
            state = self.transformer(
                self._embed(series, loc, scale, first, end - 1), ids[..., :fed], mask, first, end // 2, num_new, cache
            )
            q = real_quantiles(
                self._head(state[:, :num_targets]),
                loc[:, :num_targets, start:end],
                scale[:, :num_targets, start:end],
                low,
                high,
            )  # [B, V, N, P, Q]
            blocks.append(q)
            done += num_new
            if done < num_patches:
                x[:, :num_targets, start * P : end * P] = q[..., self.median].flatten(2)
                observed[:, :num_targets, start * P : end * P].fill_(True)
                loc, scale = patch_scaler(x, observed, P, scaler_fallback_min_obs)
        return torch.cat(blocks, dim=2).flatten(2, 3)[:, :, :horizon].permute(3, 0, 1, 2).contiguous()

    @torch.jit.export
    def trace(
        self,
        target: Tensor,
        target_mask: Tensor,
        series_ids: Tensor,
        horizon: int,
        has_missing_values: bool = True,
        scaler_fallback_min_obs: int = 0,
    ) -> Toto2Trace:
        """What a forecast in one pass computes on its way, here of all patches. Arguments as of `forecast`.

        For comparisons; `forecast` shares its code but leaves out what nobody reads.
        """
        P, context = self.patch_size, target.size(2) // self.patch_size
        series = with_future(target, target_mask, series_ids, (horizon + P - 1) // P, P)
        loc, scale = patch_scaler(series.x, series.observed, P, scaler_fallback_min_obs)
        length = series.ids.size(-1)
        mask = time_mask(series.ids, 0, length, by_id=has_missing_values)
        embed = self._embed(series, loc, scale, 0, length)
        layers: list[Tensor] = []
        state = self.transformer(embed, series.ids, mask, 0, (length + 1) // 2, length, None, layers)
        head = self._head(state[:, :, context - 1 : -1]).permute(4, 0, 1, 2, 3)
        loc, scale = loc.repeat_interleave(P, -1), scale.repeat_interleave(P, -1)
        return Toto2Trace(loc, scale, embed, layers, state, head)

    def _embed(self, series: Series, loc: Tensor, scale: Tensor, first: int, last: int) -> Tensor:
        """Tokens of the patches first .. last - 1: asinh((x - loc) / scale) and 1 where unobserved. -> [B, W, *, d]."""
        P = self.patch_size
        unobserved = ~by_patch(series.observed[..., first * P : last * P], P)
        x = by_patch(series.x[..., first * P : last * P], P)
        z = ((x - loc[..., first:last, None]) / scale[..., first:last, None]).asinh().masked_fill(unobserved, 0.0)
        tokens = torch.cat([z, unobserved.to(z.dtype)], dim=-1)
        return self.patch_proj(tokens.to(self.patch_proj.linear1.weight.dtype))

    def _head(self, state: Tensor) -> Tensor:
        """[B, V, N, d] -> [B, V, N, P, Q]."""
        return self.output_head(state).unflatten(-1, [self.patch_size, self.num_quantiles])

    def initialise(self, generator: torch.Generator) -> None:
        """Start of a training: weights ~ N(0, 1), biases 0, norm weights and query scales 1, taus by their formula."""
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if parameter.dim() == 2:
                    parameter.normal_(generator=generator)
                else:
                    parameter.fill_(1.0 if "norm" in name else 0.0)
            for buffer, tau in zip(self.buffers(), self.config.taus()):
                buffer.fill_(tau)

    def fold(self) -> "Toto2":
        """Move every multiplier into the weights, in place and once: the same function, faster, no longer for training.

        The parameters are then not the published ones. Lower the precision (`.to(torch.bfloat16)`) only after it.
        """
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, ResidualMLP | Layer):
                    module.fold()
        return self.requires_grad_(False)


def load_toto2(source: str | Path) -> Toto2:
    """The model of a local folder or hub id `owner/name[@revision]`, for inference.

    For training on, build Toto2 from its config and fill it with `load_strict`, which leaves it unfolded.
    """
    config, tensors = load_checkpoint(source)
    try:
        model = Toto2(Toto2Config.from_json(config))
    except ValueError as error:
        raise ValueError(f"{source} is no Toto 2.0 model that can be built: {error}") from error
    load_strict(model, tensors, source)
    return model.fold().eval()
