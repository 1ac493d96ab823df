"""The yardsticks: agents that use no opinion about prices."""

from dataclasses import dataclass

import torch
from torch import Tensor

from arena.agents.rules.rule import Rule
from arena.agents.rules.sizing import rebalance, scale_to_gross
from arena.market.types import Observation


@dataclass(frozen=True)
class Cash(Rule):
    """Owns nothing: the zero of every ranking."""

    def act(self, observation: Observation, generator: torch.Generator) -> Tensor:
        """Zero weights [B, A]."""
        return torch.zeros_like(observation.weight)


@dataclass(frozen=True)
class BuyAndHold(Rule):
    """Spends its cash equally on the assets it does not own, then holds.

    gross  share of the cash to spend
    """

    gross: float = 1.0

    def act(self, observation: Observation, generator: torch.Generator) -> Tensor:
        """Weights [B, A]: at the first step gross / A each, later those held; an asset missed then is bought later."""
        missing = observation.weight == 0
        budget = self.gross * observation.cash_weight.clamp(0, 1).unsqueeze(-1)
        share = budget / missing.sum(-1, keepdim=True).clamp_min(1)
        # What is left over after the purchase never tops up an owned asset, so trading ends by itself.
        return torch.where(missing, share.to(observation.weight.dtype), observation.weight)


@dataclass(frozen=True)
class EqualWeight(Rule):
    """Keeps the same weight in every asset: 1/A, rebalanced outside the no-trade band.

    DeMiguel, Garlappi, Uppal (2009), "Optimal Versus Naive Diversification", Review of Financial Studies 22:1915.

    gross  sum of the weights;   band  no-trade band in units of 1/A
    """

    gross: float = 1.0
    band: float = 0.25

    def act(self, observation: Observation, generator: torch.Generator) -> Tensor:
        """Weights [B, A]."""
        target = torch.full_like(observation.weight, self.gross / observation.weight.shape[-1])
        return rebalance(observation, target, band=self.band)


@dataclass(frozen=True)
class Random(Rule):
    """Draws long and short targets at random and holds them for a while: noise with a bearable turnover.

    every  bars a draw is held;   gross  sum of absolute weights
    """

    every: int = 20
    gross: float = 1.0

    def act(self, observation: Observation, generator: torch.Generator) -> Tensor:
        """Weights [B, A]: Gaussian scores scaled to `gross` at every `every`-th step of a market, else those held."""
        weight = observation.weight
        # Drawn at every call, so that the stream does not depend on which markets are due.
        score = torch.randn(weight.shape, generator=generator, dtype=weight.dtype, device=generator.device)
        return rebalance(observation, scale_to_gross(score.to(weight.device), self.gross), self.every, band=0.0)
