"""Sortino and Calmar ratios of an entrant's games, pooled as its Sharpe ratio and its drawdown are."""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from arena.metrics import annual_return
from arena.tournament.stats.growth import CONFIDENCE, MIN_SCENARIOS, Estimate, ScenarioKind

if TYPE_CHECKING:
    import pyarrow as pa


def pooled_sortino(results: "pa.Table", agent: str, periods_per_year: float, kind: ScenarioKind) -> Estimate:
    """Sortino ratio of all per-step simple returns of an entrant, per sqrt(year), with a scenario-cluster interval.

        SO = m1 / sqrt(d)          m1, d means of r and of min(r, 0)^2 over all n steps
        psi_s = [d (a_s - m1 n_s) - m1/2 (c_s - d n_s)] / (d^1.5 mean n_s)   a_s, c_s sums of both in scenario s
        interval: SO +- t(S-1) sd(psi) / sqrt(S)          (delta method on scenario sums, as `growth.pooled_sharpe`)

    NaN if no return was negative. Sortino, Price (1994), J. Investing 3(3).
    """
    from scipy import stats

    mine = np.asarray(results["agent"].to_pylist(), dtype=str) == agent
    _, cluster = np.unique(results["scenario"].to_numpy()[mine], return_inverse=True)
    columns = ("num_steps", "return_sum", "downside_square_sum")
    steps, sums, squares = (np.bincount(cluster, results[name].to_numpy()[mine]) for name in columns)  # [S] each
    count, num = steps.sum(), len(steps)
    if count == 0 or not squares.sum() > 0:
        return Estimate(math.nan, None, None)
    m1, downside = sums.sum() / count, squares.sum() / count
    scale = math.sqrt(periods_per_year)
    value = float(m1 / math.sqrt(downside) * scale)
    if num < MIN_SCENARIOS[kind]:
        return Estimate(value, None, None)
    influence = (downside * (sums - m1 * steps) - m1 / 2 * (squares - downside * steps)) / (
        downside**1.5 * steps.mean()
    )
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, num - 1) * influence.std(ddof=1) / math.sqrt(num) * scale)
    return Estimate(value, value - half, value + half)


def median_calmar(results: "pa.Table", agent: str, periods_per_year: float) -> float:
    """Median over the games of an entrant of the annualised return of a game / its deepest drawdown.

    A game that never fell counts as infinite if it earned; NaN where the median has no number, as for cash. A forfeit
    counts as -1: all was lost. Drawdowns grow with the length of a game: compare it between games of one length only.
    """
    mine = np.asarray(results["agent"].to_pylist(), dtype=str) == agent
    final, deepest, steps = (results[name].to_numpy()[mine] for name in ("final_nav", "max_drawdown", "num_steps"))
    # A game is one period of a path of two points. A forfeit has no step, and loses all in any time.
    games_per_year = torch.from_numpy(periods_per_year / np.maximum(steps, 1))
    growth = annual_return(torch.from_numpy(np.stack([np.ones_like(final), final], -1)), games_per_year).numpy()
    with np.errstate(divide="ignore", invalid="ignore"):
        median = float(np.median(growth / deepest))
    return median if math.isfinite(median) else math.nan
