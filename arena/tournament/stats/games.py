"""What happened in the games, without inference: results by match, who finished ahead of whom, plain averages."""

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arena.tournament.leaderboard import WinShares
from arena.tournament.store.digest import sort_rows
from arena.tournament.types import FORFEIT

if TYPE_CHECKING:
    import pyarrow as pa


class Matches(NamedTuple):
    """Result rows folded into matches: R matches of N seats."""

    item: NDArray[np.int64]  # [R, N] index of the entrant in the seat
    rank: NDArray[np.float64]  # [R, N]
    scenario: NDArray[np.int64]  # [R]


def fold_matches(results: "pa.Table", agents: list[str]) -> Matches:
    """Rows of whole matches -> arrays by match and seat; `agents` gives the index of each entrant."""
    table = sort_rows(results)
    position = {name: index for index, name in enumerate(agents)}
    seat = table["seat"].to_numpy()
    num_seats = int(seat.max()) + 1
    if len(seat) % num_seats or (seat.reshape(-1, num_seats) != np.arange(num_seats)).any():
        raise ValueError(f"results hold partial matches: not every match has one row for each of {num_seats} seats")
    item = np.array([position[name] for name in table["agent"].to_pylist()], dtype=np.int64)
    return Matches(
        item.reshape(-1, num_seats),
        table["rank"].to_numpy().reshape(-1, num_seats),
        table["scenario"].to_numpy()[::num_seats],
    )


def by_agent(results: "pa.Table") -> dict[str, "pa.Table"]:
    """Entrant -> its rows, in their order: to look through all rows for each of 200 entrants takes long."""
    coded = results["agent"].combine_chunks().dictionary_encode()
    code = coded.indices.to_numpy()
    return {
        name: results.take(np.flatnonzero(code == index)) for index, name in enumerate(coded.dictionary.to_pylist())
    }


def describe_games(results: "pa.Table", agent: str) -> dict[str, float | int]:
    """Plain description of an entrant's games: medians of return and drawdown, means per game of costs, counts."""
    rows = results.filter(np.asarray(results["agent"].to_pylist(), dtype=str) == agent)
    column = {name: rows[name].to_numpy() for name in rows.column_names if name not in ("agent", "reason", "traceback")}
    means = ("turnover", "cost", "penalty", "impact_cost", "financing")
    return {
        "games": rows.num_rows,
        "forfeits": int((column["status"] == FORFEIT).sum()),
        "median_return": float(np.median(column["final_nav"])) - 1,
        "worst_return": float(column["final_nav"].min()) - 1,
        "max_drawdown": float(np.median(column["max_drawdown"])),
        **{name: float(column[name].mean()) for name in means},
        "margin_calls": int(column["margin_calls"].sum()),
        "ruined": int(column["ruined"].sum()),
        "rejected": int(column["rejected"].sum()),
    }


def mean_parts(results: "pa.Table", agent: str) -> dict[str, float]:
    """Means per game of the return and of the two parts of the explicit cost; the spread holds the quadratic term."""
    rows = results.filter(np.asarray(results["agent"].to_pylist(), dtype=str) == agent)
    final_nav, cost, fee = (float(rows[name].to_numpy().mean()) for name in ("final_nav", "cost", "fee"))
    return {"mean_return": final_nav - 1, "spread": cost - fee, "fee": fee}


def win_matrix(results: "pa.Table", agents: list[str]) -> WinShares:
    """Share of the matches of i and j that i ended ahead, a tie counting half; None if they never met."""
    item, rank, _ = fold_matches(results, agents)
    num_agents = len(agents)
    won, met = np.zeros(num_agents**2), np.zeros(num_agents**2)
    for seat in range(item.shape[1]):
        pair = (item[:, [seat]] * num_agents + item).ravel()
        lead = np.sign(rank - rank[:, [seat]]).ravel()
        won += np.bincount(pair, (lead + 1) / 2, num_agents**2)
        met += np.bincount(pair, minlength=num_agents**2)
    met[:: num_agents + 1] = 0  # the diagonal: an entrant does not meet itself
    share = (won / np.where(met > 0, met, np.nan)).reshape(num_agents, num_agents)
    return {
        "agents": agents,
        "share": [[None if math.isnan(value) else value for value in row] for row in share.tolist()],
    }
