"""What the Kronos tokenizer and predictor are made of: a causal transformer block that runs over a whole window, or
over new tokens behind a prefix that several sample paths share.

B series   S paths of a series   T tokens   P prefix tokens   N tail tokens   d width   h heads   e = d / h

A window is [B, T, d], with queries, keys and values [B, h, T, e]. Behind a prefix there is an axis of paths before T:
[B, S, T, d] and [B, h, S, T, e].
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerCache(NamedTuple):
    """Keys and values of one attention layer. The tail is a buffer that `append` fills from the left."""

    key: Tensor  # [B, h, P, e] once per series
    value: Tensor  # [B, h, P, e]
    tail_key: Tensor  # [B, h, S, N, e] once per path
    tail_value: Tensor  # [B, h, S, N, e]


def layer_cache(key: Tensor, value: Tensor, num_paths: int, room: int) -> LayerCache:
    """A cache with the prefix [B, h, P, e] and room for `room` tokens of each path."""
    tail = [key.size(0), key.size(1), num_paths, room, key.size(3)]
    # One block of memory, because every product with a strided prefix would copy it first.
    return LayerCache(key.contiguous(), value.contiguous(), key.new_zeros(tail), value.new_zeros(tail))


def append(cache: LayerCache, first: int, key: Tensor, value: Tensor) -> None:
    """Write keys and values [B, h, S, T, e] into the cache, at tail columns first .. first + T - 1."""
    last = first + key.size(3)
    cache.tail_key[:, :, :, first:last] = key
    cache.tail_value[:, :, :, first:last] = value


def inverse_frequencies(head_width: int, like: Tensor, base: float = 10_000.0) -> Tensor:
    """base**(-2 i / e) for i < e/2 -> [e/2], float32 on the device of `like`."""
    return 1.0 / base ** (torch.arange(0, head_width, 2, dtype=torch.float32, device=like.device) / head_width)


def rotary_table(first: int, length: int, head_width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """cos a and sin a for `rotate` at positions t = first .. first + T - 1, in dtype and device of `like`.

    a = t * base**(-2 i / e), i < e/2, made in float32 because half cannot hold it -> [T, e] each, the left half of the
    sines with its sign turned.
    """
    position = torch.arange(first, first + length, device=like.device)
    angle = position.unsqueeze(1) * inverse_frequencies(head_width, like)  # [T, e/2]
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([cos, cos], dim=-1).to(like.dtype), torch.cat([-sin, sin], dim=-1).to(like.dtype)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary position embedding on halves: x = [u, v] becomes [u cos a - v sin a, v cos a + u sin a].

    x [.., T, e]; cos, sin [T, e] of `rotary_table`. Su et al. (2021), "RoFormer", arXiv 2104.09864.
    """
    u, v = x.chunk(2, dim=-1)
    return torch.addcmul(x * cos, torch.cat([v, u], dim=-1), sin)


def visible_columns(start: Tensor, length: int) -> Tensor:
    """True in the columns of a left-padded window that hold a token: start [B], the first of them -> [B, 1, 1, T]."""
    return (torch.arange(length, device=start.device) >= start.unsqueeze(1))[:, None, None, :]


def window_mask(visible: Tensor) -> Tensor:
    """True at (i, j) if token i of a left-padded window may look at token j: j <= i and visible, or j = i.

    visible [B, 1, 1, T] -> [B, 1, T, T]. A padded token sees itself only, so that its softmax has something to
    normalise; no real token sees it.
    """
    length = visible.size(-1)
    causal = torch.ones(length, length, dtype=torch.bool, device=visible.device).tril()
    return (causal & visible) | torch.eye(length, dtype=torch.bool, device=visible.device)


def cached_attention(query: Tensor, cache: LayerCache, num_tail: int, evicted: int, visible: Tensor | None) -> Tensor:
    """Attention of every path over the prefix of its series and over its own tail.

        softmax( [q K^T, q k^T] / sqrt(e) ) [V; v]        K, V shared by the S paths of a series; k, v a path's own

    All S * T queries of a series meet its prefix in one matrix product, so that K and V are read once per series.

    query     [B, h, S, T, e], of the last T of `num_tail` tail tokens (causal among themselves), or one that is not in
              the tail and sees all of it
    evicted   leading prefix columns that have left the window
    visible   [B, 1, 1, P] prefix columns that hold a token; None: all
    -> [B, h, S, T, e]
    """
    num_paths, length = query.size(2), query.size(3)
    tail_key, tail_value = cache.tail_key[:, :, :, :num_tail], cache.tail_value[:, :, :, :num_tail]
    query = query * query.size(-1) ** -0.5
    scores = query.flatten(2, 3) @ cache.key[:, :, evicted:].transpose(-1, -2)  # [B, h, S * T, P]
    if visible is not None:
        scores = scores.masked_fill(~visible[..., evicted:], -float("inf"))
    tail_scores = query @ tail_key.transpose(-1, -2)  # [B, h, S, T, N]
    if length > 1:
        later = torch.ones(length, num_tail, dtype=torch.bool, device=query.device).triu(num_tail - length + 1)
        tail_scores = tail_scores.masked_fill(later, -float("inf"))
    weights = torch.softmax(torch.cat([scores, tail_scores.flatten(2, 3)], dim=-1), dim=-1)
    weights, tail_weights = weights.split([scores.size(-1), num_tail], dim=-1)
    mixed = (weights @ cache.value[:, :, evicted:]).unflatten(2, [num_paths, length])
    return mixed + tail_weights.unflatten(2, [num_paths, length]) @ tail_value


class RMSNorm(nn.Module):
    """y = x / sqrt(mean(x^2) + eps) * weight over the last axis. Zhang, Sennrich (2019), arXiv 1910.07467."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)).to(x.dtype) * self.weight


class Attention(nn.Module):
    """The four projections of an attention layer, with biases, and the split into heads."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        if width % (2 * num_heads) != 0:
            raise ValueError(f"width {width} does not split into {num_heads} heads of even width")
        self.num_heads = num_heads
        self.head_width = width // num_heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def split(self, x: Tensor) -> Tensor:
        """[B, .., d] -> [B, h, .., e]."""
        return x.unflatten(-1, [self.num_heads, self.head_width]).movedim(-2, 1)

    def queries(self, x: Tensor) -> Tensor:
        return self.split(self.q_proj(x))

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.split(self.k_proj(x)), self.split(self.v_proj(x))

    def merge(self, mixed: Tensor) -> Tensor:
        """[B, h, .., e] -> [B, .., d], through the output projection."""
        return self.out_proj(mixed.movedim(1, -2).flatten(-2))


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
        """Rotated keys, and values, of a window: all that later tokens need of this layer."""
        key, value = self.self_attn.keys_values(self.norm1(x))
        return rotate(key, cos, sin), value

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """A window x [B, T, d]; mask [B, 1, T, T] of `window_mask`, None where nothing is padded.

        -> x [B, T, d], rotated keys and values [B, h, T, e]
        """
        inner = self.norm1(x)
        query = rotate(self.self_attn.queries(inner), cos, sin)
        key, value = self.self_attn.keys_values(inner)
        key = rotate(key, cos, sin)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
        x = x + self.self_attn.merge(mixed)
        return x + self.ffn(self.norm2(x)), key, value

    def extend(
        self, x: Tensor, cos: Tensor, sin: Tensor, cache: LayerCache, first: int, evicted: int, visible: Tensor | None
    ) -> Tensor:
        """New tokens x [B, S, T, d] at tail columns first .. first + T - 1; their keys and values enter the cache."""
        inner = self.norm1(x)
        query = rotate(self.self_attn.queries(inner), cos, sin)
        key, value = self.self_attn.keys_values(inner)
        append(cache, first, rotate(key, cos, sin), value)
        x = x + self.self_attn.merge(cached_attention(query, cache, first + x.size(2), evicted, visible))
        return x + self.ffn(self.norm2(x))
