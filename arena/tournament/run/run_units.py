"""Runs a plan into a run folder: skips finished units, stores each unit when it comes, stops cleanly on Ctrl-C."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from arena.cluster.joining import LOCAL
from arena.config.tournament import TournamentConfig
from arena.errors import IncompleteRun, ResumableError, RunInterrupted
from arena.monitor.dashboard import dashboard_line
from arena.tournament.play.job import UnitTables
from arena.tournament.run.progress import Standing, Ticker, progress_bar
from arena.tournament.run.workers import UnitRunner, num_workers, open_workers
from arena.tournament.schedule.finished_units import RunState, run_state
from arena.tournament.setup.plan import Plan
from arena.tournament.setup.ranking_plan import store_ranking_plan
from arena.tournament.setup.stopping import StopMonitor
from arena.tournament.store.mirror import Mirror
from arena.tournament.store.run_folder import LOGGER, log_unit, open_log
from arena.tournament.store.units import (
    StorageError,
    drop_units,
    os_error_text,
    read_unit,
    write_markets,
    write_paths,
    write_transfers,
    write_unit,
)
from arena.tournament.types import Unit

if TYPE_CHECKING:
    from rich.console import Console


def run_units(
    config: TournamentConfig, plan: Plan, run: Path, console: "Console", mirror: Mirror | None = None
) -> None:
    """Run every unit that is missing in the run folder and in its copy.

    IncompleteRun, RunInterrupted: the finished units are stored, and the exception names the folder.
    """
    with _logged(run, plan):
        store_ranking_plan(run, plan)
        if mirror:
            mirror.join()
        state = run_state(run, plan.schedule)
        for name, problem in state.finished.corrupt.items():
            console.print(f"unit {name} is played again: {problem}", style="yellow", markup=False)
        standing = Standing(plan.kind)
        monitor = StopMonitor(plan.stop, plan.schedule, plan.units) if plan.stop else None
        for unit in state.present:
            results = read_unit(run, unit)
            standing.add(results)
            if monitor:
                monitor.add(unit, results)
        num_done, num_units = len(state.present), plan.schedule.num_units
        workers = config.ray.workers if config.ray.address != LOCAL else num_workers(config.ray, num_units - num_done)
        LOGGER.info("begin", extra={"facts": {"units": num_units, "finished_before": num_done, "workers": workers}})
        if state.missing and not (monitor and monitor.decided):
            start = time.monotonic()
            on_message = partial(_show_message, console)
            with (
                progress_bar(console, num_units, num_done, standing) as ticker,
                open_workers(plan.job, config.ray, num_units - num_done, f"play {config.name}", on_message) as runner,
            ):
                if config.ray.dashboard and workers != 0:
                    console.print(dashboard_line(), markup=False, soft_wrap=True)
                _run_stages(plan, run, mirror, state, runner, monitor, ticker)
            LOGGER.info("end", extra={"facts": {"seconds": round(time.monotonic() - start, 1)}})
        if monitor:
            drop_units(run, monitor.surplus_units())
            if mirror:
                mirror.drop_units(monitor.surplus_units())


@contextmanager
def _logged(run: Path, plan: Plan) -> Iterator[None]:
    """RUN/log.jsonl open while the block runs, and the exceptions of `run_units` for what ends the block early."""
    handler = open_log(run)
    try:
        yield
    except KeyboardInterrupt:
        num_done = len(run_state(run, plan.schedule).present)
        LOGGER.warning("interrupted", extra={"facts": {"units": num_done}})
        raise RunInterrupted(run, num_done, plan.schedule.num_units) from None
    except (StorageError, ResumableError) as error:
        LOGGER.exception("failed")
        num_done = len(run_state(run, plan.schedule).present)
        raise IncompleteRun(f"{error}: stopped", run, num_done, plan.schedule.num_units) from error
    except Exception:
        LOGGER.exception("failed")
        raise
    finally:
        LOGGER.removeHandler(handler)
        handler.close()


def _show_message(console: "Console", sentence: str) -> None:
    LOGGER.warning("waiting", extra={"facts": {"why": sentence}})
    console.print(sentence, style="yellow", markup=False, soft_wrap=True)


def _run_stages(
    plan: Plan,
    run: Path,
    mirror: Mirror | None,
    state: RunState,
    runner: UnitRunner,
    monitor: StopMonitor | None,
    ticker: Ticker,
) -> None:
    """Run stage after stage, from the first that is incomplete, until the last or until the monitor has decided."""
    start = time.monotonic()
    while missing := state.missing:
        with closing(runner(missing)) as finished:
            for unit, tables in finished:
                _store(run, mirror, unit, tables)
                log_unit(unit.name, tables.results, time.monotonic() - start)
                ticker.advance(tables)
                if monitor:
                    monitor.add(unit, tables.results)
                    if monitor.decided:
                        return
        state = run_state(run, plan.schedule, state)


def _store(run: Path, mirror: Mirror | None, unit: Unit, tables: UnitTables) -> None:
    """Paths first: a unit counts as finished when its results are stored."""
    try:
        write_paths(run, unit, tables.paths)
        write_markets(run, unit, tables.markets)
        write_transfers(run, unit, tables.transfers)
        write_unit(run, unit, tables.results)
    except OSError as error:
        raise StorageError(f"cannot store unit {unit.name} in {run}: {os_error_text(error)}") from error
    if mirror:
        mirror.put_unit(unit)
