"""Tables of forecasts of a plan's windows, made by the tasks of a cluster and kept by the driver."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from arena.cluster.parcels import Parcel, pack
from arena.config.tournament import RayConfig
from arena.forecast.call_stats import listen
from arena.forecast.loading import load_forecaster
from arena.forecast.table import TableStore, build_table
from arena.monitor import metrics
from arena.tournament.play.job import Job, unit_scenarios
from arena.tournament.play.unit_forecasts import ForecastRules, loaded, table_request
from arena.tournament.run import runner
from arena.tournament.run.shipping import forecaster_files, moved_spec, places_here
from arena.tournament.types import Unit

if TYPE_CHECKING:
    from ray import ObjectRef

IN_WORKER = (__name__, "make_table")


class TableCargo(NamedTuple):
    """What all tasks share."""

    job: Job
    parcels: tuple[Parcel, ...]
    spec: str  # of the forecaster
    fingerprint: str
    rules: ForecastRules


def spread_tables(
    job: Job,
    batches: Sequence[Unit],
    spec: str,
    rules: ForecastRules,
    config: RayConfig,
    progress: Callable[[int], None],
    say: Callable[[str], None],
) -> None:
    """Put the tables of all batches into `rules.folder`; what is there is kept. UserError, ResumableError.

    batches   units, one for each batch of windows
    progress  told how many windows more are done
    say       takes a sentence about what the cluster lacks for the moment
    """
    assert rules.folder is not None
    store, fingerprint = TableStore(rules.folder), load_forecaster(spec).info.fingerprint
    asked = {unit: table_request(rules, unit_scenarios(job, unit)) for unit in batches}
    missing = [unit for unit in batches if store.lacks(fingerprint, asked[unit])]
    progress(sum(len(unit.scenarios) for unit in batches if unit not in missing))
    if not missing:
        return
    workers = runner.num_workers(config, len(missing))
    with runner.started(config, workers) as ray:
        parcels = tuple(pack(path, ray.put) for path in forecaster_files(spec))
        cargo = TableCargo(job, parcels, spec, fingerprint, rules)
        submit = runner.submitter(ray, config, lambda asked: "build table", IN_WORKER, cargo)
        for unit, table in runner.results(ray, submit, missing, runner.room_of(ray, config, workers), say):
            store.put(torch.tensor(table), fingerprint, asked[unit])
            progress(len(unit.scenarios))


def make_table(references: "Sequence[ObjectRef]", unit: Unit) -> np.ndarray:
    """In a worker: [W, T, A, 4] of the unit's scenarios. references: of the TableCargo."""
    import ray

    listen(metrics.count_forecast)
    cargo: TableCargo = ray.get(references[0])
    places = places_here(cargo.parcels, ray.get)
    forecaster = loaded(moved_spec(cargo.spec, places))
    if forecaster.info.fingerprint != cargo.fingerprint:
        raise ValueError(f"forecaster {cargo.spec!r} is not what it is where the driver runs; was its file changed?")
    made: Any = build_table(forecaster, table_request(cargo.rules, unit_scenarios(cargo.job, unit)))
    return made.numpy()
