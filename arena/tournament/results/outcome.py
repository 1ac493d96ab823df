"""From finished units to what a run leaves: results, leaderboard, plots, report."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from arena.tournament import wording
from arena.tournament.leaderboard import ContinuousPath, Leaderboard
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


def rank(run: Path, plan: Plan, seed: int) -> Leaderboard:
    """The leaderboard of the units that are on disk; writes nothing."""
    units = run_state(run, plan.schedule).present
    return rank_units(run, units, store.read_units(run, units), ranking_plan(plan), seed)


def write_outcome(run: Path, plan: Plan, seed: int, title: str) -> Leaderboard:
    """Write results.parquet, leaderboard.json, .csv, plots and report.html; returns the leaderboard.

    A final leaves the same files for its own games in the folder RUN/final.
    """
    units = run_state(run, plan.schedule).present
    results = store.compact(run, units)
    board = rank_units(run, units, results, ranking_plan(plan), seed)
    _write(run, run, plan.schedule.ranked(results), board, title)
    if board.final:
        _write(run, run / "final", plan.schedule.finale(results), board.final, f"{title}: final")
    return board


def rank_units(run: Path, units: Sequence[Unit], results: "pa.Table", plan: RankingPlan, seed: int) -> Leaderboard:
    """The leaderboard of the field from finished units and their rows; writes nothing.

    The format adds final, stop and population. Every leaderboard also says what a report is written again from:
    lineups, data and continuous.
    """
    board = _leaderboard(run, plan.schedule.ranked(results), plan.facts, seed)
    final, stop, crowd, notes = None, None, None, board.notes
    finale = plan.schedule.finale(results)
    if finale is not None:
        final = _leaderboard(run, finale, plan.facts, seed)
        notes = [f"The final, in scenarios that no round has used: {wording.claim(final)}", *notes]
    if plan.stop is not None:
        watch = stopping.StopMonitor(plan.stop, plan.schedule, plan.schedule.stage(0, None))
        for unit in units:
            watch.add(unit, store.read_unit(run, unit))
        finding = watch.finding()
        if finding is not None:
            stop = finding.to_json(plan.stop.margin)
            notes = [*notes, *stopping.sentences(finding, plan.stop.margin, plan.facts.num_scenarios)]
    if plan.num_copies:
        field = list(plan.schedule.stage(0, None)[0].lineup.agents)
        crowd = crowding.crowding(results, field, plan.num_copies, board.headline, plan.facts.kind)
        notes = [*notes, *crowding.sentences(crowd)]
    return replace(board, digest=digest(results), notes=notes, final=final, stop=stop, population=crowd)


def _leaderboard(run: Path, results: "pa.Table", facts: RankingFacts, seed: int) -> Leaderboard:
    board = ratings.leaderboard(
        results,
        seed=seed,
        periods_per_year=facts.periods_per_year,
        kind=facts.kind,
        pairs=[(follower, baseline) for follower, baseline in facts.forecast_pairs],
        transfers=report_data.of_games(store.read_transfers(run), results),
    )
    lineups = results["lineup"].to_numpy()
    path = _continuous(run, results, board, facts)
    why = [f"No continuous path: {path['reason']}."] if path["reason"] and facts.kind == "window" else []
    return replace(
        board,
        lineups=(int(lineups.min()), int(lineups.max())),
        data=facts.data_notes,
        continuous=path,
        notes=[*board.notes, *why],
    )


def _continuous(run: Path, results: "pa.Table", board: Leaderboard, facts: RankingFacts) -> ContinuousPath:
    """What continuous.summary says, with the first time of each window and the last of all."""
    if facts.windows is None:
        return {"reason": continuous.NO_HISTORY}
    paths = report_data.of_games(store.read_paths(run), results)
    found = continuous.summary(paths, results, board.ranking, facts.periods_per_year, board.cash or "cash")
    if found["reason"] is None:
        played = np.unique(results["scenario"].to_numpy()).tolist()
        begins, ends = facts.windows
        found |= {"begins": [begins[window] for window in played], "ends": ends[played[-1]]}
    return found


def _write(run: Path, folder: Path, results: "pa.Table | None", board: Leaderboard, title: str) -> None:
    """Leaderboard files, plots and report of some rows of a run, with what was kept of their games."""
    folder.mkdir(exist_ok=True)
    report.write_leaderboard(folder, board, of_final=folder != run)
    shown = report_data.collect(run, results, board)
    plots.write_plots(folder / "plots", board, shown.wealth)
    write_page(run, folder, board, shown, title)


def write_page(
    run: Path, folder: Path, board: Leaderboard, shown: report_data.Exhibits, title: str, path: Path | None = None
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
        notes=board.data,
        of_final=folder != run,
        path=path,
    )
