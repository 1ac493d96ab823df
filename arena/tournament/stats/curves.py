"""Curves of a report: quantiles of nav and of drawdown over the stored games, step by step."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from arena.tournament.stats.growth import Floats

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


def games_of(paths: "pa.Table") -> Iterator[tuple[str, NDArray[np.int64], Floats]]:
    """Per-step rows (types.PATH_SCHEMA) -> by entrant: name, scenario [G] and nav / nav_0 [G, T+1] of its games.

    Games in the order of their scenarios; ValueError where one lacks a step.
    """
    coded = paths["agent"].combine_chunks().dictionary_encode()
    code, names = coded.indices.to_numpy(), coded.dictionary.to_pylist()
    keys = [paths[name].to_numpy() for name in ("step", "lineup", "scenario")]
    for agent in sorted(names):
        mine = code == names.index(agent)
        order = np.lexsort([key[mine] for key in keys])  # by scenario, lineup, step
        step = keys[0][mine][order]
        num_points = int(step.max()) + 1
        if len(step) % num_points or (step.reshape(-1, num_points) != np.arange(num_points)).any():
            raise ValueError(f"paths of {agent} are not whole: every game needs the steps 0 to {num_points - 1}")
        nav = paths["nav"].to_numpy()[mine][order].reshape(-1, num_points).astype(np.float64)
        yield agent, keys[2][mine][order][::num_points], nav


def thinned(num_points: int, most: int = MAX_POINTS) -> NDArray[np.int64]:
    """At most so many of the steps, both ends among them."""
    return np.unique(np.linspace(0, num_points - 1, min(num_points, most)).round().astype(np.int64))


def _bands(paths: "pa.Table", curve: Callable[[Floats], Floats]) -> dict[str, Band]:
    """`curve` turns nav [games, T+1] into what is shown; long episodes are thinned to MAX_POINTS steps."""
    bands = {}
    for agent, _, nav in games_of(paths):
        kept = thinned(nav.shape[1])
        low, median, high = np.quantile(curve(nav)[:, kept], (BAND[0], 0.5, BAND[1]), axis=0).tolist()
        bands[agent] = Band(kept.tolist(), low, median, high, len(nav))
    return bands
