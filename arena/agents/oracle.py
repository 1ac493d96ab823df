"""A cheat that sees the predictable part of the next return: how much there is to find in a signal market."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from arena.agents.rule import Rule
from arena.agents.weights import rebalance, scale_to_gross
from arena.envs.types import Observation


@dataclass(frozen=True)
class Oracle(Rule):
    """Trades on the signal of a synthetic market, for as long as it is expected to last.

        edge = max(|s| (1 + a + a**2 + ...) - cost, 0),   a = 2**(-dt / half_life),   weight ~ sgn(s) edge / sigma**2

    s      predictable open-to-close return of the next bar     [fraction]
    a      decay of the signal per bar: the sum is what a position earns until the signal is gone
    sigma  volatility                                           [1/sqrt(day)]

    half_life  of the signal [trading days];   cost_bps  of a round trip, below which an asset is not worth a trade
    gross  sum of absolute weights;   band  no-trade band in units of 1/A
    """

    is_cheat: ClassVar[bool] = True

    half_life: float = 20.0
    cost_bps: float = 30.0
    gross: float = 1.0
    band: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.half_life == 0:
            raise ValueError("Oracle: half_life is 0, expected a positive number of trading days")

    def act(self, observation: Observation, generator: torch.Generator) -> Tensor:
        """Weights [B, A]."""
        signal = observation.signal
        if signal is None:
            raise ValueError(
                "Oracle: observation.signal is None, expected [B, A]; "
                "the oracle plays in synthetic markets in signal mode only"
            )
        bars_earned = 1 / (1 - 2 ** (-observation.dt / self.half_life))
        edge = (signal.abs() * bars_earned - self.cost_bps * 1e-4).clamp_min(0)
        score = torch.sign(signal) * edge / observation.volatility.square()
        return rebalance(observation, scale_to_gross(score, self.gross), band=self.band)
