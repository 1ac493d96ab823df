"""What the Toto 2.0 network is made of: unit-scaled layers, each of which runs over time or across variates.

B series   V variates   S patches of a variate   R sequences (B * V over time, B * S across variates)   T tokens of a
sequence   N tokens whose output is read, the last ones   d width   h heads   g key-value heads   e width of a head

Weights are of unit variance and every product carries its own multiplier (Blake et al. 2024, "u-muP",
arXiv 2407.17465). `fold` moves the multipliers into the weights: the function stays, the passes over memory go.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from arena.forecast.models.layers import rotary_turns, turn_pairs, xpos_decay
from arena.forecast.models.toto_config import Toto2Config

XPOS_SCALE_BASE = 256.0  # patches
SILU_GAIN = (2.0 / (1.0 - 1.0 / math.pi)) ** 0.4 * 2.0**0.2  # of the activation inside a residual MLP


class TimeTurns(NamedTuple):
    """Rotary positions of the tokens of one call, as complex factors of pairs of dimensions."""

    query: Tensor  # [T, e/2]
    key: Tensor  # [T, e/2]


def time_turns(
    first: int, length: int, centre: int, head_width: int, xpos: bool, like: Tensor, scale_base: float = XPOS_SCALE_BASE
) -> TimeTurns:
    """Turns of the patches at first .. first + length - 1; with xPos their decay is counted from `centre`."""
    width = head_width // 2  # the other half of a head carries no position
    turns = rotary_turns(first, length, width, head_width, like)
    if not xpos:
        return TimeTurns(turns, turns)
    decay = xpos_decay(first, length, centre, width, scale_base, like)
    decay = F.pad(decay, [0, (head_width - width) // 2], value=1.0)
    return TimeTurns(turns * decay, turns / decay)


def residual(branch: Tensor, skip: Tensor, tau: Tensor | None, skip_gain: float) -> Tensor:
    """(tau * branch + skip) / sqrt(1 + tau**2); once folded (tau None) the branch comes multiplied, the skip not."""
    if tau is None:
        return torch.add(branch, skip, alpha=skip_gain)
    return (tau * branch + skip) * torch.rsqrt(1.0 + tau * tau)


class UnitLinear(nn.Module):
    """gain * (W x + b), W [out, in]; the gain is 1 / sqrt(in), or 1 / in of a readout."""

    def __init__(self, num_in: int, num_out: int, bias: bool, readout: bool = False) -> None:
        super().__init__()
        self.gain = 1.0 / num_in if readout else 1.0 / math.sqrt(num_in)
        self.weight = nn.Parameter(torch.zeros(num_out, num_in))
        self.bias = nn.Parameter(torch.zeros(num_out)) if bias else None

    def scaled(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias with the gain in them."""
        bias = self.bias
        if self.gain == 1.0:  # folded
            return self.weight, bias
        return self.weight * self.gain, None if bias is None else bias * self.gain

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.scaled()
        return F.linear(x, weight, bias)

    def fold(self, factor: float) -> None:
        """Make gain * factor part of the weights."""
        self.weight.mul_(self.gain * factor)
        if self.bias is not None:
            self.bias.mul_(self.gain * factor)
        self.gain = 1.0


class ResidualMLP(nn.Module):
    """(W2 c silu(W1 u) + Ws u) / sqrt(2), each with its bias and gain."""

    def __init__(self, num_in: int, num_hidden: int, num_out: int, readout: bool) -> None:
        super().__init__()
        self.linear1 = UnitLinear(num_in, num_hidden, bias=True)
        self.linear2 = UnitLinear(num_hidden, num_out, bias=True, readout=readout)
        self.skip_proj = UnitLinear(num_in, num_out, bias=True, readout=readout)
        self.activation_gain = SILU_GAIN
        self.output_gain = math.sqrt(0.5)

    def forward(self, u: Tensor) -> Tensor:
        hidden = F.silu(self.linear1(u))
        if self.output_gain == 1.0:  # folded
            return self.linear2(hidden) + self.skip_proj(u)
        return (self.linear2(hidden * self.activation_gain) + self.skip_proj(u)) * self.output_gain

    def fold(self) -> None:
        self.linear1.fold(1.0)
        self.linear2.fold(self.output_gain)
        self.linear2.weight.mul_(self.activation_gain)  # the bias is added behind the activation
        self.skip_proj.fold(self.output_gain)
        self.activation_gain, self.output_gain = 1.0, 1.0


class PerDimScale(nn.Module):
    """softplus(p) / ln 2 per dimension of a head: 1 at p = 0."""

    def __init__(self, head_width: int) -> None:
        super().__init__()
        self.per_dim_scale = nn.Parameter(torch.zeros(head_width))

    def forward(self) -> Tensor:
        return F.softplus(self.per_dim_scale) / math.log(2.0)


class Attention(nn.Module):
    """Grouped-query attention with logits q k / e. Keys and values of all tokens, queries of the last ones."""

    def __init__(self, config: Toto2Config) -> None:
        super().__init__()
        width, bias = config.d_model, config.attn_bias
        self.num_heads, self.num_groups = config.num_heads, config.num_groups
        self.qk_dim, self.v_dim = config.qk_dim, config.v_dim
        keys_values = config.num_groups * (config.qk_dim + config.v_dim)
        self.in_proj = UnitLinear(width, config.num_heads * config.qk_dim + keys_values, bias)
        self.out_proj = UnitLinear(config.num_heads * config.v_dim, width, bias)
        self._pds = PerDimScale(config.qk_dim) if config.per_dim_scale else None
        self.q_norm = self.k_norm = None
        if config.qk_norm:
            self.q_norm = nn.RMSNorm(config.qk_dim, config.norm_eps, config.qk_norm_include_weight)
            self.k_norm = nn.RMSNorm(config.qk_dim, config.norm_eps, config.qk_norm_include_weight)

    def forward(
        self, x: Tensor, num_read: int, turns: TimeTurns | None, mask: Tensor | None, cache: Tensor | None
    ) -> Tensor:
        """x [R, T, d] -> [R, N, d].

        turns  positions, over time only
        mask   bool, True where a query may see a key, broadcast to [R, h, N, K]; None: everything
        cache  [R, g, K, e + v], its last T rows free for this call's keys and values; None: K = T
        """
        weight, bias = self.in_proj.scaled()
        split = self.num_heads * self.qk_dim
        query = F.linear(x[:, -num_read:], weight[:split], None if bias is None else bias[:split])
        key_value = F.linear(x, weight[split:], None if bias is None else bias[split:])
        query = query.unflatten(-1, [self.num_heads, self.qk_dim])  # [R, N, h, e]
        key = key_value[..., : self.num_groups * self.qk_dim].unflatten(-1, [self.num_groups, self.qk_dim])
        value = key_value[..., self.num_groups * self.qk_dim :].unflatten(-1, [self.num_groups, self.v_dim])
        if self.q_norm is not None and self.k_norm is not None:
            query, key = self.q_norm(query), self.k_norm(key)
        if self._pds is not None:
            query = query * self._pds()
        if turns is not None:
            query, key = turn_pairs(query, turns.query[-num_read:]), turn_pairs(key, turns.key)
        query, key, value = query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
        if cache is not None:
            cache[:, :, -x.size(1) :, : self.qk_dim] = key
            cache[:, :, -x.size(1) :, self.qk_dim :] = value
            key, value = cache[..., : self.qk_dim], cache[..., self.qk_dim :]
        if self.num_groups != self.num_heads:
            key = key.repeat_interleave(self.num_heads // self.num_groups, dim=1)
            value = value.repeat_interleave(self.num_heads // self.num_groups, dim=1)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=1.0 / self.qk_dim)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))

    def fold(self, branch_gain: float) -> None:
        self.in_proj.fold(1.0)
        self.out_proj.fold(branch_gain)
        if self._pds is not None and self.q_norm is None:  # a norm between the two would undo the scale
            scale = self._pds().repeat(self.num_heads)
            self.in_proj.weight[: len(scale)].mul_(scale.unsqueeze(1))
            if self.in_proj.bias is not None:
                self.in_proj.bias[: len(scale)].mul_(scale)
            self._pds = None


class FeedForward(nn.Module):
    """W2 (a * silu(b)), [a, b] = W1 u. Shazeer (2020), "GLU Variants", arXiv 2002.05202."""

    def __init__(self, config: Toto2Config) -> None:
        super().__init__()
        self.fc1 = UnitLinear(config.d_model, 2 * config.d_ff, config.mlp_bias)
        self.fc2 = UnitLinear(config.d_ff, config.d_model, config.mlp_bias)

    def forward(self, x: Tensor) -> Tensor:
        linear, gate = self.fc1(x).chunk(2, dim=-1)
        return self.fc2(linear * F.silu(gate))

    def fold(self, branch_gain: float) -> None:
        self.fc1.fold(1.0)
        self.fc2.fold(branch_gain)


class Layer(nn.Module):
    """x <- res(attention(norm1(x)), x); x <- res(feed_forward(norm2(x)), x). See `residual`."""

    attn_tau: Tensor | None
    mlp_tau: Tensor | None

    def __init__(self, config: Toto2Config, across_variates: bool) -> None:
        super().__init__()
        self.across_variates = across_variates
        self.norm1 = nn.RMSNorm(config.d_model, config.norm_eps, config.norm_include_weight)
        self.attn = Attention(config)
        self.norm2 = nn.RMSNorm(config.d_model, config.norm_eps, config.norm_include_weight)
        self.ffn = FeedForward(config)
        self.register_buffer("attn_tau", torch.zeros(()))
        self.register_buffer("mlp_tau", torch.zeros(()))
        self.attn_skip_gain, self.mlp_skip_gain = 1.0, 1.0  # not read until folded

    def forward(
        self, x: Tensor, num_read: int, turns: TimeTurns | None, mask: Tensor | None, cache: Tensor | None
    ) -> Tensor:
        """x [R, T, d] -> [R, N, d]. Arguments as of `Attention`."""
        mixed = self.attn(self.norm1(x), num_read, turns, mask, cache)
        x = residual(mixed, x[:, -num_read:], self.attn_tau, self.attn_skip_gain)
        return residual(self.ffn(self.norm2(x)), x, self.mlp_tau, self.mlp_skip_gain)

    def fold(self) -> None:
        assert self.attn_tau is not None, "folded already"
        assert self.mlp_tau is not None
        attn_tau, mlp_tau = float(self.attn_tau), float(self.mlp_tau)
        self.attn_skip_gain, self.mlp_skip_gain = 1.0 / math.hypot(1.0, attn_tau), 1.0 / math.hypot(1.0, mlp_tau)
        self.attn.fold(attn_tau * self.attn_skip_gain)
        self.ffn.fold(mlp_tau * self.mlp_skip_gain)
        self.attn_tau, self.mlp_tau = None, None


class Transformer(nn.Module):
    """The layers, over time and across variates as the configuration orders them, and the norm behind them."""

    def __init__(self, config: Toto2Config) -> None:
        super().__init__()
        across = [config.is_across_variates(i) for i in range(config.num_layers)]
        self.layers = nn.ModuleList(Layer(config, flag) for flag in across)
        self.out_norm = nn.RMSNorm(config.d_model, config.norm_eps, config.norm_include_weight)
        self.last_time_layer = max((i for i, flag in enumerate(across) if not flag), default=-1)
        self.num_time_layers = len(across) - sum(across)
        self.num_groups, self.head_width, self.value_width = config.num_groups, config.qk_dim, config.v_dim
        self.xpos = config.use_xpos

    def forward(
        self,
        x: Tensor,
        ids: Tensor,
        time_mask: Tensor,
        first: int,
        centre: int,
        num_read: int,
        cache: list[Tensor] | None = None,
        record: list[Tensor] | None = None,
    ) -> Tensor:
        """x [B, V, S, d] -> [B, V, N, d], of the last N patches of every variate.

        Up to the last layer over time every patch is needed; from its queries on only those that are read.

        ids        [B, V, S] int64: variates meet at a patch if their ids are equal there
        time_mask  bool, broadcast to [B * V, 1, S, K]: which key patches a patch may see in its own variate
        first      position of the first patch, counted from the start of the context
        centre     position that the decay of xPos is counted from
        cache      per layer over time [B * V, g, >= first + S, e + v]: keys and values of earlier patches; this call's
                   are written at `first`; None: this call's are all (K = S)
        record     the output of every layer is appended, in the layer's own flattening
        """
        num_series, num_variates, length, _ = x.shape
        turns = time_turns(first, length, centre, self.head_width, self.xpos, x)
        time_index = 0
        if self.last_time_layer < 0:
            x = x[:, :, -num_read:]
        for i, layer in enumerate(self.layers):
            if layer.across_variates:
                here = ids[:, :, -x.size(2) :].transpose(1, 2).flatten(0, 1)  # [B * S, V]
                same = (here.unsqueeze(1) == here.unsqueeze(2)).unsqueeze(1) if num_variates > 1 else None
                y = layer(x.transpose(1, 2).flatten(0, 1), num_variates, None, same, None)
                x = y.unflatten(0, [num_series, -1]).transpose(1, 2)
            else:
                read = num_read if i == self.last_time_layer else length
                past = None if cache is None else cache[time_index][:, :, : first + length]
                y = layer(x.flatten(0, 1), read, turns, time_mask[..., -read:, :], past)
                x = y.unflatten(0, [num_series, num_variates])
                time_index += 1
            if record is not None:
                record.append(y)
        return self.out_norm(x)

    def empty_cache(self, num_sequences: int, length: int, like: Tensor) -> list[Tensor]:
        """Room for keys and values of `length` patches, per layer over time, in the dtype of `like`."""
        shape = [num_sequences, self.num_groups, length, self.head_width + self.value_width]
        return [torch.zeros(shape, dtype=like.dtype, device=like.device) for _ in range(self.num_time_layers)]
