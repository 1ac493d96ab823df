"""What a Ray worker does: it gets the job once per process, finds the job's files on its machine and runs units."""

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import ray

from arena.forecast.call_stats import listen
from arena.monitor import metrics
from arena.tournament.play.job import UnitTables, run_unit
from arena.tournament.play.unit_forecasts import loaded
from arena.tournament.run.forecast_server import server_forecaster
from arena.tournament.run.job_files import SharedJob, local_job
from arena.tournament.store.run_folder import LOGGER, forfeits
from arena.tournament.types import Unit

if TYPE_CHECKING:
    from ray import ObjectRef


_local_jobs: dict[str, SharedJob] = {}  # of the run that this process works for, by the reference's id


def run_unit_in_worker(references: "Sequence[ObjectRef]", unit: Unit) -> UnitTables:
    """`run_unit` with the job behind the one reference; MissingFile if this machine lacks a file of the job."""
    (reference,) = references
    key = reference.hex()
    if key not in _local_jobs:
        _local_jobs.clear()
        _local_jobs[key] = local_job(ray.get(reference), ray.get)
    return run_shared_unit(_local_jobs[key], unit)


def run_shared_unit(shared: SharedJob, unit: Unit) -> UnitTables:
    """`run_unit` with the forecasters and tables of the server; records metrics and log lines."""
    job = shared.job
    listen(metrics.count_forecast)
    facts = {"unit": unit.name, "lineup": unit.lineup.lineup, "matches": len(unit.scenarios)}
    LOGGER.info("%s begins", unit.name, extra={"facts": facts})
    start = time.monotonic()
    for spec in job.forecasters:
        loaded(spec, partial(server_forecaster, server=shared.server))
    tables = run_unit(job, unit, shared.tables)
    seconds = round(time.monotonic() - start, 1)
    for offence in forfeits(tables.results):
        words = (unit.name, offence["agent"], offence["reason"])
        LOGGER.warning("%s: %s forfeits: %s", *words, extra={"facts": {"unit": unit.name, **offence}})
    LOGGER.info("%s played in %s s", unit.name, seconds, extra={"facts": {**facts, "seconds": seconds}})
    return tables
