"""`arena tournament`: says what will be done, plays, ranks, says what came of it and how to go on."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arena.cluster.joining import LOCAL, check_answers, job_note
from arena.config import TournamentConfig

if TYPE_CHECKING:
    from arena.tournament.mirror import Mirror
    from arena.tournament.plan import Plan

FAILED, INTERRUPTED = 1, 130  # exit codes
PIPE_WIDTH = 130  # columns where there is no terminal to ask
MOST_NAMES = 40  # of entrants said before the start
FORMATS = {
    "all": "all: lineups of {seats} from the field",
    "pairs": "pairs: every two alone in a market",
    "gauntlet": "gauntlet: {newcomer} in lineups of {seats}",
    "swiss": "swiss: {rounds} rounds of lineups of {seats}, then a final of {finalists} with as many scenarios again",
    "population": "population: the field, and once more with {copies} of each entrant in turn",
}


def play(config: TournamentConfig, run: Path | None, command: str) -> int:
    """Returns the exit code; UserError says what cannot be used.

    run      to finish; None: a new one
    command  the words that began it
    """
    from rich.console import Console

    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    _announce(console, config)

    note = job_note(config.ray.address)
    if note and config.ray.workers != 0:
        console.print(f"note: {note}", markup=False, style="yellow")
    check_answers(config.ray.address, f"--ray.address {config.ray.address}")  # before there is a run folder

    from arena.tournament.entrants import code_note
    from arena.tournament.mirror import mirror_of
    from arena.tournament.outcome import data_notes
    from arena.tournament.plan import make_plan, resolve_paths
    from arena.tournament.remote_folder import RemoteFolder
    from arena.tournament.run_folder import check_same_inputs, create_run, save_data_report

    config = resolve_paths(config)
    if code := code_note(config):
        console.print(f"note: {code}", markup=False, style="yellow", soft_wrap=True)
    if config.mirror:
        RemoteFolder(config.mirror)  # what is wrong with it is better known before than after the bars are read
    plan = make_plan(config)
    if run is None:
        run = create_run(config, command, plan.data_digest, plan.job.forecasters, plan.agent_digests)
    else:
        check_same_inputs(run, plan.data_digest, plan.job.forecasters, plan.agent_digests)
    if plan.data_report is not None:
        save_data_report(run, plan.data_report)
        console.print(plan.data_report.text(), markup=False, style="dim")
        for note in data_notes(plan)[1:]:
            console.print(f"warning: {note}", markup=False, style="yellow")
    console.print(f"  playing    {plan.schedule.num_units} units of work\n  run folder {run}", markup=False)
    with mirror_of(run, config.mirror) as mirror:
        if mirror:
            console.print(f"  copy       {mirror.uri}", markup=False, soft_wrap=True)
        console.print()
        return _play_run(config, plan, run, console, mirror)


def _play_run(config: TournamentConfig, plan: "Plan", run: Path, console: Any, mirror: "Mirror | None") -> int:
    from arena.errors import IncompleteRun, RunInterrupted
    from arena.tournament import wording
    from arena.tournament.outcome import rank, write_outcome
    from arena.tournament.report import leaderboard_table
    from arena.tournament.session import play_all
    from arena.tournament.store import NotStored, why

    again = f"python scripts/tournament.py --resume {shlex.quote(str(run))}"
    if mirror:
        again += f"\nor, on any machine, with\n  python scripts/tournament.py --resume {shlex.quote(mirror.uri)}"
    try:
        play_all(config, plan, run, console, mirror)
    except RunInterrupted as stop:
        console.print()
        if stop.num_done:
            console.print(leaderboard_table(rank(run, plan, config.seed)))
        _put_the_rest(mirror)
        console.print(f"\n{stop}; go on with\n  {again}", markup=False, soft_wrap=True)
        return INTERRUPTED
    except IncompleteRun as stop:
        _put_the_rest(mirror)
        return _fail(str(stop), again)
    console.print()
    try:
        board = write_outcome(run, plan, config.seed, f"{config.name}, seed {config.seed}")
        if mirror:
            mirror.finish()
    except OSError as error:
        return _fail(f"all units are stored, but their outcome cannot be written to {run}: {why(error)}", again)
    except NotStored as error:
        return _fail(f"{run} is complete, its copy is not: {error}", again)
    console.print(leaderboard_table(board))
    if board["final"]:
        console.print("\nthe final, in scenarios that no round has used")
        console.print(leaderboard_table(board["final"]))
    for sentence in wording.forecast_claims(board):
        console.print(f"forecast: {sentence}", markup=False)
    for note in board["notes"]:
        console.print(f"note: {note}", markup=False, style="dim")
    _farewell(console, run, board)
    return 0


def _put_the_rest(mirror: "Mirror | None") -> None:
    """Of a run that ends early: the units that are still on their way, and the log."""
    from rich.console import Console

    from arena.tournament.store import NotStored

    try:
        if mirror and not mirror.broken:
            mirror.finish()
    except NotStored as error:
        Console(stderr=True, highlight=False).print(f"warning: {error}", markup=False, soft_wrap=True)


def _fail(sentence: str, again: str) -> int:
    from rich.console import Console

    Console(stderr=True, highlight=False).print(
        f"error: {sentence}; go on with\n  {again}", markup=False, soft_wrap=True
    )
    return FAILED


def _announce(console: Any, config: TournamentConfig) -> None:
    """What will run, said before anything slow happens."""
    data, field = config.data, config.field
    more = f" and {len(field) - MOST_NAMES} more" if len(field) > MOST_NAMES else ""
    length = f"{data.episode_length} bars after {data.warmup} of warm-up"
    if data.source == "bars":
        where = f"disjoint windows of {data.dir}, {length}"
    else:
        where = f"{data.scenarios} synthetic ({data.mode} mode), {data.num_assets} assets, {length}"
    as_many = "one per core" if config.ray.address == LOCAL else "all there are"
    workers = as_many if config.ray.workers is None else str(config.ray.workers)
    lines = {
        "tournament": f"{config.name}, seed {config.seed}",
        "agents": f"{len(field)}: {', '.join(field[:MOST_NAMES])}{more}",
        "format": FORMATS[config.tournament.format].format(**_sizes(config)),
        "scenarios": where,
        "workers": "this process" if config.ray.workers == 0 else f"{workers} (Ray, {config.ray.address})",
        "out": str(config.out),
    }
    for name, value in lines.items():
        console.print(f"  {name:<10} {value}", markup=False)


def _sizes(config: TournamentConfig) -> dict[str, object]:
    """What the sentences of FORMATS speak of, as the schedule will have it."""
    from arena.tournament.formats import COPIES, newcomer
    from arena.tournament.swiss import FINALISTS, ROUNDS, SEATS

    schedule, field = config.tournament, config.field
    usual = {"swiss": SEATS, "pairs": 2}.get(schedule.format, len(field))
    return {
        "seats": min(schedule.seats or usual, len(field)),
        "newcomer": newcomer(field, schedule),
        "rounds": schedule.rounds or ROUNDS,
        "finalists": min(schedule.finalists or FINALISTS, len(field)),
        "copies": schedule.copies or COPIES,
    }


def _farewell(console: Any, run: Path, board: dict[str, Any]) -> None:
    """Where everything is and what to do next."""
    console.print(f"\nsame seed, same digest: {board['digest']}", markup=False)
    for purpose, what in {
        "report": f"{run / 'report.html'}",
        "again": f"python scripts/tournament.py --config {run / 'config.yaml'}",
        "your agent": "arena check my_agent.py:MyAgent, then list it under `agents:` in a config",
        "your bars": "python scripts/tournament.py --config configs/tournament/equities.yaml --data DIR",
    }.items():
        console.print(f"  {purpose:<10} {what}", markup=False, soft_wrap=True)
