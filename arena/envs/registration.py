"""The market under a name that `gymnasium.make` knows.

env = gymnasium.make("arena/Market-v0", opponents=["momentum", "rsi"], num_assets=4)

Its arguments are text and numbers, so that a spec can be written as JSON and sent to other processes. This module
imports nothing heavy: `import arena` reads it.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from arena.envs.single import ArenaEnv

MARKET = "arena/Market-v0"


def register_market(gymnasium: ModuleType) -> None:
    """Add the market to Gymnasium's registry. There is no time limit: the market ends its own episodes."""
    if MARKET not in gymnasium.registry:
        gymnasium.register(MARKET, entry_point=f"{__name__}:make_env")


def make_env(
    opponents: Sequence[str] = ("equal_weight", "momentum", "rsi"),
    *,
    seat: int = 0,
    num_assets: int = 8,
    episode_length: int = 120,
    preset: str = "sqrt",
    mode: Literal["signal", "fair"] = "signal",
    signal_ic: float = 0.08,
    forecaster: str | None = None,
    context_length: int = 64,
    render_mode: str | None = None,
    **market: Any,
) -> "ArenaEnv":
    """An ArenaEnv in a synthetic market, from plain values; all defaults together equal `ArenaEnv()`.

    opponents       specs of the agents in the other seats, see `arena.list_agents`
    seat            of the learner, 0 .. len(opponents)
    episode_length  bars of an episode
    preset          name of the market's rules: sqrt, linear_ow, athl or frictionless
    mode            signal: returns are partly predictable; fair: nothing can be earned on average
    signal_ic       signal mode: correlation of the predictable part with the return of a bar, 0 to 0.5
    forecaster      spec of the forecaster in every seat's observation, see `arena.list_forecasters`; None: no forecast
    context_length  bars that the forecaster reads
    market          further numbers for VectorMarket: initial_wealth, half_spread, borrow_rate, wind_down
    """
    from arena.agents.registry import make_agent
    from arena.data.synthetic.params import SyntheticParams, fair
    from arena.envs.parallel import WARMUP
    from arena.envs.single import ArenaEnv
    from arena.forecast.loading import load_forecaster
    from arena.forecast.serving.live import LiveFeatures
    from arena.market import presets

    if mode not in ("signal", "fair"):
        raise ValueError(f"mode is {mode!r}, expected 'signal' or 'fair'; use one of them")
    agents = [make_agent(spec) for spec in opponents]
    forecast = None if forecaster is None else LiveFeatures(load_forecaster(forecaster), context_length)
    shown = [WARMUP, *(agent.history_length for agent in agents), *([] if forecast is None else [context_length])]
    synthetic = SyntheticParams(num_assets=num_assets, num_bars=max(shown) + episode_length, signal_ic=signal_ic)
    return ArenaEnv(
        agents,
        seat=seat,
        forecast=forecast,
        synthetic=fair(synthetic) if mode == "fair" else synthetic,
        params=presets.preset(preset, synthetic.dt),
        render_mode=render_mode,
        **market,
    )
