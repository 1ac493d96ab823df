"""An agent that trades against the price displacement which the others' orders leave behind."""

from dataclasses import dataclass

import torch
from torch import Tensor

from arena.agents.rules.rule import Rule
from arena.agents.rules.sizing import cap_gross
from arena.market.types import Observation
from arena.units import BPS


@dataclass(frozen=True)
class Fader(Rule):
    """Leans against the lasting part of the displacement, once it is large enough to pay for the trade.

        q* = -sgn(D) V max(|D| - threshold, 0)**2 / sigma**2,   order = speed * (q* - position)

    q*     position aimed at                                      [shares]
    D      displacement without the first `fast_modes` modes      [fraction of the reference price]
    V      average daily volume                                   [shares/day]
    sigma  volatility                                             [1/sqrt(day)]

    A square-root book is displaced by c sigma sqrt(E / V), so (D / sigma)**2 V is of the order of the shares E that
    pushed the price: the aim is to take their other side. Modes that decay within a bar are left alone, since they are
    gone before an order made at the close is filled. No no-trade band: small steps are what keeps its own impact low.

    threshold_bps  [bps of the reference price];   speed  share of the gap per bar
    fast_modes  number of leading modes to leave out;   gross  cap of the sum of absolute weights
    """

    threshold_bps: float = 10.0
    speed: float = 0.3
    fast_modes: int = 1
    gross: float = 1.0

    def act(self, observation: Observation, generator: torch.Generator) -> Tensor:
        """Weights [B, A]."""
        # Observed displacements are in units of sigma * sqrt(dt); V * S / nav turns a share of V into a weight.
        fast = observation.mode_displacement[..., : self.fast_modes].sum(-1)
        lasting = (observation.displacement - fast) * observation.dt**0.5  # D / sigma [B, A]
        excess = (lasting.abs() - self.threshold_bps * BPS / observation.volatility).clamp_min(0)
        aim = cap_gross(-torch.sign(lasting) * observation.adv_weight * excess.square(), self.gross)
        return observation.weight + self.speed * (aim - observation.weight)
