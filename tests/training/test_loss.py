import math

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from arena.rl.ppo import gaussian
from arena.rl.ppo.loss import Batch, LossParams, ppo_loss, standardise

ROWS, ASSETS = 50, 3


def normal(*size, seed=0):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def batch(seed=0, distance=0.1):
    """Rows of an old policy, and what a new one at some distance answers: (batch, mean, log_std, value)."""
    mean, log_std = normal(ROWS, ASSETS, seed=seed), 0.3 * normal(ROWS, ASSETS, seed=seed + 1)
    action = mean + log_std.exp() * normal(ROWS, ASSETS, seed=seed + 2)
    value = normal(ROWS, seed=seed + 3)
    rows = Batch(
        obs=normal(ROWS, 2),
        action=action,
        mean=mean,
        log_std=log_std,
        log_prob=gaussian.log_prob(mean, log_std, action),
        value=value,
        advantage=normal(ROWS, seed=seed + 4),
        value_target=normal(ROWS, seed=seed + 5),
        valid=normal(ROWS, seed=seed + 6) > -1.0,
    )
    step = distance * normal(ROWS, ASSETS, seed=seed + 7)
    return rows, mean + step, log_std + step, value + distance * normal(ROWS, seed=seed + 8)


def reference_gaussian(mean, log_std):
    return Independent(Normal(mean, log_std.exp()), 1)


def test_the_gaussian_is_torchs():
    mean, log_std, new_mean, new_log_std = (0.5 * normal(4, ASSETS, seed=seed) for seed in range(4))
    old, new = reference_gaussian(mean, log_std), reference_gaussian(new_mean, new_log_std)
    torch.testing.assert_close(gaussian.log_prob(mean, log_std, new_mean), old.log_prob(new_mean))
    torch.testing.assert_close(gaussian.entropy(log_std), old.entropy())
    torch.testing.assert_close(gaussian.kl(mean, log_std, new_mean, new_log_std), kl_divergence(old, new))


def test_samples_have_the_moments_they_are_drawn_from():
    mean, log_std = torch.tensor([1.0, -2.0]).double(), torch.tensor([0.0, -1.0]).double()
    draws = gaussian.sample(mean.expand(40_000, 2), log_std.expand(40_000, 2), torch.Generator().manual_seed(0))
    standard_error = log_std.exp() / math.sqrt(40_000)
    assert ((draws.mean(0) - mean).abs() < 4 * standard_error).all()
    assert ((draws.std(0) - log_std.exp()).abs() < 4 * standard_error).all()


@pytest.mark.parametrize("value_clip", [math.inf, 0.05])
def test_the_loss_is_its_formula_row_by_row(value_clip):
    params = LossParams(clip=0.1, value_clip=value_clip, value_coef=0.7, entropy_coef=0.01)
    rows, mean, log_std, value = batch()
    found = ppo_loss(params, rows, mean, log_std, value)
    policy, errors, entropy, kl, clipped = [], [], [], [], []
    for r in range(ROWS):
        if not rows.valid[r]:
            continue
        new, old = reference_gaussian(mean[r], log_std[r]), reference_gaussian(rows.mean[r], rows.log_std[r])
        ratio = math.exp(new.log_prob(rows.action[r]) - old.log_prob(rows.action[r]))
        advantage = float(rows.advantage[r])
        policy.append(-min(ratio * advantage, min(max(ratio, 0.9), 1.1) * advantage))
        target, before = float(rows.value_target[r]), float(rows.value[r])
        near = before + min(max(float(value[r]) - before, -value_clip), value_clip)
        errors.append(max((float(value[r]) - target) ** 2, (near - target) ** 2))
        entropy.append(float(new.entropy()))
        kl.append(float(kl_divergence(old, new)))
        clipped.append(abs(ratio - 1) > 0.1)
    mean_of = [sum(column) / len(column) for column in (policy, errors, entropy, kl, clipped)]
    total = mean_of[0] + 0.7 * mean_of[1] - 0.01 * mean_of[2]
    for term, expected in zip(found, [total, *mean_of]):
        assert float(term) == pytest.approx(expected, rel=1e-9)


def test_an_unchanged_policy_has_ratio_1():
    rows, *_ = batch()
    found = ppo_loss(LossParams(value_clip=0.1), rows, rows.mean, rows.log_std, rows.value)
    assert float(found.kl) == pytest.approx(0.0, abs=1e-12)
    assert float(found.clip_fraction) == 0.0
    assert float(found.policy) == pytest.approx(-float(rows.advantage[rows.valid].mean()))


def test_rows_that_do_not_count_have_no_gradient():
    rows, mean, log_std, value = batch()
    answers = [answer.requires_grad_() for answer in (mean, log_std, value)]
    ppo_loss(LossParams(entropy_coef=0.1), rows, *answers).total.backward()
    for answer in answers:
        assert (answer.grad[~rows.valid] == 0).all()
        assert (answer.grad[rows.valid] != 0).any()


def test_a_row_beyond_the_clip_has_no_gradient_where_it_would_gain():
    rows, mean, log_std, value = batch(distance=0.5)
    mean.requires_grad_()
    ppo_loss(LossParams(clip=0.1), rows, mean, log_std, value).total.backward()
    ratio = torch.exp(gaussian.log_prob(mean, log_std, rows.action) - rows.log_prob)
    beyond = (ratio - 1.0) * torch.sign(rows.advantage) > 0.1
    assert (beyond & rows.valid).sum() > 5
    assert (mean.grad[beyond] == 0).all()
    assert (mean.grad[~beyond & rows.valid] != 0).all()


def test_standardised_advantages_count_valid_rows_only():
    advantage, valid = 5.0 + 3.0 * normal(6, 4), normal(6, 4, seed=1) > 0
    found = standardise(torch.where(valid, advantage, 1e6), valid)
    assert (found[~valid] == 0).all()
    kept = advantage[valid]
    torch.testing.assert_close(found[valid], (kept - kept.mean()) / kept.std(correction=0))
    assert (standardise(torch.full((3,), 2.0), torch.ones(3, dtype=torch.bool)) == 0).all()
