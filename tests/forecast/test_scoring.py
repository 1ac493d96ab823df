"""Scores against closed forms, scipy and simulations with a known truth."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from arena.forecast.evaluate import significance
from arena.forecast.evaluate.scoring import central_interval, crps_from_quantiles, crps_from_samples, pinball, rank_ic
from arena.forecast.evaluate.significance import compare_losses, diebold_mariano, mean, ratio, skill, unit_sums
from arena.forecast.types import QUANTILE_LEVELS


def gaussian_crps(mu, sigma, y):
    """Closed form: Gneiting, Raftery, Westveld, Goldman (2005), Mon. Weather Rev. 133:1098, equation 5."""
    z = (y - mu) / sigma
    return sigma * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / math.sqrt(math.pi))


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian_quantiles(levels=QUANTILE_LEVELS):
    return torch.tensor(stats.norm.ppf(levels))


# Scores of one forecast


def test_pinball_is_least_at_the_quantile():
    outcomes = torch.tensor(stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000))
    right = gaussian_quantiles()
    best = pinball(right.expand(20_000, -1), outcomes).mean(0)
    for shift in (-0.1, 0.1):
        assert (pinball((right + shift).expand(20_000, -1), outcomes).mean(0) > best + 1e-4).all()


@pytest.mark.parametrize("y", [-3.0, -0.2, 0.0, 0.7, 4.0])
def test_crps_from_many_quantiles_is_that_of_the_distribution(y):
    levels = (np.arange(4000) + 0.5) / 4000
    quantiles = torch.tensor(1.5 + 0.5 * stats.norm.ppf(levels))
    found = float(crps_from_quantiles(quantiles, torch.tensor(y, dtype=torch.float64), levels.tolist()))
    # The midpoint rule errs most where the pinball loss has its kink, of the order of one level.
    assert found == pytest.approx(gaussian_crps(1.5, 0.5, y), rel=2e-3)


def test_crps_from_nine_quantiles_is_as_far_off_as_its_docstring_says():
    outcomes = torch.tensor(stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000))
    found = crps_from_quantiles(gaussian_quantiles().expand(20_000, -1), outcomes).mean()
    assert float(found) * math.sqrt(math.pi) == pytest.approx(1.09, abs=0.005)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=12), st.floats(-8, 8))
def test_crps_from_samples_is_the_double_sum(draws, y):
    x = torch.tensor(draws, dtype=torch.float64)
    pairs = (x[:, None] - x[None]).abs().sum() / (len(x) * (len(x) - 1))
    expected = (x - y).abs().mean() - pairs / 2
    assert float(crps_from_samples(x, torch.tensor(y, dtype=torch.float64))) == pytest.approx(
        float(expected), abs=1e-12
    )


@pytest.mark.parametrize("num_samples", [2, 5, 40])
def test_crps_from_few_samples_has_the_mean_of_infinitely_many(num_samples):
    y = 0.3
    found = crps_from_samples(normal(40_000, num_samples), torch.full((40_000,), y, dtype=torch.float64))
    assert float(found.mean()) == pytest.approx(gaussian_crps(0.0, 1.0, y), abs=4 * float(found.std()) / 200)


def test_one_sample_has_no_crps():
    with pytest.raises(ValueError, match="at least 2"):
        crps_from_samples(torch.zeros(3, 1), torch.zeros(3))


@pytest.mark.parametrize("mass", [0.2, 0.4, 0.6, 0.8])
def test_a_right_forecaster_is_covered_as_often_as_it_says(mass):
    found = central_interval(gaussian_quantiles().expand(40_000, -1), normal(40_000), mass)
    assert float(found.covered.mean()) == pytest.approx(mass, abs=4 * math.sqrt(mass * (1 - mass) / 40_000))
    assert float(found.width[0]) == pytest.approx(2 * stats.norm.ppf((1 + mass) / 2))


def test_an_interval_that_was_not_forecast_is_refused():
    with pytest.raises(ValueError, match="no central interval of 90%"):
        central_interval(torch.zeros(1, 9), torch.zeros(1), 0.9)


def test_a_missing_outcome_has_missing_scores():
    quantiles, nothing = torch.zeros(1, 9), torch.tensor([math.nan])
    assert pinball(quantiles, nothing).isnan().all()
    assert crps_from_quantiles(quantiles, nothing).isnan().all()
    assert crps_from_samples(torch.zeros(1, 3), nothing).isnan().all()
    assert central_interval(quantiles, nothing, 0.8).covered.isnan().all()


def test_rank_ic_is_spearman():
    generator = np.random.default_rng(0)
    expected = generator.integers(0, 6, (30, 12)).astype(float)  # with ties
    realised = generator.standard_normal((30, 12))
    realised[generator.random((30, 12)) < 0.2] = math.nan
    found = rank_ic(torch.tensor(expected), torch.tensor(realised))
    for row, one in enumerate(found.tolist()):
        there = ~np.isnan(realised[row])
        assert one == pytest.approx(stats.spearmanr(expected[row, there], realised[row, there]).statistic, abs=1e-12)


def test_who_expects_the_same_of_all_has_no_rank_ic():
    assert rank_ic(torch.zeros(2, 5), normal(2, 5)).isnan().all()
    assert rank_ic(normal(2, 1), normal(2, 1)).isnan().all()


# Units, intervals and tests


def test_a_mean_over_scenarios_has_the_interval_of_their_means():
    values = normal(20, 15) + normal(20, 1, seed=1)
    found = mean(values, overlap=1)
    low, high = stats.t.interval(0.95, 19, values.mean(1).mean(), stats.sem(values.mean(1)))
    assert (found.value, found.low, found.high) == pytest.approx((float(values.mean()), low, high))


def test_few_units_claim_nothing():
    assert mean(normal(7, 50), overlap=1).low is None
    assert compare_losses(normal(7, 50), normal(7, 50, seed=1), overlap=1).p_value is None
    assert mean(normal(1, 100), overlap=10).low is None, "100 dates hold five blocks of twice an overlap of 10"
    assert mean(normal(1, 160), overlap=10).low is not None
    assert diebold_mariano(normal(39), overlap=10).p_value is None


def test_missing_values_are_left_out():
    values = normal(12, 30)
    values[:, 3] = math.nan
    whole = torch.cat([values[:, :3], values[:, 4:]], 1)
    assert mean(values, 1) == pytest.approx(mean(whole, 1))
    assert math.isnan(mean(torch.full((12, 3), math.nan), 1).value)


def test_blocks_hold_every_date_once_and_in_order():
    sums = unit_sums(torch.arange(100.0)[None], overlap=3)
    assert len(sums) == significance.NUM_BLOCKS
    assert float(sums.sum()) == 4950
    assert (sums.diff() > 0).all()


def test_skill_of_the_reference_is_nothing_and_of_a_perfect_forecast_all():
    loss = normal(15, 20).abs()
    assert skill(loss, loss, 1) == pytest.approx((0.0, 0.0, 0.0))
    assert skill(torch.zeros_like(loss), loss, 1) == pytest.approx((1.0, 1.0, 1.0))
    assert skill(loss / 2, loss, 1).value == pytest.approx(0.5)


def test_skill_covers_its_truth():
    """Scenarios whose volatilities differ by half a log unit, as those of markets do; the truth is a skill of 0.5."""
    covered = 0
    for seed in range(300):
        scale = (0.5 * normal(30, 1, seed=seed)).exp()
        shared = normal(30, 10, seed=1000 + seed).abs() * scale
        loss = 0.5 * shared + 0.05 * scale * normal(30, 10, seed=2000 + seed)
        found = skill(loss, shared, 1)
        covered += found.low <= 0.5 <= found.high
    assert 0.91 <= covered / 300 <= 0.985


def autocorrelated(num, overlap, seed):
    """Sums over `overlap` dates: what errors of forecasts that far ahead look like."""
    return normal(num + overlap - 1, seed=seed).unfold(0, overlap, 1).sum(-1)


def test_blocks_cover_where_dates_taken_as_independent_do_not():
    honest = naive = 0
    for seed in range(300):
        series = autocorrelated(600, 10, seed)
        found = mean(series[None], overlap=10)
        honest += found.low <= 0 <= found.high
        naive += stats.ttest_1samp(series, 0).pvalue > 0.05
    assert 0.91 <= honest / 300 <= 0.98
    assert naive / 300 < 0.7


@pytest.mark.parametrize(("num", "overlap"), [(250, 1), (250, 5), (60, 3)])
def test_diebold_mariano_keeps_its_level(num, overlap):
    rejected = 0
    for seed in range(400):
        rejected += diebold_mariano(autocorrelated(num, overlap, seed), overlap).p_value < 0.05
    assert 0.02 <= rejected / 400 <= 0.09


def test_diebold_mariano_at_one_step_is_the_t_test():
    """At h = 1 the correction turns the biased variance into the usual one."""
    difference = normal(80) + 0.2
    expected = stats.ttest_1samp(difference, 0)
    found = diebold_mariano(difference, 1)
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue)


def test_diebold_mariano_by_the_book():
    """The formula, term by term, on eight numbers at h = 2."""
    d = [0.3, -0.1, 0.4, 0.2, 0.5, -0.3, 0.1, 0.6]
    average = sum(d) / 8
    g0 = sum((x - average) ** 2 for x in d) / 8
    g1 = sum((a - average) * (b - average) for a, b in pairwise(d)) / 8
    expected = average / math.sqrt((g0 + 2 * g1) / 8) * math.sqrt((8 + 1 - 4 + 2 / 8) / 8)
    found = diebold_mariano(torch.tensor(d, dtype=torch.float64), 2)
    assert found.statistic == pytest.approx(expected)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(expected), 7))


def test_a_negative_variance_does_not_stop_diebold_mariano():
    alternating = torch.tensor([1.0, -1.0] * 20, dtype=torch.float64) + 0.1
    alternating[0] += 0.5
    found = diebold_mariano(alternating, 2)
    assert found.p_value is not None
    assert 0 <= found.p_value <= 1


def test_the_same_forecasts_are_never_told_apart():
    loss = normal(1, 100).abs()
    assert compare_losses(loss, loss, 5) == (0.0, 1.0)
    assert compare_losses(loss.expand(20, -1), loss.expand(20, -1), 5) == (0.0, 1.0)


def test_a_clear_difference_is_seen_and_signed():
    for loss in (normal(1, 400).abs(), normal(30, 10).abs()):
        found = compare_losses(0.5 * loss, loss, 2)
        assert found.statistic < 0
        assert found.p_value < 1e-4


def test_a_ratio_of_nothing_is_unknown():
    assert math.isnan(ratio(torch.zeros(10), torch.zeros(10)).value)
