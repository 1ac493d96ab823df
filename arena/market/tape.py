"""The scenarios that markets replay, laid out so that a step reads one block of memory.

T bars   W windows   B markets, each playing one window   A assets
"""

import torch
from torch import Tensor

from arena.data.types import AMOUNT, CLOSE, HIGH, LOW, OPEN, VOLUME, Scenarios

# Rows of a bar. The last three are kept only where agents ask for full bars.
TAPE_OPEN, TAPE_CLOSE, TAPE_VOLUME, TAPE_FORECAST_VOLUME, TAPE_TRADABLE, TAPE_HIGH, TAPE_LOW, TAPE_AMOUNT = range(8)
FULL_BAR = (TAPE_OPEN, TAPE_HIGH, TAPE_LOW, TAPE_CLOSE, TAPE_VOLUME, TAPE_AMOUNT)  # in the order of CHANNELS


class Tape:
    """Bars, frozen features and forecasts of W windows, looked up by bar and by the windows that are played.

    full_bars   keep high, low and amount too             forecast  table [W, T, A, 4]; None: no forecasts
    batch_last  storage with W (and B) contiguous, else A

    Look-ups take `windows` [B], the window of each market; None means all W windows in order, without a copy.
    """

    def __init__(
        self,
        scenarios: Scenarios,
        *,
        full_bars: bool,
        batch_last: bool,
        forecast: Tensor | None,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._batch_last = batch_last
        bars = scenarios.bars.permute(1, 3, 0, 2)
        bar_volume = scenarios.bar_volume.permute(1, 0, 2).unsqueeze(1)
        tradable = scenarios.tradable.permute(1, 0, 2).unsqueeze(1)
        rows = [bars[:, [OPEN, CLOSE, VOLUME]], bar_volume, tradable]
        if full_bars:
            rows.append(bars[:, [HIGH, LOW, AMOUNT]])
        self._bars = self.arrange(torch.cat(rows, 1).to(device, dtype))  # [T, rows, W, A]
        self._volatility = self.arrange(scenarios.volatility.to(device, dtype))  # [W, A]
        self._adv = self.arrange(scenarios.adv.to(device, dtype))
        self._table = None  # [T, 4, W, A]
        if forecast is not None:
            self._table = self.arrange(forecast.permute(1, 3, 0, 2).to(device, dtype))
        self.num_bars, _, self.num_windows, _ = self._bars.shape

    def arrange(self, x: Tensor) -> Tensor:
        """x [..., W or B, A] in this storage order."""
        return x.transpose(-1, -2).contiguous().transpose(-1, -2) if self._batch_last else x.contiguous()

    def bar(self, index: int, windows: Tensor | None) -> Tensor:
        """Rows of one bar [rows, B, A]."""
        return self._pick(self._bars[index], windows)

    def bars(self, start: int, stop: int, windows: Tensor | None) -> Tensor:
        """Rows of the bars from start to stop - 1, [bars, rows, B, A]."""
        return self._pick(self._bars[start:stop], windows)

    def bars_at(self, indices: Tensor, windows: Tensor | None) -> Tensor:
        """Rows of the bars whose indices [n] only the device knows, [n, rows, B, A]."""
        return self._pick(self._bars.index_select(0, indices), windows)

    def features(self, windows: Tensor | None) -> tuple[Tensor, Tensor]:
        """Volatility [1/sqrt(day)] and average daily volume [shares/day], [B, A] each."""
        return self._pick(self._volatility, windows), self._pick(self._adv, windows)

    def forecast(self, index: int, windows: Tensor | None) -> Tensor | None:
        """Forecasts [B, A, 4] made at the close of a bar; None without a table."""
        return None if self._table is None else self._pick(self._table[index], windows).movedim(0, -1)

    def forecast_at(self, index: Tensor, windows: Tensor | None) -> Tensor | None:
        """The same of a bar whose index [1] only the device knows."""
        if self._table is None:
            return None
        return self._pick(self._table.index_select(0, index)[0], windows).movedim(0, -1)

    def _pick(self, x: Tensor, windows: Tensor | None) -> Tensor:
        """[..., W, A] -> [..., B, A]."""
        if windows is None:
            return x
        if self._batch_last:
            # A tenth of the time of index_select, which is slow along the last axis.
            by_window = x.transpose(-1, -2)
            return by_window.gather(-1, windows.expand(*by_window.shape[:-1], -1)).transpose(-1, -2)
        return x.index_select(-2, windows)
