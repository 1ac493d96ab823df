"""Several finished runs side by side: what each entrant did in each, and in which settings the runs differ."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from arena.config.files import read_config
from arena.errors import UserError
from arena.tournament.leaderboard import Leaderboard, Standing

NEEDED = (
    "agents",
    "notes",
    "lineups",
    "data",
    "pairs",
    "profiles",
    "transfers",
    "transitivity",
    "confidence_set",
    "digest",
)
NOT_A_SETTING = ("name", "out", "mirror", "ray")  # of a config: they change no result
NOWHERE = "not set"


class Placed(NamedTuple):
    """An entrant in one run."""

    standing: Standing
    change: int | None  # places up since the first of the runs it was in; None there


class Comparison(NamedTuple):
    """Runs in the order they were given."""

    runs: list[str]
    standings: dict[str, list[Placed | None]]  # entrant -> one per run, None where it did not play
    settings: dict[str, list[str]]  # setting or version that differs -> its value in each run
    same_results: bool  # all digests are equal


def read_board(run: Path) -> Leaderboard:
    """The leaderboard of a finished run; what an older version did not keep is None, and a note says so."""
    path = run / "leaderboard.json"
    if not path.is_file():
        raise UserError(
            f"{run}: no leaderboard.json there; give the folder of a finished run, such as runs/0001-default"
        )
    try:
        board: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}), so it is damaged. {_again(run)}") from error
    if not isinstance(board, dict):
        raise UserError(f"{path}: expected a JSON object, found {type(board).__name__}. {_again(run)}")
    missing = [key for key in NEEDED if key not in board]
    if missing:
        raise UserError(f"{path}: written by another version or damaged (no {missing[0]!r}). {_again(run)}")
    try:
        if board.get("final"):
            board["final"] = _complete(board["final"], run)
        return Leaderboard.from_json(_complete(board, run))
    except (KeyError, TypeError) as error:
        raise UserError(f"{path}: written by another version or damaged ({error}). {_again(run)}") from error


def compare(runs: Sequence[Path]) -> Comparison:
    """Leaderboards and settings of finished runs."""
    boards = [read_board(run) for run in runs]
    settings = [flat(_settings(run)) for run in runs]
    agents = dict.fromkeys(agent for board in boards for agent in board.ranking)
    every = dict.fromkeys(name for found in settings for name in found)
    values = {name: [str(found.get(name, NOWHERE)) for found in settings] for name in every}
    return Comparison(
        names_of(runs),
        {name: _standings(name, boards) for name in agents},
        {name: found for name, found in values.items() if len(set(found)) > 1},
        len({board.digest for board in boards}) == 1,
    )


def names_of(runs: Sequence[Path]) -> list[str]:
    """Folder names, with as many of the folders above as it takes to tell them apart."""
    parts = [run.resolve().parts for run in runs]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(set(parts)):
            break
    return names


def flat(nested: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """{"a": {"b": 1}} -> {"a.b": 1}; lists are numbered from 1."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        name = f"{before}{key}"
        if isinstance(value, list):
            value = {str(place): item for place, item in enumerate(value, start=1)}
        if isinstance(value, Mapping):
            found |= flat(value, f"{name}.")
        else:
            found[name] = value
    return found


def _again(run: Path) -> str:
    return f"Use `arena tournament --resume {run}` to write it again."


def _complete(board: dict[str, Any], run: Path) -> dict[str, Any]:
    if "sortino" in board["agents"][0]:
        return board
    note = (
        "Played by an older version, which kept neither Sortino and Calmar ratios nor fees apart from the spread: "
        f"`arena tournament --resume {run}` plays it again and has them."
    )
    return board | {"notes": [*board["notes"], note]}


def _standings(agent: str, boards: Sequence[Leaderboard]) -> list[Placed | None]:
    found: list[Placed | None] = []
    first: int | None = None
    for board in boards:
        standing = next((standing for standing in board.standings if standing.agent == agent), None)
        if standing is None:
            found.append(None)
            continue
        found.append(Placed(standing, None if first is None else first - standing.rank))
        first = standing.rank if first is None else first
    return found


def _settings(run: Path) -> dict[str, Any]:
    config = read_config(run / "config.yaml")
    environment = json.loads((run / "environment.json").read_text())
    kept = {name: value for name, value in config.model_dump(mode="json").items() if name not in NOT_A_SETTING}
    # Entrants by name: one more at the front must not make all that follow look different.
    kept["agents"] = {agent.names[0]: agent.model_dump(mode="json", exclude={"name"}) for agent in config.agents}
    return kept | {"environment": environment}
