import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arena.agents.policies.network import Normaliser
from arena.rl.ppo.normalize import Moments, batch_moments, merge, pool_assets


def rows(count, features, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scale = 10.0 ** torch.arange(-1, features - 1)
    return 3.0 * scale + scale * torch.randn(count, features, generator=generator, dtype=torch.float64)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=6))
def test_merging_parts_gives_the_moments_of_the_whole(sizes):
    whole = rows(sum(sizes), 3)
    moments = Moments(torch.zeros((), dtype=torch.float64), torch.full((3,), 9.0).double(), torch.ones(3).double())
    for part in whole.split(sizes):
        moments = merge(moments, batch_moments(part, torch.ones(len(part), dtype=torch.bool)))
    assert int(moments.num_rows) == sum(sizes)
    if sum(sizes):
        torch.testing.assert_close(moments.mean, whole.mean(0))
        torch.testing.assert_close(moments.var, whole.var(0, correction=0))


def test_rows_that_are_not_valid_do_not_count():
    whole, valid = rows(20, 3).view(4, 5, 3), rows(20, 1)[:, 0].view(4, 5) > 0.3
    moments = batch_moments(torch.where(valid.unsqueeze(-1), whole, 1e9), valid)
    torch.testing.assert_close(moments.mean, whole[valid].mean(0))
    torch.testing.assert_close(moments.var, whole[valid].var(0, correction=0))


def test_moments_pooled_over_assets_are_those_of_all_assets_together():
    features, assets, seats, count = 3, 4, 2, 50
    obs = rows(count, features * assets + seats)
    moments = Moments(torch.zeros(()).double(), torch.zeros(features + seats).double(), torch.ones(features + seats))
    for part in obs.split(20):
        fresh = batch_moments(part, torch.ones(len(part), dtype=torch.bool))
        moments = merge(moments, pool_assets(fresh, features, seats))
    per_asset = obs[:, : features * assets].view(count, features, assets).movedim(1, -1).reshape(-1, features)
    torch.testing.assert_close(moments.mean[:features], per_asset.mean(0))
    torch.testing.assert_close(moments.var[:features], per_asset.var(0, correction=0))
    torch.testing.assert_close(moments.mean[features:], obs[:, -seats:].mean(0))
    assert int(moments.num_rows) == count


def test_normalized_observations_have_mean_0_and_variance_1():
    obs = rows(500, 3).float()
    normaliser = Normaliser(3)
    moments = batch_moments(obs, torch.ones(500, dtype=torch.bool))
    normaliser.mean.copy_(moments.mean)
    normaliser.var.copy_(moments.var)
    seen = normaliser(obs)
    torch.testing.assert_close(seen.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.std(0, correction=0), torch.ones(3), atol=1e-3, rtol=0)
