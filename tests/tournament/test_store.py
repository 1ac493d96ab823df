"""Unit files survive what happens to files; the digest sees results and nothing else."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from arena.tournament.schedule import sampling
from arena.tournament.schedule.lineups import build_lineups, build_units
from arena.tournament.store import units as store
from arena.tournament.store.digest import digest
from arena.tournament.types import (
    KEY,
    MARKET_SCHEMA,
    NOT_IN_DIGEST,
    OF_MARKET,
    OF_SEAT,
    PATH_SCHEMA,
    SCHEMA,
    TRANSFER_SCHEMA,
    ResultRow,
    Unit,
)
from tests.result_rows import table_from_rows
from tests.tournament.simulated import simulated_results

EDGE = {"cash": 0.0, "good": 0.02, "bad": -0.02}
UNITS = build_units(build_lineups(list(EDGE), 3, seed=0), range(6), batch_size=2)


def rows_of(unit: Unit) -> pa.Table:
    table = simulated_results(EDGE, 6, seed=0)
    return table.filter(np.isin(table["scenario"].to_numpy(), unit.scenarios))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    for unit in UNITS:
        store.write_unit(tmp_path, unit, rows_of(unit))
    return tmp_path


def test_resume_is_listing(run: Path) -> None:
    (run / "units" / f"{UNITS[1].name}.parquet").unlink()
    (run / "units" / f".{UNITS[1].name}-abc.tmp").write_bytes(b"killed while writing")
    finished = store.finished_units(run, UNITS)
    assert finished.names == {UNITS[0].name, UNITS[2].name}
    assert finished.corrupt == {}


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text"])
def test_a_damaged_unit_is_named_set_aside_and_played_again(run: Path, damage: str) -> None:
    path = run / "units" / f"{UNITS[1].name}.parquet"
    raw = bytearray(path.read_bytes())
    if damage == "flipped":
        raw[200] ^= 0xFF  # inside a page: only its checksum can tell
    path.write_bytes({"truncated": raw[: len(raw) // 2], "flipped": raw, "empty": b"", "text": b"not parquet"}[damage])
    finished = store.finished_units(run, UNITS)
    assert UNITS[1].name not in finished.names
    assert str(path) in finished.corrupt[UNITS[1].name]
    assert path.with_suffix(".corrupt").exists()
    store.write_unit(run, UNITS[1], rows_of(UNITS[1]))
    assert len(store.finished_units(run, UNITS).names) == len(UNITS)


def test_a_file_of_another_schedule_is_not_taken(run: Path) -> None:
    path = run / "units" / f"{UNITS[1].name}.parquet"
    path.write_bytes((run / "units" / f"{UNITS[0].name}.parquet").read_bytes())
    assert "other scenarios, seats or agents" in store.finished_units(run, UNITS).corrupt[UNITS[1].name]
    with pytest.raises(ValueError, match="rows of unit"):
        store.write_unit(run, UNITS[1], rows_of(UNITS[0]))


def test_compact_gives_the_sorted_whole(run: Path) -> None:
    table = store.compact(run, UNITS[::-1])
    assert (run / "results.parquet").exists()
    keys = list(zip(*(table[name].to_pylist() for name in KEY)))
    assert keys == sorted(keys)
    assert digest(table) == digest(simulated_results(EDGE, 6, seed=0))
    assert not list(run.rglob("*.tmp"))


def test_an_unwritable_table_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    def full_disk(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full_disk)
    with pytest.raises(OSError, match="No space"):
        store.write_unit(tmp_path, UNITS[0], rows_of(UNITS[0]))
    assert list((tmp_path / "units").iterdir()) == []


def test_digest_ignores_order_chunks_clocks_and_tracebacks() -> None:
    table = simulated_results(EDGE, 6, seed=0)
    shuffled = table.take(np.random.default_rng(0).permutation(table.num_rows))
    chunked = pa.concat_tables([shuffled.slice(0, 5), shuffled.slice(5)])
    for name, value in (("seconds", 9.9), ("traceback", "line 3")):
        index = SCHEMA_NAMES.index(name)
        column = store.table_from_columns(dict.fromkeys([name], [value] * table.num_rows), {name: SCHEMA[name]})[name]
        chunked = chunked.set_column(index, store.arrow_schema().field(name), column)
    assert digest(chunked) == digest(table)


SCHEMA_NAMES = list(SCHEMA)


@pytest.mark.parametrize("name", [name for name in SCHEMA if name not in NOT_IN_DIGEST])
def test_digest_sees_every_other_column(name: str) -> None:
    table = simulated_results(EDGE, 2, seed=0)
    columns = {column: table[column].to_pylist() for column in SCHEMA}
    value = columns[name][0]
    columns[name][0] = value + "x" if isinstance(value, str) else not value if isinstance(value, bool) else value + 100
    assert digest(store.table_from_columns(columns)) != digest(table)


def row(**changes: object) -> ResultRow:
    blank = {name: {"string": "", "bool": False, "int64": 0, "float64": 0.0}[kind] for name, kind in SCHEMA.items()}
    return ResultRow(**(blank | changes))


def test_digest_bytes_are_pinned_and_floats_canonical() -> None:
    """The layout is written out once by hand: a change of it must be deliberate."""
    ours = table_from_rows([row(agent="é", growth_cv=float("nan"), cost=-0.0, ruined=True)])
    raw = (1).to_bytes(8, "little")
    values = {"agent": "é", "growth_cv": np.float64("nan"), "ruined": True}
    for name, kind in SCHEMA.items():
        if name not in NOT_IN_DIGEST:
            raw += f"{name}:{kind};".encode()
            if kind == "string":
                text = values.get(name, "").encode()
                raw += len(text).to_bytes(8, "little") + text
            else:
                raw += np.array([values.get(name, 0)]).astype({"bool": "u1"}.get(kind, kind)).tobytes()
    assert digest(ours) == hashlib.sha256(raw).hexdigest()
    other_nan = np.array([0xFFF8000000000001], dtype=np.uint64).view(np.float64)[0]
    same = table_from_rows([row(agent="é", growth_cv=other_nan, cost=0.0, ruined=True)])
    assert digest(ours) == digest(same)


def test_a_row_may_not_stand_twice() -> None:
    twice = table_from_rows([row(agent="a"), row(agent="b")])
    with pytest.raises(ValueError, match=r"stands twice: \{'lineup': 0, 'scenario': 0, 'seat': 0\}"):
        digest(twice)


def test_columns_must_fit_the_schema() -> None:
    with pytest.raises(ValueError, match=r"missing \['scenario'.*unknown \['scenarios'\]"):
        store.table_from_columns({"scenarios": [1]})


def test_paths_stay_in_their_budget(tmp_path: Path) -> None:
    num_steps, budget = 120, 60_000
    kept = sampling.num_path_scenarios(UNITS[0], num_steps, budget, len(UNITS))
    per_scenario = 3 * (num_steps + 1) * 4 * 4 + 3 * 3 * 8  # paths, and transfers between the seats
    assert kept == min(2, budget // (3 * per_scenario)) > 0
    assert sampling.num_path_scenarios(UNITS[0], num_steps, 1000, len(UNITS)) == 0
    assert sampling.num_path_scenarios(UNITS[0], num_steps, 10**9, len(UNITS)) == len(UNITS[0].scenarios)
    generator = np.random.default_rng(0)
    size = 3 * kept * (num_steps + 1)
    columns = {name: np.zeros(size) for name in PATH_SCHEMA} | {"agent": ["a"] * size}
    columns |= {name: generator.random(size) for name, kind in PATH_SCHEMA.items() if kind == "float32"}
    path = store.write_paths(tmp_path, UNITS[0], store.table_from_columns(columns, PATH_SCHEMA))
    assert path is not None
    assert path.stat().st_size < 1.25 * kept * per_scenario  # incompressible values, keys and file headers
    assert store.read_paths(tmp_path).num_rows == size
    assert store.write_paths(tmp_path, UNITS[1], store.arrow_schema(PATH_SCHEMA).empty_table()) is None


def test_markets_stay_in_their_share_of_the_budget(tmp_path: Path) -> None:
    num_assets, num_steps = 4, 120
    size = sampling.market_bytes(3, num_steps, num_assets)
    assert sampling.sampled_markets(UNITS, size, 10**9) == {unit.name for unit in UNITS}
    assert sampling.sampled_markets(UNITS * 10, size, 10**9) == {
        unit.name for unit in (UNITS * 10)[: sampling.MAX_MARKETS]
    }
    assert sampling.sampled_markets(UNITS, size, 4 * size) == {UNITS[0].name, UNITS[1].name}
    assert sampling.sampled_markets(UNITS, size, size) == frozenset()

    # Values that do not compress; those of the market are repeated for every seat.
    generator = np.random.default_rng(0)
    shape = (num_assets, num_steps + 1, 3)
    index = np.indices(shape).reshape(3, -1)
    columns = {name: np.zeros(index.shape[1]) for name in MARKET_SCHEMA}
    columns |= dict(zip(("asset", "step", "seat"), index)) | {"agent": ["a"] * index.shape[1]}
    columns |= {name: np.repeat(generator.random(shape[:2]).ravel(), 3) for name in OF_MARKET}
    columns |= {name: generator.random(shape).ravel() for name in OF_SEAT}
    path = store.write_markets(tmp_path, UNITS[0], store.table_from_columns(columns, MARKET_SCHEMA))
    assert path is not None
    assert path.stat().st_size < 1.25 * size  # keys, file headers, and what is left of the repetition
    assert store.read_markets(tmp_path).num_rows == index.shape[1]
    assert store.read_paths(tmp_path) is None, "the kinds do not mix"
    moved = {name: [0] for name in TRANSFER_SCHEMA} | {"agent": ["a"], "by": ["b"]}
    store.write_transfers(tmp_path, UNITS[0], store.table_from_columns(moved, TRANSFER_SCHEMA))
    assert store.read_transfers(tmp_path).num_rows == 1
    assert store.read_markets(tmp_path).num_rows == index.shape[1]
    assert store.read_paths(tmp_path) is None
    assert store.write_markets(tmp_path, UNITS[1], store.arrow_schema(MARKET_SCHEMA).empty_table()) is None


def test_no_paths_is_none(tmp_path: Path) -> None:
    assert store.read_paths(tmp_path) is None
    assert store.read_markets(tmp_path) is None
    assert store.read_transfers(tmp_path) is None
