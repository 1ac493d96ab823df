"""Kronos predictor: an autoregressive transformer over pairs of a coarse and a fine token.

B series   S paths of a series   L context tokens   H new tokens   M max_context (tokens that the network sees at once)
T tokens of a window   d width   V tokens of a vocabulary

Shi et al. (2025), "Kronos: A Foundation Model for the Language of Financial Markets", arXiv 2508.02739.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from arena.forecast.models.kronos_layers import (
    Attention,
    Block,
    LayerCache,
    RMSNorm,
    append,
    cached_attention,
    layer_cache,
    rotary_table,
    rotate,
    visible_columns,
    window_mask,
)

DEPENDENCY_HEADS = 4  # whatever the configuration says of the other layers


class Generation(NamedTuple):
    """Tokens of all paths, and the logits that they were drawn from if those were asked for."""

    s1: Tensor  # [B, S, H] int64
    s2: Tensor  # [B, S, H]
    s1_logits: list[Tensor]  # H of [B * S, V], or none
    s2_logits: list[Tensor]


class Window(NamedTuple):
    """A window of tokens that has gone through the network, with room for what follows it."""

    context: Tensor  # [B, 1, 1, d] of the last token
    trunk: list[LayerCache]  # one per block
    dependency: LayerCache
    visible: Tensor | None  # [B, 1, 1, T] columns that hold a token; None: all
    cos: Tensor  # [T + room, e] of `rotary_table`
    sin: Tensor


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
    """One token per row, [R, V] -> [R]; top_k = 1 is the largest logit and draws nothing.

    The generator is one of the CPU. For logits on a GPU it gives a number per row, which the distribution function
    turns into a token.
    """
    if top_k == 1:
        return logits.argmax(-1)
    probabilities = filtered_probabilities(logits, temperature, top_k, top_p)
    if generator is None or not probabilities.is_cuda:
        return torch.multinomial(probabilities, 1, generator=generator).squeeze(-1)
    share = torch.rand(probabilities.size(0), 1, generator=generator).to(probabilities.device)
    cumulative = probabilities.float().cumsum(-1)
    token = torch.searchsorted(cumulative, share * cumulative[:, -1:], right=True)
    return token.squeeze(-1).clamp(max=probabilities.size(-1) - 1)


class TokenEmbedding(nn.Module):
    """W [sqrt(d) E1[s1], sqrt(d) E2[s2]] + b: [..] tokens -> [.., d]."""

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
    """Sum of the table rows of a bar's minute, hour, weekday, day and month: [.., 5] -> [.., d]."""

    def __init__(self, width: int, learned: bool) -> None:
        super().__init__()
        table: Callable[[int, int], nn.Module] = nn.Embedding if learned else TableEmbedding
        self.minute_embed = table(60, width)
        self.hour_embed = table(24, width)
        self.weekday_embed = table(7, width)
        self.day_embed = table(32, width)  # row 0 is not used
        self.month_embed = table(13, width)  # row 0 is not used

    def forward(self, stamps: Tensor) -> Tensor:
        minute, hour, weekday, day, month = stamps.unbind(-1)
        by_day = self.weekday_embed(weekday) + self.day_embed(day) + self.month_embed(month)
        return self.hour_embed(hour) + by_day + self.minute_embed(minute)


class DependencyLayer(nn.Module):
    """norm( c + attention of the chosen coarse token over the contexts ), from which the fine token is read."""

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

    def prefill(self, x: Tensor, start: Tensor | None, num_paths: int, room: int) -> Window:
        """Embedded tokens x [B, T, d] with `room` for tokens that each of S paths adds; start [B] first column that
        holds a token, None: all do."""
        length = x.size(1)
        cos, sin = rotary_table(0, length + room, self.head_width, x)
        visible = visible_columns(start, length) if start is not None else None
        mask = window_mask(visible) if visible is not None else None
        trunk = torch.jit.annotate(list[LayerCache], [])
        for block in self.transformer:
            x, key, value = block(x, cos[:length], sin[:length], mask)
            trunk.append(layer_cache(key, value, num_paths, room))
        context = self.norm(x)
        key, value = self.dep_layer.cross_attn.keys_values(context)
        dependency = layer_cache(key, value, num_paths, room)
        return Window(context[:, None, -1:], trunk, dependency, visible, cos, sin)

    def extend(self, x: Tensor, window: Window, first: int, evicted: int) -> Tensor:
        """One more embedded token per path, x [B, S, 1, d], at tail column `first` -> its context [B, S, 1, d]."""
        position = window.dependency.key.size(2) + first
        cos, sin = window.cos[position : position + 1], window.sin[position : position + 1]
        for i, block in enumerate(self.transformer):
            x = block.extend(x, cos, sin, window.trunk[i], first, evicted, window.visible)  # type: ignore[operator]
        context = self.norm(x)
        key, value = self.dep_layer.cross_attn.keys_values(context)
        append(window.dependency, first, key, value)
        return context

    @torch.jit.export
    def contexts(self, x: Tensor) -> Tensor:
        """Embedded tokens of a window without padding [B, T, d] -> what the heads read, [B, T, d]."""
        cos, sin = rotary_table(0, x.size(1), self.head_width, x)
        for block in self.transformer:
            x = block(x, cos, sin, None)[0]
        return self.norm(x)

    @torch.jit.export
    def s1_logits(self, context: Tensor) -> Tensor:
        """[.., d] -> [.., V] float32."""
        return self.head.proj_s1(context).float()

    def s2_logits(self, context: Tensor, s1: Tensor, window: Window, num_tail: int, evicted: int) -> Tensor:
        """Logits of the fine token given the coarse one: context [B, S, 1, d], s1 [B, S, 1] -> [B, S, 1, V] float32.

        The query is the raw table row of s1. It has no rotary position and sees the whole window: the upstream makes
        its table from the length of the query, which is 1, so the published weights are used without positions here.
        """
        query = self.dep_layer.cross_attn.queries(self.embedding.emb_s1(s1))  # [B, 4, S, 1, d/4]
        mixed = cached_attention(query, window.dependency, num_tail, evicted, window.visible)
        return self.head.proj_s2(self.dep_layer.norm(context + self.dep_layer.cross_attn.merge(mixed))).float()

    @torch.jit.export
    def s2_logits_window(self, context: Tensor, s1: Tensor, rotary: bool = False, causal: bool = True) -> Tensor:
        """Logits of the fine token at every position: contexts [B, T, d], chosen s1 [B, T] -> [B, T, V] float32.

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
        """Continue the tokens s1, s2 [B, L] by H steps; stamps [B, L + H, 5], start [B] first column with a token.

        Each step draws s1, then s2 given s1, for all paths at once. Keys and values are cached while the window does
        not slide. Once it does (L + step > M), the states of every layer above the first would still know the bars
        that left, so each step computes the last M tokens anew; with `stream` it keeps the cache and forgets only
        the keys of those bars, which is fast and not the upstream's function.
        """
        num_series, length = s1.shape
        num_steps = stamps.size(1) - length
        calendar = self.time_emb(stamps)  # [B, L + H, d]
        made_s1 = s1.new_zeros([num_series, num_paths, num_steps])
        made_s2 = torch.zeros_like(made_s1)
        s1_logits, s2_logits = torch.jit.annotate(list[Tensor], []), torch.jit.annotate(list[Tensor], [])

        first = max(0, length - max_context)
        x = self.embedding(s1[:, first:], s2[:, first:]) + calendar[:, first:length]
        window = self.prefill(x, (start - first).clamp(min=0) if start is not None else None, num_paths, num_steps - 1)
        context = window.context.expand(num_series, num_paths, 1, -1)
        num_tail, evicted = 0, 0
        for step in range(num_steps):
            end = length + step  # tokens so far
            if step > 0 and (stream or end <= max_context):
                num_tail, evicted = step, max(0, end - first - max_context)
                x = self.embedding(made_s1[:, :, step - 1 : step], made_s2[:, :, step - 1 : step])
                x = x + calendar[:, None, end - 1 : end]
                context = self.extend(x, window, step - 1, evicted)
            elif step > 0:
                low, num_tail = end - max_context, 0
                rows_s1 = torch.cat([s1[:, low:].repeat_interleave(num_paths, 0), made_s1.flatten(0, 1)[:, :step]], 1)
                rows_s2 = torch.cat([s2[:, low:].repeat_interleave(num_paths, 0), made_s2.flatten(0, 1)[:, :step]], 1)
                x = self.embedding(rows_s1, rows_s2) + calendar[:, low:end].repeat_interleave(num_paths, 0)
                begin = (start - low).clamp(min=0).repeat_interleave(num_paths, 0) if start is not None else None
                window = self.prefill(x, begin, 1, 0)
                context = window.context
            coarse = self.s1_logits(context).flatten(0, 2)  # [B * S, V]
            chosen = draw(coarse, temperature, top_k, top_p, generator)
            made_s1[:, :, step] = chosen.view(num_series, num_paths)
            fine = self.s2_logits(context, chosen.view(context.shape[:3]), window, num_tail, evicted).flatten(0, 2)
            made_s2[:, :, step] = draw(fine, temperature, top_k, top_p, generator).view(num_series, num_paths)
            if keep_logits:
                s1_logits.append(coarse)
                s2_logits.append(fine)
        return Generation(made_s1, made_s2, s1_logits, s2_logits)
