"""Tables of bars, as files or DataFrames hold them, become series of one symbol each."""

import ast
import csv
import gzip
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from arena.data.bars.checks import Series
from arena.data.bars.columns import Table, read_header, series_of
from arena.errors import UserError

SUFFIXES = (".csv", ".csv.gz", ".parquet", ".pq")
FRAMES = "DataFrame"  # stands for the file in messages about frames


def read_files(path: Path, adjusted: bool | None) -> Iterator[Series]:
    """The series of each symbol in a file, or in the files of a folder; `adjusted` as in `load_bars`."""
    files = [path] if path.is_file() else []
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.name.lower().endswith(SUFFIXES))
    if not files:
        raise UserError(f"{path}: found no bars; give a {' or '.join(SUFFIXES)} file or a folder of them")
    for file in files:
        read = _read_parquet if file.suffix.lower() in (".parquet", ".pq") else _read_csv
        table = read(file)
        found = series_of(table, adjusted) if table.header else []
        if not found:
            raise UserError(f"{file}: found no rows, expected a header and one line per bar; export the file again")
        yield from found


def _read_csv(file: Path) -> Table:
    opened = gzip.open if file.suffix.lower() == ".gz" else open
    with opened(file, "rt", encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines)
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]  # skip blank lines
    if not rows:
        return Table(str(file), [], [], np.empty(0, dtype=np.int64))
    header, depth = read_header([row for _, row in rows[:3]])
    body = rows[depth:]
    for line, row in body:
        if len(row) != len(header):
            raise UserError(
                f"{file} line {line}: {len(row)} cells under a header of {len(header)}, expected as many; "
                "separate cells by commas and quote those that contain one"
            )
    columns = [np.array([row[place] for _, row in body], dtype=str) for place in range(len(header))]
    return Table(str(file), header, columns, np.array([line for line, _ in body], dtype=np.int64))


def _read_parquet(file: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return _table(str(file), pq.read_table(file))
    except pa.ArrowInvalid as error:
        raise UserError(f"{file}: not a Parquet file ({error}); rename it to .csv if it is one") from error


def read_frames(source: Any, adjusted: bool | None) -> Iterator[Series]:
    """Frames are read as the Parquet files that pandas would write of them."""
    if not isinstance(source, Mapping):
        found = series_of(_read_frame(FRAMES, source), adjusted)
        if [series.symbol for series in found] == [FRAMES]:
            raise UserError(
                f"{FRAMES}: it names no symbol; add a column symbol, or give a dict such as {{'AAPL': frame}}"
            )
        yield from found
        return
    if not source:
        raise UserError("the dict of DataFrames is empty; give one DataFrame per symbol")
    for symbol, frame in source.items():
        name = f"{FRAMES} {symbol}"
        found = series_of(_read_frame(name, frame), adjusted)
        if len(found) != 1:
            symbols = ", ".join(series.symbol for series in found)
            raise UserError(f"{name}: it holds {len(found)} symbols ({symbols}); give it alone, not in a dict")
        yield found[0]._replace(symbol=str(symbol))


def _read_frame(name: str, frame: Any) -> Table:
    import pyarrow as pa

    if not hasattr(frame, "columns") or not hasattr(frame, "index"):
        raise UserError(
            f"bars come from a {type(frame).__name__}, expected a path, a pandas DataFrame, or a dict of DataFrames by "
            "symbol"
        )
    if not len(frame):
        raise UserError(f"{name}: found no rows, expected one per bar")
    try:
        return _table(name, pa.Table.from_pandas(frame))
    except (pa.ArrowException, ValueError) as error:
        found = "; ".join(str(part) for part in error.args)
        raise UserError(f"{name}: {found}. Give every column a name of its own and values of one type") from error


def _table(name: str, stored: Any) -> Table:
    """Columns of a Parquet file; names of two levels are stored as text of a pair. Lines are row numbers from 1."""
    names = [_pair(column) for column in stored.column_names]
    wide = [pair for pair in names if pair[1]]
    header = names
    if wide:
        depth = [["", *(pair[i] for pair in wide)] for i in (0, 1)]
        order = iter(read_header(depth)[0][1:])
        header = [next(order) if pair[1] else ("index", "") for pair in names]
    columns = [column.to_numpy(zero_copy_only=False) for column in stored.columns]
    return Table(name, header, columns, np.arange(1, stored.num_rows + 1))


def _pair(name: str) -> tuple[str, str]:
    """A column name and its second level: "('Close', 'AAPL')" -> ("Close", "AAPL"), anything else with ""."""
    if name.startswith("("):
        try:
            first, second = ast.literal_eval(name)
        except (SyntaxError, ValueError):
            return name, ""
        return str(first), str(second)
    return ("index" if name.startswith("__index_level_") else name), ""
