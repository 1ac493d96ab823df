"""What Toto 1.0 is made of: a transformer layer that runs along time, behind what it has kept, or across variates.

B batch   V variates   S tokens of a variate   R = B * V   d width   h heads   e = d / h
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arena.forecast.models.layers import rotary_turns, turn_pairs, xpos_decay


class Rotary(NamedTuple):
    """What turns and fades the queries and keys of some positions."""

    turns: Tensor  # [S, e/2] complex64
    decay: Tensor  # [S, e] float32


class LayerCache(NamedTuple):
    """Rotated keys and values of one layer, buffers that fill up from the left; of no tokens in a space-wise layer."""

    key: Tensor  # [B * V, h, S, e]
    value: Tensor  # [B * V, h, S, e]


def rotary_table(first: int, length: int, centre: int, head_width: int, like: Tensor) -> Rotary:
    """Of the positions first .. first + length - 1; xPos fades by its base in 512 tokens from the centre.

    The decays are laid out as halves although the pairs that turn are neighbours, as in the published model.
    """
    decay = xpos_decay(first, length, centre, head_width, 512.0, like)
    return Rotary(rotary_turns(first, length, head_width, head_width, like), torch.cat([decay, decay], dim=-1))


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + 1e-8) * scale. Zhang, Sennrich (2019), arXiv 1910.07467."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-8)).to(x.dtype) * self.scale


class GatedMLP(nn.Module):
    """w3( silu(a) * b ) with [a, b] = w12(x). Shazeer (2020), "GLU Variants", arXiv 2002.05202."""

    def __init__(self, width: int, hidden_width: int) -> None:
        super().__init__()
        self.w12 = nn.Linear(width, 2 * hidden_width)
        self.w3 = nn.Linear(hidden_width, width)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(a) * b)


class Attention(nn.Module):
    """The projections; rows of wQKV are ordered (query key value, e, h), columns of wO (h, e)."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.wQKV = nn.Linear(width, 3 * width)
        self.wO = nn.Linear(width, width)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[R, S, d] -> query, key, value [R, S, h, e]."""
        packed = self.wQKV(x).unflatten(-1, [3, -1, self.num_heads])  # [R, S, 3, e, h]
        query, key, value = packed.permute(2, 0, 1, 4, 3).contiguous().unbind(0)
        return query, key, value

    def merge(self, mixed: Tensor) -> Tensor:
        """[R, h, S, e] -> [R, S, d], through the output projection."""
        return self.wO(mixed.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    """x += attention(norm1(x)); x += mlp(norm2(x)). Along time (causal, rotary) or across the variates of a patch."""

    def __init__(self, width: int, num_heads: int, hidden_width: int, spacewise: bool) -> None:
        super().__init__()
        self.spacewise = spacewise
        self.norm1 = RMSNorm(width)
        self.attention = Attention(width, num_heads)
        self.norm2 = RMSNorm(width)
        self.mlp = nn.ModuleList([GatedMLP(width, hidden_width)])

    def along_time(self, x: Tensor, table: Rotary, cache: LayerCache, first: int, num_read: int) -> Tensor:
        """Attention of the last tokens of x [B, V, S, d], at positions first .. first + S - 1, over all so far.

        num_read is S in a whole context (first = 0), or 1 -> [B, V, num_read, d]
        """
        last = first + x.size(2)
        query, key, value = self.attention.split(x.flatten(0, 1))
        decay = table.decay.unsqueeze(1)  # [S, 1, e]
        cache.key[:, :, first:last] = (turn_pairs(key, table.turns) / decay).transpose(1, 2)
        cache.value[:, :, first:last] = value.transpose(1, 2)
        query = (turn_pairs(query, table.turns) * decay).to(x.dtype).transpose(1, 2)[:, :, -num_read:]
        mixed = F.scaled_dot_product_attention(
            query, cache.key[:, :, :last], cache.value[:, :, :last], is_causal=num_read > 1
        )
        return self.attention.merge(mixed).view(x.size(0), x.size(1), num_read, x.size(3))

    def across_variates(self, x: Tensor, ids: Tensor) -> Tensor:
        """Attention among the variates of one group, x [B, V, S, d], ids [B, V, S] -> [B, V, S, d]."""
        query, key, value = self.attention.split(x.transpose(1, 2).flatten(0, 1))  # [B * S, V, h, e]
        group = ids.transpose(1, 2).flatten(0, 1)  # [B * S, V]
        mask = (group.unsqueeze(1) == group.unsqueeze(2)).unsqueeze(1)
        mixed = F.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), attn_mask=mask
        )
        return self.attention.merge(mixed).unflatten(0, [x.size(0), x.size(2)]).transpose(1, 2)

    def forward(self, x: Tensor, table: Rotary, cache: LayerCache, ids: Tensor, first: int, num_read: int) -> Tensor:
        """New tokens x [B, V, S, d] with groups ids [B, V, S] -> the last `num_read` of them [B, V, num_read, d]."""
        if self.spacewise:
            x = x[:, :, -num_read:]
            x = x + self.across_variates(self.norm1(x), ids[:, :, -num_read:])
        else:
            x = x[:, :, -num_read:] + self.along_time(self.norm1(x), table, cache, first, num_read)
        for mlp in self.mlp:
            x = x + mlp(self.norm2(x))
        return x
