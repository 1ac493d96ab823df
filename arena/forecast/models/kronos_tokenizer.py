"""Kronos tokenizer: a normalised bar becomes the signs of D numbers, read as a coarse and a fine token, and back.

B series   S paths of a series   T bars   P context bars   H forecast bars   d width   D = s1_bits + s2_bits

Shi et al. (2025), "Kronos: A Foundation Model for the Language of Financial Markets", arXiv 2508.02739; the quantiser
is binary spherical quantisation, Zhao, Xiong, Kraehenbuehl (2024), arXiv 2406.07548.
"""

import torch
from torch import Tensor, nn

from arena.forecast.models.kronos_layers import Block, layer_cache, rotary_table, visible_columns, window_mask


def pack_bits(bits: Tensor) -> Tensor:
    """sum_j bit_j 2^j over the last axis: bool [.., D] -> int64 [..]."""
    place = torch.arange(bits.size(-1), device=bits.device)
    return (bits.long() << place).sum(-1)


def unpack_bits(index: Tensor, num_bits: int) -> Tensor:
    """bit_j = index // 2^j mod 2: int64 [..] -> bool [.., num_bits]."""
    place = torch.arange(num_bits, device=index.device)
    return (index.unsqueeze(-1) >> place) % 2 == 1


class KronosTokenizer(nn.Module):
    """Causal encoder, sign quantiser, causal decoder. The names of the parameters are those of the published files."""

    def __init__(
        self,
        d_in: int,
        d_model: int,
        n_heads: int,
        ff_dim: int,
        n_enc_layers: int,
        n_dec_layers: int,
        s1_bits: int,
        s2_bits: int,
        group_size: int,
    ) -> None:
        super().__init__()
        if s1_bits != s2_bits:
            raise ValueError(
                f"the tokenizer has s1_bits {s1_bits} and s2_bits {s2_bits}, expected the same number: the published "
                "code decodes halves of equal length, so no sound weights of another shape exist"
            )
        self.s1_bits = s1_bits
        self.s2_bits = s2_bits
        self.group_size = group_size  # no number depends on it, but it tells the published tokenizers apart
        self.head_width = d_model // n_heads
        self.embed = nn.Linear(d_in, d_model)
        # The published configuration counts one block more than there is.
        self.encoder = nn.ModuleList([Block(d_model, n_heads, ff_dim) for _ in range(n_enc_layers - 1)])
        self.quant_embed = nn.Linear(d_model, s1_bits + s2_bits)
        self.post_quant_embed = nn.Linear(s1_bits + s2_bits, d_model)
        self.post_quant_embed_pre = nn.Linear(s1_bits, d_model)
        self.decoder = nn.ModuleList([Block(d_model, n_heads, ff_dim) for _ in range(n_dec_layers - 1)])
        self.head = nn.Linear(d_model, d_in)

    @torch.jit.export
    def pre_quant(self, x: Tensor, start: Tensor | None = None) -> Tensor:
        """The D numbers whose signs are the tokens: x [B, T, 6] normalised bars -> [B, T, D].

        start  [B] first column of a left-padded window that holds a bar; None: nothing is padded
        """
        hidden = self.embed(x)
        cos, sin = rotary_table(0, x.size(1), self.head_width, hidden)
        mask = window_mask(visible_columns(start, x.size(1))) if start is not None else None
        for block in self.encoder:
            hidden = block(hidden, cos, sin, mask)[0]
        return self.quant_embed(hidden)

    @torch.jit.export
    def encode(self, x: Tensor, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Coarse and fine tokens of normalised bars [B, T, 6]: int64 [B, T] each.

        bit_j = 1 if z_j > 0; s1 = sum_j bit_j 2^j over the first s1_bits, s2 the same over the rest. The upstream's
        division of z by its length cannot change a sign and is left out.
        """
        bits = self.pre_quant(x, start) > 0  # [B, T, D]
        return pack_bits(bits[..., : self.s1_bits]), pack_bits(bits[..., self.s1_bits :])

    @torch.jit.export
    def code(self, s1: Tensor, s2: Tensor) -> Tensor:
        """The point on the sphere that a pair of tokens names, (2 bit - 1) / sqrt(D): [..] -> [.., D]."""
        bits = torch.cat([unpack_bits(s1, self.s1_bits), unpack_bits(s2, self.s2_bits)], dim=-1)
        return (bits.to(self.head.weight.dtype) * 2.0 - 1.0) * (self.s1_bits + self.s2_bits) ** -0.5

    @torch.jit.export
    def decode(self, s1: Tensor, s2: Tensor) -> Tensor:
        """Tokens [B, T] -> normalised bars [B, T, 6]; bar t depends on tokens up to t."""
        return self.run_decoder(self.post_quant_embed(self.code(s1, s2)))

    @torch.jit.export
    def decode_coarse(self, s1: Tensor) -> Tensor:
        """The same from the coarse tokens alone, as the upstream reconstructs in training."""
        return self.run_decoder(self.post_quant_embed_pre(self.code(s1, s1)[..., : self.s1_bits]))

    def run_decoder(self, hidden: Tensor) -> Tensor:
        """Embedded codes [B, T, d] -> normalised bars [B, T, 6]."""
        cos, sin = rotary_table(0, hidden.size(1), self.head_width, hidden)
        for block in self.decoder:
            hidden = block(hidden, cos, sin, None)[0]
        return self.head(hidden)

    @torch.jit.export
    def decode_paths(
        self, s1: Tensor, s2: Tensor, path_s1: Tensor, path_s2: Tensor, start: Tensor | None = None
    ) -> Tensor:
        """Bars of S continuations of every series; the decoder sees the part that they share once.

        s1, s2            context tokens [B, P]; start [B] as in `pre_quant`
        path_s1, path_s2  [B, S, H]
        -> normalised bars [B, S, H, 6]
        """
        prefix, (num_paths, horizon) = s1.size(1), path_s1.shape[1:]
        past = self.post_quant_embed(self.code(s1, s2))  # [B, P, d]
        hidden = self.post_quant_embed(self.code(path_s1, path_s2))  # [B, S, H, d]
        past_cos, past_sin = rotary_table(0, prefix, self.head_width, past)
        cos, sin = rotary_table(prefix, horizon, self.head_width, hidden)
        visible = visible_columns(start, prefix) if start is not None else None
        mask = window_mask(visible) if visible is not None else None
        for i, block in enumerate(self.decoder):
            if i + 1 < len(self.decoder):
                past, key, value = block(past, past_cos, past_sin, mask)
            else:  # nobody reads the context's bars, so its last block stops at keys and values
                key, value = block.keys_values(past, past_cos, past_sin)  # type: ignore[operator]
            cache = layer_cache(key, value, num_paths, horizon)
            hidden = block.extend(hidden, cos, sin, cache, 0, 0, visible)  # type: ignore[operator]
        return self.head(hidden)
