"""Tables of forecasts of a plan's windows, made by the tasks of a cluster and kept by the driver."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from arena.cluster.file_bundles import FileBundle, pack
from arena.config.tournament import RayConfig
from arena.forecast.call_stats import listen
from arena.forecast.loading import load_forecaster
from arena.forecast.table import TableStore, build_table
from arena.monitor import metrics
from arena.tournament.play.job import Job, unit_scenarios
from arena.tournament.play.unit_forecasts import ForecastRules, loaded, table_request
from arena.tournament.run import workers
from arena.tournament.run.job_files import forecaster_files, local_paths, relocate_spec
from arena.tournament.types import Unit

if TYPE_CHECKING:
    from ray import ObjectRef

WORKER_FUNCTION = (__name__, "make_table")


class SharedTableJob(NamedTuple):
    """What all tasks share."""

    job: Job
    bundles: tuple[FileBundle, ...]
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
    on_message: Callable[[str], None],
) -> None:
    """Make the tables of all batches that `rules.folder` lacks, and store them there. UserError, ResumableError.

    batches  one unit for each batch of windows
    progress  receives the number of windows that were added
    on_message  receives a sentence when the cluster lacks resources for a task
    """
    assert rules.folder is not None
    store, fingerprint = TableStore(rules.folder), load_forecaster(spec).info.fingerprint
    asked = {unit: table_request(rules, unit_scenarios(job, unit)) for unit in batches}
    missing = [unit for unit in batches if store.lacks(fingerprint, asked[unit])]
    progress(sum(len(unit.scenarios) for unit in batches if unit not in missing))
    if not missing:
        return
    num_workers = workers.num_workers(config, len(missing))
    with workers.ray_session(config, num_workers) as ray:
        bundles = tuple(pack(path, ray.put) for path in forecaster_files(spec))
        shared = SharedTableJob(job, bundles, spec, fingerprint, rules)
        submit = workers.submitter(ray, config, lambda asked: "build table", WORKER_FUNCTION, shared)
        for unit, table in workers.task_results(
            ray, submit, missing, workers.task_capacity(ray, config, num_workers), on_message
        ):
            store.put(torch.tensor(table), fingerprint, asked[unit])
            progress(len(unit.scenarios))


def make_table(references: "Sequence[ObjectRef]", unit: Unit) -> np.ndarray:
    """In a worker: [W, T, A, 4] of the unit's scenarios. references: of the SharedTableJob."""
    import ray

    listen(metrics.count_forecast)
    shared: SharedTableJob = ray.get(references[0])
    places = local_paths(shared.bundles, ray.get)
    forecaster = loaded(relocate_spec(shared.spec, places))
    if forecaster.info.fingerprint != shared.fingerprint:
        raise ValueError(f"forecaster {shared.spec!r} is not what it is where the driver runs; was its file changed?")
    made: Any = build_table(forecaster, table_request(shared.rules, unit_scenarios(shared.job, unit)))
    return made.numpy()
