"""Sortino and Calmar ratios of result rows are those of the paths behind them."""

import math

import numpy as np
import pyarrow as pa
import pytest
import torch

from arena import metrics
from arena.tournament.stats import ratios
from tests.result_rows import table_from_rows
from tests.tournament.test_growth import row


def rows_of(returns: np.ndarray) -> pa.Table:
    """[S, T] per-step returns of one agent -> result rows."""
    nav = np.concatenate([np.ones((len(returns), 1)), (1 + returns).cumprod(1)], 1)
    deepest = metrics.max_drawdown(torch.from_numpy(nav)).numpy()
    return table_from_rows(
        row(
            scenario=index,
            agent="a",
            final_nav=nav[index, -1],
            max_drawdown=deepest[index],
            num_steps=len(path),
            return_sum=path.sum(),
            downside_square_sum=np.square(np.minimum(path, 0)).sum(),
        )
        for index, path in enumerate(returns)
    )


def test_pooled_sortino_is_that_of_all_steps() -> None:
    returns = np.random.default_rng(0).normal(0.001, 0.01, (60, 40))
    expected = float(metrics.sortino(torch.from_numpy(returns.reshape(-1)), 252))
    found = ratios.pooled_sortino(rows_of(returns), "a", 252, "seed")
    assert found.value == pytest.approx(expected)
    assert found.low < expected < found.high
    assert ratios.pooled_sortino(rows_of(returns[:20]), "a", 252, "seed").low is None
    assert math.isnan(ratios.pooled_sortino(rows_of(np.abs(returns)), "a", 252, "seed").value)


def test_sortino_interval_covers_where_steps_are_dependent() -> None:
    """Steps share a mean in a scenario; the truth is that of N(0.05, 1 + 0.3^2). Standard error 1.3 points."""
    generator = np.random.default_rng(1)
    endless = 0.05 + math.sqrt(1 + 0.3**2) * generator.normal(size=4_000_000)
    truth = 0.05 / math.sqrt(np.square(np.minimum(endless, 0)).mean())
    covered = 0
    for _ in range(300):
        returns = 0.05 + 0.3 * generator.normal(size=(100, 1)) + generator.normal(size=(100, 30))
        found = ratios.pooled_sortino(rows_of(1e-3 * returns), "a", 1, "seed")
        covered += found.low <= truth <= found.high
    assert 0.91 < covered / 300 < 0.98


def test_calmar_is_the_median_of_the_games() -> None:
    returns = np.random.default_rng(2).normal(0.0005, 0.01, (31, 50))
    nav = torch.from_numpy(np.concatenate([np.ones((31, 1)), (1 + returns).cumprod(1)], 1))
    expected = float(np.median(metrics.calmar(nav, 252).numpy()))
    assert ratios.median_calmar(rows_of(returns), "a", 252) == pytest.approx(expected)


def test_calmar_where_nothing_or_everything_was_lost() -> None:
    def calmar(*games: tuple[float, float, int]) -> float:
        rows = (
            row(scenario=index, agent="a", final_nav=final, max_drawdown=deepest, num_steps=steps)
            for index, (final, deepest, steps) in enumerate(games)
        )
        return ratios.median_calmar(table_from_rows(rows), "a", 252)

    assert math.isnan(calmar((1.0, 0.0, 63))), "cash"
    assert calmar((0.0, 1.0, 0)) == -1, "a forfeit has no step"
    assert calmar((1.1, 0.0, 252), (1.1, 0.1, 252), (1.1, 0.2, 252)) == pytest.approx(1), "never fell: above all others"
    assert math.isnan(calmar((1.1, 0.0, 252)))
