"""Agents that trade what a forecaster expects, read from the forecast slot of their observation.

A forecaster is named by `forecaster`, see arena.forecast.loading.load_forecaster; whoever runs the agent fills the slot
from it. Where the slot is empty the agents hold what they have, which is cash at the start.
"""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from arena.agents.rules.rule import Rule
from arena.agents.rules.shrinkage import shrunk_covariance
from arena.agents.rules.sizing import cap_gross, rebalance, scale_to_gross
from arena.market.types import FORECAST_HORIZONS, Observation

SPREAD_SIGMAS = 2.563  # between the quantiles 0.1 and 0.9 of a normal distribution
EQUAL_SCORES = 1e-4  # expected returns of a bar that differ by less, in standard deviations, are equal but for rounding


@dataclass(frozen=True)
class Follower(Rule):
    """What both have in common: the forecast they read and how slowly they trade it.

    forecaster  spec of the forecaster          horizon  bars of the expected return, one of FORECAST_HORIZONS
    speed       share of the gap to the aim traded per bar; the rest waits for the next
    gross       most that the sum of absolute weights aims at;   band  no-trade band around the aim in units of 1/A

    Forecasts change slowly, so trading a share of the gap per bar loses little of them and costs less: Garleanu,
    Pedersen (2013), "Dynamic Trading with Predictable Returns and Transaction Costs", Journal of Finance 68:2309.
    """

    forecaster: str = "embedded"
    horizon: int = 5
    speed: float = 0.2
    gross: float = 1.0
    band: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.horizon not in FORECAST_HORIZONS:
            raise ValueError(
                f"{type(self).__name__}: horizon is {self.horizon}, expected one of {FORECAST_HORIZONS}, the horizons "
                "that an observation shows"
            )

    @abstractmethod
    def aim(self, observation: Observation, expected: Tensor, deviation: Tensor) -> Tensor:
        """The portfolio to move to [B, A], for an expected log return and its standard deviation per bar [B, A].

        Both are in units of the observation's volatility of a bar; the deviation is 0 where there is no forecast.
        """

    def act(self, observation: Observation, generator: torch.Generator) -> Tensor:
        """Weights [B, A]."""
        expected = observation.forecast_return[..., FORECAST_HORIZONS.index(self.horizon)] / self.horizon
        deviation = observation.forecast_spread / SPREAD_SIGMAS
        weight = observation.weight
        aim = rebalance(observation, self.aim(observation, expected, deviation), band=self.band)
        present = observation.forecast_present.unsqueeze(-1) > 0
        return torch.where(present, weight + self.speed * (aim - weight), weight)


def _or_zero(numerator: Tensor, denominator: Tensor) -> Tensor:
    """numerator / denominator, 0 where the denominator is."""
    known = denominator > 0
    return torch.where(known, numerator / torch.where(known, denominator, 1.0), 0.0)


@dataclass(frozen=True)
class MeanVariance(Follower):
    """Holds a fraction of the portfolio that grows fastest if the forecast is right, and moves there step by step.

        aim = kelly * Sigma**-1 mu, sum |aim| capped at gross;   Sigma = D R D;   order = speed * (aim - weight)

    mu     expected log return over `horizon`, per bar                        [per bar]
    D      standard deviations, from the spread between the forecast quantiles    [per bar]
    R      shrunk correlation of the displayed returns of `window` bars           [-]

    Kelly (1956), "A New Interpretation of Information Rate", Bell System Technical Journal 35:917; a fraction, because
    expected returns are mostly noise. A forecaster that expects nothing (persistence) makes it hold cash.
    """

    kelly: float = 0.5
    window: int = 60

    @property
    def history_length(self) -> int:
        """The window."""
        return self.window

    def aim(self, observation: Observation, expected: Tensor, deviation: Tensor) -> Tensor:
        """Weights [B, A]."""
        covariance = shrunk_covariance(self.closes(observation))
        scale = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
        correlation = covariance / (scale.unsqueeze(-1) * scale.unsqueeze(-2))
        hedged = torch.linalg.solve(correlation, _or_zero(expected, deviation))
        bar_volatility = observation.volatility * observation.dt**0.5
        return cap_gross(self.kelly * _or_zero(hedged, deviation * bar_volatility), self.gross)


@dataclass(frozen=True)
class Rank(Follower):
    """Long what is expected to do best against what is expected to do worst, nothing net. One asset alone: cash.

    Weights are proportional to the rank of expected return over its standard deviation, minus the mean rank; equals
    share their ranks, so a forecaster that expects the same of all (persistence) makes it hold cash. An asset without a
    forecast ranks as one that is expected to stay.
    """

    def aim(self, observation: Observation, expected: Tensor, deviation: Tensor) -> Tensor:
        """Weights [B, A]."""
        score = _or_zero(expected, deviation)
        lead = score.unsqueeze(-1) - score.unsqueeze(-2)  # [B, A, A] of the first over the second
        ahead = torch.where(lead.abs() < EQUAL_SCORES, 0.0, torch.sign(lead)).sum(-1)  # of how many, minus behind
        return scale_to_gross(ahead, self.gross)
