"""How good a forecast was, once the outcome is known: one number per forecast, smaller losses are better.

All inputs share a scale that makes assets comparable; the evaluation uses log returns since the last known close.
An outcome that is missing (NaN) gives a missing score.

Letters: Q quantile levels, S sampled paths, A assets.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from arena.forecast.types import QUANTILE_LEVELS


def pinball(quantiles: Tensor, actual: Tensor, levels: Sequence[float] = QUANTILE_LEVELS) -> Tensor:
    """Loss of each quantile: L = max(p (y - q), (p - 1) (y - q)), least on average when q is the p-quantile of y.

    quantiles  [..., Q] at `levels`   actual  [...]   ->  [..., Q], in the unit of y

    Koenker, Bassett (1978), Econometrica 46:33.
    """
    level = torch.tensor(levels, dtype=quantiles.dtype, device=quantiles.device)
    above = actual.unsqueeze(-1) - quantiles  # [..., Q]
    return torch.maximum(level * above, (level - 1) * above)


def crps_from_quantiles(quantiles: Tensor, actual: Tensor, levels: Sequence[float] = QUANTILE_LEVELS) -> Tensor:
    """CRPS = 2 * integral over p in (0, 1) of the pinball loss, as twice the mean over the given levels.

    quantiles  [..., Q] at evenly spaced `levels`   actual  [...]   ->  [...], in the unit of y

    The approximation is the mean over the levels that are there. With 0.1 to 0.9 the tails are left out, where the loss
    is below its average: of a right Gaussian forecast it gives 1.09 times the exact CRPS. Compare like with like only:
    forecasts at the same levels, all by this function. Gneiting, Raftery (2007), J. Am. Stat. Assoc. 102:359.
    """
    return 2 * pinball(quantiles, actual, levels).mean(-1)


def crps_from_samples(samples: Tensor, actual: Tensor) -> Tensor:
    """CRPS = E|X - y| - E|X - X'| / 2, estimated without bias from S >= 2 draws of X: the "fair" score.

    samples  [..., S]   actual  [...]   ->  [...], in the unit of y; single values may be negative

    Dividing the second sum by S (S - 1), not S^2, makes its mean that of S = infinity, so forecasters with few and with
    many paths compare. Ferro (2014), Q. J. R. Meteorol. Soc. 140:1917.
    """
    num = samples.shape[-1]
    if num < 2:
        raise ValueError(f"CRPS from {num} sampled path, expected at least 2: the spread of one path is unknown")
    ordered = samples.sort(-1).values
    # The i-th smallest of S stands above i and below S - 1 - i others: sum over i < j of x_j - x_i.
    weight = 2 * torch.arange(num, dtype=samples.dtype, device=samples.device) - (num - 1)
    spread = (weight * ordered).sum(-1) / (num * (num - 1) / 2)  # [...], mean |x_i - x_j| over the pairs
    return (samples - actual.unsqueeze(-1)).abs().mean(-1) - spread / 2


class IntervalScore(NamedTuple):
    """What became of a central interval."""

    covered: Tensor  # [...] 1.0 where the outcome fell into it (ends included), else 0.0; NaN where there is none
    width: Tensor  # [...]


def central_interval(
    quantiles: Tensor, actual: Tensor, mass: float, levels: Sequence[float] = QUANTILE_LEVELS
) -> IntervalScore:
    """Coverage and width of the interval between the quantiles (1 - mass)/2 and (1 + mass)/2."""
    places = [
        [i for i, level in enumerate(levels) if abs(level - end) < 1e-9] for end in ((1 - mass) / 2, (1 + mass) / 2)
    ]
    if not all(places):
        raise ValueError(f"no central interval of {mass:.0%} among the quantile levels {tuple(levels)}")
    low, high = (quantiles[..., place[0]] for place in places)
    covered = ((low <= actual) & (actual <= high)).to(actual.dtype)
    return IntervalScore(covered.masked_fill(actual.isnan(), torch.nan), high - low)


def rank_ic(expected: Tensor, realised: Tensor) -> Tensor:
    """Rank information coefficient: Spearman correlation over the assets of what was expected and what came.

    expected, realised  [..., A]   ->  [...]; ties share their average rank; assets with a NaN in either are left out;
    NaN where fewer than two assets are left or one side is constant: nothing was said about their order.
    """
    from scipy.stats import rankdata

    missing = expected.isnan() | realised.isnan()
    ranks = [
        torch.from_numpy(rankdata(side.masked_fill(missing, torch.nan).double().cpu(), axis=-1, nan_policy="omit"))
        for side in (expected, realised)
    ]
    x, y = (rank - rank.nanmean(-1, keepdim=True) for rank in ranks)
    variance = x.square().nansum(-1) * y.square().nansum(-1)
    return torch.where(variance > 0, (x * y).nansum(-1) / variance.sqrt(), torch.nan)
