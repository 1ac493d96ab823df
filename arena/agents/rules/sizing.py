"""From scores to target weights: sizing, the no-trade band, the rebalancing calendar. Axes: [B, A] weights."""

import torch
from torch import Tensor

from arena.market.types import Observation


def scale_to_gross(score: Tensor, gross: float) -> Tensor:
    """Weights proportional to `score` with sum |weight| = gross; zeros where every score is 0.

    score  any unit [..., A];   gross  fraction of nav
    """
    tiny = torch.finfo(score.dtype).tiny
    score = score / score.abs().amax(-1, keepdim=True).clamp_min(tiny)  # no overflow in the sum below
    return score * (gross / score.abs().sum(-1, keepdim=True).clamp_min(tiny))


def cap_gross(weight: Tensor, gross: float) -> Tensor:
    """Weights [..., A] shrunk together where their sum |weight| exceeds `gross`."""
    total = weight.abs().sum(-1, keepdim=True)
    return weight * (gross / total.clamp_min(gross)) if gross > 0 else torch.zeros_like(weight)


def rebalance(observation: Observation, target: Tensor, every: int = 1, band: float = 0.25) -> Tensor:
    """Target weights [B, A] after the two habits that keep turnover down; a held weight is returned bit for bit.

    every  bars between decisions, counted by each market's own step, so an auto-reset market starts anew
    band   hold an asset while |target - weight| < band / A; 0 always trades
    """
    close_enough = (target - observation.weight).abs() < band / target.shape[-1]
    decides = (observation.step % every == 0).unsqueeze(-1)
    return torch.where(decides & ~close_enough, target, observation.weight)
