"""The files that a job names, and the same job where they lie elsewhere."""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from arena.agents.loading import spec_file
from arena.cluster.parcels import Parcel, pack, unpack
from arena.forecast.loading import ARTIFACT_SUFFIXES
from arena.tournament.play.job import Job
from arena.tournament.play.seats import Entrant


def parcels_of(job: Job, put: Callable[[dict[str, bytes]], Any]) -> tuple[Parcel, ...]:
    """All files and folders that entrants, their parameters and their forecasters name, and the folder of tables.

    put  gives a reference to the content of one
    """
    found = {path for entrant in job.entrants.values() for path in _of_entrant(entrant)}
    found |= {path for spec in job.forecasters for path in forecaster_files(spec)}
    parcels = [pack(path, put) for path in sorted(found)]
    tables = job.rules.forecast.folder
    if tables is not None and tables.is_dir():
        parcels.append(pack(tables, put, is_store=True))
    return tuple(parcels)


def places_here(parcels: tuple[Parcel, ...], get: Callable[[Any], dict[str, bytes]]) -> dict[str, str]:
    """Where this machine has them, by path on the driver's, of those that lie elsewhere; Missing if one is lacking."""
    places = {parcel.path: unpack(parcel, get) for parcel in parcels}
    return {old: new for old, new in places.items() if old != new}


def moved(job: Job, places: Mapping[str, str]) -> Job:
    """The job whose files lie elsewhere. places: absolute path -> absolute path."""
    if not places:
        return job

    def move(value: Any) -> Any:
        return moved_spec(value, places) if isinstance(value, str) else value

    entrants = {
        name: replace(
            entrant,
            agent=move(entrant.agent),
            params={key: move(value) for key, value in entrant.params.items()},
        )
        for name, entrant in job.entrants.items()
    }
    forecast = job.rules.forecast
    if forecast.folder is not None:
        forecast = replace(forecast, folder=Path(move(str(forecast.folder))))
    return replace(
        job,
        rules=replace(job.rules, forecast=forecast),
        entrants=entrants,
        forecasters={move(spec): fingerprint for spec, fingerprint in job.forecasters.items()},
    )


def moved_spec(spec: str, places: Mapping[str, str]) -> str:
    """Of an agent or a forecaster: a path in it stands between ":", "@", "+" and its ends.

    All are replaced at once, the longest that fits, so that nothing is replaced in what has just been put there.
    """
    if not places:
        return spec
    paths = "|".join(re.escape(path) for path in sorted(places, key=len, reverse=True))
    return re.sub(rf"(?<![^:+])(?:{paths})(?=$|[:@+])", lambda found: places[found[0]], spec)


def _of_entrant(entrant: Entrant) -> Iterator[Path]:
    file = spec_file(entrant.agent)
    if file is not None:
        yield from _existing(str(file))
    for value in entrant.params.values():
        if isinstance(value, str):
            yield from _existing(value)
            yield from forecaster_files(value)


def forecaster_files(spec: str) -> Iterator[Path]:
    """Artefacts that the spec names by absolute paths."""
    for part in [spec] if os.path.exists(spec) else spec.split("+"):
        if part.endswith(ARTIFACT_SUFFIXES):
            yield from _existing(part)


def _existing(path: str) -> Iterator[Path]:
    if os.path.isabs(path) and os.path.exists(path):
        yield Path(path)
