"""What grows with the field: the schedule, reading units back, the statistics; CPU time and memory of this process."""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arena.bench.machine import peak_memory_bytes, provenance
from arena.tournament.schedule.lineups import build_lineups
from arena.tournament.stats import growth
from arena.tournament.stats import leaderboard as ratings
from arena.tournament.store import units as store
from arena.tournament.store.units import table_from_columns
from arena.tournament.types import OK, SCHEMA, Lineup, Unit

if TYPE_CHECKING:
    import pyarrow as pa

SEATS = 8
EDGES = 0.01  # standard deviation between entrants of the mean growth per game; games have ten times as much


@dataclass(frozen=True)
class RankingBenchmark:
    """Size of a run."""

    entrants: tuple[int, ...] = (25, 50, 100, 200, 400)
    scenarios: int = 100  # that every entrant plays once, as in swiss rounds
    unit_files: int = 500


def benchmark_ranking(run: RankingBenchmark) -> dict[str, Any]:
    """Every size in turn, smallest first: the peak of memory only grows."""
    fields = [_field(entrants, run.scenarios) for entrants in run.entrants]
    return {
        "fields": fields,
        "exponents": {
            part: exponent([field["entrants"] for field in fields], [field[part] for field in fields])
            for part in ("lineups_seconds", "growth_seconds", "leaderboard_seconds")
        },
        "scenarios": run.scenarios,
        "seats": SEATS,
        "unit_file": unit_file(run.unit_files),
        "measure": "CPU seconds; exponent: of the number of entrants, between the two largest fields",
        **provenance("cpu"),
    }


def results_of(entrants: int, scenarios: int, seed: int = 0) -> "pa.Table":
    """Rows as of swiss rounds: in every scenario the whole field plays once, in lineups drawn anew."""
    generator = np.random.default_rng(seed)
    names = np.array(["cash", *(f"entrant-{number:05d}" for number in range(entrants - 1))])
    edge = EDGES * generator.normal(size=entrants) * (names != "cash")
    per_scenario = entrants // SEATS * SEATS
    seated = np.concatenate([generator.permutation(entrants)[:per_scenario] for _ in range(scenarios)])
    rows = len(seated)
    luck = 10 * EDGES * generator.standard_t(4, size=rows) * (names[seated] != "cash")
    columns: dict[str, Any] = {
        name: np.zeros(rows, dtype={"int64": np.int64, "float64": np.float64, "bool": bool}.get(kind, object))
        for name, kind in SCHEMA.items()
    }
    scored = edge[seated] + luck
    games = scored.reshape(-1, SEATS)
    columns |= {
        "scenario": np.repeat(np.arange(scenarios), per_scenario),
        "lineup": np.tile(np.repeat(np.arange(per_scenario // SEATS), SEATS), scenarios),
        "seat": np.tile(np.arange(SEATS), rows // SEATS),
        "agent": names[seated].tolist(),
        "final_nav": np.exp(scored),
        "growth_raw": scored,
        "growth_cv": scored,
        "rank": (games.argsort(1)[:, ::-1].argsort(1) + 1.0).ravel(),
        "return_sum": scored,
        "return_square_sum": np.square(scored) + 1e-4,
        "num_steps": np.full(rows, 120),
        "status": [OK] * rows,
        "reason": [""] * rows,
        "traceback": [""] * rows,
    }
    return table_from_columns(columns)


def unit_file(count: int, rows: int = 800) -> dict[str, float]:
    """CPU seconds and bytes of one file of a unit: to write it, to check that it is there, to read it."""
    scenarios = tuple(range(rows // SEATS))
    results = results_of(SEATS, len(scenarios)).drop_columns(["lineup"])
    seats = tuple(results["agent"].to_pylist()[:SEATS])
    lineups = [Lineup(number, seats) for number in range(count)]
    units = [Unit(f"batch-00000-lineup-{lineup.lineup:05d}", lineup, scenarios) for lineup in lineups]
    tables = [_of_unit(results, unit) for unit in units]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        write = _cpu(lambda: [store.write_unit(run, unit, table) for unit, table in zip(units, tables)])
        check = _cpu(lambda: store.finished_units(run, units))
        read = _cpu(lambda: store.read_units(run, units))
        size = sum(path.stat().st_size for path in (run / "units").iterdir())
    return {
        "rows": rows,
        "write_seconds": write / count,
        "check_seconds": check / count,
        "read_seconds": read / count,
        "bytes": size / count,
        "memory_bytes": tables[0].nbytes,
    }


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """p of value ~ size**p, between the last two; NaN for a single size."""
    if len(sizes) < 2:
        return float("nan")
    return float(np.log(values[-1] / values[-2]) / np.log(sizes[-1] / sizes[-2]))


def _field(entrants: int, scenarios: int) -> dict[str, Any]:
    names = [f"entrant-{number:05d}" for number in range(entrants)]
    results = results_of(entrants, scenarios)
    lineups = _cpu(lambda: build_lineups(names, SEATS, 0))
    growths = _cpu(lambda: growth.growth_estimates(results, "growth_cv"))
    board = _cpu(lambda: ratings.leaderboard(results, seed=0, periods_per_year=252.0))
    return {
        "entrants": entrants,
        "rows": results.num_rows,
        "table_bytes": results.nbytes,
        "lineups_seconds": lineups,
        "growth_seconds": growths,
        "leaderboard_seconds": board,
        "peak_memory_bytes": peak_memory_bytes("cpu"),
    }


def _of_unit(results: "pa.Table", unit: Unit) -> "pa.Table":
    """The rows as those of this unit: its lineup, and its entrants in their seats."""
    columns = {name: results[name].to_numpy(zero_copy_only=False) for name in results.column_names}
    columns |= {
        "lineup": np.full(results.num_rows, unit.lineup.lineup),
        "agent": list(unit.lineup.agents) * len(unit.scenarios),
    }
    return table_from_columns({name: columns[name] for name in SCHEMA})


def _cpu(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start
