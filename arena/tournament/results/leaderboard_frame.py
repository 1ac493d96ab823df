"""The leaderboard as a DataFrame that a notebook shows as a table with intervals. Imports pandas."""

from collections.abc import Sequence
from html import escape

import pandas as pd

from arena.tournament.leaderboard import Leaderboard, Pair, Standing
from arena.tournament.report.column_dictionary import meaning
from arena.tournament.report.columns import RANK, TextColumn, columns
from arena.tournament.report.tables import Cell
from arena.tournament.wording import rank_interval

TEXT = ("agent", "flag")  # columns of words; in all others an empty cell is NaN
CELL = 'style="text-align: right; white-space: nowrap"'


def frame(entries: Sequence[Standing] | Sequence[Pair]) -> pd.DataFrame:
    """Standings or pairs of a leaderboard -> one row each, unknown numbers as NaN."""
    found = pd.DataFrame([vars(entry) for entry in entries])
    unknown = [name for name in found if name not in TEXT and found[name].isna().all()]
    return found.astype(dict.fromkeys(unknown, float))


class LeaderboardFrame(pd.DataFrame):
    """One row per entrant in rank order, in fractions. Every selection of it is a plain DataFrame."""

    _metadata = ["_board"]  # noqa: RUF012, pandas asks for a list

    @classmethod
    def of(cls, board: Leaderboard) -> "LeaderboardFrame":
        """The table of a leaderboard (see arena.tournament.leaderboard)."""
        found = cls(frame(board.standings))
        found._board = board
        return found

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def _repr_html_(self) -> str | None:
        """The formatted table; the usual one once the numbers were changed in place."""
        board = getattr(self, "_board", None)
        if board is None or not frame(board.standings).equals(pd.DataFrame(self)):
            return super()._repr_html_()
        return leaderboard_html(board)


def leaderboard_html(board: Leaderboard, caption: str = "") -> str:
    """An HTML table in bps and percent, with the 95 % interval under each number. No script, names escaped."""
    shown = columns(board)
    head = [("entrant", "", meaning("agent")), ("rank", "95 %", RANK)]
    head += [(column.title, column.unit, column.help) for column in shown]
    rows = []
    for place, entry in enumerate(board.standings):
        name = f"{entry.agent} ({entry.flag})" if entry.flag else entry.agent
        possible = rank_interval(entry.rank_low, entry.rank_high)
        cells = [(str(entry.rank), possible), *((cell.text, cell.small) for cell in _row(shown, place))]
        rows.append(
            f"<tr><th>{escape(name)}</th>{''.join(f'<td {CELL}>{_two_lines(*cell)}</td>' for cell in cells)}</tr>"
        )
    titles = "".join(
        f'<th {CELL} title="{escape(help_text)}">{_two_lines(title, unit)}</th>' for title, unit, help_text in head
    )
    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{above}<thead><tr>{titles}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _row(shown: Sequence[TextColumn], place: int) -> list[Cell]:
    return [column.cells[place] for column in shown]


def _two_lines(text: str, small: str) -> str:
    return escape(text) + (f"<br><small>{escape(small)}</small>" if small else "")
