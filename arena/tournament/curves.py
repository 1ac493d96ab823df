"""Curves of a report: quantiles of nav and of drawdown over the stored games, step by step."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from arena.tournament.growth import Floats

if TYPE_CHECKING:
    import pyarrow as pa

BAND = (0.1, 0.9)  # quantiles at the edges of the band
MAX_POINTS = 130  # of a curve in a report


class Band(NamedTuple):
    """One entrant over its stored games."""

    step: list[int]
    low: list[float]  # BAND[0] quantile at each step
    median: list[float]
    high: list[float]  # BAND[1] quantile at each step
    num_games: int


def wealth_bands(paths: "pa.Table") -> dict[str, Band]:
    """Per-step rows (types.PATH_SCHEMA) -> entrant -> Band of nav / nav_0."""
    return _bands(paths, lambda nav: nav)


def drawdown_bands(paths: "pa.Table") -> dict[str, Band]:
    """Per-step rows (types.PATH_SCHEMA) -> entrant -> Band of the drawdown 1 - nav / running maximum, positive."""
    return _bands(paths, lambda nav: 1 - nav / np.maximum.accumulate(nav, axis=1))


def _bands(paths: "pa.Table", curve: Callable[[Floats], Floats]) -> dict[str, Band]:
    """`curve` turns nav [games, T+1] into what is shown; long episodes are thinned to MAX_POINTS steps."""
    coded = paths["agent"].combine_chunks().dictionary_encode()
    code, names = coded.indices.to_numpy(), coded.dictionary.to_pylist()
    keys = [paths[name].to_numpy() for name in ("step", "scenario", "lineup")]
    bands = {}
    for agent in sorted(names):
        mine = code == names.index(agent)
        order = np.lexsort([key[mine] for key in keys])  # by lineup, scenario, step
        step = keys[0][mine][order]
        num_points = int(step.max()) + 1
        if len(step) % num_points or (step.reshape(-1, num_points) != np.arange(num_points)).any():
            raise ValueError(f"paths of {agent} are not whole: every game needs the steps 0 to {num_points - 1}")
        nav = paths["nav"].to_numpy()[mine][order].reshape(-1, num_points).astype(np.float64)  # [games, T+1]
        kept = np.unique(np.linspace(0, num_points - 1, min(num_points, MAX_POINTS)).round().astype(int))
        low, median, high = np.quantile(curve(nav)[:, kept], (BAND[0], 0.5, BAND[1]), axis=0).tolist()
        bands[agent] = Band(kept.tolist(), low, median, high, len(nav))
    return bands
