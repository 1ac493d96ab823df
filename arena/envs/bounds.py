"""The finite bounds of what a seat of a single environment sees and does.

Letters: A assets, F numbers of an observation.
"""

import numpy as np

from arena.market.observation import LEVERAGE_BOUND, layout
from arena.market.types import MarketParams

# By the names of `layout`. What `observe` cuts itself lies inside; the others (returns, displacements and forecasts in
# bar volatilities) have no bound in theory, and MARKET_BOUND is where an environment cuts them.
MARKET_BOUND = 1e3
BOUNDS: dict[str, tuple[float, float]] = {
    "volume": (-7.0, 7.0),  # log of a ratio between 1e-3 and 1e3
    "weight": (-LEVERAGE_BOUND, LEVERAGE_BOUND),
    "cash_weight": (-LEVERAGE_BOUND, LEVERAGE_BOUND),
    "gross_leverage": (0.0, LEVERAGE_BOUND),
    "net_leverage": (-LEVERAGE_BOUND, LEVERAGE_BOUND),
    "drawdown": (0.0, LEVERAGE_BOUND),  # beyond 1 the seat is in debt
    "growth": (-LEVERAGE_BOUND, LEVERAGE_BOUND),
    "time_left": (0.0, 1.0),
    "reduce_only": (0.0, 1.0),
    "forecast_present": (0.0, 1.0),
}


def observation_bounds(params: MarketParams, num_assets: int) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest value of every entry of `Observation.flat`, float32 [F] each."""
    names = [name.partition("[")[0] for name in layout(params, num_assets)]
    bounds = np.array([BOUNDS.get(name, (-MARKET_BOUND, MARKET_BOUND)) for name in names], np.float32)
    return bounds[:, 0].copy(), bounds[:, 1].copy()


def action_bound(params: MarketParams) -> float:
    """Largest absolute target weight of one asset that the rules can leave as it is.

    Most of the box that it spans is beyond the gross cap, which then scales a seat's weights down together.
    LEVERAGE_BOUND replaces a cap that is switched off.
    """
    return min(params.max_asset_weight, params.max_gross_leverage, LEVERAGE_BOUND)
