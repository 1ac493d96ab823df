"""The files that a job names, how they reach a worker, and the same job with the paths of another machine."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from arena.agents.loading import spec_file
from arena.cluster.file_bundles import FileBundle, pack, unpack
from arena.forecast.loading import ARTIFACT_SUFFIXES
from arena.tournament.play.job import Job
from arena.tournament.play.seats import Entrant


class SharedJob(NamedTuple):
    """What all units of a run share. The object store holds it once, so workers read windows from shared memory."""

    job: Job
    bundles: tuple[FileBundle, ...]
    server: str | None  # name of the forecast server; None: there is none
    tables: dict[str, np.ndarray]  # [W, T, A, 4] forecasts of all windows, by spec of the forecaster


def local_job(shared: SharedJob, get: Callable[[Any], dict[str, bytes]]) -> SharedJob:
    """The same with this machine's paths, after its files have been unpacked; MissingFile if one is lacking."""
    paths = local_paths(shared.bundles, get)
    tables = {relocate_spec(spec, paths): table for spec, table in shared.tables.items()}
    return shared._replace(job=relocate_paths(shared.job, paths), tables=tables)


def job_file_bundles(job: Job, put: Callable[[dict[str, bytes]], Any]) -> tuple[FileBundle, ...]:
    """All files and folders that entrants, their parameters and their forecasters name, and the folder of tables.

    put  stores the content of one and returns a reference to it
    """
    found = {path for entrant in job.entrants.values() for path in _entrant_files(entrant)}
    found |= {path for spec in job.forecasters for path in forecaster_files(spec)}
    bundles = [pack(path, put) for path in sorted(found)]
    tables = job.rules.forecast.folder
    if tables is not None and tables.is_dir():
        bundles.append(pack(tables, put, is_store=True))
    return tuple(bundles)


def local_paths(bundles: tuple[FileBundle, ...], get: Callable[[Any], dict[str, bytes]]) -> dict[str, str]:
    """Path on the driver's machine -> path on this machine, where the two differ; MissingFile if a file is lacking."""
    paths = {bundle.path: unpack(bundle, get) for bundle in bundles}
    return {old: new for old, new in paths.items() if old != new}


def relocate_paths(job: Job, paths: Mapping[str, str]) -> Job:
    """The job with other paths to its files. paths: old absolute path -> new absolute path."""
    if not paths:
        return job

    def relocate(value: Any) -> Any:
        return relocate_spec(value, paths) if isinstance(value, str) else value

    entrants = {
        name: replace(
            entrant,
            agent=relocate(entrant.agent),
            params={key: relocate(value) for key, value in entrant.params.items()},
        )
        for name, entrant in job.entrants.items()
    }
    forecast = job.rules.forecast
    if forecast.folder is not None:
        forecast = replace(forecast, folder=Path(relocate(str(forecast.folder))))
    return replace(
        job,
        rules=replace(job.rules, forecast=forecast),
        entrants=entrants,
        forecasters={relocate(spec): fingerprint for spec, fingerprint in job.forecasters.items()},
    )


def relocate_spec(spec: str, paths: Mapping[str, str]) -> str:
    """The spec of an agent or a forecaster with other paths. In a spec, ":", "@", "+" or an end delimit a path.

    One pass replaces all paths, the longest match first, so that no inserted text is replaced again.
    """
    if not paths:
        return spec
    alternatives = "|".join(re.escape(path) for path in sorted(paths, key=len, reverse=True))
    return re.sub(rf"(?<![^:+])(?:{alternatives})(?=$|[:@+])", lambda found: paths[found[0]], spec)


def forecaster_files(spec: str) -> Iterator[Path]:
    """Files of forecasters that the spec names by absolute paths."""
    for part in [spec] if os.path.exists(spec) else spec.split("+"):
        if part.endswith(ARTIFACT_SUFFIXES):
            yield from _existing(part)


def _entrant_files(entrant: Entrant) -> Iterator[Path]:
    file = spec_file(entrant.agent)
    if file is not None:
        yield from _existing(str(file))
    for value in entrant.params.values():
        if isinstance(value, str):
            yield from _existing(value)
            yield from forecaster_files(value)


def _existing(path: str) -> Iterator[Path]:
    if os.path.isabs(path) and os.path.exists(path):
        yield Path(path)
