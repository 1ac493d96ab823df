"""Plays units of work: in this process, or one Ray task each. Where and when a unit is played changes no result."""

import logging
import os
import sys
from collections import deque
from collections.abc import Generator, Sequence
from types import ModuleType
from typing import Any

from arena.config import RayConfig
from arena.tournament.job import Job, UnitTables, play_unit
from arena.tournament.serving import play_served, serve
from arena.tournament.types import Unit

Played = Generator[tuple[Unit, UnitTables], None, None]

QUEUED_PER_WORKER = 2  # one plays, one waits beside it: no worker is idle while the driver writes
OBJECT_STORE_BYTES = 512 * 1024**2  # of a local Ray: unit tables and windows of bars are small


def num_workers(config: RayConfig, num_units: int) -> int:
    """Processes to start: never more than there are units; one per core this process may use, if not told."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = cores if config.workers is None else config.workers
    return min(wanted, num_units)


def run_units(job: Job, units: Sequence[Unit], config: RayConfig, name: str) -> Played:
    """Units as they finish, in any order. Closing the iterator stops what still runs.

    name  of the tasks, the same for all, so that the dashboard shows one bar
    """
    workers = num_workers(config, len(units))
    if workers == 0:
        return ((unit, play_unit(job, unit)) for unit in units)
    return _on_ray(job, units, config, workers, name)


def _on_ray(job: Job, units: Sequence[Unit], config: RayConfig, workers: int, name: str) -> Played:
    ray = start_ray(config, workers)
    try:
        served = serve(job, config)
        # Shared by all tasks: sent once, and windows of bars are then read from shared memory.
        shared, tables = ray.put(job), ray.put(served.tables)
        # A lost worker costs its unit a second try; an error in our code must show, so it is not tried again.
        task = ray.remote(num_cpus=1, max_retries=3)(play_served).options(name=name)
        waiting = deque(units)
        running: dict[Any, Unit] = {}
        while waiting or running:
            while waiting and len(running) < QUEUED_PER_WORKER * workers:
                unit = waiting.popleft()
                running[task.remote(shared, unit, served.server, tables)] = unit
            done, _ = ray.wait(list(running), num_returns=1)
            for reference in done:
                yield running.pop(reference), ray.get(reference)
    finally:
        ray.shutdown()  # of a local Ray: ends its processes; of a cluster: leaves it, which cancels our tasks


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
    }
    ray.init(
        address=config.address,
        log_to_driver=False,  # a print in an agent must not tear the progress bar
        logging_level=logging.ERROR,
        **(own if config.address == "local" else {}),
    )
    return ray
