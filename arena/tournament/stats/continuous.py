"""One backtest per entrant on real bars: its windows laid end to end, and how much of its Sharpe ratio may be luck.

Windows of one history follow each other in time and do not overlap, so their returns make one path. It is not what one
uninterrupted match would have given: every window begins in cash with the initial wealth and ends by winding down, and
the bars between two windows are left out. Synthetic scenarios are universes of their own and make no path.

Axes: W windows, L steps of a window, T = W L steps of the path.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from arena import metrics
from arena.tournament.leaderboard import ContinuousPath
from arena.tournament.stats import ratios
from arena.tournament.stats.curves import games_of, thinned
from arena.tournament.stats.growth import CONFIDENCE, Floats
from arena.tournament.types import OK

if TYPE_CHECKING:
    import pyarrow as pa

MAX_POINTS = 400  # of a curve: it is as wide as the page
NO_HISTORY = "synthetic scenarios are universes of their own, not parts of one history"
FORFEITED, RUINED, NOT_KEPT = "forfeited", "ruined", "paths not kept"


class Curve(NamedTuple):
    """Wealth along the path of one entrant, 1 at the start."""

    step: list[int]
    wealth: list[float]


def laid_end_to_end(paths: "pa.Table") -> dict[str, Floats]:
    """Per-step rows (types.PATH_SCHEMA) -> entrant -> simple returns [W, L], windows in the order of time.

    An entrant with several lineups in a window holds equal shares of wealth in all of them. NaN after ruin.
    """
    found = {}
    for agent, scenario, nav in games_of(paths):
        windows, row = np.unique(scenario, return_inverse=True)
        total = np.zeros((len(windows), nav.shape[1]))
        np.add.at(total, row, np.where(nav > 0, nav, np.nan))
        found[agent] = total[:, 1:] / total[:, :-1] - 1
    return found


def summary(
    paths: "pa.Table | None", results: "pa.Table", ranking: Sequence[str], periods_per_year: float, cash: str = "cash"
) -> ContinuousPath:
    """What a leaderboard says of the continuous paths; JSON-ready, None where a number is not known.

    `agents` holds what _statistics says, `missing` FORFEITED, RUINED or NOT_KEPT.
    Ratios are of returns above those of the entrant `cash`, if there is one. Who forfeited or was ruined was a trial.
    """
    status = np.asarray(results["status"].to_pylist(), dtype=str)
    agent = np.asarray(results["agent"].to_pylist(), dtype=str)
    played = {name: np.unique(results["scenario"].to_numpy()[agent == name]) for name in ranking}
    chains = {} if paths is None else laid_end_to_end(paths)
    missing = {}
    for name in ranking:
        if (status[agent == name] != OK).any():
            missing[name] = FORFEITED
        elif len(chains.get(name, ())) < len(played[name]):
            missing[name] = NOT_KEPT
        elif np.isnan(chains[name]).any():
            missing[name] = RUINED
    chains = {name: chains[name].ravel() for name in ranking if name not in missing}
    if not chains:
        kept = "no entrant has a whole path: " + ", ".join(sorted(set(missing.values())))
        return {"reason": kept + (" (raise tournament.paths_mb)" if NOT_KEPT in missing.values() else "")}
    safe = chains.get(cash, np.zeros(1))
    above = {name: returns - safe for name, returns in chains.items()}
    known = [ratio for returns in above.values() if not math.isnan(ratio := ratios.sharpe_ratio(returns))]
    num_trials = max(1, len(known) + len(missing))
    variance = float(np.var(known, ddof=1)) if len(known) > 1 else 0.0
    return {
        "reason": None,
        "windows": len(played[ranking[0]]),
        "steps": len(next(iter(chains.values()))),
        "trials": num_trials,
        "trial_variance": variance,
        "luck": ratios.expected_max_sharpe(variance, num_trials) * math.sqrt(periods_per_year),
        "agents": {
            name: _statistics(returns, above[name], periods_per_year, variance, num_trials)
            for name, returns in chains.items()
        },
        "missing": missing,
    }


def curves(paths: "pa.Table", found: ContinuousPath) -> dict[str, Curve]:
    """Entrant -> curve, of those that `summary` has numbers of."""
    chains = laid_end_to_end(paths)
    wealth = {name: np.append(1.0, (1 + chains[name].ravel()).cumprod()) for name in found["agents"]}
    kept = thinned(found["steps"] + 1, MAX_POINTS)
    return {name: Curve(kept.tolist(), path[kept].tolist()) for name, path in wealth.items()}


def _statistics(
    returns: Floats, above: Floats, periods_per_year: float, variance: float, num_trials: int
) -> dict[str, float | None]:
    """Of [T] returns and those above cash; ratios per sqrt(year).

    psr, dsr            probability that the true ratio exceeds 0; and what the best of all trials shows without skill
    steps_needed        for a psr of 95 %
    skewness, kurtosis  of the returns above cash; 0 and 3 for a normal law
    """
    from scipy import stats

    ratio, error = ratios.sharpe_ratio(above), ratios.standard_error(above)
    half, scale = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * error, math.sqrt(periods_per_year)
    varies = not math.isnan(ratio)
    nav = torch.from_numpy(np.append(1.0, (1 + returns).cumprod()))
    known = {
        "annual_return": metrics.annual_return(nav, periods_per_year),
        "annual_volatility": metrics.annual_volatility(torch.from_numpy(returns), periods_per_year),
        "sharpe": ratio * scale,
        "sharpe_low": (ratio - half) * scale,
        "sharpe_high": (ratio + half) * scale,
        "psr": ratios.probabilistic_sharpe(above),
        "dsr": ratios.deflated_sharpe(above, variance, num_trials),
        "steps_needed": ratios.min_track_record_length(above, confidence=CONFIDENCE),
        "skewness": stats.skew(above) if varies else math.nan,
        "kurtosis": stats.kurtosis(above, fisher=False) if varies else math.nan,
        "sortino": metrics.sortino(torch.from_numpy(above), periods_per_year),
        "calmar": metrics.calmar(nav, periods_per_year),
        "max_drawdown": metrics.max_drawdown(nav),
    }
    return {name: float(value) if math.isfinite(value) else None for name, value in known.items()}
