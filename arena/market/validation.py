"""What VectorMarket refuses to play, said before an episode begins."""

import torch
from torch import Tensor

from arena.data.types import VOLUME, Scenarios
from arena.market.observation import RETURN_WINDOWS
from arena.market.types import NUM_FORECAST, LiveForecast

MIN_WARMUP = max(RETURN_WINDOWS) + 1  # bars


def check_market(
    scenarios: Scenarios,
    num_agents: int,
    history_length: int,
    wind_down: int,
    num_markets: int | None,
    generator: torch.Generator | None,
) -> None:
    """ValueError unless a market can play these scenarios with these arguments of VectorMarket."""
    num_windows, num_bars = scenarios.bars.shape[:2]
    if num_windows < 1 or num_bars <= scenarios.warmup:
        raise ValueError(
            f"scenarios hold {num_windows} windows of {num_bars} bars with a warm-up of {scenarios.warmup}, expected "
            "at least 1 window with bars left to trade; give longer windows or a shorter warm-up"
        )
    if scenarios.warmup < max(MIN_WARMUP, history_length):
        raise ValueError(
            f"warm-up is {scenarios.warmup} bars, expected at least {max(MIN_WARMUP, history_length)} for the "
            "observation's returns and history; cut windows with a longer warm-up"
        )
    if num_agents < 1:
        raise ValueError(f"num_agents is {num_agents}, expected at least 1")
    if not 0 <= wind_down <= num_bars - scenarios.warmup:
        raise ValueError(f"wind_down is {wind_down}, expected 0 to the episode's {num_bars - scenarios.warmup} steps")
    if num_markets is not None and generator is None:
        raise ValueError(
            "num_markets draws windows at random: pass a generator, or leave both out to play every window"
        )
    for name in ("volatility", "adv"):
        if not bool((getattr(scenarios, name) > 0).all()):  # NaN is not > 0 either
            raise ValueError(
                f"scenarios hold a {name} that is not positive; impact divides by it, so leave the asset out"
            )
    if not bool(torch.isfinite(scenarios.bars).all()) or not bool((scenarios.bars[..., :VOLUME] > 0).all()):
        raise ValueError("scenarios hold a non-finite or non-positive price; load bars with a fill policy")


def check_forecast(forecast: Tensor | LiveForecast | None, scenarios: Scenarios, history_length: int) -> None:
    """ValueError unless the forecast is a table of these scenarios, or looks at bars that the market keeps."""
    if isinstance(forecast, Tensor):
        expected = (*scenarios.bars.shape[:3], NUM_FORECAST)
        if tuple(forecast.shape) != expected:
            raise ValueError(
                f"forecast has shape {tuple(forecast.shape)}, expected (windows, bars, assets, {NUM_FORECAST}) = "
                f"{expected}, as the scenarios have"
            )
    elif forecast is not None and history_length < forecast.context_length:
        raise ValueError(
            f"history_length is {history_length}, expected at least {forecast.context_length}: the live forecast looks "
            "at that many displayed bars"
        )
