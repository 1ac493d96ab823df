"""What a run keeps of its matches, small and with a known truth."""

import numpy as np
import pyarrow as pa

from arena.tournament.store.units import table_from_columns
from arena.tournament.types import MARKET_SCHEMA, PATH_SCHEMA

EDGE = {"oracle": 0.03, "mo<b>mentum": 0.01, "cash": 0.0, "random": -0.02}  # entrants and their mean log return
STEPS = 12


def path_table(steps: int = STEPS) -> pa.Table:
    """Five games of each entrant, rows in no order."""
    generator = np.random.default_rng(0)
    shape = (len(EDGE), 5, steps + 1)
    nav = np.exp(0.01 * generator.normal(size=shape).cumsum(-1))
    nav[..., 0] = 1
    index = np.indices(shape).reshape(3, -1)
    columns = {name: np.zeros(nav.size) for name in PATH_SCHEMA}
    columns |= {"seat": index[0], "scenario": index[1], "step": index[2], "nav": nav.ravel()}
    columns["agent"] = [list(EDGE)[seat] for seat in index[0]]
    table = table_from_columns(columns, PATH_SCHEMA)
    return table.take(generator.permutation(table.num_rows))


def market_table(steps: int = STEPS) -> pa.Table:
    """Two assets, the second displaced; seat k buys k shares a step of asset 0 and sells them of asset 1."""
    asset, step, seat = np.indices((2, steps + 1, len(EDGE))).reshape(3, -1)
    columns = {name: np.zeros(len(asset)) for name in MARKET_SCHEMA}
    columns |= {"scenario": np.full(len(asset), 7), "asset": asset, "step": step, "seat": seat}
    columns |= {"agent": [list(EDGE)[index] for index in seat], "ref_price": 10.0 + step}
    columns |= {"displacement": 0.01 * asset, "mid": (10.0 + step) * (1 + 0.01 * asset)}
    side = 1 - 2 * asset
    columns |= {"position": seat * step * side, "shares": seat * side * (step > 0), "net_flow": 6 * side * (step > 0)}
    table = table_from_columns(columns, MARKET_SCHEMA)
    other = table_from_columns(columns | {"scenario": np.full(len(asset), 8)}, MARKET_SCHEMA)
    return pa.concat_tables([table, other])
