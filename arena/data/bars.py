"""Bars from a user's files: CSV or Parquet, one file per symbol, one long table, or a wide table as yfinance makes it.

A file says which symbol a row belongs to by a symbol column, by a level of its header (wide), or by its own name.
Column names are free in case and have the usual aliases. Times are ISO 8601, year-first dates or epoch numbers (seconds
to nanoseconds, told apart by their size); times without a zone count as UTC. `amount`, the money traded, is
volume * mean(open, high, low, close) where a file has none.
"""

import ast
import csv
import gzip
from collections.abc import Iterable, Sequence
from math import inf
from pathlib import Path

import numpy as np

from arena.data.align import FILL_POLICIES, FillPolicy, align, check_calendar, split, usable_rows
from arena.data.checks import Series, check_series
from arena.data.columns import Table, read_header, series_of
from arena.data.findings import NO_TIME, BarsError, Finding, Report, iso_time
from arena.data.types import Bars

__all__ = ["BarsError", "FillPolicy", "Report", "load_bars", "split"]

SUFFIXES = (".csv", ".csv.gz", ".parquet", ".pq")


def load_bars(
    path: str | Path,
    *,
    fill: FillPolicy = "error",
    symbols: Sequence[str] | None = None,
    dt: float | None = None,
    adjusted: bool | None = None,
) -> tuple[Bars, Report]:
    """Bars [T, A, 6] of all symbols under `path` (a file or a folder) on one UTC calendar, and what was found in them.

    fill      what to do with bad rows and with bars that a symbol lacks; nothing is repaired silently. Every policy but
              "error" leaves out a symbol without a usable row:
              "error"         raise `BarsError`, whose `report` lists everything
              "halt"          leave bad rows out; a symbol without a bar keeps its last close, with volume 0 and
                              tradable False
              "intersect"     leave bad rows out; keep only the timestamps that all symbols have
              "drop_symbols"  leave out every symbol with an error
    symbols   the symbols to keep, in this order; all, sorted by name, if None
    dt        bar length in trading days; inferred from the timestamps if None
    adjusted  for files with an adjusted close beside an unadjusted one: True scales all prices by their ratio, False
              ignores it, None refuses such files, because mixing the two makes false returns

    Warnings (zero volume, stale rows, suspicious jumps) are reported and change no price.
    """
    if fill not in FILL_POLICIES:
        raise ValueError(f"fill is {fill!r}, expected one of {', '.join(FILL_POLICIES)}")
    if dt is not None and not 0 < dt < inf:
        raise ValueError(f"dt is {dt}, expected a positive bar length in trading days, such as 1 or 1/13")
    chosen = _choose(_read_all(Path(path), adjusted), symbols, path)
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
            raise ValueError(
                f"{series.file}: symbol {series.symbol} is also in {found[series.symbol].file}, expected one file per "
                "symbol; put all its bars into one file"
            )
        found[series.symbol] = series
    unknown = [symbol for symbol in symbols or () if symbol not in found]
    if unknown:
        names = ", ".join(sorted(found)[:10]) + " ..." * (len(found) > 10)
        raise ValueError(f"{path}: no symbol {', '.join(unknown)} among {names}; correct symbols=")
    return [found[symbol] for symbol in (sorted(found) if symbols is None else symbols)]


def _read_all(path: Path, adjusted: bool | None) -> Iterable[Series]:
    files = [path] if path.is_file() else []
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.name.lower().endswith(SUFFIXES))
    if not files:
        raise ValueError(f"{path}: found no bars; give a {' or '.join(SUFFIXES)} file or a folder of them")
    for file in files:
        read = _read_parquet if file.suffix.lower() in (".parquet", ".pq") else _read_csv
        table = read(file)
        found = series_of(table, adjusted) if table.header else []
        if not found:
            raise ValueError(f"{file}: found no rows, expected a header and one line per bar; export the file again")
        yield from found


def _read_csv(file: Path) -> Table:
    opened = gzip.open if file.suffix.lower() == ".gz" else open
    with opened(file, "rt", encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines)
        rows = [
            (reader.line_num, row) for row in reader if any(cell.strip() for cell in row)
        ]  # blank lines are no bars
    if not rows:
        return Table(str(file), [], [], np.empty(0, dtype=np.int64))
    header, depth = read_header([row for _, row in rows[:3]])
    body = rows[depth:]
    for line, row in body:
        if len(row) != len(header):
            raise ValueError(
                f"{file} line {line}: {len(row)} cells under a header of {len(header)}, expected as many; "
                "separate cells by commas and quote those that contain one"
            )
    columns = [np.array([row[place] for _, row in body], dtype=str) for place in range(len(header))]
    return Table(str(file), header, columns, np.array([line for line, _ in body], dtype=np.int64))


def _read_parquet(file: Path) -> Table:
    """Columns of a Parquet file; names of two levels are stored as text of a pair. Lines are row numbers from 1."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        stored = pq.read_table(file)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{file}: not a Parquet file ({error}); rename it to .csv if it is one") from error
    names = [_pair(name) for name in stored.column_names]
    wide = [pair for pair in names if pair[1]]
    header = names
    if wide:
        depth = [["", *(pair[i] for pair in wide)] for i in (0, 1)]
        order = iter(read_header(depth)[0][1:])
        header = [next(order) if pair[1] else ("index", "") for pair in names]
    columns = [column.to_numpy(zero_copy_only=False) for column in stored.columns]
    return Table(str(file), header, columns, np.arange(1, stored.num_rows + 1))


def _pair(name: str) -> tuple[str, str]:
    """A column name and its second level: "('Close', 'AAPL')" -> ("Close", "AAPL"), anything else with ""."""
    if name.startswith("("):
        try:
            first, second = ast.literal_eval(name)
        except (SyntaxError, ValueError):
            return name, ""
        return str(first), str(second)
    return ("index" if name.startswith("__index_level_") else name), ""
