"""From finished units to what a run leaves: results, leaderboard, plots, report."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from arena.tournament import continuous, crowding, exhibits, plots, ratings, report, stopping, store, wording
from arena.tournament.digest import digest
from arena.tournament.followers import forecast_pairs
from arena.tournament.plan import Plan
from arena.tournament.survey import survey

if TYPE_CHECKING:
    import pyarrow as pa


def rank(run: Path, plan: Plan, seed: int) -> dict[str, Any]:
    """The leaderboard of the units that are on disk; writes nothing."""
    return _whole(run, store.read_units(run, survey(run, plan.schedule).present), plan, seed)


def write_outcome(run: Path, plan: Plan, seed: int, title: str) -> dict[str, Any]:
    """Write results.parquet, leaderboard.json, .csv, plots and report.html; returns the leaderboard.

    A final leaves the same files for its own games in the folder RUN/final.
    """
    results = store.compact(run, survey(run, plan.schedule).present)
    board = _whole(run, results, plan, seed)
    _write(run, run, plan.schedule.ranked(results), board, plan, title)
    if board["final"]:
        _write(run, run / "final", plan.schedule.finale(results), board["final"], plan, f"{title}: final")
    return board


def data_notes(plan: Plan) -> list[str]:
    """What a reader must know about the bars."""
    found = [] if plan.data_report is None else [f"Data: {plan.data_report.text(0).splitlines()[0]}."]
    return [*found, *plan.data_notes]


def _whole(run: Path, results: "pa.Table", plan: Plan, seed: int) -> dict[str, Any]:
    """The leaderboard of the field, and what the format adds to it: keys final, stop and population, None without.

    Every leaderboard also says what a report is written again from: lineups, the first and last of its rows, and data,
    what is known of the bars; and continuous, see continuous.summary, with "begins" and "ends", times of the windows.
    """
    board = _leaderboard(run, plan.schedule.ranked(results), plan, seed)
    board |= {"digest": digest(results), "final": None, "stop": None, "population": None}
    finale = plan.schedule.finale(results)
    if finale is not None:
        board["final"] = _leaderboard(run, finale, plan, seed)
        board["notes"].insert(0, f"The final, in scenarios that no round has used: {wording.claim(board['final'])}")
    if plan.stop is not None:
        watch = stopping.Watch(plan.stop, plan.schedule, plan.units)
        for unit in survey(run, plan.schedule).present:
            watch.add(unit, store.read_unit(run, unit))
        finding = watch.finding()
        if finding is not None:
            against = {other: decision._asdict() for other, decision in finding.against.items()}
            board["stop"] = finding._asdict() | {"against": against, "margin": plan.stop.margin}
            board["notes"] += stopping.sentences(finding, plan.stop.margin, plan.num_scenarios)
    if plan.num_copies:
        field = list(plan.schedule.stage(0, None)[0].lineup.agents)
        board["population"] = crowding.crowding(results, field, plan.num_copies, board["headline"], plan.kind)
        board["notes"] += crowding.sentences(board["population"])
    return board


def _leaderboard(run: Path, results: "pa.Table", plan: Plan, seed: int) -> dict[str, Any]:
    board = ratings.leaderboard(
        results,
        seed=seed,
        periods_per_year=plan.periods_per_year,
        kind=plan.kind,
        pairs=forecast_pairs(plan.job.entrants),
        transfers=exhibits.of_games(store.read_transfers(run), results),
    )
    lineups = results["lineup"].to_numpy()
    board |= {"lineups": [int(lineups.min()), int(lineups.max())], "data": data_notes(plan)}
    board["continuous"] = _continuous(run, results, board, plan)
    if board["continuous"]["reason"] and plan.kind == "window":
        board["notes"].append(f"No continuous path: {board['continuous']['reason']}.")
    return board


def _continuous(run: Path, results: "pa.Table", board: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """What continuous.summary says, with the first time of each window and the last of all."""
    windows = plan.job.windows
    if windows is None or windows.timestamps is None:
        return {"reason": continuous.NO_HISTORY}
    ranking = [entry["agent"] for entry in board["agents"]]
    paths = exhibits.of_games(store.read_paths(run), results)
    found = continuous.summary(paths, results, ranking, plan.periods_per_year, board["cash"] or "cash")
    if found["reason"] is None:
        times = windows.timestamps.numpy().astype("datetime64[us]")
        times = times.astype("datetime64[D]" if windows.dt >= 1 else "datetime64[m]").astype(str)
        played = np.unique(results["scenario"].to_numpy())
        found |= {"begins": times[played, windows.warmup].tolist(), "ends": str(times[played[-1], -1])}
    return found


def _write(run: Path, folder: Path, results: "pa.Table | None", board: dict[str, Any], plan: Plan, title: str) -> None:
    """Leaderboard files, plots and report of some rows of a run, with what was kept of their games."""
    folder.mkdir(exist_ok=True)
    report.write_leaderboard(folder, board)
    shown = exhibits.collect(run, results, board)
    plots.write_plots(folder / "plots", board, shown.wealth)
    write_page(run, folder, board, shown, title)


def write_page(run: Path, folder: Path, board: dict[str, Any], shown: exhibits.Exhibits, title: str) -> Path:
    """Write report.html of a leaderboard, with what the folder of the run says of its making."""
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
    )
