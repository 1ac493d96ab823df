"""Result rows on disk: one immutable Parquet file per finished unit, so many writers need neither lock nor server.

A file appears under its final name only when it is whole (write beside it, then rename). Resuming is listing.
    RUN/units/NAME.parquet     rows of a unit
    RUN/paths/NAME.parquet     per-step nav and costs of its first scenarios, within a size budget
    RUN/results.parquet        all rows, sorted
"""

import hashlib
import os
import struct
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from arena.tournament.types import KEY, NOT_IN_DIGEST, PATH_SCHEMA, SCHEMA, ResultRow, Unit

if TYPE_CHECKING:
    import pyarrow as pa

FLOAT32_BYTES = 4


class Finished(NamedTuple):
    """What a run folder already holds of a schedule."""

    names: frozenset[str]  # units that need not be played again
    corrupt: dict[str, str]  # unit name -> what is wrong with its file, which has been set aside


def arrow_schema(columns: Mapping[str, str] = SCHEMA) -> "pa.Schema":
    """The pyarrow schema of result rows (or of PATH_SCHEMA); no column may be null."""
    import pyarrow as pa

    return pa.schema([pa.field(name, pa.type_for_alias(kind), nullable=False) for name, kind in columns.items()])


def table_from_columns(columns: Mapping[str, Any], schema: Mapping[str, str] = SCHEMA) -> "pa.Table":
    """Columns of equal length (lists, arrays, CPU tensors) -> table; a missing or unknown column is an error."""
    import pyarrow as pa

    missing, unknown = (
        [name for name in schema if name not in columns],
        [name for name in columns if name not in schema],
    )
    if missing or unknown:
        raise ValueError(f"columns do not fit the schema: missing {missing}, unknown {unknown}")
    return pa.table({name: _array(columns[name], kind) for name, kind in schema.items()}, schema=arrow_schema(schema))


def table_from_rows(rows: Iterable[ResultRow]) -> "pa.Table":
    """Result rows one by one -> table."""
    listed = list(rows)
    return table_from_columns({name: [row[index] for row in listed] for index, name in enumerate(SCHEMA)})


def write_unit(run: Path, unit: Unit, table: "pa.Table") -> Path:
    """Store the rows of a finished unit; the file is complete from the moment it can be seen."""
    problem = _mismatch(unit, table)
    if problem:
        raise ValueError(f"rows of unit {unit.name} are not those of the unit: {problem}")
    return _write(run / "units" / f"{unit.name}.parquet", table)


def read_unit(run: Path, unit: Unit) -> "pa.Table":
    """Rows of one finished unit; ValueError naming the file if it is damaged or belongs to another schedule."""
    path = run / "units" / f"{unit.name}.parquet"
    try:
        table = _read(path)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError, a bad page an OSError
        raise ValueError(f"{path} is damaged: {str(error).splitlines()[0]}") from error
    problem = _mismatch(unit, table)
    if problem:
        raise ValueError(f"{path} does not hold its unit: {problem}")
    return table


def finished_units(run: Path, units: Sequence[Unit]) -> Finished:
    """Which units of the schedule are on disk. A bad file is renamed to NAME.corrupt, so its unit is played again."""
    names, corrupt = set(), {}
    for unit in units:
        path = run / "units" / f"{unit.name}.parquet"
        if not path.exists():
            continue
        try:
            read_unit(run, unit)
        except ValueError as error:
            corrupt[unit.name] = str(error)
            path.replace(path.with_suffix(".corrupt"))
        else:
            names.add(unit.name)
    return Finished(frozenset(names), corrupt)


def read_units(run: Path, units: Sequence[Unit]) -> "pa.Table":
    """Rows of those units of the schedule that are on disk, sorted by KEY."""
    import pyarrow as pa

    tables = [read_unit(run, unit) for unit in units if (run / "units" / f"{unit.name}.parquet").exists()]
    return sort_rows(pa.concat_tables([arrow_schema().empty_table(), *tables]))


def compact(run: Path, units: Sequence[Unit]) -> "pa.Table":
    """Write RUN/results.parquet from the finished units (which stay) and return it, sorted by KEY."""
    table = read_units(run, units)
    _write(run / "results.parquet", table)
    return table


def sort_rows(table: "pa.Table") -> "pa.Table":
    """Rows in the order of KEY; ValueError if a row stands twice."""
    columns = [table[name].to_numpy() for name in KEY]
    order = np.lexsort(columns[::-1])
    keys = np.stack(columns, 1)[order]
    repeated = (keys[1:] == keys[:-1]).all(1)
    if repeated.any():
        row = dict(zip(KEY, keys[1:][repeated][0].tolist()))
        raise ValueError(f"the same result stands twice: {row}")
    return table.take(order)


def digest(table: "pa.Table") -> str:
    """SHA-256 over the rows sorted by KEY, without NOT_IN_DIGEST: equal digests mean equal results.

    Bytes are defined here and not by a file format: per column its name and kind, then int64 or float64 little-endian
    (one NaN, no negative zero), bool as one byte, strings as UTF-8 with their length in front.
    """
    table = sort_rows(table.select(list(SCHEMA)))
    sha = hashlib.sha256(struct.pack("<q", table.num_rows))
    for name, kind in SCHEMA.items():
        if name in NOT_IN_DIGEST:
            continue
        sha.update(f"{name}:{kind};".encode())
        if kind == "string":
            for text in table[name].to_pylist():
                raw = text.encode()
                sha.update(struct.pack("<q", len(raw)) + raw)
        else:
            values = table[name].to_numpy()
            if kind == "float64":
                values = np.where(np.isnan(values), np.nan, values + 0.0)  # -0.0 + 0.0 is +0.0
            sha.update(values.astype({"int64": "<i8", "float64": "<f8", "bool": "u1"}[kind]).tobytes())
    return sha.hexdigest()


def num_path_scenarios(unit: Unit, num_steps: int, budget_bytes: int, num_units: int) -> int:
    """How many of the unit's first scenarios may keep their paths, so that all units together stay in the budget.

    A rule of the schedule alone: what is kept depends on no clock, no worker and no other unit.
    """
    num_values = sum(kind == "float32" for kind in PATH_SCHEMA.values())  # keys compress to almost nothing
    per_scenario = len(unit.lineup.agents) * (num_steps + 1) * num_values * FLOAT32_BYTES
    return min(len(unit.scenarios), budget_bytes // (num_units * per_scenario))


def write_paths(run: Path, unit: Unit, table: "pa.Table") -> Path | None:
    """Store the per-step rows of a unit (PATH_SCHEMA); nothing is written for an empty table."""
    return _write(run / "paths" / f"{unit.name}.parquet", table) if table.num_rows else None


def read_paths(run: Path) -> "pa.Table | None":
    """All stored paths, in file order; None if there are none."""
    import pyarrow as pa

    files = sorted((run / "paths").glob("*.parquet"))
    return pa.concat_tables([_read(file) for file in files]) if files else None


def _array(values: Any, kind: str) -> "pa.Array":
    import pyarrow as pa

    if kind != "string":
        values = np.ascontiguousarray(values, dtype=kind)
    return pa.array(values, type=pa.type_for_alias(kind))


def _mismatch(unit: Unit, table: "pa.Table") -> str:
    """In words, how the table differs from what the unit must hold; empty if it does not."""
    if not table.schema.equals(arrow_schema()):
        return "other columns"
    num_seats = len(unit.lineup.agents)
    expected = len(unit.scenarios) * num_seats
    if table.num_rows != expected:
        return f"{table.num_rows} rows, expected {expected}"
    rows = set(zip(*(table[name].to_pylist() for name in (*KEY, "agent"))))
    wanted = {
        (unit.lineup.lineup, scenario, seat, agent)
        for scenario in unit.scenarios
        for seat, agent in enumerate(unit.lineup.agents)
    }
    return "" if rows == wanted else "other scenarios, seats or agents"


def _write(path: Path, table: "pa.Table") -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".tmp")
    os.close(handle)
    try:
        # A dictionary of floats that do not repeat would only add to the size.
        keys = [field.name for field in table.schema if not pa.types.is_floating(field.type)]
        pq.write_table(table, name, compression="zstd", use_dictionary=keys, write_page_checksum=True)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path


def _read(path: Path) -> "pa.Table":
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        return pq.read_table(file, page_checksum_verification=True)
