"""Does a ranking settle? Growth and rating as they stood after ever more scenarios, in the order of the scenarios.

The intervals are those of a tournament that had ended there. They hold for each count alone, not for all counts at
once: who watches them and stops when he likes the view needs `arena.tournament.stats.sequential`.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from arena.tournament.stats import growth, ratings
from arena.tournament.stats.growth import MIN_SCENARIOS, Estimate, ScenarioKind

if TYPE_CHECKING:
    import pyarrow as pa

NUM_POINTS = 24  # scenario counts at which growth is looked at
NUM_RATED = 8  # and the rating, each a fit of its own
FIRST_SHARE = 8  # the first look comes after one part in so many of the scenarios


class Running(NamedTuple):
    """A number of every entrant at growing counts of scenarios."""

    scenarios: list[int]
    estimates: dict[str, list[Estimate]]  # entrant -> one per count


class Settling(NamedTuple):
    """How the leaderboard came about."""

    growth: Running
    rating: Running
    same_first_since: int  # scenarios; at every count from here on the first was the final first
    same_order_since: int  # and the whole order the final one


def settle(results: "pa.Table", column: str, kind: ScenarioKind, seed: int, cash: str = "cash") -> Settling | None:
    """Result rows -> how growth (of `column`) and rating moved as scenarios came in; None with too few."""
    scores = growth.complete_rows(growth.excess(growth.score_table(results, column), cash))
    counts = looks(len(scores.scenarios), kind, NUM_POINTS)
    if len(counts) < 2:
        return None
    running = {
        agent: [growth.mean_interval(scores.values[:count, index], kind) for count in counts]
        for index, agent in enumerate(scores.agents)
    }
    orders = [_order({agent: found[look].value for agent, found in running.items()}) for look in range(len(counts))]
    scenario = results["scenario"].to_numpy()
    rated = looks(len(scores.scenarios), kind, NUM_RATED)
    fits = [
        # The generator is that of the leaderboard: the last point is the rating that stands there.
        ratings.rating_estimates(
            results.filter(np.isin(scenario, scores.scenarios[:count])), np.random.default_rng([seed, 1]), cash
        )
        for count in rated
    ]
    return Settling(
        Running(counts, running),
        Running(rated, {agent: [fit[agent] for fit in fits] for agent in scores.agents}),
        same_first_since=since(counts, [order[:1] for order in orders]),
        same_order_since=since(counts, orders),
    )


def looks(num_scenarios: int, kind: ScenarioKind, num: int) -> list[int]:
    """Counts of scenarios at which to look, evenly spaced up to all; none before an interval exists."""
    first = max(MIN_SCENARIOS[kind], num_scenarios // FIRST_SHARE)
    if num_scenarios < first:
        return []
    return np.unique(np.linspace(first, num_scenarios, num).round().astype(int)).tolist()


def _order(values: Mapping[str, float]) -> list[str]:
    return sorted(values, key=lambda agent: (-values[agent], agent))


def since(counts: Sequence[int], orders: Sequence[list[str]]) -> int:
    """The count from which on the order at every look was the last one."""
    look = len(counts) - 1
    while look and orders[look - 1] == orders[-1]:
        look -= 1
    return counts[look]
