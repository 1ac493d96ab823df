import math

import torch
from torch.distributions import Independent, Normal

from arena.rl.ppo import gaussian
from arena.rl.ppo.batch import standardize

ASSETS = 3


def normal(*size, seed=0):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_density_is_torchs():
    mean, log_std, action = (0.5 * normal(4, ASSETS, seed=seed) for seed in range(3))
    expected = Independent(Normal(mean, log_std.exp()), 1).log_prob(action)
    torch.testing.assert_close(gaussian.log_prob(mean, log_std, action), expected)


def test_samples_have_the_moments_they_are_drawn_from():
    mean, log_std = torch.tensor([1.0, -2.0]).double(), torch.tensor([0.0, -1.0]).double()
    draws = gaussian.sample(mean.expand(40_000, 2), log_std.expand(40_000, 2), torch.Generator().manual_seed(0))
    standard_error = log_std.exp() / math.sqrt(40_000)
    assert ((draws.mean(0) - mean).abs() < 4 * standard_error).all()
    assert ((draws.std(0) - log_std.exp()).abs() < 4 * standard_error).all()


def test_standardized_advantages_count_valid_rows_only():
    advantage, valid = 5.0 + 3.0 * normal(6, 4), normal(6, 4, seed=1) > 0
    found = standardize(torch.where(valid, advantage, 1e6), valid)
    assert (found[~valid] == 0).all()
    kept = advantage[valid]
    torch.testing.assert_close(found[valid], (kept - kept.mean()) / kept.std(correction=0))
    assert (standardize(torch.full((3,), 2.0), torch.ones(3, dtype=torch.bool)) == 0).all()
