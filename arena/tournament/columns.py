"""The columns of a leaderboard, as the terminal and the page show them."""

from collections.abc import Mapping
from typing import Any

from arena.tournament.report_tables import Cell
from arena.tournament.wording import bps, interval, number, percent

TIER = (
    "nobody in it is significantly worse than its first; who varies much can stand below the first of a later tier and "
    "still be in an earlier one"
)


def scattered(leaderboard: Mapping[str, Any]) -> bool:
    """Whether some tier is not one run down the ranking: who varies much is worse than few, wherever it stands."""
    found = [entry["tier"] for entry in leaderboard["agents"]]
    return found != sorted(found)


def columns(leaderboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The leaderboard as columns of text: [{"title", "unit", "help", "cells": [Cell per entrant]}]."""
    entries = leaderboard["agents"]

    def column(title: str, unit: str, help_text: str, cells: list[Cell]) -> dict[str, Any]:
        return {"title": title, "unit": unit, "help": help_text, "cells": cells}

    def single(field: str, form: Any) -> list[Cell]:
        return [Cell(form(entry[field]), entry[field]) for entry in entries]

    def ranged(field: str, form: Any) -> list[Cell]:
        return [
            Cell(form(entry[field]), entry[field], interval(form(entry[f"{field}_low"]), form(entry[f"{field}_high"])))
            for entry in entries
        ]

    above = " above cash" if leaderboard["cash"] else ""
    growth = f"mean log growth of wealth per game{above}, after all costs; the ranking is by it"
    raw = "the same with the luck of the prices left in"
    table = [column("growth", f"bps{above}", growth, ranged("growth", bps))]
    if leaderboard["headline"] == "growth_cv":
        table.append(column("raw growth", "bps", raw, ranged("growth_raw", bps)))
    rating = "Plackett-Luce on who finishes ahead of whom, whatever the margin; cash = 1,000"
    if scattered(leaderboard):
        table.insert(0, column("tier", "", TIER, single("tier", number)))
    return [
        *table,
        column("rating", "Elo", rating, ranged("rating", number)),
        column("median return", "", "of a game", single("median_return", lambda value: percent(value, signed=True))),
        column("worst return", "", "of all games", single("worst_return", lambda value: percent(value, signed=True))),
        column(
            "Sharpe",
            "per year",
            "mean return over its standard deviation, of all steps of all games pooled",
            ranged("sharpe", lambda value: number(value, 2)),
        ),
        column("drawdown", "", "the deepest of a game, median over the games", single("max_drawdown", percent)),
        column("turnover", "", "one-way, in nav per game", single("turnover", lambda value: number(value, 1))),
        column(
            "explicit cost",
            "bps",
            "spread and fees per game, in parts of the initial nav; impact is under Costs",
            single("cost", lambda value: bps(value, signed=False)),
        ),
        column("games", "", "matches played", [_games(entry) for entry in entries]),
    ]


def _games(entry: Mapping[str, Any]) -> Cell:
    num = entry["forfeits"]
    return Cell(number(entry["games"]), entry["games"], f"{number(num)} forfeit{'s' if num > 1 else ''}" if num else "")
