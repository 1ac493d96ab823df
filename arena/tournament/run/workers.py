"""Runs units: in this process, or one Ray task each. Where and when a unit runs changes no result.

Retries: a unit whose process was lost (killed, out of memory, machine gone) runs again, at most NUM_RETRIES times. The
same unit gives the same rows, so a retry changes no result. An exception in our own code is not retried: it would occur
again. An exception in an agent is a forfeit, which the unit stores; it needs no retry either.
"""

import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

from arena.cluster import entry
from arena.cluster.file_bundles import MissingFile
from arena.cluster.joining import AUTO, LOCAL, join
from arena.cluster.tasks import QUEUED_PER_WORKER, ClusterCapacity, FixedCapacity, LostTask, as_completed
from arena.config.tournament import RayConfig
from arena.errors import ResumableError
from arena.tournament.play.job import Job, UnitTables, run_unit
from arena.tournament.run.forecast_server import start_forecast_server
from arena.tournament.run.job_files import SharedJob, job_file_bundles
from arena.tournament.types import Unit

UnitResults = Generator[tuple[Unit, UnitTables], None, None]
UnitRunner = Callable[[Sequence[Unit]], UnitResults]

WORKER_FUNCTION = ("arena.tournament.run.worker_task", "run_unit_in_worker")  # module and name
NUM_RETRIES = 3  # of a unit whose process was lost
OBJECT_STORE_BYTES = 512 * 1024**2  # of a local Ray: unit tables and windows of bars are small


class LostUnit(ResumableError):
    """The process of a unit was lost in every try."""

    def __init__(self, unit: Unit, kind: str):
        super().__init__(
            f"unit {unit.name} lost its process {NUM_RETRIES + 1} times ({kind}); one of "
            f"{', '.join(unit.lineup.agents)} may end its process or take all memory"
        )


def num_workers(config: RayConfig, num_units: int) -> int:
    """Processes of a local Ray: at most one per unit. The default is one per core that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = cores if config.workers is None else config.workers
    return min(wanted, num_units)


@contextmanager
def open_workers(
    job: Job, config: RayConfig, num_units: int, name: str, on_message: Callable[[str], None] = lambda sentence: None
) -> Iterator[UnitRunner]:
    """A function that runs units and yields them as they finish, in any order. Leaving stops what still runs.

    num_units   maximum number of units, in one call or in several
    name        of the tasks, see `task_name`
    on_message  receives a sentence when the cluster lacks resources for a task
    """
    workers = num_workers(config, num_units)
    if workers == 0:
        yield lambda units: ((unit, run_unit(job, unit)) for unit in units)
        return
    if connected_ray():
        config = config.model_copy(update={"address": AUTO})  # it may be a cluster, with other machines and users
    with ray_session(config, workers) as ray:
        service = start_forecast_server(job, config)
        bundles = () if config.address == LOCAL else job_file_bundles(job, ray.put)
        shared = SharedJob(job, bundles, service.name, service.tables)
        submit = submitter(ray, config, partial(task_name, name), WORKER_FUNCTION, shared)
        capacity = task_capacity(ray, config, workers)
        yield lambda units: task_results(ray, submit, units, capacity, on_message)
        del service  # its handle has kept the server alive


@contextmanager
def ray_session(config: RayConfig, workers: int) -> Iterator[ModuleType]:
    """The module `ray`, connected while the block runs. SIGTERM acts as Ctrl-C there.

    If this process has connected Ray before, such as in a notebook, that connection is used and left open.
    """
    given = connected_ray()
    ray = given or start_ray(config, workers)
    try:
        with _sigterm_as_ctrl_c():
            yield ray
    finally:
        if given is None:
            ray.shutdown()  # ends the processes of a local Ray; leaves a cluster, which ends our tasks and actors


def connected_ray() -> ModuleType | None:
    """The module `ray` if this process has connected it already."""
    ray = sys.modules.get("ray")
    return ray if ray is not None and ray.is_initialized() else None


def task_capacity(ray: ModuleType, config: RayConfig, workers: int) -> FixedCapacity | ClusterCapacity:
    """How many tasks may be under way: `workers` run at a time in a local Ray."""
    if config.address == LOCAL:
        return FixedCapacity(QUEUED_PER_WORKER * workers)
    return ClusterCapacity(ray, config.cpus_per_task, config.memory_mb_per_task, config.workers, config.wait_seconds)


def submitter(
    ray: ModuleType, config: RayConfig, name_of: Callable[[Any], str], worker_function: tuple[str, str], shared: Any
) -> Callable[[Unit], Any]:
    """A function that submits a unit and returns the reference of its result. `shared` is sent here, once.

    name_of          unit -> name of its task
    worker_function  module and name of a function of ([reference to `shared`], unit)
    """
    reference = ray.put(shared)
    expected = {} if config.address == LOCAL else entry.environment()
    ray.cloudpickle.register_pickle_by_value(entry)
    memory = config.memory_mb_per_task * 1024**2 or None
    task = ray.remote(num_cpus=config.cpus_per_task, memory=memory, max_retries=NUM_RETRIES)(entry.enter)

    def submit(unit: Unit) -> Any:
        return task.options(name=name_of(unit)).remote(expected, *worker_function, [reference], pickle.dumps((unit,)))

    return submit


def task_name(name: str, unit: Unit) -> str:
    """Equal for all units of a stage, so the dashboard shows one bar per stage: "play swiss round-002"."""
    return f"{name} {unit.name.partition('batch-')[0]}".rstrip(" -")


def task_results(
    ray: ModuleType,
    submit: Callable[[Unit], Any],
    units: Sequence[Unit],
    capacity: FixedCapacity | ClusterCapacity,
    on_message: Callable[[str], None] = lambda sentence: None,
) -> Generator[tuple[Unit, Any], None, None]:
    """(unit, result of the worker's function) as they finish; ResumableError says what is missing."""
    found = as_completed(ray, submit, units, capacity, on_message)
    try:
        for unit, (problem, result) in found:
            if problem:
                raise ResumableError(problem)
            yield unit, result
    except LostTask as error:
        raise LostUnit(error.item, error.kind) from error
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, MissingFile):
            raise ResumableError(str(error.cause)) from error
        raise
    finally:
        found.close()


def start_ray(config: RayConfig, workers: int) -> ModuleType:
    """Start a local Ray, or join the cluster that `config.address` names; returns the module."""
    own: dict[str, Any] = {
        "num_cpus": workers,
        "object_store_memory": OBJECT_STORE_BYTES,
        "include_dashboard": config.dashboard,
        # Without a limit Ray retries a task that runs out of memory for ever, and the run would seem to hang.
        "_system_config": {"task_oom_retries": NUM_RETRIES},
    }
    return join(config.address, own, ship_arena=config.ship_arena)


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Handle SIGTERM as Ctrl-C: `ray job stop`, batch systems and Kubernetes send it, and Ray would exit silently."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*signal_and_frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
