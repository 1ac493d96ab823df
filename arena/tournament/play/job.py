"""What a worker needs to run any unit of a tournament, and the function that runs one. No Ray is used here."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from arena.data.synthetic.market import SyntheticParams, generate
from arena.data.types import Scenarios
from arena.tournament.play.match import Entrant, MatchRules, play_match
from arena.tournament.play.unit_forecasts import check_unchanged
from arena.tournament.schedule.sampling import num_path_scenarios
from arena.tournament.store.units import table_from_columns
from arena.tournament.types import MARKET_SCHEMA, PATH_SCHEMA, TRANSFER_SCHEMA, Unit

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Job:
    """Everything but the unit; each worker receives it once."""

    rules: MatchRules
    entrants: Mapping[str, Entrant]
    warmup: int  # bars
    num_units: int  # of the tournament, which share `paths_bytes`
    paths_bytes: int
    market_units: frozenset[str] = frozenset()  # names of units whose first scenario keeps its market path
    synthetic: SyntheticParams | None = None  # the scenarios are made from their seeds where they are played
    windows: Scenarios | None = None  # or cut from bars once: unit.scenarios are indices into them
    forecasters: Mapping[str, str] = field(
        default_factory=dict
    )  # spec -> fingerprint of the forecasters that entrants use


class UnitTables(NamedTuple):
    """The rows of one unit."""

    results: "pa.Table"  # SCHEMA
    paths: "pa.Table"  # PATH_SCHEMA
    markets: "pa.Table"  # MARKET_SCHEMA
    transfers: "pa.Table"  # TRANSFER_SCHEMA


def run_unit(job: Job, unit: Unit, tables: Mapping[str, np.ndarray] = MappingProxyType({})) -> UnitTables:
    """Play one unit on one thread: the order of float sums must not depend on the number of cores.

    tables  [W, T, A, 4] forecasts of `job.windows` made earlier, by spec of the forecaster
    """
    check_unchanged(job.forecasters)
    with _one_thread():
        scenarios = unit_scenarios(job, unit)
        num_steps = scenarios.bars.shape[1] - scenarios.warmup
        kept = num_path_scenarios(unit, num_steps, job.paths_bytes, job.num_units)
        own = {spec: torch.from_numpy(table[list(unit.scenarios)]) for spec, table in tables.items()}
        match = play_match(job.rules, job.entrants, unit, scenarios, kept, int(unit.name in job.market_units), own)
    return UnitTables(
        results=table_from_columns(match.results),
        paths=table_from_columns(match.paths, PATH_SCHEMA),
        markets=table_from_columns(match.markets, MARKET_SCHEMA),
        transfers=table_from_columns(match.transfers, TRANSFER_SCHEMA),
    )


def unit_scenarios(job: Job, unit: Unit) -> Scenarios:
    """The scenarios of one unit."""
    if job.synthetic is not None:
        return generate(job.synthetic, unit.scenarios, warmup=job.warmup)
    if job.windows is None:
        raise ValueError("a job needs synthetic parameters or windows of bars")
    chosen = torch.tensor(unit.scenarios)
    # An index copies, so no match can change what the next one reads.
    picked: dict[str, Any] = {
        name: value[chosen] for name, value in job.windows._asdict().items() if isinstance(value, Tensor)
    }
    return job.windows._replace(**picked)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
