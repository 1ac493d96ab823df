"""Plays a plan into a run folder: skips what is there, stores each unit as it comes, stops cleanly on Ctrl-C."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from arena.cluster.joining import LOCAL
from arena.config.tournament import TournamentConfig
from arena.errors import IncompleteRun, ResumableError, RunInterrupted
from arena.monitor.dashboard import dashboard_line
from arena.tournament.play.job import UnitTables
from arena.tournament.run.progress import Standing, Ticker, progress_bar
from arena.tournament.run.runner import Play, num_workers, player
from arena.tournament.schedule.finished_units import survey
from arena.tournament.setup.plan import Plan
from arena.tournament.setup.ranking_plan import store_ranking_plan
from arena.tournament.setup.stopping import Watch
from arena.tournament.store.mirror import Mirror
from arena.tournament.store.run_folder import LOGGER, log_unit, open_log
from arena.tournament.store.units import (
    NotStored,
    drop_units,
    read_unit,
    why,
    write_markets,
    write_paths,
    write_transfers,
    write_unit,
)
from arena.tournament.types import Unit

if TYPE_CHECKING:
    from rich.console import Console


def play_all(config: TournamentConfig, plan: Plan, run: Path, console: "Console", mirror: Mirror | None = None) -> None:
    """Play every unit that the run folder and its copy lack."""
    handler = open_log(run)
    try:
        store_ranking_plan(run, plan)
        if mirror:
            mirror.join()
        _play_missing(config, plan, run, console, mirror)
    except KeyboardInterrupt:
        num_done = len(survey(run, plan.schedule).present)
        LOGGER.warning("interrupted", extra={"facts": {"units": num_done}})
        raise RunInterrupted(run, num_done, plan.schedule.num_units) from None
    except (NotStored, ResumableError) as error:
        LOGGER.exception("failed")
        num_done = len(survey(run, plan.schedule).present)
        raise IncompleteRun(f"{error}: stopped", run, num_done, plan.schedule.num_units) from error
    except Exception:
        LOGGER.exception("failed")
        raise
    finally:
        LOGGER.removeHandler(handler)
        handler.close()


def _play_missing(config: TournamentConfig, plan: Plan, run: Path, console: "Console", mirror: Mirror | None) -> None:
    seen = survey(run, plan.schedule)
    for name, problem in seen.finished.corrupt.items():
        console.print(f"unit {name} is played again: {problem}", style="yellow", markup=False)
    standing = Standing(plan.kind)
    watch = Watch(plan.stop, plan.schedule, plan.units) if plan.stop else None
    num_done, num_units = len(seen.present), plan.schedule.num_units
    for unit in seen.present:
        results = read_unit(run, unit)
        standing.add(results)
        if watch:
            watch.add(unit, results)
    workers = config.ray.workers if config.ray.address != LOCAL else num_workers(config.ray, num_units - num_done)
    LOGGER.info("begin", extra={"facts": {"units": num_units, "finished_before": num_done, "workers": workers}})
    if seen.missing and not (watch and watch.decided):
        start = time.monotonic()
        with (
            progress_bar(console, num_units, num_done, standing) as ticker,
            player(plan.job, config.ray, num_units - num_done, f"play {config.name}", partial(_say, console)) as play,
        ):
            if config.ray.dashboard and workers != 0:
                console.print(dashboard_line(), markup=False, soft_wrap=True)
            while missing := seen.missing:
                _play_stage(partial(_store, run, mirror), missing, play, watch, ticker, start)
                if watch and watch.decided:
                    break
                seen = survey(run, plan.schedule, seen)
        LOGGER.info("end", extra={"facts": {"seconds": round(time.monotonic() - start, 1)}})
    if watch:
        drop_units(run, watch.beyond())
        if mirror:
            mirror.drop_units(watch.beyond())


def _say(console: "Console", sentence: str) -> None:
    LOGGER.warning("waiting", extra={"facts": {"why": sentence}})
    console.print(sentence, style="yellow", markup=False, soft_wrap=True)


def _play_stage(
    keep: Callable[[Unit, UnitTables], None],
    units: list[Unit],
    play: Play,
    watch: Watch | None,
    ticker: Ticker,
    start: float,
) -> None:
    playing = play(units)
    try:
        for unit, tables in playing:
            keep(unit, tables)
            log_unit(unit.name, tables.results, time.monotonic() - start)
            ticker.advance(tables)
            if watch:
                watch.add(unit, tables.results)
                if watch.decided:
                    return
    finally:
        playing.close()


def _store(run: Path, mirror: Mirror | None, unit: Unit, tables: UnitTables) -> None:
    """Paths first: a unit counts as finished as soon as its results are there."""
    try:
        write_paths(run, unit, tables.paths)
        write_markets(run, unit, tables.markets)
        write_transfers(run, unit, tables.transfers)
        write_unit(run, unit, tables.results)
    except OSError as error:
        raise NotStored(f"cannot store unit {unit.name} in {run}: {why(error)}") from error
    if mirror:
        mirror.put_unit(unit)
