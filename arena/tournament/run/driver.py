"""Runs a tournament from its config to its leaderboard: what `arena.run_tournament` and `arena tournament` call."""

from pathlib import Path
from typing import TYPE_CHECKING

from arena.cluster.joining import check_answers, job_note
from arena.config.tournament import TournamentConfig
from arena.errors import IncompleteRun, RunInterrupted
from arena.tournament.leaderboard import Leaderboard

if TYPE_CHECKING:
    from rich.console import Console

    from arena.tournament.setup.plan import Plan
    from arena.tournament.store.mirror import Mirror


def run_tournament(
    config: TournamentConfig, resumed: Path | None, command: str, console: "Console"
) -> tuple[Path, Leaderboard]:
    """Play what is missing, rank, write the report. Returns the run folder and its leaderboard.

    resumed  the folder of a run to continue; None begins a new one
    command  what began the run, for RUN/command.txt
    console  takes the progress; rich's Console(quiet=True) shows nothing

    UserError: an input cannot be used, and there is no new run folder. IncompleteRun, RunInterrupted: what is finished
    is stored, and the exception names the folder to continue with.
    """
    note = job_note(config.ray.address)
    if note and config.ray.workers != 0:
        console.print(f"note: {note}", markup=False, style="yellow")
    check_answers(config.ray.address, f"--ray.address {config.ray.address}")  # before there is a run folder

    from arena.tournament.setup.plan import make_plan, resolve_paths
    from arena.tournament.store.mirror import mirror_of
    from arena.tournament.store.remote_folder import RemoteFolder

    config = resolve_paths(config)
    if config.mirror:
        RemoteFolder(config.mirror)  # what is wrong with it is better known before than after the bars are read
    plan = make_plan(config)
    run, plan = _folder(config, plan, resumed, command)
    _say_begin(console, plan, run)
    with mirror_of(run, config.mirror) as mirror:
        if mirror:
            console.print(f"  copy       {mirror.uri}", markup=False, soft_wrap=True)
        console.print()
        return run, _played(config, plan, run, console, mirror)


def _folder(config: TournamentConfig, plan: "Plan", resumed: Path | None, command: str) -> tuple[Path, "Plan"]:
    """The run folder, and the plan with the agents' files where the run keeps them."""
    from arena.tournament.run.shipping import moved
    from arena.tournament.store.run_folder import check_same_inputs, create_run, kept_agents, save_data_report

    if resumed is None:
        run = create_run(config, command, plan.data_digest, plan.job.forecasters, plan.agent_digests)
        plan = plan._replace(job=moved(plan.job, kept_agents(config, run)))
    else:
        run = resumed
        check_same_inputs(run, plan.data_digest, plan.job.forecasters, plan.agent_digests)
    if plan.data_report is not None:
        save_data_report(run, plan.data_report)
    return run, plan


def _say_begin(console: "Console", plan: "Plan", run: Path) -> None:
    from arena.tournament.results.outcome import data_notes

    if plan.data_report is not None:
        console.print(plan.data_report.text(), markup=False, style="dim")
        for note in data_notes(plan)[1:]:
            console.print(f"warning: {note}", markup=False, style="yellow")
    console.print(f"  playing    {plan.schedule.num_units} batches of markets\n  run folder {run}", markup=False)


def _played(
    config: TournamentConfig, plan: "Plan", run: Path, console: "Console", mirror: "Mirror | None"
) -> Leaderboard:
    from arena.tournament.results.outcome import write_outcome
    from arena.tournament.run.session import play_all
    from arena.tournament.store.units import NotStored, why

    num_units = plan.schedule.num_units
    try:
        play_all(config, plan, run, console, mirror)
    except (IncompleteRun, RunInterrupted):
        _put_the_rest(mirror, console)
        raise
    try:
        board = write_outcome(run, plan, config.seed, f"{config.name}, seed {config.seed}")
        if mirror:
            mirror.finish()
    except OSError as error:
        reason = f"the leaderboard cannot be written to {run}: {why(error)}: stopped"
        raise IncompleteRun(reason, run, num_units, num_units) from error
    except NotStored as error:
        reason = f"{run} is complete, its copy is not: {error}: stopped"
        raise IncompleteRun(reason, run, num_units, num_units) from error
    return board


def _put_the_rest(mirror: "Mirror | None", console: "Console") -> None:
    """Of a run that ends early: the units that are still on their way, and the log."""
    from arena.tournament.store.units import NotStored

    try:
        if mirror and not mirror.broken:
            mirror.finish()
    except NotStored as error:
        console.print(f"warning: {error}", markup=False, soft_wrap=True, style="yellow")
