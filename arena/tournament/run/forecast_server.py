"""The forecast server of a tournament on Ray: it names the forecasters and makes the tables of all windows once.

It is a convenience and never a dependency. Workers load a forecaster into their own process, and whatever the server
cannot give, because it was killed or breaks, they make themselves, to the same bits.

W windows   T bars   A assets
"""

import time
import uuid
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from arena.cluster.joining import LOCAL
from arena.config.tournament import RayConfig
from arena.forecast.call_stats import listen
from arena.forecast.loading import ARTIFACT_SUFFIXES, load_forecaster
from arena.forecast.types import Forecaster
from arena.monitor import metrics
from arena.tournament.play.job import Job, UnitTables, play_unit
from arena.tournament.play.unit_forecasts import loaded, table_request
from arena.tournament.store.run_folder import LOGGER, forfeits
from arena.tournament.types import Unit

if TYPE_CHECKING:
    from ray.actor import ActorHandle

Array = np.ndarray

WORKER_SECONDS = 5.0  # that a worker waits for the server before it goes on without


class Served(NamedTuple):
    """What the workers of a run are told."""

    actor: "ActorHandle | None"  # keeps the server alive
    server: str | None  # its name; None: there is none
    tables: dict[str, Array]  # [W, T, A, 4] over all windows of the job, by spec; empty for synthetic scenarios


def serve(job: Job, config: RayConfig) -> Served:
    """Start the server of this run, if its entrants follow forecasters, and have it make their tables."""
    if not job.forecasters:
        return Served(None, None, {})
    from arena.forecast.serving.server import NAME, start_server

    # A cluster may run several tournaments; a Ray of our own has one, whose server is easy to find.
    name = NAME if config.address == LOCAL else f"{NAME}-{uuid.uuid4().hex[:8]}"
    folder = job.rules.forecast.folder
    # Files and folders of the driver's machine are where the driver is; what comes with the package is everywhere.
    is_bound = folder is not None or any(spec.endswith(ARTIFACT_SUFFIXES) for spec in job.forecasters)
    try:
        # No core is set aside for it: it works while the workers wait for its tables, and rests while they play.
        actor = start_server(
            list(job.forecasters), name, num_cpus=0, here=is_bound, table_folder=folder and str(folder)
        )
    except Exception as error:  # such as a path that another machine does not have
        _log("no forecast server", error)
        return Served(None, None, {})
    return Served(actor, name, _tables(job, name))


def play_served(job: Job, unit: Unit, server: str | None, tables: Mapping[str, Array]) -> UnitTables:
    """In a worker: `play_unit` with the forecasters and tables of the server; leaves metrics and log records."""
    listen(metrics.count_forecast)
    facts = {"unit": unit.name, "lineup": unit.lineup.lineup, "matches": len(unit.scenarios)}
    LOGGER.info("%s begins", unit.name, extra={"facts": facts})
    start = time.monotonic()
    for spec in job.forecasters:
        loaded(spec, partial(_from_server, server=server))
    played = play_unit(job, unit, tables)
    seconds = round(time.monotonic() - start, 1)
    for offence in forfeits(played.results):
        said = (unit.name, offence["agent"], offence["reason"])
        LOGGER.warning("%s: %s forfeits: %s", *said, extra={"facts": {"unit": unit.name, **offence}})
    LOGGER.info("%s played in %s s", unit.name, seconds, extra={"facts": {**facts, "seconds": seconds}})
    return played


def _from_server(spec: str, server: str | None) -> Forecaster:
    """The forecaster as the server knows it; by its spec if there is none any more, which gives the same."""
    if server is not None:
        from arena.forecast.serving.server import Connection, ServerGone, local_forecaster

        try:
            return local_forecaster(spec, Connection(server, attempts=1, timeout=WORKER_SECONDS))
        except (ServerGone, ValueError, OSError):  # gone, or it has its files elsewhere
            pass
    return load_forecaster(spec)


def _tables(job: Job, server: str) -> dict[str, Array]:
    """Tables of the job's windows; without those of forecasters that fail, whose followers must find out themselves."""
    if job.windows is None or job.rules.forecast.mode != "table":
        return {}
    from arena.forecast.serving.server import RemoteForecaster, ServerGone

    tables = {}
    for spec, fingerprint in job.forecasters.items():
        try:
            remote = RemoteForecaster(spec, server)
            if remote.info.fingerprint == fingerprint:
                tables[spec] = remote.table(table_request(job.rules.forecast, job.windows)).numpy()
        except ServerGone as error:
            _log("the forecast server has gone", error)
            break
        except Exception as error:
            _log(f"no shared table of {spec}", error)
    return tables


def _log(what: str, error: Exception) -> None:
    LOGGER.warning(what, extra={"facts": {"error": f"{type(error).__name__}: {error}"}})
