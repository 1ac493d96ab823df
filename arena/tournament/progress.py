"""What is shown while matches are played: a bar with the time left, and the top three so far."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from arena.tournament import growth
from arena.tournament.growth import ScenarioKind
from arena.tournament.wording import bps, half_width

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console


class Standing:
    """The current ranking, from the tables of finished units."""

    def __init__(self, kind: ScenarioKind, cash: str = "cash"):
        self._kind, self._cash = kind, cash
        self._tables: list[pa.Table] = []

    def add(self, results: "pa.Table") -> None:
        """Count a finished unit."""
        self._tables.append(results)

    def top(self, count: int = 3) -> str:
        """The leaders by growth, with their intervals once there are enough scenarios for one."""
        import numpy as np
        import pyarrow as pa

        results = pa.concat_tables(self._tables)
        column = "growth_raw" if np.isnan(results["growth_cv"].to_numpy()).any() else "growth_cv"
        estimates = growth.growth_estimates(results, column, self._cash, self._kind)
        leaders = []
        for name, estimate in list(estimates.items())[:count]:
            margin = half_width(estimate.low, estimate.high, bps)
            leaders.append(f"{name} {bps(estimate.value)}{f' ± {margin}' if margin else ''}")
        return f"ahead so far, growth in bps: {', '.join(leaders)}"


@contextmanager
def progress_bar(console: "Console", num_units: int, num_done: int, standing: Standing) -> Iterator["Ticker"]:
    """A bar over units; in a pipe only its last state is printed."""
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
        TextColumn("units"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )
    task = bar.add_task("matches", total=num_units, completed=num_done)
    with Live(bar, console=console, refresh_per_second=4) as live:
        yield Ticker(bar, task, live, standing)


class Ticker:
    """Moves the bar. The ranking below it is made anew at most once a second: it costs more than a short unit."""

    def __init__(self, bar, task, live, standing: Standing):  # type: ignore[no-untyped-def]  # rich objects
        self._bar, self._task, self._live, self._standing = bar, task, live, standing
        self._ranked_at = -math.inf

    def advance(self, results: "pa.Table") -> None:
        """One more unit is done."""
        from rich.console import Group
        from rich.text import Text

        self._standing.add(results)
        self._bar.advance(self._task)
        now = time.monotonic()
        if now - self._ranked_at < 1.0 and not self._bar.finished:
            return
        self._ranked_at = now
        self._live.update(Group(self._bar, Text(self._standing.top(), style="dim")))
