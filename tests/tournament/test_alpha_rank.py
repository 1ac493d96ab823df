"""Alpha-rank against cycles, a slow solution, and payoffs at which exponentials leave the range of numbers."""

import numpy as np
import pytest

from arena.tournament.stats.cycles import ALPHAS, SETTLED, alpha_rank, sweep

CYCLE = np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])


def antisymmetric(num: int, seed: int, scale: float = 0.3) -> np.ndarray:
    payoff = scale * np.random.default_rng(seed).normal(size=(num, num))
    return payoff - payoff.T


def by_running_the_chain(payoff: np.ndarray, alpha: float, population: int) -> np.ndarray:
    """The definition, one pair at a time, and the chain run for long."""
    num = len(payoff)
    chain = np.zeros((num, num))
    for resident in range(num):
        for mutant in set(range(num)) - {resident}:
            lead = alpha * (payoff[mutant, resident] - payoff[resident, mutant])
            rho = 1 / population if lead == 0 else (1 - np.exp(-lead)) / (1 - np.exp(-population * lead))
            chain[resident, mutant] = rho / (num - 1)
        chain[resident, resident] = 1 - chain[resident].sum()
    return np.linalg.matrix_power(chain, 4096)[0]


@pytest.mark.parametrize(("alpha", "population"), [(0.3, 50), (2.0, 10), (1.0, 2)])
def test_it_is_the_long_run_of_the_chain(alpha: float, population: int) -> None:
    payoff = antisymmetric(6, 0)
    expected = by_running_the_chain(payoff, alpha, population)
    np.testing.assert_allclose(alpha_rank(payoff, alpha, population), expected, rtol=1e-9)


def test_a_cycle_is_shared_and_equals_are_equal() -> None:
    np.testing.assert_allclose(alpha_rank(CYCLE, 5.0), 1 / 3, rtol=1e-12)
    np.testing.assert_allclose(alpha_rank(np.zeros((4, 4)), 1.0), 1 / 4, rtol=1e-12)
    np.testing.assert_allclose(alpha_rank(np.zeros((1, 1)), 1.0), [1.0])


def test_a_loser_to_all_of_a_cycle_gets_nothing_and_a_winner_everything() -> None:
    payoff = np.zeros((4, 4))
    payoff[:3, :3], payoff[:3, 3], payoff[3, :3] = CYCLE, 0.2, -0.2
    np.testing.assert_allclose(sweep(payoff)[1], [1 / 3, 1 / 3, 1 / 3, 0], atol=SETTLED)
    np.testing.assert_allclose(sweep(-payoff)[1], [0, 0, 0, 1], atol=SETTLED)


def test_renaming_renames_and_a_constant_changes_nothing() -> None:
    payoff, order = antisymmetric(5, 1), np.array([3, 1, 4, 0, 2])
    mass = alpha_rank(payoff, 1.0)
    np.testing.assert_allclose(alpha_rank(payoff[np.ix_(order, order)], 1.0), mass[order], rtol=1e-10)
    np.testing.assert_allclose(alpha_rank(payoff + 7.0, 1.0), mass, rtol=1e-9)
    np.testing.assert_allclose(alpha_rank(payoff / 4, 4.0), mass, rtol=1e-12)


def test_masses_far_below_the_smallest_number_do_no_harm() -> None:
    mass = alpha_rank(antisymmetric(30, 2, scale=100.0), 1000.0)
    assert mass.sum() == pytest.approx(1)
    assert np.isfinite(mass).all()
    small = alpha_rank(np.array([[0.0, 0.5], [-0.5, 0.0]]), 10.0)[1]
    assert small == pytest.approx(np.exp(-49 * 10), rel=1e-9)  # rho_in / rho_out for large populations


def test_a_batch_is_its_singles() -> None:
    payoffs = np.stack([antisymmetric(4, seed) for seed in range(3)])
    singles = [alpha_rank(payoff, 2.0) for payoff in payoffs]
    np.testing.assert_allclose(alpha_rank(payoffs, 2.0), singles, rtol=1e-14)


def test_the_sweep_ends_where_more_alpha_changes_nothing() -> None:
    payoff = antisymmetric(6, 3)
    alpha, mass = sweep(payoff)
    np.testing.assert_array_equal(mass, alpha_rank(payoff, alpha))
    for larger in [other for other in ALPHAS if other > alpha]:
        np.testing.assert_allclose(alpha_rank(payoff, larger), alpha_rank(payoff, ALPHAS[-1]), atol=SETTLED)
    assert alpha > ALPHAS[0]
    assert np.abs(alpha_rank(payoff, alpha / 2) - alpha_rank(payoff, ALPHAS[-1])).max() > SETTLED


def test_bad_payoffs_are_refused() -> None:
    with pytest.raises(ValueError, match=r"payoff has shape \(2, 3\)"):
        alpha_rank(np.zeros((2, 3)), 1.0)
    with pytest.raises(ValueError, match="finite"):
        alpha_rank(np.full((2, 2), np.nan), 1.0)
    with pytest.raises(ValueError, match="expected alpha > 0"):
        alpha_rank(CYCLE, 0.0)
