"""From the folder of a run, or the URI of its copy, to its results."""

from dataclasses import replace
from pathlib import Path

from arena.config.files import read_config
from arena.errors import UserError
from arena.tournament.report.run_comparison import read_board
from arena.tournament.results.batches import Batches
from arena.tournament.results.tournament_run import TournamentRun as TournamentRun

COPIES = Path("runs")  # parent of copies of runs that lie behind a URI


def load_run(run: str | Path, copies: str | Path = COPIES) -> TournamentRun:
    """The results of a finished or unfinished run. Opens no agent; UserError says in a sentence what is wrong.

    run     its folder, such as runs/0001-default, or the URI of its copy, such as s3://bucket/runs/0001-default-1a2b3c4d
    copies  the folder into which a run behind a URI is copied first
    """
    path = local_folder(run, Path(copies))
    example = "Give the folder of a run, such as runs/0001-default."
    if not path.is_dir():
        raise UserError(f"{path}: no such folder. {example}")
    if not (path / "config.yaml").is_file():
        raise UserError(f"{path}: no config.yaml there, so it is not the folder of a run. {example}")
    if (path / "leaderboard.json").is_file():
        return TournamentRun(path, read_board(path))
    return _unfinished_run(path)


def local_folder(run: str | Path, copies: Path = COPIES) -> Path:
    """The folder of a run; of one behind a URI, a copy without its single units if it is finished."""
    uri = str(run)
    if "://" not in uri:
        return Path(run)
    from arena.tournament.store.mirror import fetch_run

    path = fetch_run(uri, copies, left_out=("units/",))
    if not path.is_dir():
        raise UserError(
            f"{uri}: nothing is there. Give the URI of a run, such as s3://BUCKET/runs/0001-default-1a2b3c4d."
        )
    return path if (path / "leaderboard.json").exists() else fetch_run(uri, copies)


def _unfinished_run(path: Path) -> TournamentRun:
    """Ranked from the units that are there; changes nothing in the folder."""
    from arena.tournament.results.outcome import rank_units
    from arena.tournament.schedule.finished_units import run_state
    from arena.tournament.setup.ranking_plan import read_ranking_plan
    from arena.tournament.store.units import read_units

    config = read_config(path / "config.yaml")
    ranking = read_ranking_plan(path, config)
    found = run_state(path, ranking.schedule, set_aside=False)
    batches = Batches(len(found.present), ranking.schedule.num_units)
    if not found.present:
        raise UserError(
            f"{path}: none of {batches.planned} batches is finished, so there is nothing to rank. "
            f"Use `arena tournament --resume {path}` to continue the run."
        )
    rows = read_units(path, found.present)
    board = rank_units(path, found.present, rows, ranking, config.seed)
    if not found.missing:
        return TournamentRun(path, board, rows=rows)
    return TournamentRun(path, replace(board, notes=[batches.sentence, *board.notes]), batches, rows)
