"""What spreading units of work by Ray costs: processor time, latency, and memory over many units.

A unit's own work is measured inside the worker, by its thread; all else that the driver, the workers and Ray's daemons
use in the same stretch is overhead. So both sides of the ratio see the same load of a shared machine.
"""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from arena.bench.machine import provenance
from arena.bench.process_tree import DRIVER, KINDS, WORKER, cpu_by_kind, process_tree
from arena.config.schedule import ScheduleConfig
from arena.config.tournament import AgentConfig, DataConfig, MarketConfig, RayConfig, TournamentConfig
from arena.tournament.play.job import Job, UnitTables, run_unit
from arena.tournament.run import workers
from arena.tournament.run.run_units import run_units
from arena.tournament.run.worker_task import run_unit_in_worker
from arena.tournament.run.workers import open_workers
from arena.tournament.setup.plan import Plan, make_plan
from arena.tournament.store.units import write_unit
from arena.tournament.types import Unit

PARTS = ("overhead", "smallest", "sessions")
TARGET = 0.05  # of a unit's own work
LARGE_SEATS, LARGE_BATCH = 16, 128  # of the default tournament
WARM_UNITS = 1  # per worker: those in which it imports and allocates
IN_FLIGHT = (256, 4096)  # tasks on their way, between which the cost of waiting is a line
SAMPLE_SECONDS, MOST_SAMPLES = 1.0, 50  # of a session: taken, and kept in the record
KEY = b"arena.benchmark"  # of a table's metadata: what its unit took


@dataclass(frozen=True)
class ClusterBenchmark:
    """Size of a run."""

    parts: tuple[str, ...] = PARTS
    units: int = 8  # of the default tournament, measured per setting and round
    rounds: int = 2
    workers: tuple[int, ...] = (0, 1, 2)
    small_units: int = 400  # that hardly compute: what is left is scheduling
    idle_seconds: float = 20.0  # in which nothing is played: what Ray's daemons take meanwhile
    session_units: int = 10_000  # the smallest ones again, stored: for memory and the driver's time
    large_units: int = 600  # with as many rows as a default unit, and next to no play: for what rows cost the driver


class Took(NamedTuple):
    """What the play of a unit took in its process."""

    pid: int
    begin: float  # clock of the system [s]
    seconds: float
    cpu_seconds: float
    table_bytes: int  # sent back to the driver


def benchmark_cluster(run: ClusterBenchmark) -> dict[str, Any]:
    """The parts that were asked for."""
    found: dict[str, Any] = {}
    if "overhead" in run.parts:
        found |= overhead(run)
    if "smallest" in run.parts:
        found |= smallest(run.small_units)
    if "sessions" in run.parts:
        found["sessions"] = {
            f"rows_{seats * batch}": long_session(units, seats, batch)
            for units, seats, batch in ((run.session_units, 1, 1), (run.large_units, LARGE_SEATS, LARGE_BATCH))
        }
    return found | provenance("cpu")


def overhead(run: ClusterBenchmark) -> dict[str, Any]:
    """What Ray adds to units of the default size, with the ratio that matters on top."""
    default = make_plan(default_config(run.units, max(run.workers)))
    measured: dict[int, list[dict[str, Any]]] = {count: [] for count in run.workers}
    for _ in range(run.rounds):
        for count in run.workers:  # in turn, as the speed of a shared machine changes
            measured[count].append(measure(default, count, run.units, run.idle_seconds))
    overheads = [found["overhead"] for count, rounds in measured.items() if count for found in rounds]
    return {
        "overhead": statistics.median(overheads),
        "overhead_of_rounds": overheads,
        "target": TARGET,
        "reached": statistics.median(overheads) < TARGET,
        "unit": {
            "scenarios": len(default.units[0].scenarios),
            "seats": len(default.units[0].lineup.agents),
            "assets": DataConfig().num_assets,
            "steps": DataConfig().episode_length,
            **stored_bytes(default),
        },
        "runs": {str(count): rounds for count, rounds in measured.items()},
        "measure": "overhead: CPU time of driver, workers and Ray's daemons outside the play of units, over that in it",
    }


def smallest(units: int) -> dict[str, Any]:
    """What sending a unit costs that hardly computes, and waiting for one among many."""
    plan = make_plan(small_config(2 * units))
    ray = measure(plan, 1, units, 0.0)
    return {
        "smallest_unit": {
            "play_cpu_ms": 1e3 * ray["play_cpu_seconds_per_unit"],
            "ray_cpu_ms": 1e3 * (ray["cpu_seconds_per_unit"] - ray["play_cpu_seconds_per_unit"]),
            **{f"{kind}_cpu_ms": 1e3 * cpu for kind, cpu in ray["overhead_cpu_seconds_per_unit"].items()},
            "units_per_second": units / ray["seconds"],
            "round_trip_ms": round_trip(plan, units),
        },
        "wait_cpu_seconds": wait_cost(),
    }


def default_config(units: int, workers: int) -> TournamentConfig:
    """The default tournament with as many units as are played, those to warm up included."""
    scenarios = (units + WARM_UNITS * max(workers, 1)) * ScheduleConfig().batch_size
    return TournamentConfig(name="cluster", data=DataConfig(scenarios=scenarios))


def small_config(units: int, seats: int = 1, batch_size: int = 1) -> TournamentConfig:
    """Units with next to nothing to compute: one asset, one step, and nobody trades."""
    return TournamentConfig(
        name="small",
        data=DataConfig(num_assets=1, warmup=21, episode_length=1, scenarios=units * batch_size),
        market=MarketConfig(wind_down=0),
        agents=(AgentConfig(agent="cash", copies=seats),),
        tournament=ScheduleConfig(batch_size=batch_size, paths_mb=0.0),
    )


def measure(plan: Plan, workers: int, units: int, idle_seconds: float) -> dict[str, Any]:
    """Play `units` units with so many workers (0: in this process), after some to warm up."""
    warm = WARM_UNITS * max(workers, 1)
    started, begun = process_tree(os.getpid()), time.perf_counter()
    with timed_units(), open_workers(plan.job, RayConfig(workers=workers), len(plan.units), "benchmark") as play:
        first = took(play(plan.units[:warm]))
        start, before = time.perf_counter(), process_tree(os.getpid())
        played = took(play(plan.units[warm : warm + units]))
        seconds, after = time.perf_counter() - start, process_tree(os.getpid())
        time.sleep(idle_seconds)
        idle = process_tree(os.getpid())
    spent, own = cpu_by_kind(before, after), sum(unit.cpu_seconds for unit in played)
    to_start = sum(cpu_by_kind(started, before).values()) - sum(unit.cpu_seconds for unit in first)
    found = {
        "units": units,
        "seconds": seconds,
        "cpu_seconds_per_unit": sum(spent.values()) / units,
        "play_cpu_seconds_per_unit": own / units,
        "overhead": sum(spent.values()) / own - 1.0,
        "overhead_cpu_seconds_per_unit": {
            kind: (cpu - (own if kind == (WORKER if workers else DRIVER) else 0.0)) / units
            for kind, cpu in spent.items()
        },
        "start_seconds": start - begun,
        "start_cpu_seconds": to_start,
        "process_bytes": {
            kind: max((usage.own_bytes for usage in after.values() if usage.kind == kind), default=0) for kind in KINDS
        },
        "plays": [unit._asdict() for unit in played],
    }
    if idle_seconds:
        found["idle_cpu_per_second"] = sum(cpu_by_kind(after, idle).values()) / idle_seconds
    return found


def stored_bytes(plan: Plan) -> dict[str, int]:
    """Size of the file that a unit's results are, and its rows."""
    unit = plan.units[0]
    results = run_unit(plan.job, unit).results
    with tempfile.TemporaryDirectory() as folder:
        return {"rows": results.num_rows, "stored_bytes": write_unit(Path(folder), unit, results).stat().st_size}


def round_trip(plan: Plan, units: int) -> dict[str, float]:
    """Milliseconds from submitting a unit that hardly computes to having its tables, one at a time."""
    with open_workers(plan.job, RayConfig(workers=1), len(plan.units), "benchmark") as play:
        list(play(plan.units[:WARM_UNITS]))
        seconds = []
        for unit in plan.units[WARM_UNITS : WARM_UNITS + units]:
            start = time.perf_counter()
            list(play([unit]))
            seconds.append(time.perf_counter() - start)
    return {name: 1e3 * float(np.quantile(seconds, level)) for name, level in (("p50", 0.5), ("p95", 0.95))}


def wait_cost() -> dict[str, float]:
    """CPU seconds of the driver to take one result while so many tasks are on their way, as `ray.wait` looks at all."""
    seconds = {}
    with workers.ray_session(RayConfig(workers=1), 1) as ray:
        nothing = ray.remote(_nothing)
        ray.get(nothing.remote())
        for in_flight in IN_FLIGHT:
            running = {nothing.remote() for _ in range(in_flight)}
            start = time.process_time()
            for _ in range(min(IN_FLIGHT)):
                (done,), _ = ray.wait(list(running), num_returns=1)
                running.remove(done)
                ray.get(done)
            seconds[in_flight] = (time.process_time() - start) / min(IN_FLIGHT)
            ray.get(list(running))
    few, many = IN_FLIGHT
    return {
        f"at_{few}": seconds[few],
        f"at_{many}": seconds[many],
        "per_in_flight": (seconds[many] - seconds[few]) / (many - few),
    }


def _nothing() -> None:
    """A task."""


def long_session(units: int, seats: int, batch_size: int) -> dict[str, Any]:
    """Units that hardly compute through the real session, into a run folder: what each adds to memory and to time."""
    from rich.console import Console

    samples: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        run, stop = Path(folder), Event()
        config = small_config(units, seats, batch_size).model_copy(update={"ray": RayConfig(workers=1)})
        watcher = Thread(target=_watch, args=(run, units, samples, stop), daemon=True)
        watcher.start()
        try:
            run_units(config, make_plan(config), run, Console(file=nowhere))
        finally:
            stop.set()
            watcher.join()
    return {
        "units": units,
        "rows": seats * batch_size,
        "per_unit": slopes(samples),
        "samples": samples[:: 1 + len(samples) // MOST_SAMPLES],
    }


def slopes(samples: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What a unit adds to each column: least squares over the second half, when all is warm."""
    last = max((sample["units"] for sample in samples), default=0)
    late = [sample for sample in samples if 2 * sample["units"] >= last]
    if len(late) < 3:
        raise ValueError(f"{len(late)} samples in the second half of {last} units make no slope; play more units")
    done = np.array([sample["units"] for sample in late])
    columns = sorted(set(late[0]) - {"units"})
    return {name: float(np.polyfit(done, [sample[name] for sample in late], 1)[0]) for name in columns}


def run_unit_timed(references: Any, unit: Unit) -> UnitTables:
    """In a worker: play, and say in the table's metadata what that took."""
    return _timed(lambda: run_unit_in_worker(references, unit))


def _run_unit_timed(job: Job, unit: Unit, tables: Mapping[str, np.ndarray] = MappingProxyType({})) -> UnitTables:
    return _timed(lambda: run_unit(job, unit, tables))


def took(played: Iterable[tuple[Unit, UnitTables]]) -> list[Took]:
    """What each unit took, if it was played under `timed_units`."""
    return [
        Took(**json.loads(tables.results.schema.metadata[KEY]), table_bytes=sum(table.nbytes for table in tables))
        for _, tables in played
    ]


@contextmanager
def timed_units() -> Iterator[None]:
    """Have the runner's plays timed."""
    work, play = workers.WORKER_FUNCTION, workers.run_unit
    workers.WORKER_FUNCTION = (__name__, run_unit_timed.__name__)
    workers.run_unit = _run_unit_timed
    try:
        yield
    finally:
        workers.WORKER_FUNCTION, workers.run_unit = work, play


def _timed(play: Any) -> UnitTables:
    begin, start, cpu = time.time(), time.perf_counter(), time.thread_time()
    tables: UnitTables = play()
    spent = {
        "pid": os.getpid(),
        "begin": begin,
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.thread_time() - cpu,
    }
    stamped = tables.results.replace_schema_metadata({KEY: json.dumps(spent)})
    return tables._replace(results=stamped)


def _watch(run: Path, units: int, samples: list[dict[str, float]], stop: Event) -> None:
    """Look at the processes every SAMPLE_SECONDS, from the first finished unit to the last."""
    while not stop.wait(SAMPLE_SECONDS):
        done = len(list((run / "units").glob("*.parquet")))
        if not 0 < done < units:
            continue
        sample = {"units": float(done), "seconds": time.perf_counter()}
        for kind in KINDS:
            sample |= {f"{kind}_bytes": 0.0, f"{kind}_cpu_seconds": 0.0}
        for usage in process_tree(os.getpid()).values():
            sample[f"{usage.kind}_bytes"] += usage.own_bytes
            sample[f"{usage.kind}_cpu_seconds"] += usage.cpu_seconds
        sample[f"{DRIVER}_cpu_seconds"] -= time.thread_time()  # of this thread, whose looks are not the driver's work
        samples.append(sample)
