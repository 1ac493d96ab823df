"""The step-down test is the obvious loop, only faster; it holds its level where the unadjusted test does not."""

import time

import numpy as np
import pytest
from scipy import stats

from arena.tournament.stats.paired_tests import draws, stepdown_p_values


def pairs_of(values: np.ndarray) -> np.ndarray:
    """[S, m] scores -> [S, P] differences."""
    first, second = np.triu_indices(values.shape[1], 1)
    return values[:, first] - values[:, second]


def slow_p_values(sample: np.ndarray, generator: np.random.Generator, num_draws: int) -> np.ndarray:
    """The definition, draw by draw and hypothesis by hypothesis."""

    def mean_and_error(column: np.ndarray) -> tuple[float, float]:
        known = column[~np.isnan(column)]
        return known.mean(), known.std(ddof=0) / np.sqrt(len(known) - 1)

    found = [mean_and_error(column) for column in sample.T]
    statistic = np.array([abs(mean) / error for mean, error in found])
    resampled = []
    for weights in draws(len(sample), num_draws, generator, num_draws):
        for weight in weights:
            drawn = np.repeat(sample, weight.astype(int), axis=0)
            again = [mean_and_error(column) for column in drawn.T]
            resampled.append([abs(new[0] - old[0]) / new[1] for new, old in zip(again, found)])
    p, left, order = np.empty(len(found)), list(range(len(found))), np.argsort(-statistic)
    for step, index in enumerate(order):
        worst = np.array(resampled)[:, left].max(1)
        previous = p[order[step - 1]] if step else 0.0
        p[index] = max(previous, (1 + (worst >= statistic[index]).sum()) / (1 + num_draws))
        left.remove(index)
    return p


@pytest.mark.parametrize("missing", [False, True])
def test_it_is_the_obvious_loop(missing: bool) -> None:
    generator = np.random.default_rng(1)
    sample = generator.standard_t(3, (40, 6)) + np.array([0.0, 0.3, 0.6, -0.5, 0.9, 0.1])
    if missing:
        sample[generator.random(sample.shape) < 0.3] = np.nan
    fast = stepdown_p_values(sample, np.random.default_rng(2), 200)
    slow = slow_p_values(sample, np.random.default_rng(2), 200)
    np.testing.assert_allclose(fast, slow, atol=1e-12)
    assert len(set(np.round(fast, 9))) > 2


def test_the_blocks_of_draws_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = np.random.default_rng(3).normal(0.1, 1, (50, 5))
    whole = stepdown_p_values(sample, np.random.default_rng(4), 300)
    monkeypatch.setattr("arena.tournament.stats.paired_tests.BLOCK", 50 * 7)
    np.testing.assert_array_equal(stepdown_p_values(sample, np.random.default_rng(4), 300), whole)


def test_order_shift_and_scale_of_the_hypotheses() -> None:
    generator = np.random.default_rng(5)
    sample = generator.standard_t(3, (80, 6)) + np.array([0.0, 0.3, 0.6, -0.5, 0.9, 0.1])
    order = generator.permutation(6)
    p = stepdown_p_values(sample, np.random.default_rng(6))
    np.testing.assert_array_equal(stepdown_p_values(sample[:, order], np.random.default_rng(6)), p[order])
    scale = np.array([1.0, -2.0, 1e-6, 3.0, -1e4, 0.1])
    np.testing.assert_array_equal(stepdown_p_values(sample * scale, np.random.default_rng(6)), p)
    alone = [stepdown_p_values(sample[:, [index]], np.random.default_rng(6))[0] for index in range(6)]
    assert (p >= np.array(alone)).all(), "more hypotheses, larger p"


def test_a_certain_difference_is_certain() -> None:
    sample = np.column_stack([np.full(60, 0.01), np.random.default_rng(7).normal(size=60)])
    assert stepdown_p_values(sample, np.random.default_rng(8))[0] == pytest.approx(1 / 2001)
    assert stepdown_p_values(np.empty((60, 0)), np.random.default_rng(8)).shape == (0,)


def false_claims(num_tournaments: int, num_draws: int) -> tuple[int, int]:
    """Null tournaments of 10 agents x 200 scenarios, t3 noise: how many make any claim, ours and unadjusted."""
    generator = np.random.default_rng(9)
    ours = unadjusted = 0
    for _ in range(num_tournaments):
        sample = pairs_of(generator.standard_t(3, (200, 10)) + 3 * generator.normal(size=(200, 1)))
        ours += bool(stepdown_p_values(sample, generator, num_draws).min() <= 0.05)
        unadjusted += bool(stats.ttest_1samp(sample, 0).pvalue.min() <= 0.05)
    return ours, unadjusted


def test_family_wise_error_in_small() -> None:
    """100 of the 1000 tournaments below: 5 expected at most, 3 standard errors more are 11."""
    ours, unadjusted = false_claims(100, 400)
    assert ours <= 11
    assert unadjusted > 40


@pytest.mark.slow
def test_family_wise_error() -> None:
    """50 expected at most, 73 are 3.3 standard errors more; without adjustment most tournaments claim something."""
    ours, unadjusted = false_claims(1000, 2000)
    assert ours <= 73
    assert unadjusted > 400


def test_rare_losses_do_not_break_it() -> None:
    """Where a fixed standard error rejects in 10 to 21 % of null tournaments; 200 at 5 % are 10, and 3 errors 19."""
    generator = np.random.default_rng(10)
    rejected = 0
    for _ in range(200):
        rare = 0.1 * generator.normal(size=(200, 8)) - (generator.random((200, 8)) < 0.03)
        rejected += bool(stepdown_p_values(pairs_of(rare), generator, 400).min() <= 0.05)
    assert rejected <= 19


@pytest.mark.parametrize("effect", [0.25, 0.32])
def test_power_is_that_of_the_studentised_range(effect: float) -> None:
    """One pair differs by `effect` standard deviations of a difference: found as often as Tukey's test finds it."""
    generator = np.random.default_rng(11)
    num_agents, num, runs = 10, 200, 200
    means = np.zeros(num_agents)
    means[[0, 1]] = effect * np.sqrt(2) / 2 * np.array([1, -1])
    found = 0
    for _ in range(runs):
        sample = pairs_of(generator.normal(means, 1.0, (num, num_agents)) + generator.normal(size=(num, 1)))
        found += bool(stepdown_p_values(sample, generator, 500)[0] <= 0.05)
    critical = stats.studentized_range.ppf(0.95, num_agents, num - 1) / np.sqrt(2)
    power = stats.nct.sf(critical, num - 1, effect * np.sqrt(num))
    assert 0.3 < power < 0.95
    assert found / runs == pytest.approx(power, abs=0.08)


def test_it_is_fast_beside_a_tournament() -> None:
    """0.3 s for 1000 scenarios x 20 entrants on a free core; CPU time, and room for a busy one."""
    sample = pairs_of(np.random.default_rng(12).standard_t(3, (1000, 20)))
    start = time.process_time()
    stepdown_p_values(sample, np.random.default_rng(13))
    assert time.process_time() - start < 3.0
