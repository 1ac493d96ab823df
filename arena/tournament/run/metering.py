"""What a stored unit of work adds to the metrics of the cluster: read off its tables, so nothing is measured twice."""

from typing import TYPE_CHECKING

import numpy as np

from arena.monitor import metrics
from arena.tournament.types import FORFEIT

if TYPE_CHECKING:
    from arena.tournament.play.job import UnitTables


def count_unit(tables: "UnitTables") -> None:
    """Matches, steps, forfeits, spread of wealth and displacement of one unit; nothing without Ray."""
    if not metrics.is_recording():
        return
    import pyarrow.compute as pc

    results = tables.results
    num_scenarios = len(pc.unique(results["scenario"]))
    steps = results["num_steps"].to_numpy().reshape(num_scenarios, -1)  # [B, N]: rows are by scenario, then seat
    nav = results["final_nav"].to_numpy().reshape(num_scenarios, -1)
    metrics.MATCHES.record(num_scenarios)
    metrics.MARKET_STEPS.record(steps.max(1).sum())
    metrics.AGENT_STEPS.record(steps.sum())
    for deviation in nav.std(1).tolist():
        metrics.NAV_DISPERSION.record(deviation)
    if tables.markets.num_rows:
        metrics.DISPLACEMENT.record(np.abs(tables.markets["displacement"].to_numpy()).mean())
    offenders = results["agent"].filter(pc.equal(results["status"], FORFEIT))
    for entry in pc.value_counts(offenders).to_pylist():
        metrics.FORFEITS.record(entry["counts"], agent=entry["values"])
