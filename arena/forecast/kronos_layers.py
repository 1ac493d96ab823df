"""What the Kronos tokenizer and predictor are made of: a causal transformer block that runs over a whole window or
over new tokens behind a prefix that several sample paths share.

B series   S paths of a series   R = B * S rows (row b * S + s)   T tokens   P prefix tokens   N tail tokens
d width   h heads   e = d / h width of a head
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROPE_BASE = 10000.0
NORM_EPS = 1e-5


class LayerCache(NamedTuple):
    """Keys and values of one attention layer. `tail_*` are buffers: `write_tail` fills them from the left."""

    key: Tensor  # [B, h, P, e] once per series
    value: Tensor  # [B, h, P, e]
    tail_key: Tensor  # [R, h, N, e] once per path
    tail_value: Tensor  # [R, h, N, e]


def inverse_frequencies(head_width: int) -> Tensor:
    """Angles per position, base**(-2 i / e) for i < e/2 -> [e/2], float32."""
    return 1.0 / (ROPE_BASE ** (torch.arange(0, head_width, 2, dtype=torch.float32) / head_width))


def rotary_table(first: int, length: int, head_width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin of t * base**(-2 i / e) at t = first .. first + length - 1, in the dtype and on the device of `like`.

    -> two [T, e/2]; the angles are made in float32 whatever the dtype, because half cannot hold them.
    """
    positions = torch.arange(first, first + length, dtype=torch.float32, device=like.device)
    angles = positions.unsqueeze(1) * inverse_frequencies(head_width).to(like.device)  # [T, e/2]
    return angles.cos().to(like.dtype), angles.sin().to(like.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding on halves: with x = [a, b], [a cos - b sin, b cos + a sin].

    x [.., T, e]; cos, sin [T, e/2]. Su et al. (2021), "RoFormer", arXiv 2104.09864.
    """
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def window_mask(start: Tensor, length: int) -> Tensor:
    """Who may look at whom in a left-padded window: True at (i, j) if start <= j <= i, or if i = j.

    start [B], the first valid column of every row -> [B, 1, T, T]. A padded column sees itself only, so that its
    softmax has something to normalise; nothing valid sees it.
    """
    column = torch.arange(length, device=start.device)
    causal = column.unsqueeze(1) >= column  # [T, T]
    valid = column >= start.unsqueeze(1)  # [B, T]
    allowed = (causal & valid.unsqueeze(1)) | torch.eye(length, dtype=torch.bool, device=start.device)
    return allowed.unsqueeze(1)


def empty_tail(key: Tensor, value: Tensor, num_paths: int, length: int) -> LayerCache:
    """A cache with the given prefix [B, h, P, e] and room for `length` tokens of each of B * S paths."""
    shape = [key.size(0) * num_paths, key.size(1), length, key.size(3)]
    return LayerCache(key, value, key.new_zeros(shape), value.new_zeros(shape))


def write_tail(cache: LayerCache, first: int, key: Tensor, value: Tensor) -> None:
    """Write keys and values [R, h, T, e] into the buffers of the cache, at tail columns first .. first + T - 1."""
    last = first + key.size(2)
    cache.tail_key[:, :, first:last] = key
    cache.tail_value[:, :, first:last] = value


def shared_attention(query: Tensor, cache: LayerCache, num_tail: int, evicted: int, start: Tensor | None) -> Tensor:
    """Attention of every path over the prefix of its series and over its own tail.

        softmax( [q K^T, q k^T] / sqrt(e) ) [V; v]        K, V shared by the S paths of a series; k, v a path's own

    The S * T queries of a series meet its prefix in one matrix product, so that K and V are read once per series.

    query     [R, h, T, e], of the last T of the `num_tail` tail tokens (causal among themselves), or of one token
              outside the tail
    evicted   leading prefix columns that have left the window
    start     [B], first valid prefix column; None where all are valid
    -> [R, h, T, e]
    """
    key, value = cache.key[:, :, evicted:], cache.value[:, :, evicted:]
    num_rows, num_heads, length, head_width = query.shape
    num_series, prefix = key.size(0), key.size(2)
    num_paths = num_rows // num_series
    query = query * head_width**-0.5
    by_path = [num_series, num_paths, num_heads, length, -1]
    by_series = [num_series, num_heads, num_paths * length, -1]

    queries = query.reshape(by_path).transpose(1, 2).reshape(num_series, num_heads, num_paths * length, head_width)
    scores = queries @ key.transpose(-1, -2)  # [B, h, S * T, P]
    if start is not None:
        column = torch.arange(evicted, evicted + prefix, device=query.device)
        padded = column < start.unsqueeze(1)  # [B, P]
        scores = scores.masked_fill(padded[:, None, None, :], -float("inf"))
    if num_tail == 0:
        mixed = torch.softmax(scores, dim=-1) @ value  # [B, h, S * T, e]
        return mixed.reshape(num_series, num_heads, num_paths, length, head_width).transpose(1, 2).reshape(query.shape)

    tail_key, tail_value = cache.tail_key[:, :, :num_tail], cache.tail_value[:, :, :num_tail]
    tail_scores = query @ tail_key.transpose(-1, -2)  # [R, h, T, N]
    if length > 1:
        later = torch.ones(length, num_tail, dtype=torch.bool, device=query.device).triu(num_tail - length + 1)
        tail_scores = tail_scores.masked_fill(later, -float("inf"))
    tail_scores = tail_scores.reshape(by_path).transpose(1, 2).reshape(by_series)  # [B, h, S * T, N]
    weights = torch.softmax(torch.cat([scores, tail_scores], dim=-1), dim=-1)
    mixed = weights[..., :prefix] @ value  # [B, h, S * T, e]
    mixed = mixed.reshape(num_series, num_heads, num_paths, length, head_width).transpose(1, 2).reshape(query.shape)
    tail_weights = weights[..., prefix:].reshape(num_series, num_heads, num_paths, length, num_tail)
    return mixed + tail_weights.transpose(1, 2).reshape(num_rows, num_heads, length, num_tail) @ tail_value


class RMSNorm(nn.Module):
    """y = x / sqrt(mean(x^2) + 1e-5) * weight, over the last axis. Zhang, Sennrich (2019), arXiv 1910.07467."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + NORM_EPS)).to(x.dtype) * self.weight


class Attention(nn.Module):
    """The four projections of an attention layer with biases, and the split into heads."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_width = width // num_heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def split(self, x: Tensor) -> Tensor:
        """[R, T, d] -> [R, h, T, e]."""
        return x.unflatten(-1, [self.num_heads, self.head_width]).transpose(1, 2)

    def queries(self, x: Tensor) -> Tensor:
        """[R, T, d] -> [R, h, T, e]."""
        return self.split(self.q_proj(x))

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[R, T, d] -> keys and values, [R, h, T, e] each."""
        return self.split(self.k_proj(x)), self.split(self.v_proj(x))

    def merge(self, mixed: Tensor) -> Tensor:
        """[R, h, T, e] -> [R, T, d], through the output projection."""
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """W2( silu(W1 u) * W3 u ), without biases. Shazeer (2020), "GLU Variants", arXiv 2002.05202."""

    def __init__(self, width: int, ff_width: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(width, ff_width, bias=False)
        self.w3 = nn.Linear(width, ff_width, bias=False)
        self.w2 = nn.Linear(ff_width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    """x += attention(norm1(x)); x += feed_forward(norm2(x)). Causal, with rotary positions."""

    def __init__(self, width: int, num_heads: int, ff_width: int) -> None:
        super().__init__()
        self.norm1 = RMSNorm(width)
        self.self_attn = Attention(width, num_heads)
        self.norm2 = RMSNorm(width)
        self.ffn = FeedForward(width, ff_width)

    def keys_values(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        """What later tokens need of this layer: rotated keys and values [R, h, T, e] of x [R, T, d]."""
        key, value = self.self_attn.keys_values(self.norm1(x))
        return rotate(key, cos, sin), value

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """A whole window x [R, T, d]; mask [R, 1, T, T] of `window_mask`, None where nothing is padded.

        -> x [R, T, d], rotated keys and values [R, h, T, e]
        """
        inner = self.norm1(x)
        query = rotate(self.self_attn.queries(inner), cos, sin)
        key, value = self.self_attn.keys_values(inner)
        key = rotate(key, cos, sin)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
        x = x + self.self_attn.merge(mixed)
        return x + self.ffn(self.norm2(x)), key, value

    def extend(
        self, x: Tensor, cos: Tensor, sin: Tensor, cache: LayerCache, first: int, evicted: int, start: Tensor | None
    ) -> Tensor:
        """T new tokens x [R, T, d] at tail columns first .. first + T - 1; their keys and values enter the cache."""
        inner = self.norm1(x)
        query = rotate(self.self_attn.queries(inner), cos, sin)
        key, value = self.self_attn.keys_values(inner)
        write_tail(cache, first, rotate(key, cos, sin), value)
        x = x + self.self_attn.merge(shared_attention(query, cache, first + x.size(1), evicted, start))
        return x + self.ffn(self.norm2(x))
