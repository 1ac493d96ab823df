"""What a finished tournament shows: terminal table, leaderboard files, report.html. Formats, and computes nothing."""

import csv
import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arena.tournament import wording
from arena.tournament.leaderboard import Leaderboard
from arena.tournament.report import figures, lines, matrices, pages, panels, path_table
from arena.tournament.report import tables as report_tables
from arena.tournament.report.columns import RANK, columns, scattered
from arena.tournament.report.report_data import Exhibits
from arena.tournament.wording import bps, number

if TYPE_CHECKING:
    from rich.table import Table

NOTHING = Exhibits()
TERMINAL_COLUMNS = (
    *("growth", "raw growth", "rating", "median return", "Sharpe"),
    *("drawdown", "turnover", "explicit cost"),
)
PLUS_MINUS = {"growth": ("growth", bps), "raw growth": ("growth_raw", bps), "rating": ("rating", number)}


def write_leaderboard(run: Path, leaderboard: Leaderboard, of_final: bool = False) -> tuple[Path, Path]:
    """Write leaderboard.json and leaderboard.csv (one line per entrant) into the run folder."""
    json_path, csv_path = run / "leaderboard.json", run / "leaderboard.csv"
    json_path.write_text(json.dumps(leaderboard.to_json(of_final), indent=1, allow_nan=False) + "\n")
    with csv_path.open("w", newline="") as file:
        rows = [standing.to_json() for standing in leaderboard.standings]
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return json_path, csv_path


def write_report(
    run: Path,
    leaderboard: Leaderboard,
    exhibits: Exhibits = NOTHING,
    *,
    title: str,
    config: str = "",
    environment: Mapping[str, Any] | None = None,
    command: str = "",
    notes: Sequence[str] = (),
    of_final: bool = False,
    path: Path | None = None,
) -> Path:
    """Write report.html: one file that needs no network.

    leaderboard  from ratings.leaderboard
    exhibits     from exhibits.collect: curves, a replay, forfeits
    config       the resolved configuration as text
    environment  name -> version or value
    command      that repeats the run
    notes        further warnings, such as data problems; those of the leaderboard are always shown
    of_final     in a folder inside that of the run, whose report is of the rounds before
    path         of the file; None: report.html in the folder `run`
    """
    ranking = leaderboard.ranking
    unit = wording.unit_of(leaderboard)
    wealth = panels.wealth_panels(exhibits.wealth, ranking)
    drawdown = panels.drawdown_panels(exhibits.drawdown, ranking)
    charts = {
        "growth": figures.growth_figure(leaderboard),
        "rating": figures.rating_figure(leaderboard),
        "costs": figures.cost_figure(leaderboard),
        "profiles": lines.profile_figure(leaderboard.profiles, ranking, unit),
        **{f"wealth-{place}": figure for place, figure in enumerate(wealth.figures.values())},
        **{f"drawdown-{place}": figure for place, figure in enumerate(drawdown.figures.values())},
    }
    if exhibits.path and leaderboard.continuous:
        charts["backtest"] = lines.path_figure(exhibits.path, ranking, leaderboard.continuous)
    if exhibits.settling:
        settling = exhibits.settling
        charts["running-growth"] = lines.settling_figure(settling.growth, ranking, 1e4, "growth above cash [bps]", unit)
        charts["running-rating"] = lines.settling_figure(settling.rating, ranking, 1.0, "rating (cash = 1000)", unit)
    wins = matrices.win_matrix(leaderboard)
    page = pages.render(
        "report.html.j2",
        title=title,
        claim=wording.claim(leaderboard),
        board=leaderboard,
        unit=unit,
        observed=wording.counted(leaderboard.scenarios, unit),
        columns=columns(leaderboard),
        meanings=[("rank", RANK), *((column.title, column.help) for column in columns(leaderboard))],
        tiers=tiers(leaderboard),
        forecasts=wording.forecast_claims(leaderboard),
        notes=[*leaderboard.notes, *notes],
        max_rows=figures.MAX_ROWS,
        names=matrices.shown_agents(leaderboard),
        verdicts=matrices.verdict_matrix(leaderboard),
        symbols=matrices.SYMBOLS,
        wins=wins,
        met_all=all(cell.text for i, row in enumerate(wins) for j, cell in enumerate(row.cells) if i != j),
        circles=matrices.circles(leaderboard),
        transfers=leaderboard.transfers and matrices.transfer_matrix(leaderboard.transfers),
        flags=leaderboard.transfers and matrices.flag_sentences(leaderboard.transfers),
        exhibits=exhibits,
        of_final=of_final,
        continuous=leaderboard.continuous,
        wealth=list(wealth.figures),
        drawdown=list(drawdown.figures),
        tables=_tables(leaderboard, exhibits, ranking),
        charts=pages.shortened(charts),
        backdrops=pages.shortened({"wealth": wealth.backdrop, "drawdown": drawdown.backdrop}),
        replay=pages.shortened(exhibits.replay),
        config=config,
        environment=environment or {},
        command=command,
    )
    path = path or run / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def tiers(leaderboard: Leaderboard) -> list[tuple[int | None, list[int]]]:
    """Parts of the table: (tier, places from 0). One part without a head where tiers are not runs down the ranking."""
    places = range(len(leaderboard.standings))
    if scattered(leaderboard):
        return [(None, list(places))]
    return [(tier, list(run)) for tier, run in groupby(places, key=lambda place: leaderboard.standings[place].tier)]


def _tables(leaderboard: Leaderboard, exhibits: Exhibits, ranking: list[str]) -> dict[str, report_tables.Table]:
    """What stands beside the charts, for who wants the numbers."""
    unit = wording.unit_of(leaderboard)
    found = {
        "measures": report_tables.measure_table(leaderboard),
        "pairs": report_tables.pair_table(leaderboard, matrices.shown_agents(leaderboard)),
        "costs": report_tables.cost_table(leaderboard),
        "profiles": report_tables.profile_table(leaderboard.profiles, ranking, unit),
    }
    if exhibits.wealth:
        found["wealth"] = report_tables.band_table(exhibits.wealth, ranking, 1.0, "Return at the end of a game")
        found["drawdown"] = report_tables.band_table(exhibits.drawdown, ranking, 0.0, "Drawdown at the end of a game")
    if exhibits.path and leaderboard.continuous:
        found["path"] = path_table.path_table(leaderboard.continuous, ranking)
    if exhibits.settling:
        growth, rating = exhibits.settling.growth, exhibits.settling.rating
        title = "Growth above cash in bps, 95 % interval"
        found["running-growth"] = report_tables.running_table(growth, ranking, bps, title, unit)
        title = "Rating, 95 % interval"
        found["running-rating"] = report_tables.running_table(rating, ranking, number, title, unit)
    return found


def leaderboard_table(leaderboard: Leaderboard) -> "Table":
    """The terminal table, with the claim as its caption; 120 characters wide with names of 16."""
    from rich.table import Table
    from rich.text import Text

    entries = leaderboard.standings
    caption = wording.claim(leaderboard)
    if any(entry.flag for entry in entries):
        caption += "\n* wins often, earns little"
    table = Table(
        caption=caption, caption_justify="left", header_style="bold", box=None, pad_edge=False, collapse_padding=True
    )
    table.add_column("#", justify="right")
    table.add_column("rank\n95 %", justify="right", style="dim", no_wrap=True)
    table.add_column("tier", justify="right", no_wrap=True)
    table.add_column("agent", no_wrap=True)
    board = {column.title: column for column in columns(leaderboard)}
    for title in TERMINAL_COLUMNS:
        if title in board:
            unit = board[title].unit.removesuffix(" above cash")  # the caption says so
            table.add_column("\n".join([*title.split(), unit]).rstrip(), justify="right", no_wrap=True)
            if title in PLUS_MINUS:
                table.add_column("±", justify="right", style="dim", no_wrap=True)
    for place, entry in enumerate(entries):
        cells = []
        for title in TERMINAL_COLUMNS:
            if title in board:
                cells.append(board[title].cells[place].text)
                if title in PLUS_MINUS:
                    field, form = PLUS_MINUS[title]
                    cells.append(wording.half_width(*entry.ends(field), form))
        name = Text(entry.agent).append(" *" if entry.flag else "", style="yellow")
        places = wording.rank_interval(entry.rank_low, entry.rank_high)
        table.add_row(str(entry.rank), places, str(entry.tier), name, *cells)
    return table
