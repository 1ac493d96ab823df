"""Records of market data. Axes: W windows (scenarios), T bars, A assets."""

from typing import Any, NamedTuple

from torch import Tensor

OPEN, HIGH, LOW, CLOSE, VOLUME, AMOUNT = range(6)
CHANNELS = ("open", "high", "low", "close", "volume", "amount")


class Bars(NamedTuple):
    """Bars of several symbols on one calendar."""

    # CHANNELS: open, high, low, close [currency/share], volume [shares], amount [currency].
    values: Tensor  # [T, A, 6] float64
    tradable: Tensor  # [T, A] bool, False where the bar is missing, halted or without volume
    timestamps: Tensor  # [T] int64, microseconds since 1970 UTC, start of the bar
    symbols: tuple[str, ...]  # A names
    dt: float  # bar length [trading days]

    def to_frame(self) -> Any:
        """A pandas DataFrame [A * T rows], symbol by symbol: symbol, timestamp (UTC), CHANNELS, tradable.

        `load_bars` reads the same bars from it: halted bars have volume 0, by which it knows them.
        """
        import numpy as np
        import pandas as pd

        num_bars, num_symbols, _ = self.values.shape
        values = self.values.transpose(0, 1).reshape(num_symbols * num_bars, -1).numpy()  # [A * T, 6]
        times = np.tile(self.timestamps.numpy().astype("datetime64[us]"), num_symbols)
        columns = {"symbol": np.repeat(np.array(self.symbols, dtype=object), num_bars)}
        columns |= {"timestamp": pd.DatetimeIndex(times, tz="UTC")}
        columns |= {name: values[:, place] for place, name in enumerate(CHANNELS)}
        return pd.DataFrame(columns | {"tradable": self.tradable.T.reshape(-1).numpy()})


class Scenarios(NamedTuple):
    """W windows of bars with all that a market may know about them; what a match replays.

    Bars 0 .. warmup-1 are history. The first decision is taken at the close of bar warmup-1 and filled in
    bar warmup, so an episode has T - warmup steps. Everything but the bars themselves is causal: `volatility` and
    `adv` use the warm-up only, `bar_volume[:, t]` uses bars before t.
    """

    bars: Tensor  # [W, T, A, 6]
    tradable: Tensor  # [W, T, A] bool
    volatility: Tensor  # [W, A] std of log return [1/sqrt(day)], frozen at the end of the warm-up
    adv: Tensor  # [W, A] average daily volume [shares/day], frozen at the end of the warm-up
    bar_volume: Tensor  # [W, T, A] forecast of the bar's volume made before it [shares]
    warmup: int
    dt: float  # bar length [trading days]
    # Known for synthetic markets only, indexed by the bar they speak of:
    expected_open: Tensor | None = None  # [W, T, A] mean of the open of bar t given all up to close t-1
    expected_close: Tensor | None = None  # [W, T, A] mean of the close of bar t given its open and the past
    signal: Tensor | None = None  # [W, T, A] predictable part of bar t's open-to-close return, known at close t-1
    # Known for bars of a real history only:
    timestamps: Tensor | None = None  # [W, T] int64, microseconds since 1970 UTC, start of the bar
