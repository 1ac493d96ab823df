"""One stored match to look at step by step: prices with displacement, positions, fills, and who moved the market."""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from arena.tournament.stats.growth import Floats

if TYPE_CHECKING:
    import pyarrow as pa

MAX_ASSETS, MAX_STEPS = 12, 260  # of a replay: a page that is mailed must stay small


class AssetReplay(NamedTuple):
    """One asset; lists by step, and by seat and step, of the seats that have a path."""

    asset: int  # index in the market
    ref_price: list[float]  # currency
    mid: list[float]  # currency
    displacement: list[float]  # fraction of ref_price
    net_flow: list[float]  # shares of all seats since the step before
    shares: list[list[float]]  # [N, T] fills since the step before, signed
    position: list[list[float]]  # [N, T] signed shares
    pushed: list[float]  # [N] see `push_shares`


class Replay(NamedTuple):
    """One match, the asset that was displaced most first."""

    scenario: int
    lineup: int
    agents: list[str]  # N, seats that have a path, in their order: who forfeited has none
    step: list[int]  # T
    assets: list[AssetReplay]


def replay(markets: "pa.Table") -> Replay:
    """Rows of types.MARKET_SCHEMA -> the first stored match; long episodes are thinned, fills between added up."""
    scenario, lineup = (markets[name][0].as_py() for name in ("scenario", "lineup"))
    of_match = (markets["scenario"].to_numpy() == scenario) & (markets["lineup"].to_numpy() == lineup)
    rows = markets.filter(of_match).sort_by([(name, "ascending") for name in ("asset", "seat", "step")])
    num_assets, num_seats, num_points = (len(np.unique(rows[name].to_numpy())) for name in ("asset", "seat", "step"))
    if rows.num_rows != num_assets * num_seats * num_points:
        raise ValueError(f"the market path of scenario {scenario} is not whole: {rows.num_rows} rows")

    def cube(name: str) -> Floats:
        return rows[name].to_numpy().astype(np.float64).reshape(num_assets, num_seats, num_points)

    columns = {name: cube(name) for name in ("ref_price", "mid", "displacement", "net_flow", "shares", "position")}
    kept = np.unique(np.linspace(0, num_points - 1, min(num_points, MAX_STEPS)).round().astype(int))
    order = np.argsort(-np.abs(columns["displacement"][:, 0]).sum(-1), kind="stable")[:MAX_ASSETS]
    return Replay(
        scenario,
        lineup,
        rows["agent"].to_pylist()[: num_seats * num_points : num_points],
        kept.tolist(),
        [_asset(int(asset), {name: values[asset] for name, values in columns.items()}, kept) for asset in order],
    )


def push_shares(shares: Floats, price: Floats) -> Floats:
    """[N, T] fills, [T] prices -> [N] part of the net flow that each seat was: the parts add up to 1.

        sum_t sgn(X_t) x_it S_t / sum_t |X_t| S_t          x_i fills of the seat [shares], X their sum, S price

    Negative: the seat stood against the flow of the others. All 0 where nothing ever moved.
    """
    net = shares.sum(0)
    total = float((np.abs(net) * price).sum())
    return (np.sign(net) * shares * price).sum(1) / total if total else np.zeros(len(shares))


def _asset(asset: int, columns: dict[str, Any], kept: "np.ndarray[Any, Any]") -> AssetReplay:
    of_market = {name: columns[name][0] for name in ("ref_price", "mid", "displacement")}
    begins = np.append(0, kept[:-1] + 1)  # of the steps that end at a kept one
    return AssetReplay(
        asset,
        **{name: values[kept].tolist() for name, values in of_market.items()},
        net_flow=np.add.reduceat(columns["net_flow"][0], begins).tolist(),
        shares=np.add.reduceat(columns["shares"], begins, axis=1).tolist(),
        position=columns["position"][:, kept].tolist(),
        pushed=push_shares(columns["shares"], columns["ref_price"][0]).tolist(),
    )
