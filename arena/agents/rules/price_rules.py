"""Agents that follow or fade the displayed closes. Sizes are per asset: 1/A of `gross` at full conviction."""

from dataclasses import dataclass

import torch
from torch import Tensor

from arena.agents.rules import indicators
from arena.agents.rules.rule import Rule
from arena.agents.rules.sizing import rebalance, scale_to_gross
from arena.market.types import Observation


def _inverse_volatility(observation: Observation) -> Tensor:
    """Share of each asset when every asset carries the same risk [B, A]; sums to 1."""
    return scale_to_gross(1 / observation.volatility, 1.0)


def _scaled_momentum(closes: Tensor, lookback: int, observation: Observation) -> Tensor:
    """Log return over the lookback, in standard deviations of such a return [B, A]."""
    bars = max(min(lookback, closes.shape[-1] - 1), 1)
    return indicators.momentum(closes, lookback) / (observation.volatility * (bars * observation.dt) ** 0.5)


@dataclass(frozen=True)
class Momentum(Rule):
    """Time-series momentum: long what rose over the lookback, short what fell, more the clearer the move.

    Weight = gross * (share of equal risk) * clip(return / its standard deviation, -1, 1). Moskowitz, Ooi, Pedersen
    (2012), "Time Series Momentum", Journal of Financial Economics 104:228, use the sign; the clipped ramp trades less.

    lookback  bars;   gross  sum of absolute weights at full conviction;   band  no-trade band in units of 1/A
    """

    lookback: int = 40
    gross: float = 1.0
    band: float = 0.25

    @property
    def history_length(self) -> int:
        """The lookback and the bar it starts from."""
        return self.lookback + 1

    def act(self, observation: Observation, generator: torch.Generator) -> Tensor:
        """Weights [B, A]."""
        score = _scaled_momentum(self.closes(observation), self.lookback, observation).clamp(-1, 1)
        return rebalance(observation, self.gross * score * _inverse_volatility(observation), band=self.band)


@dataclass(frozen=True)
class CrossMomentum(Rule):
    """Cross-sectional momentum: long the winners against the losers, nothing net. One asset alone: cash.

    Weights are proportional to the return over the lookback, in standard deviations, minus its mean over assets, as in
    Lo, MacKinlay (1990), "When Are Contrarian Profits Due to Stock Market Overreaction?", Review of Financial Studies
    3:175, with the opposite sign.

    lookback, every  bars;   gross  sum of absolute weights;   band  no-trade band in units of 1/A
    """

    lookback: int = 40
    every: int = 5
    gross: float = 1.0
    band: float = 0.25

    @property
    def history_length(self) -> int:
        """The lookback and the bar it starts from."""
        return self.lookback + 1

    def act(self, observation: Observation, generator: torch.Generator) -> Tensor:
        """Weights [B, A]: new ones at every `every`-th step of a market, else those held."""
        score = _scaled_momentum(self.closes(observation), self.lookback, observation)
        target = scale_to_gross(score - score.mean(-1, keepdim=True), self.gross)
        return rebalance(observation, target, self.every, self.band)


@dataclass(frozen=True)
class MeanReversion(Rule):
    """Shorts what stands above its moving average and buys what stands below.

    Weight = -gross / A * clip(z, -1, 1), z = distance of the close from its average in standard deviations, halved.

    window, every  bars;   gross  sum of absolute weights at full conviction;   band  no-trade band in units of 1/A
    """

    window: int = 20
    every: int = 5
    gross: float = 1.0
    band: float = 0.25

    @property
    def history_length(self) -> int:
        """The window."""
        return self.window

    def act(self, observation: Observation, generator: torch.Generator) -> Tensor:
        """Weights [B, A]: new ones at every `every`-th step of a market, else those held."""
        # Full size at two standard deviations, where Bollinger draws his bands.
        score = -(indicators.z_score(self.closes(observation), self.window) / 2).clamp(-1, 1)
        return rebalance(observation, self.gross * score / score.shape[-1], self.every, self.band)


@dataclass(frozen=True)
class Rsi(Rule):
    """Buys oversold assets, shorts overbought ones, and leaves when the index is back at 50.

    period  of Wilder's averages [bars];   oversold, overbought  levels of the index in [0, 100]
    gross  sum of absolute weights with every asset in a trade
    """

    period: int = 14
    oversold: float = 30.0
    overbought: float = 70.0
    gross: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.oversold <= 50 <= self.overbought <= 100:
            raise ValueError(
                f"Rsi: oversold is {self.oversold}, overbought is {self.overbought}, expected oversold in [0, 50] and "
                "overbought in [50, 100]"
            )

    @property
    def history_length(self) -> int:
        """Enough bars for the weight of the starting average to fall to about 1/8."""
        return 3 * self.period + 1

    def act(self, observation: Observation, generator: torch.Generator) -> Tensor:
        """Weights [B, A]: +-gross / A at an entry, 0 at an exit, else those held."""
        index = indicators.rsi(self.closes(observation), self.period)
        held = observation.weight
        size = self.gross / held.shape[-1]
        # The position held is the memory of the trade: enter once, keep the size, leave at the middle.
        long, short = held > 0, held < 0
        over = (long & (index >= 50)) | (short & (index <= 50))
        target = torch.where(over, 0.0, held)
        target = torch.where((index < self.oversold) & ~long, size, target)
        return torch.where((index > self.overbought) & ~short, -size, target)


@dataclass(frozen=True)
class Macd(Rule):
    """Long while the MACD line is above its signal line, short while below.

    fast, slow, signal  spans of the averages [bars];   gross  sum of absolute weights
    band  no-trade band in units of 1/A
    """

    fast: int = 12
    slow: int = 26
    signal: int = 9
    gross: float = 1.0
    band: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fast >= self.slow:
            raise ValueError(f"Macd: fast is {self.fast}, expected less than slow, which is {self.slow}")

    @property
    def history_length(self) -> int:
        """Bars after which the slow average has all but forgotten its start."""
        return 2 * self.slow + self.signal - 1

    def act(self, observation: Observation, generator: torch.Generator) -> Tensor:
        """Weights [B, A]: the sign of the histogram times gross / A; 0 for a constant series."""
        closes = self.closes(observation)
        direction = torch.sign(indicators.macd(closes, self.fast, self.slow, self.signal).histogram[..., -1])
        return rebalance(observation, self.gross * direction / closes.shape[-2], band=self.band)
