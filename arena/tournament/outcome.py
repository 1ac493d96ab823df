"""From finished units to what a run leaves: results, leaderboard, plots, report."""

import json
from pathlib import Path
from typing import Any

from arena.tournament import curves, plots, ratings, report, store
from arena.tournament.followers import forecast_pairs
from arena.tournament.plan import Plan


def rank(run: Path, plan: Plan, seed: int) -> dict[str, Any]:
    """The leaderboard of the units that are on disk; writes nothing."""
    return _leaderboard(run, store.read_units(run, plan.units), plan, seed)


def write_outcome(run: Path, plan: Plan, seed: int, title: str) -> dict[str, Any]:
    """Write results.parquet, leaderboard.json, .csv, plots and report.html; returns the leaderboard."""
    board = _leaderboard(run, store.compact(run, plan.units), plan, seed)
    report.write_leaderboard(run, board)
    paths = store.read_paths(run)
    bands = curves.wealth_bands(paths) if paths is not None else None
    markets = store.read_markets(run)
    plots.write_plots(run / "plots", board, bands)
    report.write_report(
        run,
        board,
        title=title,
        bands=bands,
        market=curves.market_curves(markets) if markets is not None else None,
        config=(run / "config.yaml").read_text(),
        environment=json.loads((run / "environment.json").read_text()),
        command=(run / "command.txt").read_text().strip(),
        notes=data_notes(plan),
    )
    return board


def data_notes(plan: Plan) -> list[str]:
    """What a reader must know about the bars."""
    found = [] if plan.data_report is None else [f"Data: {plan.data_report.text(0).splitlines()[0]}."]
    return [*found, *plan.data_notes]


def _leaderboard(run: Path, results: Any, plan: Plan, seed: int) -> dict[str, Any]:
    return ratings.leaderboard(
        results,
        seed=seed,
        periods_per_year=plan.periods_per_year,
        kind=plan.kind,
        pairs=forecast_pairs(plan.job.entrants),
        transfers=store.read_transfers(run),
    )
