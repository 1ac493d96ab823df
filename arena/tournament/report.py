"""What a finished tournament shows: terminal table, leaderboard files, report.html. Formats, and computes nothing."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arena.tournament import figures, wording
from arena.tournament.curves import MarketCurves, WealthBand
from arena.tournament.wording import bps, interval, number, percent

if TYPE_CHECKING:
    from rich.table import Table

TERMINAL_COLUMNS = ("growth", "raw growth", "rating", "median return", "Sharpe", "drawdown", "turnover", "cost")
PLUS_MINUS = {"growth": ("growth", bps), "raw growth": ("growth_raw", bps), "rating": ("rating", number)}


def write_leaderboard(run: Path, leaderboard: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write leaderboard.json and leaderboard.csv (one line per entrant) into the run folder."""
    json_path, csv_path = run / "leaderboard.json", run / "leaderboard.csv"
    json_path.write_text(json.dumps(leaderboard, indent=1, allow_nan=False) + "\n")
    with csv_path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(leaderboard["agents"][0]))
        writer.writeheader()
        writer.writerows(leaderboard["agents"])
    return json_path, csv_path


def write_report(
    run: Path,
    leaderboard: Mapping[str, Any],
    *,
    title: str,
    bands: Mapping[str, WealthBand] | None = None,
    market: MarketCurves | None = None,
    config: str = "",
    environment: Mapping[str, Any] | None = None,
    command: str = "",
    notes: Sequence[str] = (),
) -> Path:
    """Write report.html: one file that needs no network.

    leaderboard  from ratings.leaderboard
    bands        from curves.wealth_bands, None when no paths were kept
    market       from curves.market_curves, None when no market was kept
    config       the resolved configuration as text
    environment  name -> version or value
    command      that repeats the run
    notes        further warnings, such as data problems; those of the leaderboard are always shown
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from plotly.offline import get_plotlyjs

    templates = Environment(
        loader=PackageLoader("arena.tournament"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    charts = {
        "growth": figures.growth_figure(leaderboard),
        "rating": figures.rating_figure(leaderboard),
        "costs": figures.cost_figure(leaderboard),
    }
    if bands:
        charts["wealth"] = figures.wealth_figure(bands, leaderboard)
    if market:
        charts["market"] = figures.market_figure(market)
    page = templates.get_template("report.html.j2").render(
        title=title,
        claim=wording.claim(leaderboard),
        board=leaderboard,
        columns=columns(leaderboard),
        forecasts=wording.forecast_claims(leaderboard),
        wins=win_cells(leaderboard["wins"]),
        notes=[*leaderboard["notes"], *notes],
        charts=charts,
        market=market,
        config=config,
        environment=environment or {},
        command=command,
        plotly_js=get_plotlyjs(),
        num_path_games=min((band.num_games for band in bands.values()), default=0) if bands else 0,
    )
    path = run / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def columns(leaderboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The leaderboard as columns of text: [{"title", "unit", "help", "cells": [(main, small) per entrant]}]."""
    entries = leaderboard["agents"]

    def column(title: str, unit: str, help_text: str, cells: list[tuple[str, str]]) -> dict[str, Any]:
        return {"title": title, "unit": unit, "help": help_text, "cells": cells}

    def single(field: str, form: Any) -> list[tuple[str, str]]:
        return [(form(entry[field]), "") for entry in entries]

    def ranged(field: str, form: Any) -> list[tuple[str, str]]:
        return [
            (form(entry[field]), interval(form(entry[f"{field}_low"]), form(entry[f"{field}_high"])))
            for entry in entries
        ]

    unit = "bps above cash" if leaderboard["cash"] else "bps"
    table = [column("growth", unit, "mean log growth per game, 95 % interval by scenario", ranged("growth", bps))]
    if leaderboard["headline"] == "growth_cv":
        table.append(column("raw growth", "bps", "the same without the control variate", ranged("growth_raw", bps)))
    return [
        *table,
        column("rating", "Elo", "Plackett-Luce on rankings within matches, cash = 1000", ranged("rating", number)),
        column("median return", "", "per game", single("median_return", lambda value: percent(value, signed=True))),
        column("worst return", "", "of all games", single("worst_return", lambda value: percent(value, signed=True))),
        column("Sharpe", "per year", "of all steps pooled", ranged("sharpe", lambda value: number(value, 2))),
        column("drawdown", "", "median of the deepest drawdown of a game", single("max_drawdown", percent)),
        column("turnover", "", "one-way, in nav per game", single("turnover", lambda value: number(value, 1))),
        column("cost", "bps", "spread and fees per game", single("cost", lambda value: bps(value, signed=False))),
        column("games", "", "", [(number(entry["games"]), _forfeits(entry["forfeits"])) for entry in entries]),
    ]


def _forfeits(num: int) -> str:
    return "" if num == 0 else f"{number(num)} forfeit{'s' if num > 1 else ''}"


def win_cells(wins: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The pairwise win matrix as rows of (text, share or None)."""
    return [
        {
            "agent": agent,
            "cells": [("" if share is None else f"{100 * share:.0f}", share) for share in shares],
        }
        for agent, shares in zip(wins["agents"], wins["share"])
    ]


def leaderboard_table(leaderboard: Mapping[str, Any]) -> "Table":
    """The terminal table, with the claim as its caption; 120 characters wide with names of 16."""
    from rich.table import Table
    from rich.text import Text

    entries = leaderboard["agents"]
    caption = wording.claim(leaderboard)
    if any(entry["flag"] for entry in entries):
        caption += "\n* wins often, earns little"
    table = Table(
        caption=caption, caption_justify="left", header_style="bold", box=None, pad_edge=False, collapse_padding=True
    )
    table.add_column("#", justify="right")
    table.add_column("rank\n95 %", justify="right", style="dim", no_wrap=True)
    table.add_column("tier", justify="right", no_wrap=True)
    table.add_column("agent", no_wrap=True)
    board = {column["title"]: column for column in columns(leaderboard)}
    for title in TERMINAL_COLUMNS:
        if title in board:
            unit = board[title]["unit"].removesuffix(" above cash")  # the caption says so
            table.add_column("\n".join([*title.split(), unit]).rstrip(), justify="right", no_wrap=True)
            if title in PLUS_MINUS:
                table.add_column("±", justify="right", style="dim", no_wrap=True)
    for place, entry in enumerate(entries):
        cells = []
        for title in TERMINAL_COLUMNS:
            if title in board:
                cells.append(board[title]["cells"][place][0])
                if title in PLUS_MINUS:
                    field, form = PLUS_MINUS[title]
                    cells.append(wording.half_width(entry[f"{field}_low"], entry[f"{field}_high"], form))
        name = Text(entry["agent"]).append(" *" if entry["flag"] else "", style="yellow")
        places = wording.rank_interval(entry["rank_low"], entry["rank_high"])
        table.add_row(str(entry["rank"]), places, str(entry["tier"]), name, *cells)
    return table
