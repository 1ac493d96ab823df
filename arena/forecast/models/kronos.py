"""Kronos: bars to tokens, an autoregressive transformer over the tokens, and back to sampled paths of bars.

B series   L context bars   H horizon   M max_context (bars that the network sees at once; no part of the weights)
S paths of a series   6 channels: open, high, low, close, volume, amount

Shi et al. (2025), "Kronos: A Foundation Model for the Language of Financial Markets", arXiv 2508.02739.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from arena.forecast.models.checkpoint import load_checkpoint, load_strict
from arena.forecast.models.kronos_layers import Attention, inverse_frequencies
from arena.forecast.models.kronos_predictor import KronosPredictor
from arena.forecast.models.kronos_tokenizer import KronosTokenizer

PUBLISHED_MAX_CONTEXT = {"Kronos-mini": 2048, "Kronos-small": 512, "Kronos-base": 512}
# The published tokenizers differ in no shape but this: predictors by d_model -> (tokenizer to pair, its group_size).
PUBLISHED_PAIRS = {
    256: ("Kronos-Tokenizer-2k", 5),
    512: ("Kronos-Tokenizer-base", 4),
    832: ("Kronos-Tokenizer-base", 4),
}
PUBLISHED_BITS = 10

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class KronosForecast(NamedTuple):
    """Sampled paths. `mean` is the upstream's forecast: the mean of the normalised paths, then de-normalised."""

    paths: Tensor  # [B, S, H, 6] in the units of the context
    mean: Tensor  # [B, H, 6]
    normalised: Tensor  # [B, S, H, 6]
    s1: Tensor  # [B, S, H] int64
    s2: Tensor  # [B, S, H]
    loc: Tensor  # [B, 6]
    scale: Tensor  # [B, 6] standard deviation of the context, without its floor


def complete_bars(bars: Tensor) -> Tensor:
    """Prices [.., 4] get volume = amount = 0; with volume [.., 5], amount = volume * mean of the four prices."""
    if bars.size(-1) == 4:
        return torch.cat([bars, torch.zeros_like(bars[..., :2])], dim=-1)
    if bars.size(-1) == 5:
        return torch.cat([bars, bars[..., 4:] * bars[..., :4].mean(-1, keepdim=True)], dim=-1)
    if bars.size(-1) != 6:
        raise ValueError(f"bars have {bars.size(-1)} channels, expected open, high, low, close[, volume[, amount]]")
    return bars


def calendar_stamps(time_ns: Tensor) -> Tensor:
    """(minute, hour, weekday with Monday 0, day, month) of naive local times in ns since 1970: int64 [..] -> [.., 5].

    Day and month by the Gregorian rule of 146097 days in 400 years from 1 March: with o the day and y the year of the
    era, y = (o - o/1460 + o/36524 - o/146096) / 365 and n = o - (365 y + y/4 - y/100) the day of the year, the month
    counted from March is m = (5 n + 2) / 153 and its day n - (153 m + 2) / 5 + 1, all divisions floored.
    """
    minutes = time_ns.div(60_000_000_000, rounding_mode="floor")
    days = minutes.div(1440, rounding_mode="floor")
    of_era = (days + 719_468).remainder(146_097)
    leaps = of_era // 1460 - of_era // 36_524 + of_era // 146_096
    year = (of_era - leaps) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    day = of_year - (153 * month + 2) // 5 + 1
    fields = [minutes.remainder(60), minutes.remainder(1440) // 60, (days + 3).remainder(7), day, (month + 2) % 12 + 1]
    return torch.stack(fields, dim=-1)


def repair_bars(bars: Tensor) -> Tensor:
    """Bars that a market could print: high and low enclose all four prices, volume and amount are not negative."""
    prices = bars[..., :4]
    repaired = [prices[..., 0], prices.amax(-1), prices.amin(-1), prices[..., 3]]
    return torch.cat([torch.stack(repaired, dim=-1), bars[..., 4:].clamp(min=0.0)], dim=-1)


class Kronos(nn.Module):
    """Tokenizer and predictor in one: raw bars in, sampled paths of raw bars out."""

    def __init__(self, tokenizer: KronosTokenizer, predictor: KronosPredictor, max_context: int) -> None:
        super().__init__()
        if (tokenizer.s1_bits, tokenizer.s2_bits) != (predictor.s1_bits, predictor.s2_bits):
            raise ValueError(
                f"the tokenizer makes tokens of {tokenizer.s1_bits} + {tokenizer.s2_bits} bits, the predictor reads "
                f"{predictor.s1_bits} + {predictor.s2_bits}: they do not pair"
            )
        self.tokenizer = tokenizer
        self.predictor = predictor
        self.max_context = max_context
        self.scale_floor = 1e-5  # added to the standard deviation
        self.clip = 5.0  # standard deviations

    @torch.jit.export
    def normalise(self, bars: Tensor, start: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """x = clip((bar - loc) / (scale + 1e-5), -5, 5), loc and population scale of the bars from column `start` on.

        bars [B, L, 6] float32 -> x [B, L, 6], loc [B, 6], scale [B, 6]. The sums run in float64, because tokens are
        signs and an error in the scale can flip one.
        """
        column = torch.arange(bars.size(1), device=bars.device)
        weight = (column >= (start if start is not None else column[:1]).unsqueeze(1)).double()
        weight = (weight / weight.sum(1, keepdim=True)).unsqueeze(-1)  # [B, L, 1]
        loc = (bars * weight).sum(1)  # [B, 6] float64
        scale = ((bars - loc.unsqueeze(1)).square() * weight).sum(1).sqrt().to(bars.dtype)
        loc = loc.to(bars.dtype)
        x = (bars - loc.unsqueeze(1)) / (scale.unsqueeze(1) + self.scale_floor)
        return x.clamp(-self.clip, self.clip), loc, scale

    def forward(
        self,
        bars: Tensor,
        stamps: Tensor,
        num_samples: int = 1,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 0.9,
        window: str = "exact",
        num_valid: Tensor | None = None,
        generator: torch.Generator | None = None,
        repair: bool = False,
    ) -> KronosForecast:
        """Forecast H bars after each of B contexts.

        bars       [B, L, 4 to 6] open, high, low, close[, volume[, amount]]; shorter contexts are padded on the left
        stamps     [B, L + H, 5] int64 of `calendar_stamps`, of the context and of the forecast
        top_k      1: greedy, no draws; 0: no limit; else the number of tokens to draw from, which overrules top_p
        window     beyond max_context: "exact" (the upstream's sliding window), "fit" (the last M - H bars only, never
                   slides) or "stream" (cached sliding window, not the upstream's numbers)
        num_valid  [B] int64 bars of each context; None: all L
        generator  None: torch's own, seeded by torch.manual_seed, with the upstream's order of draws
        repair     make every path and the mean bars that a market could print; the upstream does not
        """
        bars = complete_bars(bars).float()
        if bars.dim() != 3 or stamps.dim() != 3 or stamps.size(0) != bars.size(0) or stamps.size(2) != 5:
            raise ValueError(f"bars have shape {bars.shape}, stamps {stamps.shape}, expected [B, L, 6], [B, L + H, 5]")
        length, horizon = bars.size(1), stamps.size(1) - bars.size(1)
        if length < 1 or horizon < 1 or horizon > self.max_context:
            raise ValueError(f"{length} bars, horizon {horizon}: expected 1 bar, horizon 1 to {self.max_context}")
        if num_samples < 1 or temperature <= 0.0 or top_k < 0 or top_p <= 0.0:
            raise ValueError(
                f"num_samples {num_samples}, temperature {temperature}, top_k {top_k}, top_p {top_p}: expected "
                "num_samples >= 1, temperature > 0, top_k >= 0, top_p > 0"
            )
        if window == "fit":
            cut = max(0, length + horizon - self.max_context)
            if cut >= length:
                raise ValueError(f"window fit has no room for a bar before horizon {horizon} in {self.max_context}")
            bars, stamps, length = bars[:, cut:], stamps[:, cut:], length - cut
            num_valid = num_valid.clamp(max=length) if num_valid is not None else None
        elif window != "exact" and window != "stream":
            raise ValueError(f"window is {window}, expected exact, fit or stream")
        start: Tensor | None = None
        if num_valid is not None:
            if num_valid.shape != bars.shape[:1] or bool(((num_valid < 1) | (num_valid > length)).any()):
                raise ValueError(f"num_valid is {num_valid}, expected [B] of 1 to {length}")
            start = length - num_valid
            padded = torch.arange(length + horizon, device=bars.device) < start.unsqueeze(1)  # [B, L + H]
            stamps = stamps.masked_fill(padded.unsqueeze(-1), 0)
            bars = bars.masked_fill(padded[:, :length].unsqueeze(-1), 0.0)
        if not bool(torch.isfinite(bars).all()):
            raise ValueError("bars hold NaN or infinity; fill or cut the gaps first")

        x, loc, scale = self.normalise(bars, start)
        s1, s2 = self.tokenizer.encode(x.to(self.tokenizer.head.weight.dtype), start)
        made = self.predictor(
            s1,
            s2,
            stamps,
            self.max_context,
            num_samples,
            temperature,
            top_k,
            top_p,
            window == "stream",
            start,
            generator,
        )
        first = max(0, length + horizon - self.max_context)
        begin = (start - first).clamp(min=0) if start is not None else None
        normalised = self.tokenizer.decode_paths(s1[:, first:], s2[:, first:], made.s1, made.s2, begin).float()
        unit = scale.unsqueeze(1) + self.scale_floor  # [B, 1, 6]
        mean = normalised.mean(1) * unit + loc.unsqueeze(1)
        paths = normalised * unit.unsqueeze(1) + loc[:, None, None]
        if repair:
            mean, paths = repair_bars(mean), repair_bars(paths)
        return KronosForecast(paths, mean, normalised, made.s1, made.s2, loc, scale)


def load_kronos(tokenizer_source: str | Path, predictor_source: str | Path, max_context: int | None = None) -> Kronos:
    """Both halves, each from a folder or hub id in the published layout. The files do not say max_context; None: what
    is published for the name in `predictor_source`."""
    tokenizer, predictor = load_tokenizer(tokenizer_source), load_predictor(predictor_source)
    check_pair(tokenizer, predictor)
    if max_context is None:
        max_context = published_max_context(predictor_source)
    return Kronos(tokenizer, predictor, max_context).eval()


def load_tokenizer(source: str | Path) -> KronosTokenizer:
    keys = ("d_in", "d_model", "n_heads", "ff_dim", "n_enc_layers", "n_dec_layers", "s1_bits", "s2_bits", "group_size")
    config, tensors = load_checkpoint(source)
    return _with_weights(KronosTokenizer(**_arguments(config, keys, source)), tensors, source)


def load_predictor(source: str | Path) -> KronosPredictor:
    keys = ("s1_bits", "s2_bits", "n_layers", "d_model", "n_heads", "ff_dim", "learn_te")
    config, tensors = load_checkpoint(source)
    return _with_weights(KronosPredictor(**_arguments(config, keys, source)), tensors, source)


def published_max_context(source: str | Path) -> int:
    """The context length of a published predictor, by the last of their names in a path or hub id."""
    names = re.findall("|".join(PUBLISHED_MAX_CONTEXT), str(source), flags=re.IGNORECASE)
    if not names:
        raise ValueError(f"{source} names none of {', '.join(PUBLISHED_MAX_CONTEXT)}: give its max_context")
    return PUBLISHED_MAX_CONTEXT[names[-1].capitalize()]


def check_pair(tokenizer: KronosTokenizer, predictor: KronosPredictor) -> None:
    """Refuse a predictor of a published size with the tokenizer of another, which would load and forecast nonsense."""
    bits = (tokenizer.s1_bits, predictor.s1_bits, predictor.s2_bits)
    name, group_size = PUBLISHED_PAIRS.get(predictor.norm.weight.numel(), ("", tokenizer.group_size))
    if bits == (PUBLISHED_BITS,) * 3 and tokenizer.group_size != group_size:
        raise ValueError(
            f"the predictor has the width {predictor.norm.weight.numel()} of those that pair with {name} (group_size "
            f"{group_size}), the tokenizer has group_size {tokenizer.group_size}: it was trained with another one"
        )


def _arguments(config: dict[str, Any], keys: tuple[str, ...], source: str | Path) -> dict[str, Any]:
    """The constructor arguments among the entries of a config.json; the rest matters in training only."""
    missing = [key for key in keys if key not in config]
    if missing:
        raise ValueError(f"config.json of {source} has no {', '.join(missing)}: it is of another architecture")
    return {key: config[key] for key in keys}


def _with_weights(module: ModuleT, tensors: dict[str, Tensor], source: str | Path) -> ModuleT:
    """Load strictly. Constant buffers, which the upstream's files may hold, must be what the architecture says."""
    fixed = constants(module)
    for name, expected in fixed.items():
        stored = tensors.get(name, expected)
        if stored.shape != expected.shape or not torch.allclose(stored.double(), expected.double(), rtol=1e-2, atol=0):
            raise ValueError(f"{name} of {source} is not that of its config.json: one of the two is of another model")
    load_strict(module, {name: tensor for name, tensor in tensors.items() if name not in fixed}, source)
    return module.requires_grad_(False).eval()


def constants(module: nn.Module) -> dict[str, Tensor]:
    """The buffers that the upstream stores beside the weights and that follow from the configuration."""
    buffers = {
        f"{name}.rotary.inv_freq": inverse_frequencies(layer.head_width, layer.q_proj.weight)
        for name, layer in module.named_modules()
        if isinstance(layer, Attention)
    }
    if isinstance(module, KronosTokenizer):
        buffers["tokenizer.bsq.basis"] = 2 ** torch.arange(module.s1_bits + module.s2_bits).flip(0)
        buffers["tokenizer.bsq.group_basis"] = 2 ** torch.arange(module.group_size).flip(0)
    return buffers
