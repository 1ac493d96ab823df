"""Plays a plan into a run folder: skips what is there, stores each unit as it comes, stops cleanly on Ctrl-C."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from arena.config import TournamentConfig
from arena.tournament.plan import Plan
from arena.tournament.progress import Standing, progress_bar
from arena.tournament.run_folder import LOGGER, open_log
from arena.tournament.runner import num_workers, run_units
from arena.tournament.store import finished_units, read_unit, write_markets, write_paths, write_transfers, write_unit
from arena.tournament.types import FORFEIT

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.console import Console


class Interrupted(Exception):
    """Ctrl-C; what was finished is stored."""

    def __init__(self, num_done: int, num_units: int):
        super().__init__(f"stopped after {num_done} of {num_units} units")
        self.num_done = num_done


def play_all(config: TournamentConfig, plan: Plan, run: Path, console: "Console") -> None:
    """Play every unit that the run folder lacks."""
    handler = open_log(run)
    try:
        _play_missing(config, plan, run, console)
    except KeyboardInterrupt:
        num_done = len(finished_units(run, plan.units).names)
        LOGGER.warning("interrupted", extra={"facts": {"units": num_done}})
        raise Interrupted(num_done, len(plan.units)) from None
    except Exception:
        LOGGER.exception("failed")
        raise
    finally:
        LOGGER.removeHandler(handler)
        handler.close()


def _play_missing(config: TournamentConfig, plan: Plan, run: Path, console: "Console") -> None:
    finished = finished_units(run, plan.units)
    for name, problem in finished.corrupt.items():
        console.print(f"unit {name} is played again: {problem}", style="yellow", markup=False)
    todo = [unit for unit in plan.units if unit.name not in finished.names]
    standing = Standing(plan.kind)
    for unit in plan.units:
        if unit.name in finished.names:
            standing.add(read_unit(run, unit))
    workers = num_workers(config.ray, len(todo))
    facts = {"units": len(plan.units), "finished_before": len(finished.names), "workers": workers}
    LOGGER.info("begin", extra={"facts": facts})
    if not todo:
        return
    start = time.monotonic()
    playing = run_units(plan.job, todo, config.ray, f"play {config.name}")
    with progress_bar(console, len(plan.units), len(finished.names), standing) as ticker:
        try:
            for unit, tables in playing:
                # Paths first: a unit counts as finished as soon as its results are there.
                write_paths(run, unit, tables.paths)
                write_markets(run, unit, tables.markets)
                write_transfers(run, unit, tables.transfers)
                write_unit(run, unit, tables.results)
                _log_unit(unit.name, tables.results, time.monotonic() - start)
                ticker.advance(tables.results)
        finally:
            playing.close()
    LOGGER.info("end", extra={"facts": {"seconds": round(time.monotonic() - start, 1)}})


def _log_unit(name: str, results: "pa.Table", seconds: float) -> None:
    LOGGER.info("unit", extra={"facts": {"unit": name, "seconds": round(seconds, 1)}})
    offences = zip(*(results[column].to_pylist() for column in ("agent", "status", "reason", "traceback")))
    for agent, status, reason, trace in dict.fromkeys(offences):
        if status == FORFEIT:
            facts = {"unit": name, "agent": agent, "reason": reason, "traceback": trace}
            LOGGER.warning("forfeit", extra={"facts": facts})
