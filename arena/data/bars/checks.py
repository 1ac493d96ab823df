"""Checks of one symbol's bars as they were read. Nothing is repaired here: rows are only judged.

Letters: n rows of one symbol, in the order of the file.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arena.data.bars.findings import NO_TIME, Finding, Severity, iso_time
from arena.data.types import CHANNELS, CLOSE, HIGH, LOW, OPEN, VOLUME

MAX_FINDINGS = 100  # of one check and symbol; the rest are counted in one more finding
JUMP_SCALES = 15.0  # robust standard deviations that a lasting jump must exceed
JUMP_FLOOR = 0.25  # and its least size: earnings days move large caps by 20 %
ISLAND_SCALES = 2.5  # least distance of an island bar from the ranges of both neighbours, in robust deviations
ISLAND_FLOOR = 0.03  # and as a log distance
ISLAND_REST = 0.5  # share of its jump that may remain in the bar after

NO_BAR = 'correct the symbol and download it again, or leave it out with fill="halt", "intersect" or "drop_symbols"'
BAD_ROW = 'correct or delete the row, or load with fill="halt", "intersect" or "drop_symbols"'


class Series(NamedTuple):
    """Rows of one symbol in one file."""

    file: str
    symbol: str
    lines: NDArray[np.int64]  # [n] 1-based line of each row
    timestamps: NDArray[np.int64]  # [n] microseconds since 1970 UTC, NO_TIME where unreadable
    values: NDArray[np.float64]  # [n, 6] CHANNELS, NaN where unreadable


def check_series(series: Series) -> tuple[list[Finding], NDArray[np.bool_]]:
    """Findings of one symbol, and True for each row [n] that cannot be used."""
    findings: list[Finding] = []
    if not len(series.lines):
        text = "has no bar, expected at least one"
        findings.append(Finding("error", "no_bars", series.file, series.symbol, None, None, text, NO_BAR))
        return findings, np.zeros(0, dtype=bool)
    bad = _check_rows(series, findings)
    bad |= _check_times(series, findings)
    _check_behaviour(series, bad, findings)
    return findings, bad


def _note(
    series: Series,
    findings: list[Finding],
    severity: Severity,
    check: str,
    rows: NDArray[np.bool_],
    message: Callable[[int], str],
    remedy: str,
) -> NDArray[np.bool_]:
    """Append a finding for each True row; returns the rows."""
    places = np.flatnonzero(rows)
    for i in places[:MAX_FINDINGS]:
        when = iso_time(int(series.timestamps[i]))
        line = int(series.lines[i])
        findings.append(Finding(severity, check, series.file, series.symbol, line, when, message(int(i)), remedy))
    if len(places) > MAX_FINDINGS:
        rest = f"the same in {len(places) - MAX_FINDINGS} more rows"
        findings.append(Finding(severity, check, series.file, series.symbol, None, None, rest, remedy))
    return rows


def _check_rows(series: Series, findings: list[Finding]) -> NDArray[np.bool_]:
    """Rules that one row breaks by itself."""
    values = series.values
    open_, high, low, close, volume = (values[:, i] for i in (OPEN, HIGH, LOW, CLOSE, VOLUME))
    top, bottom = np.maximum(open_, close), np.minimum(open_, close)

    def unreadable(i: int) -> str:
        names = [CHANNELS[k] for k in np.flatnonzero(~np.isfinite(values[i]))]
        return f"{', '.join(names)} missing or not a finite number, expected six numbers"

    def not_positive(i: int) -> str:
        k = int(np.flatnonzero(values[i, :4] <= 0)[0])
        return f"{CHANNELS[k]} is {values[i, k]:g}, expected a positive price"

    finite = np.asarray(np.isfinite(values).all(1), dtype=np.bool_)
    positive = np.asarray((values[:, :4] > 0).all(1), dtype=np.bool_)
    bad = np.zeros(len(values), dtype=bool)
    bad |= _note(series, findings, "error", "not_a_number", ~finite, unreadable, BAD_ROW)
    bad |= _note(series, findings, "error", "price_not_positive", finite & ~positive, not_positive, BAD_ROW)
    usable = finite & positive

    def high_message(i: int) -> str:
        return f"high {high[i]:g} is below open or close {top[i]:g}, expected high >= both"

    def low_message(i: int) -> str:
        return f"low {low[i]:g} is above open or close {bottom[i]:g}, expected low <= both"

    def volume_message(i: int) -> str:
        return f"volume is {volume[i]:g}, expected zero or more"

    bad |= _note(series, findings, "error", "high_too_low", usable & (high < top), high_message, BAD_ROW)
    bad |= _note(series, findings, "error", "low_too_high", usable & (low > bottom), low_message, BAD_ROW)
    bad |= _note(series, findings, "error", "negative_volume", finite & (volume < 0), volume_message, BAD_ROW)
    _note(
        series,
        findings,
        "warning",
        "zero_volume",
        finite & (volume == 0),
        lambda i: "volume is 0, so nothing can be traded in this bar (tradable False)",
        "check that the bar is not missing in the source",
    )
    return bad


def _check_times(series: Series, findings: list[Finding]) -> NDArray[np.bool_]:
    """Unreadable, repeated and unsorted timestamps; repeats of an equal row are usable once, others never."""
    times = series.timestamps
    readable = times != NO_TIME
    unreadable = "timestamp is not readable, expected ISO 8601 (2024-01-31 or 2024-01-31T09:30:00Z) or an epoch number"
    bad = _note(series, findings, "error", "timestamp", ~readable, lambda i: unreadable, BAD_ROW).copy()

    order = np.argsort(times, kind="stable")
    starts = np.append(True, times[order[1:]] != times[order[:-1]])  # of runs of one timestamp
    run = np.empty(len(times), dtype=np.int64)
    run[order] = np.cumsum(starts) - 1
    first = order[starts][run]  # [n] first row with the same timestamp
    repeats = (first != np.arange(len(times))) & readable
    differs = repeats & (series.values != series.values[first]).any(1)
    bad |= repeats | (np.isin(run, run[differs]) & readable)

    def repeated(i: int) -> str:
        return f"timestamp repeats that of line {int(series.lines[first[i]])}, expected one bar per timestamp"

    _note(series, findings, "error", "duplicated", repeats, repeated, BAD_ROW)
    backward = np.zeros(len(times), dtype=bool)
    backward[1:] = (times[1:] < times[:-1]) & readable[1:] & readable[:-1]
    sort = 'sort the file by time, or load with fill="halt" or "intersect", which sort'
    _note(series, findings, "error", "unsorted", backward, lambda i: "timestamp is before the row above", sort)
    return bad


def _check_behaviour(series: Series, bad: NDArray[np.bool_], findings: list[Finding]) -> None:
    """Warnings on usable rows in time order: stale bars and suspicious jumps."""
    rows = np.flatnonzero(~bad)
    rows = rows[np.argsort(series.timestamps[rows], kind="stable")]
    if len(rows) < 3:
        return
    prices = series.values[rows, :4]
    stale = np.zeros(len(bad), dtype=bool)
    stale[rows[1:]] = (prices[1:] == prices[:-1]).all(1) & (series.values[rows[1:], VOLUME] > 0)
    source = "compare with another source; the bar may be a copy of the one before"
    _note(
        series, findings, "warning", "stale", stale, lambda i: "all four prices equal those of the bar before", source
    )

    move = np.diff(np.log(prices[:, CLOSE]), prepend=np.log(prices[0, CLOSE]))  # [rows], 0 at the first
    scale = 1.4826 * float(np.median(np.abs(move[1:] - np.median(move[1:]))))
    island = _islands(np.log(prices), move, scale)
    # The bar after an island jumps too: it is the way back, not a finding of its own.
    way_back = np.append(False, island[:-1])
    lasting = ~island & ~way_back & (np.abs(move) > max(JUMP_SCALES * scale, JUMP_FLOOR))
    percent = np.zeros(len(bad))
    percent[rows] = 100.0 * np.expm1(move)

    def spread(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        full = np.zeros(len(bad), dtype=bool)
        full[rows] = mask
        return full

    _note(
        series,
        findings,
        "warning",
        "reverting_jump",
        spread(island),
        lambda i: (
            f"close jumps by {percent[i]:+.1f} % and reverts: the whole bar lies apart from both neighbours, as a "
            "row of another symbol does"
        ),
        "compare with another source; delete the row or leave the symbol out",
    )
    _note(
        series,
        findings,
        "warning",
        "jump",
        spread(lasting),
        lambda i: f"close jumps by {percent[i]:+.1f} %, more than {JUMP_SCALES:g} robust standard deviations",
        "look for an unadjusted split or spin-off; adjust the earlier bars, cut there or leave the symbol out",
    )


def _islands(log_prices: NDArray[np.float64], move: NDArray[np.float64], scale: float) -> NDArray[np.bool_]:
    """True where a bar [rows] lies wholly above, or wholly below, both neighbours and the close then comes back."""
    high, low = log_prices[:, HIGH], log_prices[:, LOW]
    distance = max(ISLAND_SCALES * scale, ISLAND_FLOOR)
    above = (low[1:-1] - high[:-2] > distance) & (low[1:-1] - high[2:] > distance)
    below = (low[:-2] - high[1:-1] > distance) & (low[2:] - high[1:-1] > distance)
    comes_back = np.abs(move[1:-1] + move[2:]) <= ISLAND_REST * np.abs(move[1:-1])
    island = np.zeros(len(move), dtype=bool)
    island[1:-1] = (above | below) & comes_back
    return island
