"""The live ranking knows what all tables together would say, and keeps none of them."""

import math

import numpy as np
import pyarrow as pa
import pytest

from arena.tournament.run.progress import Standing
from arena.tournament.stats.growth import ScoreSums, growth_estimates, score_table
from arena.tournament.types import SCHEMA, ResultRow
from tests.result_rows import table_from_rows

AGENTS = ("cash", "b", "a", "d", "c")


def unit_table(lineup: int, scenarios: range, cv_known: bool = True) -> pa.Table:
    """Three of the five entrants meet; scores are random, cash earns nothing."""
    generator = np.random.default_rng([lineup, *scenarios])
    blank = {name: {"string": "", "bool": False, "int64": 0, "float64": 0.0}[kind] for name, kind in SCHEMA.items()}
    rows = []
    for scenario in scenarios:
        for seat in range(3):
            agent = AGENTS[(lineup + 2 * seat) % len(AGENTS)]
            raw, cv = generator.normal(size=2) * (agent != "cash")
            changes = {"growth_raw": raw, "growth_cv": cv if cv_known else math.nan}
            changes |= {"scenario": scenario, "lineup": lineup, "seat": seat, "agent": agent}
            rows.append(ResultRow(**(blank | changes)))
    return table_from_rows(rows)


TABLES = [unit_table(lineup, range(start, start + 20)) for start in (40, 0, 20) for lineup in (3, 0, 1, 4, 2)]


@pytest.mark.parametrize("order", [range(15), range(14, -1, -1)], ids=["as played", "backwards"])
def test_sums_give_the_scores_of_all_tables_together(order) -> None:
    sums = ScoreSums(("growth_cv", "growth_raw"))
    for index in order:
        sums.add(TABLES[index])
    for column in ("growth_cv", "growth_raw"):
        expected, found = score_table(pa.concat_tables(TABLES), column), sums.scores(column)
        rows = np.argsort(found.scenarios)
        columns = [found.agents.index(agent) for agent in expected.agents]
        assert found.scenarios[rows].tolist() == expected.scenarios.tolist()
        np.testing.assert_allclose(found.values[np.ix_(rows, columns)], expected.values, rtol=1e-12)


def test_the_leaders_are_those_of_the_tables() -> None:
    standing = Standing("seed")
    for table in TABLES:
        standing.add(table)
    best = list(growth_estimates(pa.concat_tables(TABLES), "growth_cv"))[:3]
    said = standing.top()
    assert [said.index(f"{name} ") for name in best] == sorted(said.index(f"{name} ") for name in best)


def test_where_some_luck_is_unknown_all_are_ranked_with_it() -> None:
    standing = Standing("window")
    tables = [unit_table(0, range(4)), unit_table(1, range(4), cv_known=False)]
    for table in tables:
        standing.add(table)
    best = next(iter(growth_estimates(pa.concat_tables(tables), "growth_raw", kind="window")))
    assert standing.top().startswith(f"ahead so far, growth in bps: {best} ")


def test_more_units_of_the_same_scenarios_take_no_more_memory() -> None:
    sums, sizes = ScoreSums(("growth_cv",)), []
    for lineup in range(50):
        sums.add(unit_table(lineup, range(30)))
        sizes.append(sums._sums.nbytes)
    assert sizes[-1] == sizes[5]
    assert sizes[-1] <= 2 * (2 * 30) * (2 * len(AGENTS)) * 8  # count and sum, each axis with at most as much to spare
