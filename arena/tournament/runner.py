"""Plays units of work: in this process, or one Ray task each. Where and when a unit is played changes no result.

Retries: a unit whose process was lost (killed, out of memory, its machine gone) is played again, NUM_RETRIES times; the
same unit gives the same rows, so that cannot change a result. What raises in our own code is not tried again: it would
raise again. What an agent raises is a forfeit, which the unit itself stores, and no reason to try again either.
"""

import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

from arena.config import RayConfig
from arena.tournament.job import Job, UnitTables, play_unit
from arena.tournament.serving import play_served, serve
from arena.tournament.types import Unit

Played = Generator[tuple[Unit, UnitTables], None, None]
Play = Callable[[Sequence[Unit]], Played]

QUEUED_PER_WORKER = 2  # one plays, one waits beside it: no worker is idle while the driver writes
NUM_RETRIES = 3  # of a unit whose process was lost
OBJECT_STORE_BYTES = 512 * 1024**2  # of a local Ray: unit tables and windows of bars are small


class LostUnit(RuntimeError):
    """The process of a unit was lost in every try."""

    def __init__(self, unit: Unit, error: Exception):
        kind = type(error).__name__
        super().__init__(
            f"unit {unit.name} lost its process {NUM_RETRIES + 1} times ({kind}); one of "
            f"{', '.join(unit.lineup.agents)} may end its process or take all memory"
        )


def num_workers(config: RayConfig, num_units: int) -> int:
    """Processes to start: never more than there are units; one per core this process may use, if not told."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = cores if config.workers is None else config.workers
    return min(wanted, num_units)


@contextmanager
def player(job: Job, config: RayConfig, num_units: int, name: str) -> Iterator[Play]:
    """What plays units: they come as they finish, in any order. Leaving stops what still runs.

    num_units  that are to be played at most, in one call or in several
    name       of the tasks, the same for all, so that the dashboard shows one bar
    """
    workers = num_workers(config, num_units)
    if workers == 0:
        yield lambda units: ((unit, play_unit(job, unit)) for unit in units)
        return
    ray = start_ray(config, workers)
    try:
        served = serve(job, config)
        # Shared by all tasks: sent once, and windows of bars are then read from shared memory.
        shared, tables = ray.put(job), ray.put(served.tables)
        task = ray.remote(num_cpus=1, max_retries=NUM_RETRIES)(play_served).options(name=name)
        submit = partial(_submit, task, shared, served.server, tables)
        yield lambda units: _as_they_finish(ray, submit, units, QUEUED_PER_WORKER * workers)
    finally:
        ray.shutdown()  # of a local Ray: ends its processes; of a cluster: leaves it, which cancels our tasks


def _submit(task: Any, job: Any, server: str | None, tables: Any, unit: Unit) -> Any:
    return task.remote(job, unit, server, tables)


def _as_they_finish(ray: ModuleType, submit: Callable[[Unit], Any], units: Sequence[Unit], most: int) -> Played:
    """Results of units, of which at most `most` are on their way at any time."""
    waiting = deque(units)
    running: dict[Any, Unit] = {}
    while waiting or running:
        while waiting and len(running) < most:
            unit = waiting.popleft()
            running[submit(unit)] = unit
        done, _ = ray.wait(list(running), num_returns=1)
        for reference in done:
            unit = running.pop(reference)
            try:
                tables = ray.get(reference)
            except ray.exceptions.RayTaskError:
                raise
            except ray.exceptions.RayError as error:
                raise LostUnit(unit, error) from error
            yield unit, tables


def start_ray(config: RayConfig, workers: int) -> ModuleType:
    """Start a Ray of our own, or join the cluster that `config.address` names; returns the module."""
    # An explicit mode is respected in silence; without one each run begins with a warning. Ray reads it when it is
    # imported: set later, only the processes that it starts would know.
    if "ray" not in sys.modules:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_GRAFANA_HOST", "DISABLED")
    import ray

    own: dict[str, Any] = {
        "num_cpus": workers,
        "object_store_memory": OBJECT_STORE_BYTES,
        "include_dashboard": config.dashboard,
        # Without it a task that runs out of memory is tried for ever, and the run would seem to hang.
        "_system_config": {"task_oom_retries": NUM_RETRIES},
    }
    ray.init(
        address=config.address,
        log_to_driver=False,  # a print in an agent must not tear the progress bar
        logging_level=logging.ERROR,
        **(own if config.address == "local" else {}),
    )
    return ray
