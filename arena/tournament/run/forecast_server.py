"""The forecast server of a tournament on Ray: it holds the forecasters and makes the tables of all windows once.

A run does not depend on it. Workers load each forecaster into their own process. If the server was killed or fails,
workers make the forecasts themselves, with the same bits.

W windows   T bars   A assets
"""

import uuid
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from arena.cluster.joining import LOCAL
from arena.config.tournament import RayConfig
from arena.forecast.loading import ARTIFACT_SUFFIXES, load_forecaster
from arena.forecast.types import Forecaster
from arena.tournament.play.job import Job
from arena.tournament.play.unit_forecasts import table_request
from arena.tournament.store.run_folder import LOGGER

if TYPE_CHECKING:
    from ray.actor import ActorHandle

Array = np.ndarray

WORKER_SECONDS = 5.0  # how long a worker waits for the server; then it does without


class ServerHandle(NamedTuple):
    """A running server, and the tables that it has made."""

    actor: "ActorHandle | None"  # keeps the server alive
    name: str | None  # of the actor; None: there is no server
    tables: dict[str, Array]  # [W, T, A, 4] over all windows of the job, by spec; empty for synthetic scenarios


def start_forecast_server(job: Job, config: RayConfig) -> ServerHandle:
    """Start the server of this run if entrants use forecasters, and let it make their tables."""
    if not job.forecasters:
        return ServerHandle(None, None, {})
    from arena.forecast.serving.server import NAME, start_server

    # A cluster may run several tournaments at a time; a local Ray runs one, so its server has a fixed name.
    name = NAME if config.address == LOCAL else f"{NAME}-{uuid.uuid4().hex[:8]}"
    folder = job.rules.forecast.folder
    # Files of the driver's machine bind the server to that machine; the package is on every machine.
    is_bound = folder is not None or any(spec.endswith(ARTIFACT_SUFFIXES) for spec in job.forecasters)
    try:
        # It needs no core of its own: workers wait while it makes tables, and it is idle while they play.
        actor = start_server(
            list(job.forecasters), name, num_cpus=0, here=is_bound, table_folder=folder and str(folder)
        )
    except Exception as error:  # such as a path that another machine does not have
        _log("no forecast server", error)
        return ServerHandle(None, None, {})
    return ServerHandle(actor, name, _tables(job, name))


def server_forecaster(spec: str, server: str | None) -> Forecaster:
    """In a worker: the forecaster of the server. If the server is gone: loaded by its spec, with the same results."""
    if server is not None:
        from arena.forecast.serving.server import Connection, ServerGone, local_forecaster

        try:
            return local_forecaster(spec, Connection(server, attempts=1, timeout=WORKER_SECONDS))
        except (ServerGone, ValueError, OSError):  # gone, or its files are on another path
            pass
    return load_forecaster(spec)


def _tables(job: Job, server: str) -> dict[str, Array]:
    """Tables of the job's windows. A forecaster that fails has none; its users then forfeit in the match."""
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
