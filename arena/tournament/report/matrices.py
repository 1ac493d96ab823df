"""Matrices of the report, one row and one column per entrant: text, tint and a sentence for each cell."""

from collections.abc import Sequence
from typing import NamedTuple

from arena.tournament.leaderboard import Leaderboard, Pair, Transfers
from arena.tournament.stats.pairwise import BETTER, IDENTICAL, NOT_SEPARATED, UNDECIDED, WORSE
from arena.tournament.wording import EMPTY, bps, interval, p_value

MAX_MATRIX = 20  # entrants; more than that is a wall, and leaderboard.json has them all
SYMBOLS = {BETTER: "▲", WORSE: "▼", NOT_SEPARATED: "○", IDENTICAL: "=", UNDECIDED: "?"}
MIRROR = {BETTER: WORSE, WORSE: BETTER}
FULL_TINT = 0.7  # opacity of the strongest cell


class Tinted(NamedTuple):
    """One cell."""

    text: str
    said: str  # the same in words
    kind: str = ""  # "win", "lose" or ""
    tint: float = 0.0  # opacity
    symbol: str = ""


class MatrixRow(NamedTuple):
    """One entrant against all."""

    agent: str
    cells: list[Tinted]


def shown_agents(board: Leaderboard) -> list[str]:
    """Those that get a row, by rank."""
    return board.ranking[:MAX_MATRIX]


def verdict_matrix(board: Leaderboard) -> list[MatrixRow]:
    """Lead of the row over the column in bps, with the verdict as a symbol."""
    names = shown_agents(board)
    found: dict[tuple[str, str], Tinted] = {}
    for pair in board.pairs:
        first, second = pair.agent, pair.against
        found[first, second] = _verdict(first, second, pair, 1)
        found[second, first] = _verdict(second, first, pair, -1)
    return [MatrixRow(row, [found.get((row, column), Tinted("", "")) for column in names]) for row in names]


def win_matrix(board: Leaderboard) -> list[MatrixRow]:
    """Percentage of shared matches that the row ended ahead."""
    names = shown_agents(board)
    rows = []
    for agent, shares in zip(names, board.wins["share"]):
        cells = []
        for other, share in zip(names, shares):
            if share is None:
                cells.append(Tinted("", ""))
                continue
            kind = "win" if share >= 0.5 else "lose"
            said = f"{agent} ahead of {other} in {100 * share:.0f} % of their matches"
            cells.append(Tinted(f"{100 * share:.0f}", said, kind, 2 * FULL_TINT * abs(share - 0.5)))
        rows.append(MatrixRow(agent, cells))
    return rows


def transfer_matrix(transfers: Transfers) -> list[MatrixRow]:
    """What the row paid because the column's flow had moved the price, in bps a game; the diagonal is its own doing."""
    names = transfers["agents"][:MAX_MATRIX]
    costs = transfers["cost"]
    shown = [row[: len(names)] for row in costs[: len(names)]]
    others = [abs(cost) for i, row in enumerate(shown) for j, cost in enumerate(row) if cost is not None and i != j]
    largest = max(others, default=0.0) or 1.0
    rows = []
    for i, agent in enumerate(names):
        cells = []
        for j, other in enumerate(names):
            cost = costs[i][j]
            if cost is None:
                cells.append(Tinted("", ""))
                continue
            whom = "itself" if i == j else other
            text = bps(cost, signed=False)
            said = f"{agent} paid {text} bps a game for the impact of {whom}"
            kind, tint = ("", 0.0) if i == j else ("lose" if cost > 0 else "win", FULL_TINT * abs(cost) / largest)
            cells.append(Tinted(text, said, kind, tint))
        rows.append(MatrixRow(agent, cells))
    return rows


def flag_sentences(transfers: Transfers) -> list[str]:
    """Every pair that the collusion flag names."""
    return [
        f"Trading by {flag['by']} moved prices in favour of {flag['agent']} by {bps(-flag['net'], signed=False)} bps a "
        "game, net. That is how partners would hand money over; it is no proof that they are."
        for flag in transfers["flags"]
    ]


def circles(board: Leaderboard, most: int = 5) -> Sequence[str]:
    """Cycles of who beats whom, a sentence each."""
    return [f"{a} beats {b}, {b} beats {c}, {c} beats {a}" for a, b, c in board.transitivity["cycles"][:most]]


def _verdict(agent: str, other: str, pair: Pair, sign: int) -> Tinted:
    verdict = pair.verdict if sign > 0 else MIRROR.get(pair.verdict, pair.verdict)
    growth = None if pair.growth is None else sign * pair.growth
    ends = [None if end is None else sign * end for end in (pair.growth_low, pair.growth_high)][::sign]
    span = interval(*(bps(end) for end in ends))
    said = f"{agent} against {other}: {bps(growth)} bps" + (f" ({span})" if span else "")
    said += f", p {p_value(pair.p_value)}: {verdict}"
    kind = {BETTER: "win", WORSE: "lose"}.get(verdict, "")
    text = EMPTY if growth is None else bps(growth)
    return Tinted(text, said, kind, 0.5 * FULL_TINT if kind else 0.0, SYMBOLS[verdict])
