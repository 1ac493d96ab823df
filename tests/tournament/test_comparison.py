"""Tests between entrants hold their level and have power, and thin evidence is not turned into a claim."""

import numpy as np
import pytest
from scipy import stats

from arena.tournament.stats import paired_tests
from arena.tournament.stats.growth import Scores


def scores_of(values: np.ndarray) -> Scores:
    return Scores(np.arange(len(values)), tuple(f"agent_{index}" for index in range(values.shape[1])), values)


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(paired_tests.holm([0.04, 0.01, 0.03, 0.5]), [0.09, 0.04, 0.09, 0.5])
    assert paired_tests.holm([]) == []


@pytest.mark.parametrize("law", ["t3", "skewed", "rare loss"])
def test_equality_test_holds_its_level(law: str) -> None:
    """400 null tournaments of 10 entrants x 100 scenarios at 5 %: 20 expected, at most 34 (3 standard errors)."""
    generator = np.random.default_rng(11)
    rejected = 0
    for _ in range(400):
        noise = {
            "t3": lambda: generator.standard_t(3, (100, 10)),
            "skewed": lambda: generator.lognormal(0, 0.7, (100, 10)),
            "rare loss": lambda: 0.1 * generator.normal(size=(100, 10)) - (generator.random((100, 10)) < 0.05),
        }[law]()
        noise += 3 * generator.normal(size=(100, 1))  # common to the scenario: must not matter
        rejected += paired_tests.equality_p_value(scores_of(noise), generator, num_draws=99) <= 0.05
    assert rejected <= 34


def test_equality_test_has_power() -> None:
    generator = np.random.default_rng(12)
    noise = generator.standard_t(3, (200, 10))
    noise[:, 4] += 0.6
    assert paired_tests.equality_p_value(scores_of(noise), generator) < 0.01


def test_identical_entrants_are_equal() -> None:
    column = np.random.default_rng(13).normal(size=(100, 1))
    assert paired_tests.equality_p_value(scores_of(np.repeat(column, 4, 1)), np.random.default_rng(0)) == 1.0


def test_a_comparison_without_enough_evidence_is_undecided() -> None:
    difference = np.zeros(1000)
    difference[:19] = 1.0 + 0.01 * np.arange(19)
    assert paired_tests.paired_p_value(difference, "seed") == 1.0  # 19 scenarios made all the difference
    difference[19] = 1.0
    assert paired_tests.paired_p_value(difference, "seed") < 0.05
    assert paired_tests.paired_p_value(np.ones(49) + np.arange(49), "seed") == 1.0  # too few scenarios
    assert paired_tests.paired_p_value(np.ones(9) + 0.1 * np.arange(9), "window") < 0.05


def test_paired_differences_are_of_the_shared_scenarios_and_adjusted_together() -> None:
    generator = np.random.default_rng(3)
    luck = generator.normal(size=(100, 1))
    values = luck + np.array([0.0, 0.02, 0.0]) + 0.05 * generator.normal(size=(100, 3))
    values[:10, 1] = np.nan  # not played yet
    pairs = [("agent_1", "agent_0"), ("agent_2", "agent_0")]
    better, same = paired_tests.paired_differences(scores_of(values), pairs, "seed")
    difference = values[10:, 1] - values[10:, 0]
    assert (better.agent, better.against) == pairs[0]
    assert better.growth == pytest.approx(difference.mean())
    half = stats.t.ppf(0.975, 89) * difference.std(ddof=1) / np.sqrt(90)
    assert (better.growth_low, better.growth_high) == pytest.approx((better.growth - half, better.growth + half))
    raw = [stats.ttest_1samp(difference, 0).pvalue, stats.ttest_1samp(values[:, 2] - values[:, 0], 0).pvalue]
    assert [better.p_value, same.p_value] == pytest.approx(paired_tests.holm(raw))
    assert better.p_value < 0.05 < same.p_value
    assert better.growth_high - better.growth_low < 0.04, "the luck of a scenario cancels"
    few = paired_tests.paired_differences(scores_of(values[10:40]), pairs, "seed")
    assert [(found.growth_low, found.p_value) for found in few] == [(None, 1.0)] * 2
    assert paired_tests.paired_differences(scores_of(values), [], "seed") == []
