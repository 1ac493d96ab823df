"""What a report shows beside the leaderboard: read from the folder of a run, and worked out here."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from arena.tournament.leaderboard import Leaderboard
from arena.tournament.report.replay import Replay, replay
from arena.tournament.stats import continuous, curves
from arena.tournament.stats.continuous import Curve
from arena.tournament.stats.convergence import Settling, settle
from arena.tournament.stats.curves import Band
from arena.tournament.store import units
from arena.tournament.types import FORFEIT

if TYPE_CHECKING:
    import pyarrow as pa


class Forfeits(NamedTuple):
    """Games that an entrant lost for one reason."""

    agent: str
    reason: str
    games: int
    scenario: int  # of the first of them
    traceback: str  # of that one; "" if there was none


class DataProblem(NamedTuple):
    """One kind of finding in the user's bars."""

    severity: str
    check: str
    found: int
    example: str
    remedy: str


class Exhibits(NamedTuple):
    """Empty or None where a run has kept nothing to show."""

    wealth: Mapping[str, Band] = {}  # by entrant
    drawdown: Mapping[str, Band] = {}
    path: Mapping[str, Curve] = {}  # one continuous one by entrant, of real bars
    replay: Replay | None = None
    settling: Settling | None = None
    forfeits: tuple[Forfeits, ...] = ()
    data_problems: tuple[DataProblem, ...] = ()


def collect(run: Path, results: "pa.Table", board: Leaderboard) -> Exhibits:
    """What there is to show of these rows of a run."""
    paths, markets = (of_games(table, results) for table in (units.read_paths(run), units.read_markets(run)))
    found = board.continuous
    return Exhibits(
        wealth=curves.wealth_bands(paths) if paths is not None else {},
        drawdown=curves.drawdown_bands(paths) if paths is not None else {},
        path=continuous.curves(paths, found) if paths is not None and found and found["reason"] is None else {},
        replay=replay(markets) if markets is not None else None,
        settling=settle(results, board.headline, board.scenario_kind, board.seed, board.cash or "cash"),
        forfeits=forfeits(results),
        data_problems=data_problems(run),
    )


def of_games(table: "pa.Table | None", results: "pa.Table") -> "pa.Table | None":
    """What was kept of the games and entrants of these rows; None if nothing was."""
    if table is None:
        return None
    import pyarrow.compute as pc

    chosen = pc.is_in(table["lineup"], pc.unique(results["lineup"]))
    agents = pc.unique(results["agent"])
    for column in {"agent", "by"} & set(table.column_names):
        chosen = pc.and_(chosen, pc.is_in(table[column], agents))
    kept = table.filter(chosen)
    return kept if kept.num_rows else None


def forfeits(results: "pa.Table") -> tuple[Forfeits, ...]:
    """By entrant and reason, the most games first."""
    rows = results.filter(np.asarray(results["status"].to_pylist(), dtype=str) == FORFEIT)
    found: dict[tuple[str, str], Forfeits] = {}
    for row in rows.select(["agent", "reason", "scenario", "traceback"]).to_pylist():
        key = row["agent"], row["reason"]
        first = found.get(key, Forfeits(*key, 0, row["scenario"], row["traceback"]))
        found[key] = first._replace(games=first.games + 1)
    return tuple(sorted(found.values(), key=lambda item: (-item.games, item.agent, item.reason)))


def data_problems(run: Path) -> tuple[DataProblem, ...]:
    """Findings of RUN/data_report.json by kind, errors first; none for synthetic bars."""
    path = run / "data_report.json"
    if not path.exists():
        return ()
    found: dict[tuple[str, str], DataProblem] = {}
    for item in json.loads(path.read_text())["findings"]:
        key = item["severity"], item["check"]
        where = item["symbol"] + (f" at {item['timestamp']}" if item["timestamp"] else "")
        first = found.get(key, DataProblem(*key, 0, f"{where}: {item['message']}", item["remedy"]))
        found[key] = first._replace(found=first.found + 1)
    return tuple(found[key] for key in sorted(found))
