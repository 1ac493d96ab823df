"""Scores and growth per entrant, with intervals. The scenario is the unit of every interval.

A row of scores is one scenario: an entrant's lineups inside it are averaged first. Axes: S scenarios, m entrants.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from arena.tournament.leaderboard import ScenarioKind as ScenarioKind

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]
_Key = TypeVar("_Key", int, str)

CONFIDENCE = 0.95
MIN_SCENARIOS = {"seed": 50, "window": 8}  # fewer: no growth interval (one rare loss breaks it), descriptive only
CAUTION_SCENARIOS = 300  # below this a once-in-100 loss still makes intervals too short


class Estimate(NamedTuple):
    """A number with its 95 % interval; the ends are None where no honest interval exists."""

    value: float
    low: float | None
    high: float | None


class Scores(NamedTuple):
    """One number per scenario and entrant."""

    scenarios: NDArray[np.int64]  # [S]
    agents: tuple[str, ...]  # m, sorted
    values: Floats  # [S, m], NaN where the entrant has not played the scenario yet


def score_table(results: "pa.Table", column: str) -> Scores:
    """Mean of a result column over the lineups inside each scenario."""
    scenarios, row = np.unique(results["scenario"].to_numpy(), return_inverse=True)
    names, column_index = np.unique(np.asarray(results["agent"].to_pylist(), dtype=str), return_inverse=True)
    total = np.zeros((len(scenarios), len(names)))
    count = np.zeros_like(total)
    np.add.at(total, (row, column_index), results[column].to_numpy())
    np.add.at(count, (row, column_index), 1)
    with np.errstate(invalid="ignore"):
        return Scores(scenarios, tuple(names.tolist()), total / count)


def excess(scores: Scores, cash: str) -> Scores:
    """Scores minus those of the cash baseline in the same scenario; unchanged without such an entrant."""
    if cash not in scores.agents:
        return scores
    return scores._replace(values=scores.values - scores.values[:, [scores.agents.index(cash)]])


def mean_interval(sample: Floats, kind: ScenarioKind) -> Estimate:
    """[S] independent scores (NaN = missing) -> mean with the symmetric t(S-1) interval, None below MIN_SCENARIOS.

    Symmetric on purpose: at S = 50 with t3 tails it covers 94.8 %, where a BCa bootstrap covers 89.5 %.
    """
    from scipy import stats

    sample = sample[~np.isnan(sample)]
    num = len(sample)
    if num == 0:
        return Estimate(float("nan"), None, None)
    mean = float(sample.mean())
    if num < MIN_SCENARIOS[kind]:
        return Estimate(mean, None, None)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, num - 1) * sample.std(ddof=1) / np.sqrt(num))
    return Estimate(mean, mean - half, mean + half)


def growth_estimates(
    results: "pa.Table", column: str = "growth_raw", cash: str = "cash", kind: ScenarioKind = "seed"
) -> dict[str, Estimate]:
    """Entrant -> growth above cash with its interval, best first. Cheap: also serves a live ticker."""
    return score_estimates(score_table(results, column), cash, kind)


def score_estimates(scores: Scores, cash: str = "cash", kind: ScenarioKind = "seed") -> dict[str, Estimate]:
    """Entrant -> mean score above cash with its interval, best first."""
    scores = excess(scores, cash)
    estimates = {agent: mean_interval(scores.values[:, index], kind) for index, agent in enumerate(scores.agents)}
    return dict(sorted(estimates.items(), key=lambda item: (-np.nan_to_num(item[1].value, nan=-np.inf), item[0])))


def complete_rows(scores: Scores) -> Scores:
    """Only the scenarios that every entrant has played: what paired comparisons use."""
    whole = ~np.isnan(scores.values).any(1)
    return scores._replace(scenarios=scores.scenarios[whole], values=scores.values[whole])


class ScoreSums:
    """Scores of a tournament that is being played, as `score_table` of all tables together would give.

    Its sums grow with scenarios and entrants, not with units.
    """

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


def _places(known: dict[_Key, int], keys: Iterable[_Key]) -> NDArray[np.int64]:
    """The place of each key, new keys behind the others."""
    return np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.int64)
