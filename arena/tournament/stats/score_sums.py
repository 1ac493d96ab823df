"""Scores of a tournament that is being played: sums that grow with scenarios and entrants, not with units."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from arena.tournament.stats.growth import Floats, Scores

if TYPE_CHECKING:
    import pyarrow as pa


class ScoreSums:
    """Means of result columns per scenario and entrant, as `growth.score_table` of all tables together would give."""

    def __init__(self, columns: Sequence[str]):
        self._columns = tuple(columns)
        self._scenarios: dict[int, int] = {}  # -> row
        self._agents: dict[str, int] = {}  # -> column
        self._sums: Floats = np.zeros((1 + len(columns), 0, 0))  # [1 + C, S, m] with room to grow; the first counts

    def add(self, results: "pa.Table") -> None:
        """Count the rows of one more unit."""
        where = (
            _places(self._scenarios, results["scenario"].to_pylist()),
            _places(self._agents, results["agent"].to_pylist()),
        )
        self._make_room()
        np.add.at(self._sums[0], where, 1.0)
        for sums, name in zip(self._sums[1:], self._columns):
            np.add.at(sums, where, results[name].to_numpy())

    def scores(self, column: str) -> Scores:
        """So far; scenarios and entrants in the order in which they came."""
        shape = np.s_[: len(self._scenarios), : len(self._agents)]
        sums = self._sums[1 + self._columns.index(column)][shape]
        with np.errstate(invalid="ignore"):
            values = sums / self._sums[0][shape]
        return Scores(np.array(list(self._scenarios), dtype=np.int64), tuple(self._agents), values)

    def has_nan(self, column: str) -> bool:
        """Whether any row lacked a number in this column."""
        return bool(np.isnan(self._sums[1 + self._columns.index(column)]).any())

    def _make_room(self) -> None:
        needed = np.array([len(self._scenarios), len(self._agents)])
        have = np.array(self._sums.shape[1:])
        if (needed <= have).all():
            return
        room = np.where(needed <= have, have, needed + needed // 4)
        self._sums = np.pad(self._sums, ((0, 0), *((0, more) for more in room - have)))


def _places(known: dict[Any, int], keys: Iterable[Any]) -> NDArray[np.int64]:
    """The place of each key, new keys behind the others."""
    return np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.int64)
