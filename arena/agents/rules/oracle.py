"""A cheat that sees the predictable part of the next return: how much there is to find in a signal market."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from arena.agents.rules.rule import Rule
from arena.agents.rules.shrinkage import shrunk_covariance
from arena.agents.rules.sizing import scale_to_gross
from arena.market.types import Observation


@dataclass(frozen=True)
class Oracle(Rule):
    """Holds what the hidden signal of a synthetic market favours, hedged, and moves there step by step.

        aim ~ Sigma**-1 s, scaled to sum |aim| = gross;   order = speed * (aim - weight)

    s      predictable open-to-close return of the next bar    [fraction]
    Sigma  shrunk covariance of displayed returns              [per bar]

    All signals fade at one rate, so what a position is expected to earn until they are gone is proportional to s. With
    costs it is then best to trade a constant share of the gap per bar towards the frictionless portfolio: Garleanu,
    Pedersen (2013), "Dynamic Trading with Predictable Returns and Transaction Costs", Journal of Finance 68:2309.

    speed  share of the gap per bar;   window  bars of the covariance;   gross  sum of absolute weights aimed at
    """

    is_cheat: ClassVar[bool] = True

    speed: float = 0.2
    window: int = 60
    gross: float = 1.0

    @property
    def history_length(self) -> int:
        """The window."""
        return self.window

    def act(self, observation: Observation, generator: torch.Generator) -> Tensor:
        """Weights [B, A]; without a signal in the market a ValueError."""
        signal = observation.signal
        if signal is None:
            raise ValueError(
                "Oracle: observation.signal is None, expected [B, A]; "
                "the oracle plays in synthetic markets in signal mode only"
            )
        score = torch.linalg.solve(shrunk_covariance(self.closes(observation)), signal)
        aim = scale_to_gross(score, self.gross)
        return observation.weight + self.speed * (aim - observation.weight)
