"""Ratings explain a Plackett-Luce field and no circle; a circle is claimed only where every edge is significant."""

import numpy as np
import pytest

from arena.tournament.stats.cycles import transitivity, win_leads
from arena.tournament.stats.games import Matches, fold_matches
from tests.tournament.simulated import simulated_results

EDGE = {"a": 0.03, "b": 0.01, "cash": 0.0, "d": -0.02}


def matches_of(score: np.ndarray) -> Matches:
    """[S, m] scores, highest first -> one match of all entrants per scenario; ties share their rank."""
    num, num_agents = score.shape
    rank = (score[:, None, :] > score[:, :, None]).sum(2) + ((score[:, None, :] == score[:, :, None]).sum(2) + 1) / 2
    return Matches(np.tile(np.arange(num_agents), (num, 1)), rank, np.arange(num))


def rock_paper_scissors(num: int, seed: int) -> np.ndarray:
    """Scores of three that beat each other in a circle in most scenarios, and of a fourth that loses to all."""
    generator = np.random.default_rng(seed)
    first = generator.integers(0, 3, num)  # 0 > 1 > 2, 1 > 2 > 0 or 2 > 0 > 1: each beats the next in two of three
    return np.column_stack([3 - (np.arange(3) - first[:, None]) % 3, np.full(num, -1)])


def test_win_leads_by_hand() -> None:
    matches = Matches(
        item=np.array([[2, 0], [0, 2], [1, 2], [1, 0]]),
        rank=np.array([[1.0, 2.0], [1.0, 2.0], [1.5, 1.5], [2.0, 1.0]]),
        scenario=np.array([7, 7, 7, 9]),
    )
    expected = [[np.nan, 0.0, 0.0], [1.0, np.nan, np.nan]]  # pairs (0, 1), (0, 2), (1, 2)
    np.testing.assert_array_equal(win_leads(matches, 3), expected)


def test_leads_are_those_of_the_win_matrix() -> None:
    results = simulated_results(EDGE, 40, seed=1, num_seats=3)
    names = sorted(EDGE)
    leads = win_leads(fold_matches(results, names), 4)
    frame = results.to_pandas()
    pair = frame[frame["agent"].isin(["a", "d"])].pivot(index=["scenario", "lineup"], columns="agent", values="rank")
    met = pair.dropna()
    assert np.nanmean(leads[:, 2]) == pytest.approx(np.sign(met["d"] - met["a"]).mean())


def test_ratings_explain_a_plackett_luce_field() -> None:
    """Gumbel utilities make log odds exact differences of skills: 3 of 60 rejected, 8 with 3 standard errors."""
    generator = np.random.default_rng(2)
    skill, rejected, explained = np.linspace(-1, 1, 5), 0, []
    for _ in range(60):
        leads = win_leads(matches_of(skill + generator.gumbel(size=(150, 5))), 5)
        found = transitivity(leads, 5, generator)
        rejected += found.p_value <= 0.05
        explained.append(found.explained)
        assert found.cycles == ()
    assert rejected <= 8
    assert np.mean(explained) > 0.95


def test_a_circle_is_found_and_no_rating_explains_it() -> None:
    leads = win_leads(matches_of(rock_paper_scissors(300, 3)), 4)
    found = transitivity(leads, 4, np.random.default_rng(0))
    assert found.p_value < 0.01
    assert found.cycles == ((0, 1, 2),)
    assert found.explained < 0.99


def test_a_circle_turns_round_when_results_are_reversed() -> None:
    score = rock_paper_scissors(300, 4)
    forward, back = (transitivity(win_leads(matches_of(s), 4), 4, np.random.default_rng(0)) for s in (score, -score))
    assert forward.cycles == ((0, 1, 2),)
    assert back.cycles == ((0, 2, 1),)
    assert back.explained == pytest.approx(forward.explained, abs=1e-9)


def test_renaming_entrants_changes_no_number() -> None:
    score, order = rock_paper_scissors(200, 5) + 0.6 * np.random.default_rng(5).normal(size=(200, 4)), [2, 3, 0, 1]
    found, renamed = (
        transitivity(win_leads(matches_of(s), 4), 4, np.random.default_rng(0)) for s in (score, score[:, order])
    )
    assert renamed.explained == pytest.approx(found.explained, abs=1e-9)
    assert renamed.p_value == pytest.approx(found.p_value, abs=0.01)  # other last bits, hence other near-ties


def test_what_cannot_be_known_is_not_said() -> None:
    few = transitivity(win_leads(matches_of(rock_paper_scissors(49, 6)), 4), 4, np.random.default_rng(0))
    assert few == (None, None, ())
    tied = transitivity(win_leads(matches_of(np.zeros((60, 3))), 3), 3, np.random.default_rng(0))
    assert tied.explained is None
    assert tied.cycles == ()
    alone = transitivity(win_leads(matches_of(np.zeros((60, 1))), 1), 1, np.random.default_rng(0))
    assert alone.explained is None


def test_pairs_that_never_met_carry_no_weight() -> None:
    """Two groups that never meet are each explained; nothing is said across them."""
    generator = np.random.default_rng(7)
    score = np.array([0.5, 0.0, 2.0, 0.0]) + generator.gumbel(size=(200, 4))
    leads = win_leads(matches_of(score), 4)
    leads[:, [1, 2, 3, 4]] = np.nan  # all but (0, 1) and (2, 3)
    found = transitivity(leads, 4, generator)
    assert found.explained == pytest.approx(1)
    assert found.p_value == 1
