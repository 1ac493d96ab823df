"""Progress of a run: a bar with the time left, the top three so far, and the metrics of the cluster."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from arena.monitor import metrics
from arena.tournament.play.job import UnitTables
from arena.tournament.run.notebook import NotebookLive, in_notebook
from arena.tournament.stats import growth
from arena.tournament.stats.growth import ScenarioKind, ScoreSums
from arena.tournament.types import FORFEIT
from arena.tournament.wording import bps, half_width

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console


class Standing:
    """The current ranking of the finished units. It keeps sums of their rows, not the rows."""

    def __init__(self, kind: ScenarioKind, cash: str = "cash"):
        self._kind, self._cash = kind, cash
        self._sums = ScoreSums(("growth_cv", "growth_raw"))

    def add(self, results: "pa.Table") -> None:
        """Count a finished unit."""
        self._sums.add(results)

    def top(self, count: int = 3) -> str:
        """The leaders by growth, with their intervals once there are enough scenarios for one."""
        estimates = growth.score_estimates(self._sums.scores(self._column()), self._cash, self._kind)
        leaders = []
        for name, estimate in list(estimates.items())[:count]:
            margin = half_width(estimate.low, estimate.high, bps)
            leaders.append(f"{name} {bps(estimate.value)}{f' ± {margin}' if margin else ''}")
        return f"ahead so far, growth in bps: {', '.join(leaders)}"

    def _column(self) -> str:
        """growth_cv (market luck removed) if all rows have it, else growth_raw."""
        return "growth_raw" if self._sums.has_nan("growth_cv") else "growth_cv"


@contextmanager
def progress_bar(console: "Console", num_units: int, num_done: int, standing: Standing) -> Iterator["Ticker"]:
    """A bar over units; without a terminal, a line every PIPE_SECONDS and the last state."""
    from rich.live import Live
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("matches"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("batches"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )
    task = bar.add_task("matches", total=num_units, completed=num_done)
    show = NotebookLive if in_notebook() and not console.quiet else Live
    with show(bar, console=console) as live:
        yield Ticker(bar, task, live, standing)


PIPE_SECONDS = 15.0  # between two lines where the output is no terminal
RANKING_SHARE = 0.02  # of the driver's time, at most: in a large field one ranking takes seconds


class Ticker:
    """Updates the bar and the metrics of the cluster. The ranking below the bar changes at most once a second."""

    def __init__(self, bar, task, live, standing: Standing):  # type: ignore[no-untyped-def]  # rich objects
        self._bar, self._task, self._live, self._standing = bar, task, live, standing
        self._rank_after = -math.inf  # by the monotonic clock [s]
        self._begun, self._done_before = time.monotonic(), bar.tasks[task].completed
        self._line_after = self._begun + PIPE_SECONDS

    def advance(self, tables: UnitTables) -> None:
        """Count one more stored unit."""
        from rich.console import Group
        from rich.text import Text

        self._standing.add(tables.results)
        self._bar.advance(self._task)
        count_unit(tables)
        metrics.UNITS_PLANNED.record(self._bar.tasks[self._task].total)
        metrics.UNITS_STORED.record(self._bar.tasks[self._task].completed)
        now = time.monotonic()
        if not self._live.console.is_terminal and now > self._line_after and not self._bar.finished:
            self._line_after = now + PIPE_SECONDS
            self._live.console.print(f"{self._line()}; {self._standing.top()}", markup=False, soft_wrap=True)
        if now < self._rank_after and not self._bar.finished:
            return
        self._live.update(Group(self._bar, Text(self._standing.top(), style="dim")))
        end = time.monotonic()
        self._rank_after = end + max(1.0, (end - now) / RANKING_SHARE)

    def _line(self) -> str:
        """The progress as plain text, for outputs that are no terminal."""
        (task,) = self._bar.tasks
        passed = time.monotonic() - self._begun
        left = passed / (task.completed - self._done_before) * (task.total - task.completed)
        done = f"{task.completed:,.0f} of {task.total:,.0f} batches in {passed / 60:.1f} min"
        return f"{done}, about {left / 60:.1f} left"


def count_unit(tables: UnitTables) -> None:
    """Record matches, steps, forfeits, spread of wealth and displacement of one unit; without Ray, nothing."""
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
