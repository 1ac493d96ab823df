"""Windows of long bars as scenarios, and where the windows start.

Letters: T bars of the whole history, L bars of a window (warm-up and episode), W windows, A symbols.
"""

import warnings

import torch
from torch import Tensor

from arena.data.features import frozen_features, volume_forecast_of
from arena.data.types import Bars, Scenarios


def scenarios(bars: Bars, *, episode_length: int, starts: Tensor, warmup: int = 60) -> Scenarios:
    """Scenarios [W, L, A, 6] from windows of long bars, L = warmup + episode_length.

    starts  int64 [W], first bar of each window

    `volatility` and `adv` come from each window's warm-up, `bar_volume` from all bars before the one it speaks of.
    A symbol without volume or without any price change in a warm-up cannot be traded in that window: it is marked not
    tradable there, a warning names it, and it takes the median `volatility` and `adv` of the window's other symbols, so
    that nothing divides by zero and no average over symbols is bent. A window in which that leaves no symbol raises.
    Evenly spaced starts give views of the bars, others a copy.
    """
    length = warmup + episode_length
    _check(bars, warmup, episode_length, starts)
    values = _windows(bars.values, starts, length)  # [W, L, A, 6]
    tradable = _windows(bars.tradable, starts, length)  # [W, L, A]
    volatility, adv = frozen_features(values[:, :warmup], bars.dt)  # [W, A]
    inactive = (adv <= 0) | (volatility <= 0)
    if inactive.any():
        _report_inactive(bars, starts, inactive, warmup)
        tradable = tradable & ~inactive[:, None]
        adv, volatility = _median_where(inactive, adv), _median_where(inactive, volatility)
    bar_volume = _windows(volume_forecast_of(bars), starts, length)
    timestamps = _windows(bars.timestamps, starts, length)
    return Scenarios(values, tradable, volatility, adv, bar_volume, warmup, bars.dt, timestamps=timestamps)


def disjoint_starts(num_bars: int, warmup: int, episode_length: int, gap: int = 20) -> Tensor:
    """First bars [W] of as many windows as fit, with episodes `gap` bars apart; none depends on another's trades.

    A warm-up may reach into the episode before it: it is history, which every scenario may know.
    """
    last = _last_start(num_bars, warmup, episode_length)
    return torch.arange(0, last + 1, episode_length + gap)


def random_starts(num_bars: int, warmup: int, episode_length: int, count: int, generator: torch.Generator) -> Tensor:
    """First bars [count] of windows drawn evenly from all that fit; they overlap, so they are for training only."""
    last = _last_start(num_bars, warmup, episode_length)
    return torch.randint(0, last + 1, (count,), generator=generator)


def _median_where(inactive: Tensor, x: Tensor) -> Tensor:
    """x [W, A] with the median of the active symbols in place of the inactive ones."""
    usual = x.masked_fill(inactive, torch.nan).nanmedian(1, keepdim=True).values
    return torch.where(inactive, usual, x)


def _last_start(num_bars: int, warmup: int, episode_length: int) -> int:
    last = num_bars - warmup - episode_length
    if last < 0:
        raise ValueError(
            f"{num_bars} bars hold no window of warm-up {warmup} and episode {episode_length}; "
            f"expected at least {warmup + episode_length}: bring more bars or shorten the episode"
        )
    return last


def _windows(x: Tensor, starts: Tensor, length: int) -> Tensor:
    """[T, ...] -> [W, length, ...]; a view where starts are evenly spaced."""
    steps = starts.diff()
    if len(starts) > 1 and bool((steps == steps[0]).all()) and int(steps[0]) > 0:
        every = x[int(starts[0]) : int(starts[-1]) + length].unfold(0, length, int(steps[0]))  # [W, ..., L]
        return every.movedim(-1, 1)
    return x[starts[:, None] + torch.arange(length, device=starts.device)]


def _check(bars: Bars, warmup: int, episode_length: int, starts: Tensor) -> None:
    if warmup < 2 or episode_length < 1:
        raise ValueError(f"warmup is {warmup} and episode_length {episode_length}, expected at least 2 and 1")
    if starts.dtype != torch.int64 or starts.dim() != 1 or not len(starts):
        raise ValueError(
            f"starts is {starts.dtype} {tuple(starts.shape)}, expected int64 [W >= 1]; see disjoint_starts"
        )
    num_bars, length = len(bars.values), warmup + episode_length
    if int(starts.min()) < 0 or int(starts.max()) + length > num_bars:
        raise ValueError(
            f"starts reach from {int(starts.min())} to {int(starts.max())}, expected 0 .. {num_bars - length} "
            f"for {num_bars} bars and windows of {length}; see disjoint_starts"
        )
    prices = bars.values[..., :4]
    wrong = ~(prices.isfinite() & (prices > 0)).all(-1) | ~bars.values[..., 4:].isfinite().all(-1)  # [T, A]
    if wrong.any():
        t, a = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"bar {t} of symbol {bars.symbols[a]} holds {bars.values[t, a].tolist()}, expected finite numbers and "
            "positive prices; load bars with arena.data.bars.readers.load_bars, which checks them"
        )


def _report_inactive(bars: Bars, starts: Tensor, inactive: Tensor, warmup: int) -> None:
    dead = inactive.all(1).nonzero().flatten()
    if len(dead):
        start = int(starts[dead[0]])
        raise ValueError(
            f"window {int(dead[0])} (bars {start} .. {start + warmup - 1} as warm-up): no symbol has both volume and "
            "price changes; expected at least one, choose other starts or other symbols"
        )
    where = [f"{bars.symbols[a]} in window {w} (bar {int(starts[w])} on)" for w, a in inactive.nonzero().tolist()]
    more = f" and {len(where) - 5} more" if len(where) > 5 else ""
    warnings.warn(
        f"no volume or no price change in the warm-up of {', '.join(where[:5])}{more}: not tradable there; "
        "drop the symbol to silence this",
        stacklevel=3,
    )
