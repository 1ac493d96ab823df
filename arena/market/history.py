"""The bars that agents see: reference bars moved by the displacement the agents caused."""

from collections.abc import Sequence

import torch
from torch import Tensor

from arena.data.types import AMOUNT, CLOSE, HIGH, LOW, OPEN, VOLUME
from arena.market.storage import stack
from arena.market.types import Fills


def displayed_bar(bar: Sequence[Tensor], before: Tensor, after: Tensor, fills: Fills) -> Tensor:
    """The public bar [6, B, A] made of the reference bar (6 times [B, A]) and what agents did in it.

        O' = O (1 + I_pre)     C' = C (1 + I_post)     V' = V + |X|     amount' = amount + |X| P
        H' = max(O', P, C', H (1 + I_post))            L' = min(O', P, C', L (1 + I_post))

    before, after  displacement I before the fills (old impact decayed) and after them [B, A];  P  fills.price
    A market without flow shows the reference bar.
    """
    lift = 1.0 + after
    open_, close = bar[OPEN] * (1.0 + before), bar[CLOSE] * lift
    volume = fills.net_flow.abs()
    high = torch.maximum(torch.maximum(open_, close), torch.maximum(fills.price, bar[HIGH] * lift))
    low = torch.minimum(torch.minimum(open_, close), torch.minimum(fills.price, bar[LOW] * lift))
    shown = [open_, high, low, close, bar[VOLUME] + volume, bar[AMOUNT] + volume * fills.price]
    return stack(shown).movedim(-1, 0)


class DisplayedHistory:
    """The last `length` displayed bars of B markets, readable as one view.

    Rows are written one after the other into a buffer of twice the length; when it is full the last `length` rows move
    to its start. A read is then a slice without a copy, and a write costs two row copies on average.
    Memory: 2 * length * channels * B * A numbers.
    """

    def __init__(self, rows: Tensor):
        """Start with dense `rows` [length, K, B, A], oldest first."""
        self._length = rows.shape[0]
        shape = (2 * self._length, *rows.shape[1:])
        row_strides = rows.stride()  # rows keep the memory order they come in
        self._buffer = torch.empty_strided(shape, row_strides, dtype=rows.dtype, device=rows.device)
        self._buffer[: self._length] = rows
        self._end = self._length

    def push(self, row: Tensor) -> None:
        """Append a bar [K, B, A]; the oldest one drops out."""
        if self._end == self._buffer.shape[0]:
            self._buffer[: self._length] = self._buffer[self._length :].clone()
            self._end = self._length
        self._buffer[self._end] = row
        self._end += 1

    def row(self, bars_ago: int) -> Tensor:
        """The bar [K, B, A] `bars_ago` bars before the last one (0 = the last)."""
        return self._buffer[self._end - 1 - bars_ago]

    def last(self, length: int) -> Tensor:
        """The last `length` bars [B, A, length, K], oldest first; a view that the next pushes overwrite."""
        return self._buffer[self._end - length : self._end].permute(2, 3, 0, 1)
