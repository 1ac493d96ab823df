"""From finished units to what a run leaves: results, leaderboard, plots, report."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arena.tournament import wording
from arena.tournament.report import plots, report, report_data
from arena.tournament.schedule.finished_units import run_state
from arena.tournament.setup import stopping
from arena.tournament.setup.plan import Plan
from arena.tournament.setup.ranking_plan import RankingFacts, RankingPlan, ranking_plan
from arena.tournament.setup.ranking_plan import data_notes as data_notes
from arena.tournament.stats import continuous
from arena.tournament.stats import leaderboard as ratings
from arena.tournament.stats import population as crowding
from arena.tournament.store import units as store
from arena.tournament.store.digest import digest
from arena.tournament.types import Unit

if TYPE_CHECKING:
    import pyarrow as pa


def rank(run: Path, plan: Plan, seed: int) -> dict[str, Any]:
    """The leaderboard of the units that are on disk; writes nothing."""
    units = run_state(run, plan.schedule).present
    return rank_units(run, units, store.read_units(run, units), ranking_plan(plan), seed)


def write_outcome(run: Path, plan: Plan, seed: int, title: str) -> dict[str, Any]:
    """Write results.parquet, leaderboard.json, .csv, plots and report.html; returns the leaderboard.

    A final leaves the same files for its own games in the folder RUN/final.
    """
    units = run_state(run, plan.schedule).present
    results = store.compact(run, units)
    board = rank_units(run, units, results, ranking_plan(plan), seed)
    _write(run, run, plan.schedule.ranked(results), board, title)
    if board["final"]:
        _write(run, run / "final", plan.schedule.finale(results), board["final"], f"{title}: final")
    return board


def rank_units(run: Path, units: Sequence[Unit], results: "pa.Table", plan: RankingPlan, seed: int) -> dict[str, Any]:
    """The leaderboard of the field from finished units and their rows; writes nothing.

    The format adds keys: final, stop and population, None where there is none.
    Every leaderboard also says what a report is written again from: lineups, the first and last of its rows, and data,
    what is known of the bars; and continuous, see continuous.summary, with "begins" and "ends", times of the windows.
    """
    board = _leaderboard(run, plan.schedule.ranked(results), plan.facts, seed)
    board |= {"digest": digest(results), "final": None, "stop": None, "population": None}
    finale = plan.schedule.finale(results)
    if finale is not None:
        board["final"] = _leaderboard(run, finale, plan.facts, seed)
        board["notes"].insert(0, f"The final, in scenarios that no round has used: {wording.claim(board['final'])}")
    if plan.stop is not None:
        watch = stopping.StopMonitor(plan.stop, plan.schedule, plan.schedule.stage(0, None))
        for unit in units:
            watch.add(unit, store.read_unit(run, unit))
        finding = watch.finding()
        if finding is not None:
            against = {other: decision._asdict() for other, decision in finding.against.items()}
            board["stop"] = finding._asdict() | {"against": against, "margin": plan.stop.margin}
            board["notes"] += stopping.sentences(finding, plan.stop.margin, plan.facts.num_scenarios)
    if plan.num_copies:
        field = list(plan.schedule.stage(0, None)[0].lineup.agents)
        board["population"] = crowding.crowding(results, field, plan.num_copies, board["headline"], plan.facts.kind)
        board["notes"] += crowding.sentences(board["population"])
    return board


def _leaderboard(run: Path, results: "pa.Table", facts: RankingFacts, seed: int) -> dict[str, Any]:
    board = ratings.leaderboard(
        results,
        seed=seed,
        periods_per_year=facts.periods_per_year,
        kind=facts.kind,
        pairs=[(follower, baseline) for follower, baseline in facts.forecast_pairs],
        transfers=report_data.of_games(store.read_transfers(run), results),
    )
    lineups = results["lineup"].to_numpy()
    board |= {"lineups": [int(lineups.min()), int(lineups.max())], "data": facts.data_notes}
    board["continuous"] = _continuous(run, results, board, facts)
    if board["continuous"]["reason"] and facts.kind == "window":
        board["notes"].append(f"No continuous path: {board['continuous']['reason']}.")
    return board


def _continuous(run: Path, results: "pa.Table", board: dict[str, Any], facts: RankingFacts) -> dict[str, Any]:
    """What continuous.summary says, with the first time of each window and the last of all."""
    if facts.windows is None:
        return {"reason": continuous.NO_HISTORY}
    ranking = [entry["agent"] for entry in board["agents"]]
    paths = report_data.of_games(store.read_paths(run), results)
    found = continuous.summary(paths, results, ranking, facts.periods_per_year, board["cash"] or "cash")
    if found["reason"] is None:
        played = np.unique(results["scenario"].to_numpy()).tolist()
        begins, ends = facts.windows
        found |= {"begins": [begins[window] for window in played], "ends": ends[played[-1]]}
    return found


def _write(run: Path, folder: Path, results: "pa.Table | None", board: dict[str, Any], title: str) -> None:
    """Leaderboard files, plots and report of some rows of a run, with what was kept of their games."""
    folder.mkdir(exist_ok=True)
    report.write_leaderboard(folder, board)
    shown = report_data.collect(run, results, board)
    plots.write_plots(folder / "plots", board, shown.wealth)
    write_page(run, folder, board, shown, title)


def write_page(
    run: Path, folder: Path, board: Mapping[str, Any], shown: report_data.Exhibits, title: str, path: Path | None = None
) -> Path:
    """Write report.html of a leaderboard (or `path`), with what the folder of the run says of its making."""
    return report.write_report(
        folder,
        board,
        shown,
        title=title,
        config=(run / "config.yaml").read_text(),
        environment=json.loads((run / "environment.json").read_text()),
        command=(run / "command.txt").read_text().strip(),
        notes=board["data"],
        of_final=folder != run,
        path=path,
    )
