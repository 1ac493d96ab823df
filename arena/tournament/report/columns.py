"""The columns of a leaderboard, as the terminal and the page show them."""

from collections.abc import Mapping
from typing import Any

from arena.tournament.report.column_dictionary import meaning
from arena.tournament.report.tables import Cell
from arena.tournament.wording import bps, interval, number, percent

RANK = f"{meaning('rank')}; below it the possible ranks (95 %), by tests of all pairs together"


def scattered(leaderboard: Mapping[str, Any]) -> bool:
    """Whether some tier is not one run down the ranking: who varies much is worse than few, wherever it stands."""
    found = [entry["tier"] for entry in leaderboard["agents"]]
    return found != sorted(found)


def columns(leaderboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The leaderboard as columns of text: [{"title", "unit", "help", "cells": [Cell per entrant]}]."""
    entries = leaderboard["agents"]

    def column(title: str, unit: str, field: str, cells: list[Cell]) -> dict[str, Any]:
        return {"title": title, "unit": unit, "help": meaning(field), "cells": cells}

    def single(field: str, form: Any) -> list[Cell]:
        return [Cell(form(entry[field]), entry[field]) for entry in entries]

    def ranged(field: str, form: Any) -> list[Cell]:
        return [
            Cell(form(entry[field]), entry[field], interval(form(entry[f"{field}_low"]), form(entry[f"{field}_high"])))
            for entry in entries
        ]

    above = " above cash" if leaderboard["cash"] else ""
    table = [column("growth", f"bps{above}", "growth", ranged("growth", bps))]
    if leaderboard["headline"] == "growth_cv":
        table.append(column("raw growth", "bps", "growth_raw", ranged("growth_raw", bps)))
    if scattered(leaderboard):
        table.insert(0, column("tier", "", "tier", single("tier", number)))
    return [
        *table,
        column("rating", "Elo", "rating", ranged("rating", number)),
        column(
            "median return", "", "median_return", single("median_return", lambda value: percent(value, signed=True))
        ),
        column("worst return", "", "worst_return", single("worst_return", lambda value: percent(value, signed=True))),
        column("Sharpe", "per year", "sharpe", ranged("sharpe", lambda value: number(value, 2))),
        column("drawdown", "", "max_drawdown", single("max_drawdown", percent)),
        column("turnover", "", "turnover", single("turnover", lambda value: number(value, 1))),
        column("explicit cost", "bps", "cost", single("cost", lambda value: bps(value, signed=False))),
        column("games", "", "games", [_games(entry) for entry in entries]),
    ]


def _games(entry: Mapping[str, Any]) -> Cell:
    num = entry["forfeits"]
    return Cell(number(entry["games"]), entry["games"], f"{number(num)} forfeit{'s' if num > 1 else ''}" if num else "")
