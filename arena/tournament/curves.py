"""Curves of a report: quantiles of nav over the stored games, and one asset of one stored market, step by step."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

BAND = (0.1, 0.9)  # quantiles at the edges of the band
MAX_POINTS = 130  # of a curve in a report


class WealthBand(NamedTuple):
    """One entrant's nav / nav_0 over its stored games."""

    step: list[int]
    low: list[float]  # BAND[0] quantile at each step
    median: list[float]
    high: list[float]  # BAND[1] quantile at each step
    num_games: int


class MarketCurves(NamedTuple):
    """One asset in one match."""

    scenario: int
    lineup: int
    asset: int
    step: list[int]
    ref_price: list[float]
    mid: list[float]
    displacement: list[float]
    positions: dict[str, list[float]]  # entrant -> signed shares after each step


def market_curves(markets: "pa.Table") -> MarketCurves:
    """Rows of types.MARKET_SCHEMA -> the asset of the first stored match that was displaced most."""
    scenario, lineup = (markets[name][0].as_py() for name in ("scenario", "lineup"))
    of_match = (markets["scenario"].to_numpy() == scenario) & (markets["lineup"].to_numpy() == lineup)
    asset, displacement = (markets[name].to_numpy()[of_match] for name in ("asset", "displacement"))
    chosen = int(np.bincount(asset, np.abs(displacement)).argmax())
    rows = markets.filter(of_match).filter(asset == chosen).sort_by([("seat", "ascending"), ("step", "ascending")])
    step = rows["step"].to_numpy()
    num_points = int(step.max()) + 1
    agents = rows["agent"].to_pylist()[::num_points]
    kept = np.unique(np.linspace(0, num_points - 1, min(num_points, MAX_POINTS)).round().astype(int))
    of_market = {name: rows[name].to_numpy()[kept].tolist() for name in ("step", "ref_price", "mid", "displacement")}
    positions = rows["position"].to_numpy().reshape(len(agents), num_points)[:, kept].tolist()
    return MarketCurves(scenario, lineup, chosen, positions=dict(zip(agents, positions)), **of_market)


def wealth_bands(paths: "pa.Table") -> dict[str, WealthBand]:
    """Per-step rows (types.PATH_SCHEMA) -> entrant -> WealthBand; long episodes are thinned to MAX_POINTS steps."""
    names = np.asarray(paths["agent"].to_pylist(), dtype=str)
    keys = [paths[name].to_numpy() for name in ("step", "scenario", "lineup")]
    bands = {}
    for agent in np.unique(names):
        mine = names == agent
        order = np.lexsort([key[mine] for key in keys])  # by lineup, scenario, step
        step = keys[0][mine][order]
        num_points = int(step.max()) + 1
        if len(step) % num_points or (step.reshape(-1, num_points) != np.arange(num_points)).any():
            raise ValueError(f"paths of {agent} are not whole: every game needs the steps 0 to {num_points - 1}")
        nav = paths["nav"].to_numpy()[mine][order].reshape(-1, num_points)  # [games, T+1]
        kept = np.unique(np.linspace(0, num_points - 1, min(num_points, MAX_POINTS)).round().astype(int))
        low, median, high = np.quantile(nav[:, kept].astype(np.float64), (BAND[0], 0.5, BAND[1]), axis=0).tolist()
        bands[str(agent)] = WealthBand(kept.tolist(), low, median, high, len(nav))
    return bands
