"""Agents written with NumPy for one market, playing in many.

A function is enough:

    def buy_the_dip(obs, lookback=20):
        average = obs.close[:, -lookback:].mean(axis=1)
        score = np.maximum(1 - obs.close[:, -1] / average, 0)
        return score / max(score.sum(), 1)

A class may keep notes between the bars, because every market gets an object of its own:

    class Breakout:
        history_length = 50                       # bars wanted; 60 if left out
        forecaster = "embedded"                   # whose forecasts obs.forecast_return holds; none if left out

        def __init__(self, size=1.0):             # parameters
            self.size, self.high = size, None

        def act(self, obs):                       # called once a bar
            if self.high is None:
                self.high = obs.high.max(axis=1)
            weights = np.where(obs.close[:, -1] > self.high, self.size / obs.num_assets, obs.weight)
            self.high = np.maximum(self.high, obs.high[:, -1])
            return weights                        # signed fractions of nav, one per asset
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arena.data.types import CHANNELS
from arena.market.types import Observation

DEFAULT_HISTORY = 60  # bars shown to an agent that does not say how many it wants


@dataclass(frozen=True)
class NumpyObservation:
    """What one seat sees of one market at the close of a bar: read-only arrays, A assets, C bars, oldest first.

    `obs.weight` is the position held; returning it means "do nothing".
    """

    open: np.ndarray  # [A, C] displayed prices; C = 0 where the agent asks for no history
    high: np.ndarray  # [A, C]
    low: np.ndarray  # [A, C]
    close: np.ndarray  # [A, C]
    volume: np.ndarray  # [A, C] shares of a bar
    amount: np.ndarray  # [A, C] currency traded in a bar
    weight: np.ndarray  # [A] own position as a signed fraction of nav
    volatility: np.ndarray  # [A] std of log return per sqrt(day)
    adv_weight: np.ndarray  # [A] average daily notional / nav
    displacement: np.ndarray  # [A] of the price by all orders so far, in units of volatility * sqrt(dt)
    mode_displacement: np.ndarray  # [A, M-1] its parts, fastest decay first, without the permanent one
    net_flow: np.ndarray  # [A] last net flow of all agents / forecast volume of the bar
    forecast_return: np.ndarray  # [A, 3] expected returns, in units of volatility; zeros without a forecast
    forecast_spread: np.ndarray  # [A] forecast uncertainty, in units of volatility
    forecast_present: float  # 1 where there is a forecast
    cash_weight: float  # cash / nav
    gross_leverage: float  # sum of |weight|
    net_leverage: float  # sum of weight
    drawdown: float  # 1 - nav / highest nav
    growth: float  # log(nav / initial nav)
    time_left: float  # fraction of the episode
    reduce_only: bool  # True where only smaller positions are possible
    step: int  # bars since the episode began
    dt: float  # bar length [trading days]
    generator: torch.Generator = field(repr=False, compare=False)

    @property
    def num_assets(self) -> int:
        """A."""
        return self.weight.shape[0]

    @cached_property
    def rng(self) -> np.random.Generator:
        """The only source of randomness allowed: the same match draws the same numbers again."""
        seed = torch.randint(2**62, (), generator=self.generator, device=self.generator.device)
        return np.random.default_rng(int(seed))


class NumpyAgent:
    """Plays a one-market NumPy agent in B markets.

    make            returns a new one-market agent: an object with act(obs) -> weights [A], or such a function itself
    name            for messages
    history_length  displayed bars to show      forecaster  that fills the forecast fields, "" for none

    The loop over B is right here and nowhere else: the code inside knows one market only, and may remember.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        name: str = "numpy agent",
        history_length: int = DEFAULT_HISTORY,
        forecaster: str = "",
    ) -> None:
        self.make = make
        self.name = name
        self.history_length = history_length
        self.forecaster = forecaster
        self.reset()

    def reset(self) -> None:
        """Forget the past: every market gets a new object at its next bar."""
        self._decide: dict[int, Callable[[NumpyObservation], Any]] = {}  # by market

    def act(self, observation: Observation, generator: torch.Generator) -> Tensor:
        """Target weights [B, A]; a dead seat holds and is not asked."""
        rows = market_rows(observation, generator)
        alive = observation.alive.tolist()
        decided = np.array(observation.weight.detach().cpu().numpy())  # [B, A] a copy
        for market, obs in enumerate(rows):
            if not alive[market]:
                continue
            if market not in self._decide or obs.step == 0:  # step 0 again: an episode of this market began
                player = self.make()
                self._decide[market] = getattr(player, "act", player)
            decided[market] = self._checked(self._decide[market](obs), obs.num_assets)
        return torch.from_numpy(decided).to(observation.weight)

    def _checked(self, weights: Any, num_assets: int) -> np.ndarray:
        """The returned weights as an array [A]."""
        array = np.asarray(weights)
        if array.shape != (num_assets,) or array.dtype.kind not in "fiub":
            raise ValueError(
                f"agent {self.name!r} returned {array.dtype} of shape {array.shape}, expected numbers of shape "
                f"(num_assets,) = ({num_assets},): one weight per asset of one market"
            )
        return array


def market_rows(observation: Observation, generator: torch.Generator) -> list[NumpyObservation]:
    """The B markets of a batch [B, ...] as one-market records that share its memory, read-only."""
    arrays = {name: _read_only(value) for name, value in observation._asdict().items() if isinstance(value, Tensor)}
    num_markets, num_assets = arrays["weight"].shape
    history = arrays.pop("history", np.zeros((num_markets, num_assets, 0, len(CHANNELS))))
    wanted = [entry.name for entry in fields(NumpyObservation) if entry.name in arrays]
    rows = []
    for market in range(num_markets):
        values: dict[str, Any] = {name: history[market, ..., k] for k, name in enumerate(CHANNELS)}
        for name in wanted:
            value = arrays[name][market]
            values[name] = value if value.ndim else value.item()
        values["reduce_only"] = bool(values["reduce_only"])
        rows.append(NumpyObservation(**values, dt=observation.dt, generator=generator))
    return rows


def _read_only(tensor: Tensor) -> np.ndarray:
    """A view that raises on writing: the record belongs to the market."""
    array = tensor.detach().cpu().numpy()
    array.flags.writeable = False
    return array
