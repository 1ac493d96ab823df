"""Intervals of growth and Sharpe ratio cover, and are withheld where they would not."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from arena import metrics
from arena.tournament.stats import growth, ratios
from arena.tournament.types import SCHEMA, ResultRow
from tests.result_rows import table_from_rows


def row(**changes: object) -> ResultRow:
    blank = {name: {"string": "", "bool": False, "int64": 0, "float64": 0.0}[kind] for name, kind in SCHEMA.items()}
    return ResultRow(**(blank | changes))


def test_lineups_inside_a_scenario_are_averaged_first() -> None:
    rows = [
        row(scenario=7, lineup=0, seat=0, agent="a", growth_raw=0.1),
        row(scenario=7, lineup=1, seat=0, agent="a", growth_raw=0.3),
        row(scenario=8, lineup=0, seat=0, agent="a", growth_raw=-0.1),
        row(scenario=7, lineup=0, seat=1, agent="cash", growth_raw=0.05),
        row(scenario=8, lineup=0, seat=1, agent="cash", growth_raw=0.05),
        row(scenario=8, lineup=1, seat=0, agent="b", growth_raw=0.5),
    ]
    scores = growth.score_table(table_from_rows(rows), "growth_raw")
    assert scores.agents == ("a", "b", "cash")
    np.testing.assert_allclose(scores.values, [[0.2, np.nan, 0.05], [-0.1, 0.5, 0.05]])
    np.testing.assert_allclose(growth.excess(scores, "cash").values[:, 0], [0.15, -0.15])
    assert growth.excess(scores, "gold") is scores
    assert growth.complete_rows(scores).scenarios.tolist() == [8]
    assert list(growth.growth_estimates(table_from_rows(rows))) == ["b", "a", "cash"]  # best first, ties by name


def test_no_interval_without_enough_scenarios() -> None:
    sample = np.random.default_rng(0).normal(size=60)
    assert growth.mean_interval(sample[:49], "seed")[1:] == (None, None)
    assert growth.mean_interval(sample[:50], "seed").low is not None
    assert growth.mean_interval(sample[:7], "window")[1:] == (None, None)
    assert growth.mean_interval(sample[:8], "window").low is not None
    assert np.isnan(growth.mean_interval(np.full(3, np.nan), "seed").value)


@pytest.mark.parametrize("num_scenarios", [50, 200])
def test_growth_interval_coverage(num_scenarios: int) -> None:
    """95 % +- 1.5 points under t3 tails; 2000 runs have a standard error of 0.5 points."""
    samples = np.random.default_rng(num_scenarios).standard_t(3, (2000, num_scenarios))
    estimates = [growth.mean_interval(sample, "seed") for sample in samples]
    covered = np.mean([estimate.low <= 0 <= estimate.high for estimate in estimates])
    assert 0.935 < covered < 0.965


def sharpe_rows(returns: np.ndarray) -> pa.Table:
    """[S, T] per-step returns of one agent -> result rows."""
    return table_from_rows(
        row(
            scenario=index,
            agent="a",
            num_steps=len(path),
            return_sum=path.sum(),
            return_square_sum=np.square(path).sum(),
        )
        for index, path in enumerate(returns)
    )


def test_pooled_sharpe_is_the_sharpe_of_all_steps() -> None:
    returns = np.random.default_rng(15).normal(0.001, 0.01, (60, 40))
    expected = metrics.sharpe(torch.from_numpy(returns.reshape(-1)), 252)
    assert ratios.pooled_sharpe(sharpe_rows(returns), "a", 252, "seed").value == pytest.approx(float(expected))
    assert np.isnan(ratios.pooled_sharpe(sharpe_rows(np.zeros((60, 40))), "a", 252, "seed").value)
    assert ratios.pooled_sharpe(sharpe_rows(returns[:20]), "a", 252, "seed").low is None


def test_pooled_sharpe_interval_covers_where_steps_are_dependent() -> None:
    """A mean return common to a scenario makes steps dependent: only the cluster interval is long enough."""
    generator = np.random.default_rng(16)
    truth = 0.05 / np.sqrt(1 + 0.3**2)
    covered = naive = 0
    for _ in range(300):
        returns = 0.05 + 0.3 * generator.normal(size=(100, 1)) + generator.normal(size=(100, 30))
        estimate = ratios.pooled_sharpe(sharpe_rows(returns), "a", 1, "seed")
        covered += estimate.low <= truth <= estimate.high
        naive += abs(estimate.value - truth) <= 1.96 / np.sqrt(returns.size)
    assert 0.91 < covered / 300 < 0.98  # standard error 1.3 points
    assert naive / 300 < 0.8
