"""Sharpe ratios of one path: the published formulas, their limits, and a simulation that they must agree with."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch

from arena import metrics
from arena.tournament.stats import ratios


def path(num: int = 500, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return 0.001 + 0.01 * generator.standard_t(5, num)


def test_the_ratio_is_that_of_the_metrics() -> None:
    expected = metrics.sharpe(torch.from_numpy(path()), periods_per_year=1)
    assert ratios.sharpe_ratio(path()) == pytest.approx(float(expected), rel=1e-12)
    assert math.isnan(ratios.sharpe_ratio(np.full(7, 0.1)))
    assert math.isnan(ratios.probabilistic_sharpe(np.full(7, 0.1)))
    assert math.isnan(ratios.min_track_record_length(np.full(7, 0.1)))


def test_units_of_the_returns_do_not_matter() -> None:
    for function in (ratios.sharpe_ratio, ratios.probabilistic_sharpe, ratios.min_track_record_length):
        assert function(250 * path()) == pytest.approx(function(path()), rel=1e-12)


def test_probabilities_of_a_path_and_its_mirror_image_add_to_one() -> None:
    both = ratios.probabilistic_sharpe(path(), 0.02) + ratios.probabilistic_sharpe(-path(), -0.02)
    assert both == pytest.approx(1)
    assert ratios.probabilistic_sharpe(path(), ratios.sharpe_ratio(path())) == pytest.approx(0.5)


@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_the_minimum_length_is_where_the_probability_reaches_the_confidence(confidence: float) -> None:
    """Only the number of returns counts beside the moments, so a repeated path has the same ones."""
    returns, benchmark = path(100), 0.01
    length = ratios.min_track_record_length(returns, benchmark, confidence)
    ratio = ratios.sharpe_ratio(returns)
    factor = ratios._variance(returns, ratio)
    at_length = NormalDist().cdf((ratio - benchmark) * math.sqrt(length - 1) / math.sqrt(factor))
    assert at_length == pytest.approx(confidence)
    assert ratios.min_track_record_length(returns, ratio) == math.inf


def test_the_probability_is_honest_about_long_paths_of_normal_returns() -> None:
    """Without skill PSR is uniform: 5 % of 600 paths above 0.95, 3 standard errors are 2.7 points."""
    paths = np.random.default_rng(1).normal(size=(600, 250))
    share = np.mean([ratios.probabilistic_sharpe(returns) > 0.95 for returns in paths])
    assert share == pytest.approx(0.05, abs=0.027)


def test_the_expected_best_of_many_without_skill() -> None:
    """The formula approaches the mean maximum of K normal ratios: within 3 % from ten trials on."""
    generator = np.random.default_rng(2)
    for num_trials in (10, 100):
        simulated = generator.normal(0, 0.3, (20_000, num_trials)).max(1).mean()
        assert ratios.expected_max_sharpe(0.09, num_trials) == pytest.approx(simulated, rel=0.03)
    assert ratios.expected_max_sharpe(0.09, 1) == 0
    with pytest.raises(ValueError, match="num_trials is 0"):
        ratios.expected_max_sharpe(0.09, 0)


def test_more_trials_deflate_and_one_trial_does_not() -> None:
    returns = path()
    found = [ratios.deflated_sharpe(returns, 0.002, num_trials) for num_trials in (1, 3, 10, 100)]
    assert found[0] == ratios.probabilistic_sharpe(returns)
    assert (np.diff(found) < 0).all()
