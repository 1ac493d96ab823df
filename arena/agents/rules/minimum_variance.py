"""The portfolio of least variance, with a shrunk covariance."""

from dataclasses import dataclass

import torch
from torch import Tensor

from arena.agents.rules.rule import Rule
from arena.agents.rules.shrinkage import shrunk_covariance
from arena.agents.rules.sizing import cap_gross, rebalance
from arena.market.types import Observation


def minimum_variance_weights(covariance: Tensor) -> Tensor:
    """Fully invested weights of least variance [..., A]; `covariance` [..., A, A] is positive definite.

        w = Sigma**-1 1 / (1' Sigma**-1 1)

    Merton (1972), "An Analytic Derivation of the Efficient Portfolio Frontier", JFQA 7:1851.
    """
    ones = covariance.new_ones(covariance.shape[:-1])
    solved = torch.linalg.solve(covariance, ones)
    return solved / solved.sum(-1, keepdim=True)


@dataclass(frozen=True)
class MinimumVariance(Rule):
    """Holds the portfolio of least variance; short positions are allowed, but not more than `gross` in all.

    window, every  bars;   gross  sum of absolute weights;   band  no-trade band in units of 1/A
    """

    window: int = 60
    every: int = 5
    gross: float = 1.0
    band: float = 0.25

    @property
    def history_length(self) -> int:
        """The window."""
        return self.window

    def act(self, observation: Observation, generator: torch.Generator) -> Tensor:
        """Weights [B, A]: new ones at every `every`-th step of a market, else those held."""
        weights = minimum_variance_weights(shrunk_covariance(self.closes(observation)))
        return rebalance(observation, cap_gross(self.gross * weights, self.gross), self.every, self.band)
