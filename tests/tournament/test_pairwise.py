"""What may be said about ranks follows from the tests of all pairs, and from nothing else."""

import numpy as np
import pytest
from scipy import stats

from arena.tournament.stats import pairwise
from arena.tournament.stats.growth import Scores
from arena.tournament.stats.pairwise import BETTER, IDENTICAL, NOT_SEPARATED, UNDECIDED, WORSE, Place


def scores_of(values: np.ndarray) -> Scores:
    return Scores(np.arange(len(values)), tuple(f"agent_{index}" for index in range(values.shape[1])), values)


def compared(values: np.ndarray, kind: str = "seed") -> pairwise.Pairwise:
    return pairwise.compare_all(scores_of(values), kind, np.random.default_rng(0))


def claims(*statements: tuple[str, str], agents: str = "abcde") -> pairwise.Pairwise:
    """A result with these "first better than second" and nothing else."""
    num = len(agents)
    verdict = np.full((num, num), NOT_SEPARATED)
    for winner, loser in statements:
        i, j = agents.index(winner), agents.index(loser)
        verdict[i, j], verdict[j, i] = BETTER, WORSE
    zeros = np.zeros((num, num))
    return pairwise.Pairwise(tuple(agents), zeros, zeros, zeros + 1, verdict)


def field(num: int = 200, seed: int = 1) -> np.ndarray:
    """Five entrants, of which the third is clearly best and the last clearly worst; noise common to a scenario."""
    generator = np.random.default_rng(seed)
    means = np.array([0.0, 0.02, 0.8, 0.0, -0.9])
    return means + generator.standard_t(4, (num, 5)) + 5 * generator.normal(size=(num, 1))


def test_verdicts_and_differences() -> None:
    found = compared(field())
    assert (found.verdict[2, [0, 1, 3, 4]] == BETTER).all()
    assert (found.verdict[4, [0, 1, 2, 3]] == WORSE).all()
    assert found.verdict[0, 1] == NOT_SEPARATED
    np.testing.assert_allclose(found.difference, -found.difference.T)
    np.testing.assert_array_equal(found.p_value, found.p_value.T)
    np.testing.assert_allclose(found.difference[2, 4], (field()[:, 2] - field()[:, 4]).mean())


def test_renaming_entrants_renames_the_result() -> None:
    values, order = field(), np.array([3, 0, 4, 2, 1])
    found, renamed = compared(values), compared(values[:, order])
    np.testing.assert_array_equal(renamed.verdict, found.verdict[np.ix_(order, order)])
    np.testing.assert_allclose(renamed.p_value, found.p_value[np.ix_(order, order)], atol=1e-12)


def test_what_is_common_to_a_scenario_changes_nothing() -> None:
    values = field()
    shifted = compared(3 * values + 7 + np.random.default_rng(2).normal(size=(len(values), 1)))
    np.testing.assert_array_equal(shifted.verdict, compared(values).verdict)
    np.testing.assert_allclose(shifted.p_value, compared(values).p_value, atol=1e-12)


def test_copies_are_identical_and_cost_the_others_nothing() -> None:
    values = field()
    twins = compared(np.column_stack([values, values[:, 2] * (1 + 1e-16)]))
    assert twins.verdict[2, 5] == twins.verdict[5, 2] == IDENTICAL
    assert twins.p_value[2, 5] == 1
    assert twins.difference[2, 5] == 0
    np.testing.assert_array_equal(twins.verdict[:5, :5], compared(values).verdict)
    np.testing.assert_array_equal(twins.verdict[5, [0, 1, 3, 4]], twins.verdict[2, [0, 1, 3, 4]])


def test_a_handful_of_events_decides_nothing() -> None:
    values = np.zeros((1000, 2))
    values[:19, 0] = 1 + 0.01 * np.arange(19)
    assert compared(values).verdict[0, 1] == UNDECIDED
    values[19, 0] = 1.0
    assert compared(values).verdict[0, 1] == BETTER
    assert compared(field(49)).verdict[2, 4] == UNDECIDED  # too few scenarios
    assert compared(field(49)).verdict[0, 0] == IDENTICAL


def test_windows_of_a_history_are_few_and_still_tested() -> None:
    generator = np.random.default_rng(3)
    values = np.array([0.0, 1.0]) + 0.2 * generator.normal(size=(9, 2))
    assert compared(values, "window").verdict[1, 0] == BETTER
    assert compared(values[:7], "window").verdict[1, 0] == UNDECIDED


def test_unplayed_scenarios_are_left_out_pair_by_pair() -> None:
    values = field()
    values[:60, 0], values[150:, 1] = np.nan, np.nan
    found = compared(values)
    np.testing.assert_allclose(found.difference[0, 1], (values[60:150, 0] - values[60:150, 1]).mean())
    assert found.verdict[2, 0] == BETTER
    values[:, 3] = np.nan
    never = compared(values)
    assert (never.verdict[3, [0, 1, 2, 4]] == UNDECIDED).all()
    row = pairwise.pair_rows(never, never.agents)[2]
    assert (row.growth, row.growth_low, row.growth_high) == (None, None, None)


def test_places_by_hand() -> None:
    """a beats c, d and e; b beats e; c beats e: a claim about each rank, and three tiers."""
    found = claims(("a", "c"), ("a", "d"), ("a", "e"), ("b", "e"), ("c", "e"))
    assert pairwise.places(found, "abcde") == {
        "a": Place(1, 2, 1),
        "b": Place(1, 4, 1),
        "c": Place(2, 4, 2),
        "d": Place(2, 5, 2),
        "e": Place(4, 5, 3),
    }
    assert pairwise.places(claims(), "cab") == dict.fromkeys("cab", Place(1, 3, 1))


def test_every_entrant_is_in_its_own_rank_interval_when_all_are_separated() -> None:
    order = "dacbe"
    chain = claims(*((order[i], order[j]) for i in range(5) for j in range(i + 1, 5)))
    assert pairwise.places(chain, order) == {agent: Place(rank, rank, rank) for rank, agent in enumerate(order, 1)}


def test_the_leader_must_beat_every_other() -> None:
    leader = pairwise.leader_of(claims(("a", "b"), ("a", "c"), agents="abc"), "abc")
    assert leader.significant
    assert leader.not_separated == []
    leader = pairwise.leader_of(claims(("a", "b"), agents="abc"), "abc")
    assert not leader.significant
    assert leader.not_separated == ["c"]
    assert not pairwise.leader_of(claims(agents="a"), "a").significant  # alone


def test_pair_rows_put_the_higher_ranked_first() -> None:
    found = compared(field())
    ranking = ["agent_2", "agent_1", "agent_0", "agent_3", "agent_4"]
    rows = pairwise.pair_rows(found, ranking)
    assert [(row.agent, row.against) for row in rows[:2]] == [("agent_2", "agent_1"), ("agent_2", "agent_0")]
    assert len(rows) == 10
    lead = field()[:, 2] - field()[:, 1]
    interval = stats.ttest_1samp(lead, 0).confidence_interval(0.95)
    expected = (lead.mean(), interval.low, interval.high)
    assert [rows[0].growth, rows[0].growth_low, rows[0].growth_high] == pytest.approx(expected)
    assert {row.verdict for row in rows} == {BETTER, NOT_SEPARATED}


def test_copies_with_their_own_luck_are_seldom_told_apart() -> None:
    """100 null fields through the whole path: at most 11 with any claim (5 expected, 3 standard errors)."""
    generator = np.random.default_rng(4)
    claimed = 0
    for _ in range(100):
        found = pairwise.compare_all(scores_of(generator.standard_t(3, (100, 6))), "seed", generator)
        claimed += bool(np.isin(found.verdict, (BETTER, WORSE)).any())
    assert claimed <= 11


def test_rank_intervals_hold_the_true_ranks() -> None:
    """100 fields of six with known means, two of them equal: all true ranks inside in at least 89 (95 - 3 errors)."""
    generator, inside = np.random.default_rng(5), 0
    means = np.array([0.6, 0.3, 0.3, 0.1, 0.0, -0.4])
    for _ in range(100):
        values = means + generator.standard_t(4, (150, 6)) / np.sqrt(2)
        found = pairwise.compare_all(scores_of(values), "seed", generator)
        places = pairwise.places(found, [found.agents[index] for index in np.argsort(-values.mean(0))])
        ranks = [(1, 1), (2, 3), (2, 3), (4, 4), (5, 5), (6, 6)]  # equals may stand on either rank
        claims = [places[f"agent_{index}"] for index in range(6)]
        inside += all(claim.low <= low and claim.high >= high for claim, (low, high) in zip(claims, ranks))
    assert inside >= 89
