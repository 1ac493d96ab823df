"""One calendar for many symbols, under an explicit policy for rows that are bad or missing.

Letters: T bars of the calendar, A symbols, n rows of one symbol.
"""

from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from arena.data.bars.checks import Series
from arena.data.bars.findings import Finding, iso_time
from arena.data.types import AMOUNT, CLOSE, OPEN, VOLUME, Bars
from arena.errors import UserError

FillPolicy = Literal["error", "halt", "intersect", "drop_symbols"]
FILL_POLICIES: tuple[FillPolicy, ...] = get_args(FillPolicy)
LONG_GAP = 7 * 86_400_000_000  # a hole in the calendar that no week has [microseconds]
MISSING = 'add the missing bars, or load with fill="halt", "intersect" or "drop_symbols"'


def usable_rows(series: Series, bad: NDArray[np.bool_]) -> Series:
    """The rows that are not bad, in time order."""
    rows = np.flatnonzero(~bad)
    rows = rows[np.argsort(series.timestamps[rows], kind="stable")]
    return series._replace(lines=series.lines[rows], timestamps=series.timestamps[rows], values=series.values[rows])


def check_calendar(all_series: list[Series]) -> list[Finding]:
    """Bars that a symbol lacks or has against most symbols, and long holes in the calendar they share.

    Takes sorted series with their bad rows: a bad row has a finding of its own and is not missing.
    """
    findings: list[Finding] = []
    if not all_series:
        return findings
    calendar, count = np.unique(np.concatenate([series.timestamps for series in all_series]), return_counts=True)
    shared = calendar[2 * count >= len(all_series)]  # what half of the symbols or more have
    for series in all_series:
        for kind, times, message in (
            ("missing", np.setdiff1d(shared, series.timestamps), "has no bar that half of the symbols or more have"),
            ("extra", np.setdiff1d(series.timestamps, shared), "has a bar that most symbols lack"),
        ):
            if len(times):
                more = f" and {len(times) - 1} more" if len(times) > 1 else ""
                before = int(np.searchsorted(series.timestamps, times[0]))
                line = int(series.lines[min(before, len(series.lines) - 1)]) if len(series.lines) else None
                text = f"{message}{more}, expected the same {len(shared)} timestamps for all"
                when = iso_time(int(times[0]))
                findings.append(Finding("error", f"{kind}_bars", series.file, series.symbol, line, when, text, MISSING))
    for i in np.flatnonzero(np.diff(shared) > LONG_GAP):
        days = (shared[i + 1] - shared[i]) / 86_400_000_000
        text = f"no symbol has a bar for {days:.0f} days from here"
        when = iso_time(int(shared[i]))
        remedy = "check that the source is complete there"
        findings.append(Finding("warning", "calendar_gap", all_series[0].file, "all", None, when, text, remedy))
    return findings


def align(all_series: list[Series], policy: FillPolicy, dt: float | None) -> Bars:
    """Bars of clean, sorted series on one calendar.

    "intersect" keeps the timestamps that all symbols have. Every other policy keeps all timestamps; where a symbol has
    no bar, it is halted: open = high = low = close = its last close (before its first bar: its first open), volume and
    amount 0, tradable False. ("error" and "drop_symbols" leave nothing to halt.)
    """
    calendar, count = np.unique(np.concatenate([series.timestamps for series in all_series]), return_counts=True)
    if policy == "intersect":
        calendar = calendar[count == len(all_series)]
    if len(calendar) < 2:
        shortest = min(all_series, key=lambda series: len(series.lines))
        raise UserError(
            f"{shortest.file}: the {len(all_series)} symbols share {len(calendar)} timestamps, expected at least 2; "
            f"{shortest.symbol} has the fewest bars, {len(shortest.lines)}: leave it out, or check that all files "
            "cover the same period and use the same clock"
        )
    values = np.empty((len(calendar), len(all_series), 6))
    present = np.empty(values.shape[:2], dtype=bool)
    for a, series in enumerate(all_series):
        last = np.searchsorted(series.timestamps, calendar, side="right") - 1  # [T] last row at or before
        row = np.maximum(last, 0)
        present[:, a] = (last >= 0) & (series.timestamps[row] == calendar)
        carried = np.where(last >= 0, series.values[row, CLOSE], series.values[0, OPEN])
        values[:, a] = np.where(present[:, a, None], series.values[row], carried[:, None])
        values[~present[:, a], a, VOLUME] = values[~present[:, a], a, AMOUNT] = 0.0
    return Bars(
        torch.from_numpy(values),
        torch.from_numpy(present & (values[..., VOLUME] > 0)),
        torch.from_numpy(calendar),
        tuple(series.symbol for series in all_series),
        infer_dt(calendar) if dt is None else dt,
    )


def infer_dt(timestamps: NDArray[np.int64]) -> float:
    """Bar length in trading days from microseconds UTC [T].

    Several bars per UTC date: one over the median number per date. Else the median distance in days decides: up to 4
    is a daily bar (1), up to 10 a weekly one (5), more a monthly one (21).
    """
    per_date = np.unique(timestamps // 86_400_000_000, return_counts=True)[1]
    if (per_date > 1).mean() > 0.5:
        return 1.0 / float(np.median(per_date))
    days = float(np.median(np.diff(timestamps))) / 86_400_000_000
    return 1.0 if days <= 4 else 5.0 if days <= 10 else 21.0


def split(
    bars: Bars, fractions: tuple[float, float, float] = (0.6, 0.2, 0.2), embargo: int = 20
) -> tuple[Bars, Bars, Bars]:
    """Training, validation and test bars: consecutive in time, `embargo` bars left out before the second and third.

    Each part is used alone, warm-up included, so nothing of a later part is in an earlier one.
    """
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1.0) > 1e-9:
        raise UserError(f"fractions are {fractions}, expected three positive numbers that sum to 1")
    num_bars = len(bars.timestamps)
    ends = [0, round(num_bars * fractions[0]), round(num_bars * (fractions[0] + fractions[1])), num_bars]
    begins = [0, ends[1] + embargo, ends[2] + embargo]
    if embargo < 0 or any(begin >= end for begin, end in zip(begins, ends[1:])):
        raise UserError(
            f"{num_bars} bars split by {fractions} with an embargo of {embargo} leave an empty part; "
            "bring more bars or shorten the embargo"
        )
    first, second, third = (
        bars._replace(values=bars.values[i:j], tradable=bars.tradable[i:j], timestamps=bars.timestamps[i:j])
        for i, j in zip(begins, ends[1:])
    )
    return first, second, third
