"""Robust summaries: their definitions, and intervals that cover."""

import numpy as np
import pytest
import torch
from scipy import stats

from arena import metrics
from arena.tournament.stats import aggregates


def test_the_interquartile_mean_is_that_of_scipy_and_of_the_metrics() -> None:
    for num in (50, 51, 101):
        sample = np.random.default_rng(num).standard_t(2, num)
        found = aggregates.interquartile_mean(np.append(sample, np.nan), "seed")
        assert found.value == pytest.approx(stats.trim_mean(sample, 0.25), rel=1e-12)
        assert found.value == pytest.approx(float(metrics.iqm(torch.from_numpy(sample))), rel=1e-12)
        assert found.low < found.value < found.high


def test_its_interval_by_hand() -> None:
    """Of 0 .. 99 the middle is 25 .. 74; winsorised, its variance is that of 25 copies of 25, 25 .. 74, 25 of 74."""
    sample = np.random.default_rng(0).permutation(100.0 * np.arange(100)) / 100
    spread = np.clip(np.arange(100), 25, 74).std(ddof=1)
    half = stats.t.ppf(0.975, 49) * spread / (0.5 * 10)
    assert aggregates.interquartile_mean(sample, "seed") == pytest.approx((49.5, 49.5 - half, 49.5 + half))


@pytest.mark.parametrize("law", ["normal", "t2"])
def test_its_interval_covers(law: str) -> None:
    """95 % +- 2.5 points over 800 runs (3 standard errors), also where the mean has no variance."""
    generator = np.random.default_rng(1)
    samples = generator.normal(size=(800, 100)) if law == "normal" else generator.standard_t(2, (800, 100))
    estimates = [aggregates.interquartile_mean(sample, "seed") for sample in samples]
    assert np.mean([estimate.low <= 0 <= estimate.high for estimate in estimates]) == pytest.approx(0.95, abs=0.025)


def test_no_interval_without_enough_scenarios() -> None:
    sample = np.random.default_rng(2).normal(size=49)
    assert aggregates.interquartile_mean(sample, "seed")[1:] == (None, None)
    assert aggregates.probability_of_improvement(sample, -sample, "seed")[1:] == (None, None)
    assert np.isnan(aggregates.interquartile_mean(np.full(9, np.nan), "seed").value)
    assert np.isnan(aggregates.probability_of_improvement(np.full(9, np.nan), np.zeros(9), "seed").value)


def test_probability_of_improvement_counts_a_tie_as_half() -> None:
    theirs = np.zeros(100)
    mine = np.concatenate([np.ones(30), -np.ones(20), np.full(50, 1e-17)])
    mine[0] = 5.0  # by how much does not matter
    found = aggregates.probability_of_improvement(mine, theirs, "seed")
    assert found.value == pytest.approx(0.55)
    interval = stats.binomtest(55, 100).proportion_ci(method="wilson")
    assert found[1:] == pytest.approx((interval.low, interval.high))
    back = aggregates.probability_of_improvement(theirs, mine, "seed")
    assert back == pytest.approx((1 - found.value, 1 - found.high, 1 - found.low))
    certain = aggregates.probability_of_improvement(theirs + 1, theirs, "seed")
    assert (certain.value, certain.high) == (1.0, 1.0)
    assert 0.95 < certain.low < 1


def test_only_shared_scenarios_count() -> None:
    mine, theirs = np.ones(120), np.zeros(120)
    mine[:40], theirs[40:60] = np.nan, np.nan
    mine[60:80] = -1
    assert aggregates.probability_of_improvement(mine, theirs, "seed").value == pytest.approx(40 / 60)


def test_profiles_by_hand() -> None:
    sample = np.array([1.0, 2.0, 2.0, 4.0, np.nan])
    share = aggregates.performance_profile(sample, np.array([0.0, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0]))
    assert share.tolist() == [1.0, 1.0, 0.75, 0.75, 0.25, 0.25, 0.0]
    assert np.isnan(aggregates.performance_profile(np.array([np.nan]), np.zeros(2))).all()


def test_the_area_under_a_profile_is_the_mean() -> None:
    sample = np.random.default_rng(3).random(400)
    thresholds = np.linspace(0, 1, 10_001)
    area = np.trapezoid(aggregates.performance_profile(sample, thresholds), thresholds)
    assert area == pytest.approx(sample.mean(), abs=1e-3)


def test_thresholds_span_the_field() -> None:
    samples = [np.arange(100.0), np.append(np.arange(100.0, 200.0), np.nan)]
    thresholds = aggregates.profile_thresholds(samples)
    assert len(thresholds) == aggregates.NUM_THRESHOLDS
    assert (thresholds[0], thresholds[-1]) == pytest.approx((1.99, 197.01))
