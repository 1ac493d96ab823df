"""The fit against golden values, choix and finite differences; its interval against simulated truth."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from arena.tournament.stats.plackett_luce import Rankings, fit, spread_ties

GOLDEN = json.loads((Path(__file__).parent / "golden" / "plackett_luce.json").read_text())


def untied(order: np.ndarray, cluster: np.ndarray | None = None) -> Rankings:
    return Rankings(order, np.ones(len(order)), np.arange(len(order)) if cluster is None else cluster)


def sample_orders(theta: np.ndarray, num: int, generator: np.random.Generator) -> np.ndarray:
    """[num, m] rankings, best first: Gumbel utilities make a Plackett-Luce draw."""
    return np.argsort(-(theta + generator.gumbel(size=(num, len(theta)))), axis=1)


def test_golden_values() -> None:
    skills = fit(untied(np.array(GOLDEN["rankings_best_first"])), 4, anchor=0, ridge=0.0)
    centred = skills.theta - skills.theta.mean()
    np.testing.assert_allclose(centred, GOLDEN["log_worth_centered"], atol=GOLDEN["tolerance"])
    np.testing.assert_allclose(np.exp(centred) / np.exp(centred).sum(), GOLDEN["worth"], atol=GOLDEN["tolerance"])


def test_agrees_with_choix_without_a_ridge() -> None:
    import choix

    generator = np.random.default_rng(1)
    order = sample_orders(generator.normal(size=8), 400, generator)
    ours = fit(untied(order), 8, anchor=3, ridge=0.0).theta
    np.testing.assert_allclose(ours - ours.mean(), choix.ilsr_rankings(8, order.tolist(), alpha=0.0), atol=1e-6)


def test_the_anchor_only_shifts() -> None:
    generator = np.random.default_rng(2)
    order = sample_orders(np.linspace(-1, 1, 5), 200, generator)
    one, other = (fit(untied(order), 5, anchor, ridge=0.0).theta for anchor in (0, 4))
    np.testing.assert_allclose(one - one[4], other, atol=1e-8)


def test_ridge_is_a_virtual_win_and_loss_against_the_anchor() -> None:
    """The same fit as with the virtual games written out as rankings of two."""
    import choix

    order = [[1, 0, 2], [1, 2, 0], [1, 0, 2]]  # 1 always wins: no finite maximum without a ridge
    ours = fit(untied(np.array(order)), 3, anchor=0, ridge=1.0).theta
    virtual = [[0, item] for item in (1, 2)] + [[item, 0] for item in (1, 2)]
    theirs = choix.ilsr_rankings(3, order + virtual, alpha=0.0)
    np.testing.assert_allclose(ours - ours.mean(), theirs, atol=1e-6)
    with pytest.raises(ValueError, match="use ridge > 0"):
        fit(untied(np.array(order)), 3, anchor=0, ridge=0.0)


def test_a_tie_of_two_is_shared_exactly() -> None:
    generator = np.random.default_rng(3)
    item = np.tile(np.arange(4), (3, 1))
    rank = np.array([[1.0, 2.5, 2.5, 4.0], [4.0, 2.5, 2.5, 1.0], [1.5, 3.5, 3.5, 1.5]])
    rankings = spread_ties(rank, item, np.arange(3), generator)
    np.testing.assert_allclose(np.bincount(rankings.cluster, rankings.weight), 1.0)
    skills = fit(rankings, 4, anchor=0).theta
    assert skills[1] == pytest.approx(skills[2], abs=1e-9)  # tied everywhere: equal, whatever the random breaks were


def test_everyone_tied_is_everyone_equal() -> None:
    item = np.tile(np.arange(5), (20, 1))
    rankings = spread_ties(np.full((20, 5), 3.0), item, np.arange(20), np.random.default_rng(4), num_pairs=200)
    np.testing.assert_allclose(fit(rankings, 5, anchor=0).theta, 0, atol=0.02)


def coverage(num_runs: int, num_scenarios: int, rho: float = 0.9) -> tuple[float, float]:
    """Shares of 95 % intervals that hold the truth: by scenario, and with rankings taken as independent.

    10 items, every scenario plays one lineup of four in four matches; Gumbel utilities of an item in one
    scenario are tied by a Gaussian copula of correlation `rho`.
    """
    generator = np.random.default_rng(5)
    theta = np.linspace(-0.8, 0.8, 10)
    sets = np.array([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 4], [1, 5, 8, 2], [9, 6, 3, 7]])
    lineups = np.repeat(sets[np.arange(num_scenarios) % len(sets)][:, None], 4, axis=1)  # [S, 4 matches, 4 seats]
    truth = theta - theta[0]
    hits, naive_hits = [], []
    for _ in range(num_runs):
        common = generator.normal(size=(num_scenarios, 1, 10))
        own = generator.normal(size=(num_scenarios, 4, 10))
        uniform = stats.norm.cdf(np.sqrt(rho) * common + np.sqrt(1 - rho) * own)
        score = np.take_along_axis(theta - np.log(-np.log(uniform)), lineups, 2)
        place = np.argsort(-score, axis=2)
        order = np.take_along_axis(lineups, place, 2).reshape(-1, 4)
        cluster = np.repeat(np.arange(num_scenarios), 4)
        for found, groups in ((hits, cluster), (naive_hits, np.arange(len(order)))):
            skills = fit(untied(order, groups), 10, anchor=0)
            half = stats.t.ppf(0.975, skills.num_clusters - 1) * np.sqrt(np.diag(skills.covariance))
            found.append((np.abs(skills.theta - truth) <= half)[1:])
    return float(np.mean(hits)), float(np.mean(naive_hits))


@pytest.mark.parametrize(("num_runs", "num_scenarios"), [(60, 8), (60, 20), (400, 50), (400, 200)])
def test_interval_covers_by_scenario_and_fails_by_ranking(num_runs: int, num_scenarios: int) -> None:
    by_scenario, by_ranking = coverage(num_runs, num_scenarios)
    slack = 0.02 if num_runs == 400 else 0.03  # standard errors of about 0.5 and 1.3 points
    assert abs(by_scenario - 0.95) < slack
    assert by_ranking < 0.80
