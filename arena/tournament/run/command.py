"""`arena tournament`: shows what will run, runs it, and shows the leaderboard and how to continue."""

import shlex
import sys
from pathlib import Path

from rich.console import Console

from arena.cluster.joining import LOCAL
from arena.config.tournament import TournamentConfig
from arena.errors import IncompleteRun, RunInterrupted
from arena.exit_codes import FAILED, INTERRUPTED
from arena.tournament import wording
from arena.tournament.leaderboard import Leaderboard
from arena.tournament.report.report import leaderboard_table
from arena.tournament.results.run_result import load_run
from arena.tournament.run.driver import run_tournament
from arena.tournament.schedule.formats import COPIES, newcomer
from arena.tournament.schedule.swiss import FINALISTS, ROUNDS, SEATS
from arena.tournament.setup.entrants import code_note
from arena.tournament.store.remote_folder import absolute_uri, child_uri

PIPE_WIDTH = 130  # columns where the output is no terminal
MAX_NAMES = 40  # of entrants shown before the start
FORMATS = {
    "all": "all: lineups of {seats} from the field",
    "pairs": "pairs: every two alone in a market",
    "gauntlet": "gauntlet: {newcomer} in lineups of {seats}",
    "swiss": "swiss: {rounds} rounds of lineups of {seats}, then a final of {finalists} with as many scenarios again",
    "population": "population: the field, and once more with {copies} of each entrant in turn",
}


def tournament(config: TournamentConfig, resumed: Path | None, command: str) -> int:
    """Run the tournament and return the exit code; UserError says what input cannot be used.

    resumed  the folder of a run to continue; None: a new run
    command  the words that began it
    """
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    _announce(console, config)
    if code := code_note(config):
        console.print(f"note: {code}", markup=False, style="yellow", soft_wrap=True)
    try:
        run, board = run_tournament(config, resumed, command, console)
    except RunInterrupted as stop:
        console.print()
        if stop.num_done:
            console.print(leaderboard_table(load_run(stop.run).board))
        console.print(f"\n{stop}; {_how_to_resume(config, stop.run)}", markup=False, soft_wrap=True)
        return INTERRUPTED
    except IncompleteRun as stop:
        errors = Console(stderr=True, highlight=False)
        errors.print(f"error: {stop}; {_how_to_resume(config, stop.run)}", markup=False, soft_wrap=True)
        return FAILED
    console.print()
    console.print(leaderboard_table(board))
    if board.final:
        console.print("\nthe final, in scenarios that no round has used")
        console.print(leaderboard_table(board.final))
    for sentence in wording.forecast_claims(board):
        console.print(f"forecast: {sentence}", markup=False)
    for note in board.notes:
        console.print(f"note: {note}", markup=False, style="dim")
    _show_next_steps(console, run, board)
    return 0


def _how_to_resume(config: TournamentConfig, run: Path) -> str:
    again = f"go on with\n  python scripts/tournament.py --resume {shlex.quote(str(run))}"
    copy = child_uri(absolute_uri(config.mirror), run.name) if config.mirror else None
    if copy and copy != run.resolve().as_uri():
        again += f"\nor, on any machine, with\n  python scripts/tournament.py --resume {shlex.quote(copy)}"
    return again


def _announce(console: Console, config: TournamentConfig) -> None:
    """Show what will run, before anything slow starts."""
    data, field = config.data, config.field
    more = f" and {len(field) - MAX_NAMES} more" if len(field) > MAX_NAMES else ""
    length = f"{data.episode_length} bars after {data.warmup} of warm-up"
    if data.source == "bars":
        where = f"disjoint windows of {data.dir}, {length}"
    else:
        where = f"{data.scenarios} synthetic ({data.mode} mode), {data.num_assets} assets, {length}"
    as_many = "one per core" if config.ray.address == LOCAL else "all there are"
    workers = as_many if config.ray.workers is None else str(config.ray.workers)
    lines = {
        "tournament": f"{config.name}, seed {config.seed}",
        "agents": f"{len(field)}: {', '.join(field[:MAX_NAMES])}{more}",
        "format": FORMATS[config.tournament.format].format(**_sizes(config)),
        "scenarios": where,
        "workers": "this process" if config.ray.workers == 0 else f"{workers} (Ray, {config.ray.address})",
        "out": str(config.out),
    }
    for name, value in lines.items():
        console.print(f"  {name:<10} {value}", markup=False)


def _sizes(config: TournamentConfig) -> dict[str, object]:
    """The values of the placeholders in FORMATS, as the schedule will use them."""
    schedule, field = config.tournament, config.field
    usual = {"swiss": SEATS, "pairs": 2}.get(schedule.format, len(field))
    return {
        "seats": min(schedule.seats or usual, len(field)),
        "newcomer": newcomer(field, schedule),
        "rounds": schedule.rounds or ROUNDS,
        "finalists": min(schedule.finalists or FINALISTS, len(field)),
        "copies": schedule.copies or COPIES,
    }


def _show_next_steps(console: Console, run: Path, board: Leaderboard) -> None:
    """Show where the results are and what to do next."""
    console.print(f"\nsame seed, same digest: {board.digest}", markup=False)
    for purpose, what in {
        "report": f"{run / 'report.html'}",
        "again": f"python scripts/tournament.py --config {run / 'config.yaml'}",
        "your agent": "arena check my_agent.py:MyAgent, then list it under `agents:` in a config",
        "your bars": "python scripts/tournament.py --config configs/tournament/equities.yaml --data DIR",
    }.items():
        console.print(f"  {purpose:<10} {what}", markup=False, soft_wrap=True)
