"""What a worker of a cluster does: gets the job once per process, finds its files on its machine, plays units."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import ray

from arena.cluster.parcels import Parcel
from arena.tournament.play.job import Job, UnitTables
from arena.tournament.run.forecast_server import play_served
from arena.tournament.run.shipping import moved, moved_spec, places_here
from arena.tournament.types import Unit

if TYPE_CHECKING:
    from ray import ObjectRef


class Cargo(NamedTuple):
    """What all units of a run share; in the object store once, windows of bars are then read from shared memory."""

    job: Job
    parcels: tuple[Parcel, ...]
    server: str | None  # name of the forecast server
    tables: dict[str, np.ndarray]  # of forecasts, see serving.Served


_unpacked: dict[str, Cargo] = {}  # of the run that this process works for


def play_remote(references: "Sequence[ObjectRef]", unit: Unit) -> UnitTables:
    """references: of the Cargo; parcels.Missing if this machine lacks a file."""
    (reference,) = references
    key = reference.hex()
    if key not in _unpacked:
        _unpacked.clear()
        cargo: Cargo = ray.get(reference)
        places = places_here(cargo.parcels, ray.get)
        tables = {moved_spec(spec, places): table for spec, table in cargo.tables.items()}
        _unpacked[key] = cargo._replace(job=moved(cargo.job, places), tables=tables)
    cargo = _unpacked[key]
    return play_served(cargo.job, unit, cargo.server, cargo.tables)
