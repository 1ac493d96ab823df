"""From the columns of a file to series of one symbol each: names, header shapes, numbers and times.

Letters: n rows of a file.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arena.data.bars.checks import Series
from arena.data.bars.findings import NO_TIME
from arena.data.types import AMOUNT, CLOSE, VOLUME
from arena.errors import UserError

# Lower case; the first name that a file has is taken.
ALIASES = {
    "time": ("timestamp", "timestamps", "datetime", "date", "time", "ts_event", "open_time", "index", ""),
    "symbol": ("symbol", "ticker", "name", "instrument"),
    "open": ("open", "o"),
    "high": ("high", "h"),
    "low": ("low", "l"),
    "close": ("close", "c"),
    "volume": ("volume", "vol", "v"),
    "amount": ("amount", "turnover", "quote_volume"),
    "adjusted_close": ("adj close", "adj_close", "adjclose", "adjusted close", "adjusted_close"),
}
REQUIRED = ("open", "high", "low", "close", "volume")
FIELD_NAMES = {name for key in (*REQUIRED, "amount", "adjusted_close") for name in ALIASES[key]}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEAR_FIRST = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(.*)")


class Table(NamedTuple):
    """A file as columns."""

    file: str
    header: list[tuple[str, str]]  # name and symbol of each column, the symbol "" where the header names none
    columns: list[NDArray[Any]]  # [n] each
    lines: NDArray[np.int64]  # [n] 1-based line of each row


def read_header(rows: Sequence[Sequence[str]]) -> tuple[list[tuple[str, str]], int]:
    """Names and symbols of the columns, and the number of header rows, from the first three rows of a file.

    One row for a long table; two for a wide one (field and symbol levels in either order), three where the index has
    a name of its own.
    """
    first = [cell.strip() for cell in rows[0]]
    if len(rows) > 1:
        second = [cell.strip() for cell in rows[1]]
        upper, lower = (all(name.lower() in FIELD_NAMES for name in level[1:]) for level in (first, second))
        named = all(second[1:]) and not any(_is_number(cell) for cell in second[1:])
        if upper != lower and named and len(first) == len(second) > 1:
            fields, owners = (first, second) if upper else (second, first)
            titled = len(rows) > 2 and not any(cell.strip() for cell in rows[2][1:])
            return [("index", ""), *zip(fields[1:], owners[1:])], 3 if titled else 2
    return [(name, "") for name in first], 1


def series_of(table: Table, adjusted: bool | None) -> list[Series]:
    """One series per symbol of a table; `adjusted` as in `load_bars`."""
    time = _place(table, "time", "")
    if time is None:
        raise UserError(f"{table.file}: {_missing(table, 'time')}")
    times = parse_times(table.columns[time])
    wide = sorted({symbol for _, symbol in table.header if symbol})
    if wide:
        found = []
        for symbol in wide:
            values = _values(table, symbol, adjusted)
            rows = ~np.isnan(values).all(1)  # empty cells where this symbol has no bar
            found.append(Series(table.file, symbol, table.lines[rows], times[rows], values[rows]))
        return found
    values = _values(table, "", adjusted)
    place = _place(table, "symbol", "")
    if place is None:
        name = re.split(r"[\\/]", table.file)[-1].split(".")[0]
        return [Series(table.file, name, table.lines, times, values)]
    owner = np.array([str(cell).strip() for cell in table.columns[place]])
    nameless = np.flatnonzero(owner == "")
    if len(nameless):
        line = int(table.lines[nameless[0]])
        raise UserError(f"{table.file} line {line}: the symbol is empty, expected a name; fill it in or delete the row")
    order = np.argsort(owner, kind="stable")
    names, begins = np.unique(owner[order], return_index=True)
    return [
        Series(table.file, str(name), table.lines[rows], times[rows], values[rows])
        for name, rows in zip(names, np.split(order, begins[1:]))
    ]


def parse_times(cells: NDArray[Any]) -> NDArray[np.int64]:
    """Microseconds since 1970 UTC [n]; NO_TIME where a cell is not readable. A time without a zone counts as UTC."""
    if np.issubdtype(cells.dtype, np.datetime64):
        whole = cells.astype("datetime64[us]").astype(np.int64)
        return np.where(np.isnat(cells), NO_TIME, whole)
    known: dict[Any, int] = {}
    for cell in cells.tolist():
        if cell not in known:
            known[cell] = _parse_time(str(cell).strip())
    return np.array([known[cell] for cell in cells.tolist()], dtype=np.int64)


def _parse_time(cell: str) -> int:
    if _is_number(cell):
        return _parse_epoch(float(cell), cell)
    match = YEAR_FIRST.fullmatch(cell)
    if match:
        year, month, day, rest = match.groups()
        cell = f"{year}-{int(month):02d}-{int(day):02d}{rest}"
    try:
        moment = datetime.fromisoformat(cell)
    except ValueError:
        return NO_TIME
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (moment - EPOCH) // timedelta(microseconds=1)


def _parse_epoch(number: float, cell: str) -> int:
    """Epoch seconds, ms, us or ns by size: 1e8 seconds are 1973, 1e11 would be the year 5138."""
    if len(cell) == 8 and cell.isdigit():
        return _parse_time(f"{cell[:4]}-{cell[4:6]}-{cell[6:]}")  # 20240131
    exact = int(cell) if cell.lstrip("+-").isdigit() else number
    for limit, up, down in ((1e11, 1_000_000, 1), (1e14, 1_000, 1), (1e17, 1, 1), (1e20, 1, 1_000)):
        if 1e8 <= number < limit:
            return int(exact * up // down)
    return NO_TIME


def _values(table: Table, symbol: str, adjusted: bool | None) -> NDArray[np.float64]:
    """[n, 6] CHANNELS of one symbol's columns; NaN where a cell is empty or not a number."""
    places = {key: _place(table, key, symbol) for key in (*REQUIRED, "amount", "adjusted_close")}
    values = np.empty((len(table.lines), 6))
    for channel, key in enumerate(REQUIRED):
        place = places[key]
        if place is None:
            raise UserError(f"{table.file}: {_missing(table, key, symbol)}")
        values[:, channel] = parse_numbers(table.columns[place])
    if places["adjusted_close"] is not None:
        target = parse_numbers(table.columns[places["adjusted_close"]])
        ratio = target / values[:, CLOSE]
        if adjusted is None and (np.abs(ratio - 1.0) > 1e-6).any():
            line = int(table.lines[np.flatnonzero(np.abs(ratio - 1.0) > 1e-6)[0]])
            raise UserError(
                f"{table.file} line {line}: the adjusted close differs from the close, expected one kind of price; "
                "pass adjusted=True to scale all prices by their ratio or adjusted=False to ignore the adjusted close"
            )
        if adjusted:
            values[:, :4] *= ratio[:, None]
    elif adjusted:
        raise UserError(f"{table.file}: adjusted=True, but there is no adjusted close; leave adjusted out")
    if places["amount"] is None:
        values[:, AMOUNT] = values[:, VOLUME] * values[:, :4].mean(1)
    else:
        values[:, AMOUNT] = parse_numbers(table.columns[places["amount"]])
    return values


def parse_numbers(cells: NDArray[Any]) -> NDArray[np.float64]:
    """Floats [n]; NaN where a cell is empty or no number."""
    try:
        return cells.astype(np.float64)
    except (TypeError, ValueError):
        return np.array([float(cell) if _is_number(cell) else np.nan for cell in cells.tolist()])


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True


def _place(table: Table, key: str, symbol: str) -> int | None:
    """Index of the column that holds `key` for a symbol."""
    names = [name.strip().lower() if owner == symbol else None for name, owner in table.header]
    for alias in ALIASES[key]:
        if names.count(alias) > 1:
            raise UserError(
                f"{table.file}: column {alias!r} appears {names.count(alias)} times, expected once; drop one"
            )
        if alias in names:
            return names.index(alias)
    return None


def _missing(table: Table, key: str, symbol: str = "") -> str:
    names = ", ".join(repr(name) for name, owner in table.header if owner == symbol)
    where = f" for symbol {symbol}" if symbol else ""
    return f"no {key} column{where} among {names}; expected one of {', '.join(filter(None, ALIASES[key]))}"
