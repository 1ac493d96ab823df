"""Bars from a user's files or DataFrames: one per symbol, one long table, or a wide table as yfinance makes it.

A table says which symbol a row belongs to by a symbol column, by a level of its header (wide), or by its own name.
Column names are free in case and have the usual aliases. Times are ISO 8601, year-first dates or epoch numbers (seconds
to nanoseconds, told apart by their size); times without a zone count as UTC. `amount`, the money traded, is
volume * mean(open, high, low, close) where a file has none.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

from arena.data.bars.align import FILL_POLICIES, FillPolicy, align, check_calendar, split, usable_rows
from arena.data.bars.checks import Series, check_series
from arena.data.bars.findings import NO_TIME, BarsError, Finding, Report, iso_time
from arena.data.bars.tables import FRAMES, read_files, read_frames
from arena.data.types import Bars
from arena.errors import UserError

__all__ = ["BarsError", "FillPolicy", "Report", "load_bars", "split"]


def load_bars(
    source: str | Path | Mapping[str, Any] | Any,
    *,
    fill: FillPolicy = "error",
    symbols: Sequence[str] | None = None,
    dt: float | None = None,
    adjusted: bool | None = None,
) -> tuple[Bars, Report]:
    """The bars of all symbols on one UTC calendar, and the report of what was found in them.

        bars, report = load_bars("my_bars", fill="intersect")   # a folder of CSV or Parquet files, or one file
        bars, report = load_bars({"AAPL": apple, "MSFT": microsoft})   # pandas DataFrames
        print(report)
        bars.values          # [T, A, 6] open, high, low, close, volume [shares], amount [currency]
        bars.to_frame()      # the same as a DataFrame

    source    a file, a folder of files, a DataFrame (long with a symbol column, or wide as yfinance makes it), or a
              dict with one DataFrame per symbol. Columns: open, high, low, close [currency/share], volume [shares], and
              optionally amount, the money traded [currency]. Times are in a column or in the index
    fill      what to do with bad rows and with bars that a symbol lacks; nothing is repaired silently. Every policy but
              "error" leaves out a symbol without a usable row:
              "error"         raise `BarsError`, whose `report` lists everything
              "halt"          leave bad rows out; a symbol without a bar keeps its last close, with volume 0 and
                              tradable False
              "intersect"     leave bad rows out; keep only the timestamps that all symbols have
              "drop_symbols"  leave out every symbol with an error
    symbols   the symbols to keep, in this order; all, sorted by name, if None
    dt        bar length in trading days; inferred from the timestamps if None
    adjusted  for tables with an adjusted close beside an unadjusted one: True scales all prices by their ratio, False
              ignores it, None refuses such tables, because mixing the two makes false returns

    Warnings (zero volume, stale rows, suspicious jumps) are reported and change no price. Findings name the symbol, the
    time and the line of the file; rows of Parquet files and of DataFrames are counted from 1. UserError says what
    cannot be read.
    """
    if fill not in FILL_POLICIES:
        raise UserError(f"fill is {fill!r}, expected one of {', '.join(FILL_POLICIES)}")
    if dt is not None and not 0 < dt < inf:
        raise UserError(f"dt is {dt}, expected a positive bar length in trading days, such as 1 or 1/13")
    path = source if isinstance(source, str | Path) else FRAMES
    read = read_files(Path(source), adjusted) if isinstance(source, str | Path) else read_frames(source, adjusted)
    chosen = _choose(read, symbols, path)
    findings: list[Finding] = []
    dated, clean = [], []
    for series in chosen:
        notes, bad = check_series(series)
        findings += notes
        dated.append(usable_rows(series, series.timestamps == NO_TIME))
        clean.append(usable_rows(series, bad))
    # A symbol without a usable row has a finding of its own, and no say in what the others lack.
    findings += check_calendar([rows for rows, usable in zip(dated, clean) if len(usable.lines)])
    num_rows = sum(len(series.lines) for series in chosen)
    report = Report(tuple(findings), fill, num_rows, tuple(series.symbol for series in chosen))
    if fill == "error" and report.errors:
        count = len(report.errors) - 1
        more = f" (and {count} more errors, all in the report of this exception)" if count else ""
        raise BarsError(f"{report.errors[0]}{more}", report)

    faulty = {finding.symbol for finding in report.errors} if fill == "drop_symbols" else set()
    kept = [series for series in clean if series.symbol not in faulty and len(series.lines)]
    if not kept:
        raise BarsError(f"{path}: fill={fill!r} leaves none of {len(chosen)} symbols; {report.errors[0]}", report)
    bars = align(kept, fill, dt)
    dropped = tuple(symbol for symbol in report.symbols if symbol not in bars.symbols)
    start, end = (iso_time(int(bars.timestamps[i])) for i in (0, -1))
    return bars, Report(
        report.findings, fill, num_rows, bars.symbols, dropped, len(bars.timestamps), start, end, bars.dt
    )


def _choose(all_series: Iterable[Series], symbols: Sequence[str] | None, path: str | Path) -> list[Series]:
    """The wanted series in the wanted order."""
    found: dict[str, Series] = {}
    for series in all_series:
        if series.symbol in found:
            raise UserError(
                f"{series.file}: symbol {series.symbol} is also in {found[series.symbol].file}, expected one file per "
                "symbol; put all its bars into one file"
            )
        found[series.symbol] = series
    unknown = [symbol for symbol in symbols or () if symbol not in found]
    if unknown:
        names = ", ".join(sorted(found)[:10]) + " ..." * (len(found) > 10)
        raise UserError(f"{path}: no symbol {', '.join(unknown)} among {names}; correct symbols=")
    return [found[symbol] for symbol in (sorted(found) if symbols is None else symbols)]
