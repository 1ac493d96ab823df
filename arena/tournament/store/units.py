"""Result rows on disk: one immutable Parquet file per finished unit, so many writers need neither lock nor server.

A file appears under its final name only when it is whole (`atomic_file`), so `--out` may lie on NFS: nobody but the
driver writes there, and each file once. Resuming is listing.
    RUN/units/NAME.parquet     rows of a unit
    RUN/paths/NAME.parquet     per-step nav and costs of its first scenarios, within a size budget
    RUN/paths/NAME.market.parquet  prices, fills and positions of its first scenario, of few units, within that budget
    RUN/paths/NAME.transfers.parquet  who paid whom through impact, in the scenarios that keep their paths
    RUN/results.parquet        all rows, sorted
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from arena.tournament.store.arrow import arrow_schema as arrow_schema
from arena.tournament.store.arrow import table_from_columns as table_from_columns
from arena.tournament.store.atomic_file import atomic_file
from arena.tournament.store.digest import digest as digest  # stored rows and their digest are one import
from arena.tournament.store.digest import sort_rows
from arena.tournament.types import KEY, Unit

if TYPE_CHECKING:
    import pyarrow as pa

MARKET_SUFFIX, TRANSFER_SUFFIX = ".market.parquet", ".transfers.parquet"
OTHER_SUFFIXES = (MARKET_SUFFIX, TRANSFER_SUFFIX)  # of files in paths/ that do not hold PATH_SCHEMA


class StorageError(RuntimeError):
    """The disk is full, the network is gone, or worse; the message is a sentence for the user."""


class Finished(NamedTuple):
    """What a run folder already holds of a schedule."""

    names: frozenset[str]  # units that need not be played again
    corrupt: dict[str, str]  # unit name -> what is wrong with its file, which has been set aside


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


def finished_units(run: Path, units: Sequence[Unit], set_aside: bool = True) -> Finished:
    """Which units of the schedule are on disk. A bad file is renamed to NAME.corrupt, so its unit is played again.

    set_aside  False: nothing is renamed, for those who only read the run
    """
    names, corrupt = set(), {}
    for unit in units:
        path = run / "units" / f"{unit.name}.parquet"
        if not path.exists():
            continue
        try:
            read_unit(run, unit)
        except ValueError as error:
            corrupt[unit.name] = str(error)
            if set_aside:
                path.replace(path.with_suffix(".corrupt"))
        else:
            names.add(unit.name)
    return Finished(frozenset(names), corrupt)


def read_units(run: Path, units: Sequence[Unit]) -> "pa.Table":
    """Rows of those units of the schedule that are on disk, sorted by KEY."""
    import pyarrow as pa

    tables = [read_unit(run, unit) for unit in units if (run / "units" / f"{unit.name}.parquet").exists()]
    return sort_rows(pa.concat_tables([arrow_schema().empty_table(), *tables]))


def drop_units(run: Path, units: Sequence[Unit]) -> None:
    """Remove all that was stored of these units; results first, so that what is left does not count."""
    for unit in units:
        for name in reversed(unit_files(unit)):
            (run / name).unlink(missing_ok=True)


def unit_files(unit: Unit) -> list[str]:
    """Names from the run folder of all files that a unit may have, in the order of writing: results last."""
    paths = [f"paths/{unit.name}{suffix}" for suffix in (".parquet", *OTHER_SUFFIXES)]
    return [*paths, f"units/{unit.name}.parquet"]


def os_error_text(error: OSError) -> str:
    """In words why a file could not be written, without numbers and the layers of a library."""
    return os.strerror(error.errno) if error.errno else str(error).splitlines()[0]


def compact(run: Path, units: Sequence[Unit]) -> "pa.Table":
    """Write RUN/results.parquet from the finished units (which stay) and return it, sorted by KEY."""
    table = read_units(run, units)
    _write(run / "results.parquet", table)
    return table


def write_paths(run: Path, unit: Unit, table: "pa.Table") -> Path | None:
    """Store the per-step rows of a unit (PATH_SCHEMA); nothing is written for an empty table."""
    return _write(run / "paths" / f"{unit.name}.parquet", table) if table.num_rows else None


def write_markets(run: Path, unit: Unit, table: "pa.Table") -> Path | None:
    """Store the market path of a unit (MARKET_SCHEMA); nothing is written for an empty table."""
    return _write(run / "paths" / f"{unit.name}{MARKET_SUFFIX}", table) if table.num_rows else None


def write_transfers(run: Path, unit: Unit, table: "pa.Table") -> Path | None:
    """Store the transfers of a unit (TRANSFER_SCHEMA); nothing is written for an empty table."""
    return _write(run / "paths" / f"{unit.name}{TRANSFER_SUFFIX}", table) if table.num_rows else None


def read_paths(run: Path) -> "pa.Table | None":
    """All stored rows of PATH_SCHEMA, in file order; None if there are none."""
    return _read_all(file for file in (run / "paths").glob("*.parquet") if not file.name.endswith(OTHER_SUFFIXES))


def read_markets(run: Path) -> "pa.Table | None":
    """All stored rows of MARKET_SCHEMA, in file order; None if there are none."""
    return _read_all((run / "paths").glob(f"*{MARKET_SUFFIX}"))


def read_transfers(run: Path) -> "pa.Table | None":
    """All stored rows of TRANSFER_SCHEMA, in file order; None if there are none."""
    return _read_all((run / "paths").glob(f"*{TRANSFER_SUFFIX}"))


def _mismatch(unit: Unit, table: "pa.Table") -> str:
    """In words, how the table differs from what the unit must hold; empty if it does not."""
    if not table.schema.equals(arrow_schema()):
        missing = [name for name in arrow_schema().names if name not in table.column_names]
        return f"no column {missing[0]!r}, so another version of arena wrote it" if missing else "other columns"
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

    # A dictionary of floats that do not repeat would only add to the size.
    keys = [field.name for field in table.schema if not pa.types.is_floating(field.type)]
    with atomic_file(path) as place:
        pq.write_table(table, place, compression="zstd", use_dictionary=keys, write_page_checksum=True)
    return path


def _read_all(files: Iterable[Path]) -> "pa.Table | None":
    import pyarrow as pa

    tables = [_read(file) for file in sorted(files)]
    return pa.concat_tables(tables) if tables else None


def _read(path: Path) -> "pa.Table":
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        return pq.read_table(file, page_checksum_verification=True)
