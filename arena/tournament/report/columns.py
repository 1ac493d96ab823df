"""The columns of a leaderboard, as the terminal and the page show them."""

from typing import NamedTuple

from arena.tournament.leaderboard import Leaderboard, Standing
from arena.tournament.report.column_dictionary import meaning
from arena.tournament.report.tables import Cell, Form
from arena.tournament.wording import bps, interval, number, percent

RANK = f"{meaning('rank')}; below it the possible ranks (95 %), by tests of all pairs together"


class TextColumn(NamedTuple):
    """One column."""

    title: str
    unit: str
    help: str
    cells: list[Cell]  # by rank


def scattered(leaderboard: Leaderboard) -> bool:
    """Whether some tier is not one run down the ranking: who varies much is worse than few, wherever it stands."""
    found = [entry.tier for entry in leaderboard.standings]
    return found != sorted(found)


def columns(leaderboard: Leaderboard) -> list[TextColumn]:
    """The leaderboard as columns of text."""
    entries = leaderboard.standings

    def column(title: str, unit: str, field: str, cells: list[Cell]) -> TextColumn:
        return TextColumn(title, unit, meaning(field), cells)

    def single(field: str, form: Form) -> list[Cell]:
        return [Cell(form(entry.number(field)), entry.number(field)) for entry in entries]

    def ranged(field: str, form: Form) -> list[Cell]:
        return [
            Cell(form(entry.number(field)), entry.number(field), interval(*map(form, entry.ends(field))))
            for entry in entries
        ]

    above = " above cash" if leaderboard.cash else ""
    table = [column("growth", f"bps{above}", "growth", ranged("growth", bps))]
    if leaderboard.headline == "growth_cv":
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


def _games(entry: Standing) -> Cell:
    num = entry.forfeits
    return Cell(number(entry.games), entry.games, f"{number(num)} forfeit{'s' if num > 1 else ''}" if num else "")
