"""Runs a tournament from its config to its leaderboard: what `arena.run_tournament` and `arena tournament` call."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from arena.cluster.joining import check_answers, job_note
from arena.config.tournament import TournamentConfig
from arena.errors import IncompleteRun, RunInterrupted
from arena.tournament.leaderboard import Leaderboard
from arena.tournament.results.outcome import data_notes, write_outcome
from arena.tournament.run.job_files import relocate_paths
from arena.tournament.run.run_units import run_units
from arena.tournament.setup.plan import Plan, make_plan, resolve_paths
from arena.tournament.store.mirror import Mirror, open_mirror
from arena.tournament.store.remote_folder import RemoteFolder
from arena.tournament.store.run_folder import check_same_inputs, create_run, kept_agents, save_data_report
from arena.tournament.store.units import StorageError, os_error_text

if TYPE_CHECKING:
    from rich.console import Console


def run_tournament(
    config: TournamentConfig, resumed: Path | None, command: str, console: "Console"
) -> tuple[Path, Leaderboard]:
    """Run the missing units, rank, write the report. Returns the run folder and its leaderboard.

    resumed  the folder of a run to continue; None begins a new one
    command  what began the run, for RUN/command.txt
    console  shows the progress; rich's Console(quiet=True) shows nothing

    UserError: an input cannot be used, and there is no new run folder. IncompleteRun, RunInterrupted: what is finished
    is stored, and the exception names the folder to continue with.
    """
    note = job_note(config.ray.address)
    if note and config.ray.workers != 0:
        console.print(f"note: {note}", markup=False, style="yellow")
    check_answers(config.ray.address, f"--ray.address {config.ray.address}")  # before there is a run folder
    config = resolve_paths(config)
    if config.mirror:
        RemoteFolder(config.mirror)  # checked before the bars are read, which can take minutes
    plan = make_plan(config)
    run, plan = _open_run(config, plan, resumed, command)
    _announce(console, plan, run)
    with open_mirror(run, config.mirror) as mirror:
        if mirror:
            console.print(f"  copy       {mirror.uri}", markup=False, soft_wrap=True)
        console.print()
        with _completed_copy(mirror, console):
            run_units(config, plan, run, console, mirror)
        return run, _write_outcome(config, plan, run, mirror)


def _open_run(config: TournamentConfig, plan: Plan, resumed: Path | None, command: str) -> tuple[Path, Plan]:
    """The run folder, and the plan with the paths of the agents' files inside it."""
    if resumed is None:
        run = create_run(config, command, plan.data_digest, plan.job.forecasters, plan.agent_digests)
        plan = plan._replace(job=relocate_paths(plan.job, kept_agents(config, run)))
    else:
        run = resumed
        check_same_inputs(run, plan.data_digest, plan.job.forecasters, plan.agent_digests)
    if plan.data_report is not None:
        save_data_report(run, plan.data_report)
    return run, plan


def _announce(console: "Console", plan: Plan, run: Path) -> None:
    if plan.data_report is not None:
        console.print(plan.data_report.text(), markup=False, style="dim")
        for note in data_notes(plan)[1:]:
            console.print(f"warning: {note}", markup=False, style="yellow")
    console.print(f"  playing    {plan.schedule.num_units} batches of markets\n  run folder {run}", markup=False)


def _write_outcome(config: TournamentConfig, plan: Plan, run: Path, mirror: Mirror | None) -> Leaderboard:
    num_units = plan.schedule.num_units
    try:
        board = write_outcome(run, plan, config.seed, f"{config.name}, seed {config.seed}")
        if mirror:
            mirror.finish()
    except OSError as error:
        reason = f"the leaderboard cannot be written to {run}: {os_error_text(error)}: stopped"
        raise IncompleteRun(reason, run, num_units, num_units) from error
    except StorageError as error:
        reason = f"{run} is complete, its copy is not: {error}: stopped"
        raise IncompleteRun(reason, run, num_units, num_units) from error
    return board


@contextmanager
def _completed_copy(mirror: Mirror | None, console: "Console") -> Iterator[None]:
    """If the run ends early in the block, send its pending units and its log to the copy."""
    try:
        yield
    except (IncompleteRun, RunInterrupted):
        try:
            if mirror and not mirror.broken:
                mirror.finish()
        except StorageError as error:
            console.print(f"warning: {error}", markup=False, soft_wrap=True, style="yellow")
        raise
