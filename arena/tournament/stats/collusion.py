"""The transfer matrix of a tournament, and pairs whose transfers stand out: candidates for collusion, no proof of it.

Price pressure hands over nearly all that it costs: who buys dearly while a partner sells pays the partner through the
market. So the flag asks for three things at once: j's flow served i more than chance explains; what j handed over and
did not get back is a good part of what j itself paid to move the price; and it is an amount that matters. In the
default field rules that trade against each other hand over 16 % at most, a donor and its receiver 60 %.

Axes: R matches, N seats, m entrants.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arena.tournament.leaderboard import TransferFlag, Transfers
from arena.tournament.stats.growth import Floats

if TYPE_CHECKING:
    import pyarrow as pa

NUM_PERMUTATIONS = 200
BAND = 0.99  # quantile of the largest pair under permutation
SHARE = 1 / 3  # of the giver's own impact on itself: less is what any two rules that disagree hand each other
MATERIAL = 1e-3  # of the initial nav per game: less is not worth a word


class MatchTransfers(NamedTuple):
    """Transfers folded into matches."""

    item: NDArray[np.int64]  # [R, N] entrant in the seat
    cost: Floats  # [R, N, N] paid by the row's seat because of the column's, fraction of the initial nav


def transfer_table(transfers: "pa.Table", ranking: Sequence[str], generator: np.random.Generator) -> Transfers:
    """Rows of types.TRANSFER_SCHEMA -> JSON-ready summary."""
    folded = fold_transfers(transfers, ranking)
    mean = mean_costs(folded, len(ranking))
    known = [[None if np.isnan(cost) else float(cost) for cost in row] for row in mean]
    net = mean - mean.T
    found = sorted(flagged_pairs(folded, len(ranking), generator), key=lambda pair: float(net[pair]))
    flags: list[TransferFlag] = [
        {"agent": ranking[i], "by": ranking[j], "cost": float(mean[i, j]), "net": float(net[i, j])} for i, j in found
    ]
    return {"agents": list(ranking), "games": len(folded.item), "cost": known, "flags": flags}


def fold_transfers(transfers: "pa.Table", agents: Sequence[str]) -> MatchTransfers:
    """Rows of whole matches -> arrays by match; `agents` gives the index of each entrant."""
    position = {name: index for index, name in enumerate(agents)}
    payer, cause = (
        np.array([position[name] for name in transfers[column].to_pylist()], dtype=np.int64)
        for column in ("agent", "by")
    )
    keys = [transfers[name].to_numpy() for name in ("scenario", "lineup")]
    order = np.lexsort((cause, payer, *keys))
    match = np.stack(keys, 1)[order]
    begins = np.append(True, (match[1:] != match[:-1]).any(1))
    num_matches = int(begins.sum())
    num_seats = round((len(order) / num_matches) ** 0.5)
    if num_matches * num_seats**2 != len(order) or not begins[:: num_seats**2].all():
        raise ValueError("transfers hold partial matches: every match has a row for each ordered pair of its seats")
    shape = num_matches, num_seats, num_seats
    return MatchTransfers(cause[order].reshape(shape)[:, 0], transfers["cost"].to_numpy()[order].reshape(shape))


def mean_costs(folded: MatchTransfers, num_agents: int) -> Floats:
    """[m, m] mean T_ij over the matches of both; NaN where they never met."""
    pair = folded.item[:, :, None] * num_agents + folded.item[:, None, :]
    return _cell_means(pair, folded.cost, num_agents)


def flagged_pairs(folded: MatchTransfers, num_agents: int, generator: np.random.Generator) -> list[tuple[int, int]]:
    """Pairs (i, j): j's flow served i beyond the band, and handed over at least SHARE and MATERIAL, net.

    Band: what i paid because of the others is dealt anew among them, in every match; the statistic is the mean of what
    is dealt in units of its size for i, without what j does to everybody.
    """
    num_seats = folded.item.shape[1]
    if num_seats < 3:
        return []  # with one opponent there is nobody to compare it with
    other = ~np.eye(num_seats, dtype=bool)
    shape = len(folded.item), num_seats, num_seats - 1
    pair = (folded.item[:, :, None] * num_agents + folded.item[:, None, :])[:, other].reshape(shape)
    cost = folded.cost[:, other].reshape(shape)
    dealt = cost - cost.mean(-1, keepdims=True)
    payer = np.broadcast_to(folded.item[:, :, None], shape)
    power = np.bincount(payer.ravel(), np.square(dealt).ravel(), num_agents)
    count = np.bincount(payer.ravel(), minlength=num_agents)
    size = np.sqrt(power / np.maximum(count, 1))
    dealt = dealt / np.where(size > 0, size, 1.0)[payer]

    def statistic(values: Floats) -> Floats:
        means = _cell_means(pair, values, num_agents)
        met = ~np.isnan(means).all(0)
        means[:, met] -= np.nanmean(means[:, met], 0)
        return means

    largest = [np.nanmax(np.abs(statistic(generator.permuted(dealt, axis=-1)))) for _ in range(NUM_PERMUTATIONS)]
    beyond = statistic(dealt) < -np.quantile(largest, BAND)
    mean = mean_costs(folded, num_agents)
    given = np.minimum(-mean, mean.T - mean)  # [m, m] by the column to the row, and not given back
    served = beyond & (given >= np.maximum(SHARE * np.diag(mean), MATERIAL))
    return [(int(i), int(j)) for i, j in np.argwhere(served)]


def _cell_means(pair: NDArray[np.int64], values: Floats, num_agents: int) -> Floats:
    """[m, m] mean of the values of each pair (row * m + column); NaN without any."""
    total = np.bincount(pair.ravel(), values.ravel(), num_agents**2)
    count = np.bincount(pair.ravel(), minlength=num_agents**2)
    with np.errstate(invalid="ignore"):
        return (total / count).reshape(num_agents, num_agents)
