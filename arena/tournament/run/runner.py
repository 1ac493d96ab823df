"""Plays units of work: in this process, or one Ray task each. Where and when a unit is played changes no result.

Retries: a unit whose process was lost (killed, out of memory, its machine gone) is played again, NUM_RETRIES times; the
same unit gives the same rows, so that cannot change a result. What raises in our own code is not tried again: it would
raise again. What an agent raises is a forfeit, which the unit itself stores, and no reason to try again either.
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
from arena.cluster.joining import AUTO, LOCAL, join
from arena.cluster.parcels import Missing
from arena.cluster.tasks import QUEUED_PER_WORKER, ClusterRoom, FixedRoom, Lost, as_they_finish
from arena.config.tournament import RayConfig
from arena.errors import ResumableError
from arena.tournament.play.job import Job, UnitTables, play_unit
from arena.tournament.run.forecast_server import serve
from arena.tournament.run.shipping import parcels_of
from arena.tournament.types import Unit

Played = Generator[tuple[Unit, UnitTables], None, None]
Play = Callable[[Sequence[Unit]], Played]

IN_WORKER = (
    "arena.tournament.run.remote",
    "play_remote",
)  # what a worker calls with the Cargo's reference and the unit
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
    """Processes of a Ray of our own: at most one per unit; one per core this process may use, if not told."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = cores if config.workers is None else config.workers
    return min(wanted, num_units)


@contextmanager
def player(
    job: Job, config: RayConfig, num_units: int, name: str, say: Callable[[str], None] = lambda sentence: None
) -> Iterator[Play]:
    """What plays units: they come as they finish, in any order. Leaving stops what still runs.

    num_units  that are to be played at most, in one call or in several
    name       of the tasks, see `task_name`
    say        takes a sentence about what the cluster lacks for the moment
    """
    workers = num_workers(config, num_units)
    if workers == 0:
        yield lambda units: ((unit, play_unit(job, unit)) for unit in units)
        return
    if connected_ray():
        config = config.model_copy(update={"address": AUTO})  # it may be a cluster, with other machines and users
    with started(config, workers) as ray:
        from arena.tournament.run.remote import Cargo

        served = serve(job, config)
        parcels = () if config.address == LOCAL else parcels_of(job, ray.put)
        name_of = partial(task_name, name)
        submit = submitter(ray, config, name_of, IN_WORKER, Cargo(job, parcels, served.server, served.tables))
        room = room_of(ray, config, workers)
        yield lambda units: results(ray, submit, units, room, say)
        del served  # which has kept the server alive


@contextmanager
def started(config: RayConfig, workers: int) -> Iterator[ModuleType]:
    """The module `ray`, connected for as long as the block lasts, in which SIGTERM is as Ctrl-C.

    A Ray that this process has started itself, such as one of a notebook, is used and left running.
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


def room_of(ray: ModuleType, config: RayConfig, workers: int) -> FixedRoom | ClusterRoom:
    """For how many tasks there is room: `workers` in a Ray of our own."""
    if config.address == LOCAL:
        return FixedRoom(QUEUED_PER_WORKER * workers)
    return ClusterRoom(ray, config.cpus_per_task, config.memory_mb_per_task, config.workers, config.wait_seconds)


def submitter(
    ray: ModuleType, config: RayConfig, name_of: Callable[[Any], str], in_worker: tuple[str, str], cargo: Any
) -> Callable[[Unit], Any]:
    """What sends a unit and gives the reference of its result, after all that units share has been sent.

    name_of    of a unit's task
    in_worker  module and name of a function of a list of one reference, to the cargo, and a unit
    """
    shared = ray.put(cargo)
    expected = {} if config.address == LOCAL else entry.environment()
    ray.cloudpickle.register_pickle_by_value(entry)
    memory = config.memory_mb_per_task * 1024**2 or None
    task = ray.remote(num_cpus=config.cpus_per_task, memory=memory, max_retries=NUM_RETRIES)(entry.enter)

    def submit(unit: Unit) -> Any:
        return task.options(name=name_of(unit)).remote(expected, *in_worker, [shared], pickle.dumps((unit,)))

    return submit


def task_name(name: str, unit: Unit) -> str:
    """The same for all units of a stage, so that the dashboard shows a bar for each: "play swiss round-002"."""
    return f"{name} {unit.name.partition('batch-')[0]}".rstrip(" -")


def results(
    ray: ModuleType,
    submit: Callable[[Unit], Any],
    units: Sequence[Unit],
    room: FixedRoom | ClusterRoom,
    say: Callable[[str], None] = lambda sentence: None,
) -> Generator[tuple[Unit, Any], None, None]:
    """(unit, what the worker's function returned) as they finish; ResumableError: a sentence about what is missing."""
    found = as_they_finish(ray, submit, units, room, say)
    try:
        for unit, (problem, result) in found:
            if problem:
                raise ResumableError(problem)
            yield unit, result
    except Lost as error:
        raise LostUnit(error.item, error.kind) from error
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, Missing):
            raise ResumableError(str(error.cause)) from error
        raise
    finally:
        found.close()


def start_ray(config: RayConfig, workers: int) -> ModuleType:
    """Start a Ray of our own, or join the cluster that `config.address` names; returns the module."""
    own: dict[str, Any] = {
        "num_cpus": workers,
        "object_store_memory": OBJECT_STORE_BYTES,
        "include_dashboard": config.dashboard,
        # Without it a task that runs out of memory is tried for ever, and the run would seem to hang.
        "_system_config": {"task_oom_retries": NUM_RETRIES},
    }
    return join(config.address, own, ship_arena=config.ship_arena)


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """`ray job stop`, a batch system and Kubernetes ask so for an end; Ray would leave without a word."""
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
