"""Kronos: bars to tokens, an autoregressive transformer over the tokens, and back to sampled paths of bars.

B series   L context bars   H horizon   M max_context (bars that the network sees at once; no part of the weights)
S paths of a series   R = B * S rows (row b * S + s)   T tokens   d width   V tokens of a vocabulary   6 channels

Shi et al. (2025), "Kronos: A Foundation Model for the Language of Financial Markets", arXiv 2508.02739.
"""

from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from arena.forecast.checkpoint import load_checkpoint, load_strict
from arena.forecast.kronos_layers import (
    Attention,
    Block,
    LayerCache,
    RMSNorm,
    empty_tail,
    inverse_frequencies,
    rotary_table,
    rotate,
    shared_attention,
    window_mask,
    write_tail,
)
from arena.forecast.kronos_tokenizer import NUM_CHANNELS, KronosTokenizer

PUBLISHED_MAX_CONTEXT = {"Kronos-mini": 2048, "Kronos-small": 512, "Kronos-base": 512}
DEPENDENCY_HEADS = 4  # whatever the configuration says of the other layers
CALENDAR_SIZES = {"minute": 60, "hour": 24, "weekday": 7, "day": 32, "month": 13}
SCALE_FLOOR = 1e-5  # added to the standard deviation
CLIP = 5.0  # standard deviations
QUANTISER_BUFFERS = ("tokenizer.bsq.basis", "tokenizer.bsq.group_basis")  # stored by upstream, read by nobody

ModuleT = TypeVar("ModuleT", bound=nn.Module)


class Generation(NamedTuple):
    """Tokens of all paths; logits as one tensor per step, or none if they were not asked for."""

    s1: Tensor  # [R, H] int64
    s2: Tensor  # [R, H]
    s1_logits: list[Tensor]  # H of [R, V]
    s2_logits: list[Tensor]


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
    if bars.size(-1) != NUM_CHANNELS:
        raise ValueError(f"bars have {bars.size(-1)} channels, expected open, high, low, close[, volume[, amount]]")
    return bars


def calendar_stamps(time_ns: Tensor) -> Tensor:
    """(minute, hour, weekday with Monday 0, day, month) of naive local times in ns since 1970: int64 [..] -> [.., 5].

    Day and month by the Gregorian rule of 146097 days in 400 years of 1 March: with o the day and y the year of the
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


def normalise(bars: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x = clip((bar - loc) / (scale + 1e-5), -5, 5), loc and population scale of the valid context rows.

    bars [B, L, 6] float32; valid [B, L] -> x [B, L, 6] with zeros in padded rows, loc [B, 6], scale [B, 6]. The sums
    run in float64, because tokens are signs and an error in the scale can flip one.
    """
    weight = valid.unsqueeze(-1).double()  # [B, L, 1]
    count = weight.sum(1)  # [B, 1]
    known = bars.masked_fill(~valid.unsqueeze(-1), 0.0)
    loc = known.double().sum(1) / count  # [B, 6]
    scale = ((known.double() - loc.unsqueeze(1)).square() * weight).sum(1).div(count).sqrt().to(bars.dtype)
    loc = loc.to(bars.dtype)
    x = ((known - loc.unsqueeze(1)) / (scale.unsqueeze(1) + SCALE_FLOOR)).clamp(-CLIP, CLIP)
    return x.masked_fill(~valid.unsqueeze(-1), 0.0), loc, scale


def repair_bars(bars: Tensor) -> Tensor:
    """Bars that a market could print: high and low enclose all four prices, volume and amount are not negative."""
    prices = bars[..., :4]
    high, low = prices.amax(-1), prices.amin(-1)
    repaired = [prices[..., 0], high, low, prices[..., 3]]
    return torch.cat([torch.stack(repaired, dim=-1), bars[..., 4:].clamp(min=0.0)], dim=-1)


def filtered_probabilities(logits: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    """softmax(logits / temperature) over the tokens that the filter keeps: [.., V] -> [.., V].

    top_k > 0 keeps what is not below the k-th largest (ties stay) and ignores top_p. Else top_p < 1 keeps a token
    unless the more probable ones together already exceed top_p; Holtzman et al. (2020), arXiv 1904.09751.
    """
    logits = logits / temperature
    if top_k > 0:
        least = logits.topk(min(top_k, logits.size(-1)), dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, -float("inf"))
    elif top_p < 1.0:
        ordered, index = logits.sort(dim=-1, descending=True)
        cumulative = torch.softmax(ordered, dim=-1).cumsum(-1)
        dropped = torch.zeros_like(index, dtype=torch.bool)
        dropped[..., 1:] = cumulative[..., :-1] > top_p
        logits = logits.masked_fill(torch.zeros_like(dropped).scatter(-1, index, dropped), -float("inf"))
    return torch.softmax(logits, dim=-1)


def draw(logits: Tensor, temperature: float, top_k: int, top_p: float, generator: torch.Generator | None) -> Tensor:
    """One token per row, [R, V] -> [R]; top_k = 1 is the largest logit and draws nothing."""
    if top_k == 1:
        return logits.argmax(-1)
    probabilities = filtered_probabilities(logits, temperature, top_k, top_p)
    return torch.multinomial(probabilities, 1, generator=generator).squeeze(-1)


class TokenEmbedding(nn.Module):
    """W [sqrt(d) E1[s1], sqrt(d) E2[s2]] + b: [R, T] tokens -> [R, T, d]."""

    def __init__(self, s1_bits: int, s2_bits: int, width: int) -> None:
        super().__init__()
        self.scale = width**0.5
        self.emb_s1 = nn.Embedding(2**s1_bits, width)
        self.emb_s2 = nn.Embedding(2**s2_bits, width)
        self.fusion_proj = nn.Linear(2 * width, width)

    def forward(self, s1: Tensor, s2: Tensor) -> Tensor:
        return self.fusion_proj(torch.cat([self.emb_s1(s1), self.emb_s2(s2)], dim=-1) * self.scale)


class TableEmbedding(nn.Module):
    """A calendar table under the name that checkpoints with `learn_te: false` give it."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.emb = nn.Embedding(size, width)

    def forward(self, index: Tensor) -> Tensor:
        return self.emb(index)


class CalendarEmbedding(nn.Module):
    """Sum of the table rows of a bar's minute, hour, weekday, day and month: [B, T, 5] -> [B, T, d]."""

    def __init__(self, width: int, learned: bool) -> None:
        super().__init__()
        for field, size in CALENDAR_SIZES.items():
            table: nn.Module = nn.Embedding(size, width) if learned else TableEmbedding(size, width)
            self.add_module(f"{field}_embed", table)

    def forward(self, stamps: Tensor) -> Tensor:
        return (
            self.hour_embed(stamps[..., 1])  # type: ignore[operator]
            + self.weekday_embed(stamps[..., 2])  # type: ignore[operator]
            + self.day_embed(stamps[..., 3])  # type: ignore[operator]
            + self.month_embed(stamps[..., 4])  # type: ignore[operator]
            + self.minute_embed(stamps[..., 0])  # type: ignore[operator]
        )


class DependencyLayer(nn.Module):
    """norm( c + attention of the chosen s1 token over the context ), from which the s2 token is read."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cross_attn = Attention(width, DEPENDENCY_HEADS)
        self.norm = RMSNorm(width)


class TokenHead(nn.Module):
    """Two linear maps to the logits of the coarse and of the fine token."""

    def __init__(self, s1_bits: int, s2_bits: int, width: int) -> None:
        super().__init__()
        self.proj_s1 = nn.Linear(width, 2**s1_bits)
        self.proj_s2 = nn.Linear(width, 2**s2_bits)


class KronosPredictor(nn.Module):
    """The transformer over token pairs. The names of the parameters are those of the published files."""

    def __init__(
        self, s1_bits: int, s2_bits: int, n_layers: int, d_model: int, n_heads: int, ff_dim: int, learn_te: bool
    ) -> None:
        super().__init__()
        self.s1_bits = s1_bits
        self.s2_bits = s2_bits
        self.head_width = d_model // n_heads
        self.embedding = TokenEmbedding(s1_bits, s2_bits, d_model)
        self.time_emb = CalendarEmbedding(d_model, learn_te)
        self.transformer = nn.ModuleList([Block(d_model, n_heads, ff_dim) for _ in range(n_layers)])
        self.norm = RMSNorm(d_model)
        self.dep_layer = DependencyLayer(d_model)
        self.head = TokenHead(s1_bits, s2_bits, d_model)

    def run_window(self, x: Tensor, start: Tensor | None) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]:
        """Embedded tokens x [B, T, d]; start [B] first valid column, or None.

        -> context [B, T, d] after the last norm; hidden states (layers + 1 of [B, T, d]), keys and values per layer
        """
        cos, sin = rotary_table(0, x.size(1), self.head_width, x)
        mask = window_mask(start, x.size(1)) if start is not None else None
        hidden, keys, values = [x], torch.jit.annotate(list[Tensor], []), torch.jit.annotate(list[Tensor], [])
        for block in self.transformer:
            x, key, value = block(x, cos, sin, mask)
            hidden.append(x)
            keys.append(key)
            values.append(value)
        return self.norm(x), hidden, keys, values

    def prefill(
        self, x: Tensor, start: Tensor | None, num_paths: int, tail: int
    ) -> tuple[Tensor, list[LayerCache], LayerCache]:
        """Embedded window [B, T, d] -> last context [B, d], trunk caches and s2 cache with room for a tail."""
        context, _, keys, values = self.run_window(x, start)
        caches = torch.jit.annotate(list[LayerCache], [])
        for key, value in zip(keys, values):
            caches.append(empty_tail(key, value, num_paths, tail))
        key, value = self.dep_layer.cross_attn.keys_values(context)
        return context[:, -1], caches, empty_tail(key, value, num_paths, tail)

    def extend(
        self,
        x: Tensor,
        caches: list[LayerCache],
        dependency: LayerCache,
        first: int,
        evicted: int,
        start: Tensor | None,
    ) -> Tensor:
        """One more embedded token per row, x [R, 1, d], at tail column `first` -> its context [R, d]."""
        cos, sin = rotary_table(dependency.key.size(2) + first, 1, self.head_width, x)
        for i, block in enumerate(self.transformer):
            x = block.extend(x, cos, sin, caches[i], first, evicted, start)  # type: ignore[operator]
        context = self.norm(x)
        key, value = self.dep_layer.cross_attn.keys_values(context)
        write_tail(dependency, first, key, value)
        return context[:, 0]

    def s1_logits(self, context: Tensor) -> Tensor:
        """[.., d] -> [.., V] float32."""
        return self.head.proj_s1(context).float()

    def s2_logits(
        self, context: Tensor, s1: Tensor, cache: LayerCache, num_tail: int, evicted: int, start: Tensor | None
    ) -> Tensor:
        """Logits of the fine token given the coarse one: context [R, d], s1 [R] -> [R, V] float32.

        The query is the raw table row of s1. It has no rotary position and sees the whole window: upstream makes its
        table from the length of the query, which is 1, so the published weights are used without positions here.
        """
        query = self.dep_layer.cross_attn.queries(self.embedding.emb_s1(s1).unsqueeze(1))  # [R, 4, 1, d/4]
        mixed = self.dep_layer.cross_attn.merge(shared_attention(query, cache, num_tail, evicted, start))  # [R, 1, d]
        return self.head.proj_s2(self.dep_layer.norm(context + mixed[:, 0])).float()

    def s2_logits_window(self, context: Tensor, s1: Tensor, rotary: bool, causal: bool) -> Tensor:
        """Logits of the fine token at every position: context [B, T, d], s1 [B, T] chosen ids -> [B, T, V] float32.

        rotary off, causal on: what forecasting computes. Both on: what training computes. Rotary on, causal off: the
        upstream's teacher-forced forward in evaluation mode, which sees the future.
        """
        attention = self.dep_layer.cross_attn
        query = attention.queries(self.embedding.emb_s1(s1))
        key, value = attention.keys_values(context)
        if rotary:
            cos, sin = rotary_table(0, s1.size(1), attention.head_width, context)
            query, key = rotate(query, cos, sin), rotate(key, cos, sin)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
        return self.head.proj_s2(self.dep_layer.norm(context + attention.merge(mixed))).float()

    def forward(
        self,
        s1: Tensor,
        s2: Tensor,
        stamps: Tensor,
        max_context: int,
        num_paths: int = 1,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 0.9,
        stream: bool = False,
        start: Tensor | None = None,
        generator: torch.Generator | None = None,
        keep_logits: bool = False,
    ) -> Generation:
        """Continue the tokens s1, s2 [B, L] by H steps; stamps [B, L + H, 5], start [B] first valid column or None.

        Each step draws s1, then s2 given s1, for all rows at once. Keys and values are cached while the window does
        not slide. Once it does (L + step > M), the states of every layer above the first would still know the bars
        that left, so each step computes the last M tokens anew; with `stream` it keeps the cache and forgets only
        the keys of those bars, which is fast and not the upstream's function.
        """
        length, num_steps = s1.size(1), stamps.size(1) - s1.size(1)
        calendar = self.time_emb(stamps)  # [B, L + H, d]
        first = max(0, length - max_context)
        begin = (start - first).clamp(min=0) if start is not None else None
        x = self.embedding(s1[:, first:], s2[:, first:]) + calendar[:, first:length]
        last, caches, dependency = self.prefill(x, begin, num_paths, num_steps - 1)
        context = last.repeat_interleave(num_paths, 0)  # [R, d]
        calendar = calendar.repeat_interleave(num_paths, 0)  # [R, L + H, d]
        row_start = start.repeat_interleave(num_paths, 0) if start is not None else None
        s1 = torch.cat([s1.repeat_interleave(num_paths, 0), s1.new_zeros(context.size(0), num_steps)], dim=1)
        s2 = torch.cat([s2.repeat_interleave(num_paths, 0), s2.new_zeros(context.size(0), num_steps)], dim=1)

        num_tail, evicted = 0, 0
        s1_logits, s2_logits = torch.jit.annotate(list[Tensor], []), torch.jit.annotate(list[Tensor], [])
        for step in range(num_steps):
            end = length + step  # tokens so far
            if step > 0 and (stream or end <= max_context):
                num_tail, evicted = step, max(0, end - first - max_context)
                x = self.embedding(s1[:, end - 1 : end], s2[:, end - 1 : end]) + calendar[:, end - 1 : end]
                context = self.extend(x, caches, dependency, step - 1, evicted, begin)
            elif step > 0:
                num_tail, low = 0, end - max_context
                begin = (row_start - low).clamp(min=0) if row_start is not None else None
                x = self.embedding(s1[:, low:end], s2[:, low:end]) + calendar[:, low:end]
                context, _, dependency = self.prefill(x, begin, 1, 0)
            coarse = self.s1_logits(context)
            s1[:, end] = draw(coarse, temperature, top_k, top_p, generator)
            fine = self.s2_logits(context, s1[:, end], dependency, num_tail, evicted, begin)
            s2[:, end] = draw(fine, temperature, top_k, top_p, generator)
            if keep_logits:
                s1_logits.append(coarse)
                s2_logits.append(fine)
        return Generation(s1[:, length:], s2[:, length:], s1_logits, s2_logits)


class Kronos(nn.Module):
    """Tokenizer and predictor in one: raw bars in, sampled paths of raw bars out."""

    def __init__(self, tokenizer: KronosTokenizer, predictor: KronosPredictor, max_context: int) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.predictor = predictor
        self.max_context = max_context

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
        window     beyond max_context: "exact" (the upstream's sliding window), "fit" (the last M - H bars only, never
                   slides) or "stream" (cached sliding window, not the upstream's numbers)
        num_valid  [B] int64 bars of each context; None: all L
        repair     make every path and the mean bars that a market could print; the upstream does not
        """
        bars = complete_bars(bars).float()
        num_series, length = bars.size(0), bars.size(1)
        horizon = stamps.size(1) - length
        if bars.dim() != 3 or stamps.dim() != 3 or stamps.size(0) != num_series or stamps.size(2) != 5:
            raise ValueError(
                f"bars have shape {bars.shape} and stamps {stamps.shape}, expected [B, L, 6], [B, L + H, 5]"
            )
        if horizon < 1 or horizon > self.max_context:
            raise ValueError(f"horizon is {horizon}, expected 1 to max_context {self.max_context}")
        if window != "exact" and window != "fit" and window != "stream":
            raise ValueError(f"window is {window}, expected exact, fit or stream")
        if window == "fit":
            if horizon == self.max_context:
                raise ValueError(f"window fit needs horizon < max_context {self.max_context}, found {horizon}")
            cut = max(0, length + horizon - self.max_context)
            bars, stamps, length = bars[:, cut:], stamps[:, cut:], length - cut
            num_valid = num_valid.clamp(max=length) if num_valid is not None else None
        start: Tensor | None = None
        valid = torch.ones(num_series, length, dtype=torch.bool, device=bars.device)
        if num_valid is not None:
            if bool((num_valid < 1).any()) or bool((num_valid > length).any()):
                raise ValueError(f"num_valid has {num_valid.min()} to {num_valid.max()}, expected 1 to {length}")
            start = length - num_valid
            valid = torch.arange(length, device=bars.device) >= start.unsqueeze(1)
            known = torch.cat([valid, torch.ones_like(valid[:, :1]).expand(-1, horizon)], dim=1)
            stamps = stamps.masked_fill(~known.unsqueeze(-1), 0)
        if not bool(torch.isfinite(bars[valid]).all()):
            raise ValueError("bars hold NaN or infinity; fill or cut the gaps first")

        x, loc, scale = normalise(bars, valid)
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
        decoded = self.tokenizer.decode_paths(s1[:, first:], s2[:, first:], made.s1, made.s2, begin).float()
        normalised = decoded.unflatten(0, [num_series, num_samples])  # [B, S, H, 6]
        unit = scale.unsqueeze(1) + SCALE_FLOOR
        mean = normalised.mean(1) * unit + loc.unsqueeze(1)
        paths = normalised * unit.unsqueeze(1) + loc[:, None, None, :]
        if repair:
            mean, paths = repair_bars(mean), repair_bars(paths)
        by_path = [num_series, num_samples, horizon]
        return KronosForecast(paths, mean, normalised, made.s1.view(by_path), made.s2.view(by_path), loc, scale)


def _arguments(config: dict[str, Any], keys: tuple[str, ...], source: str | Path) -> dict[str, Any]:
    """The constructor arguments among the entries of a config.json; the rest matters in training only."""
    missing = [key for key in keys if key not in config]
    if missing:
        raise ValueError(f"config.json of {source} has no {', '.join(missing)}: it is of another architecture")
    return {key: config[key] for key in keys}


def _with_weights(module: ModuleT, tensors: dict[str, Tensor], source: str | Path) -> ModuleT:
    """Load strictly, after the constant buffers that upstream stores were compared with what they must be."""
    weights = {}
    for name, tensor in tensors.items():
        owner, _, _ = name.rpartition(".")
        if owner.endswith(".rotary"):
            attention = module.get_submodule(owner.removesuffix(".rotary"))
            expected = inverse_frequencies(cast(Attention, attention).head_width)
            if tensor.shape != expected.shape or not torch.allclose(tensor.float(), expected, rtol=1e-2):
                raise ValueError(f"{name} of {source} belongs to another number of heads or another rotary base")
        elif name not in QUANTISER_BUFFERS:
            weights[name] = tensor
    load_strict(module, weights, source)
    return module.requires_grad_(False).eval()


def load_tokenizer(source: str | Path) -> KronosTokenizer:
    """A tokenizer from a folder or hub id in the published layout, strictly."""
    keys = ("s1_bits", "s2_bits", "d_model", "n_heads", "ff_dim", "n_enc_layers", "n_dec_layers", "d_in")
    config, tensors = load_checkpoint(source)
    tokenizer = KronosTokenizer(**_arguments(config, keys, source))
    return _with_weights(tokenizer, tensors, source)


def load_predictor(source: str | Path) -> KronosPredictor:
    """A predictor from a folder or hub id in the published layout, strictly."""
    keys = ("s1_bits", "s2_bits", "n_layers", "d_model", "n_heads", "ff_dim", "learn_te")
    config, tensors = load_checkpoint(source)
    predictor = KronosPredictor(**_arguments(config, keys, source))
    return _with_weights(predictor, tensors, source)


def load_kronos(tokenizer_source: str | Path, predictor_source: str | Path, max_context: int) -> Kronos:
    """Both halves. max_context: PUBLISHED_MAX_CONTEXT, by the predictor's name; the files do not say it."""
    tokenizer, predictor = load_tokenizer(tokenizer_source), load_predictor(predictor_source)
    bits, own_bits = (tokenizer.s1_bits, tokenizer.s2_bits), (predictor.s1_bits, predictor.s2_bits)
    if bits != own_bits:
        raise ValueError(
            f"{tokenizer_source} has (s1, s2) bits {bits}, {predictor_source} {own_bits}: they do not pair"
        )
    return Kronos(tokenizer, predictor, max_context).eval()
