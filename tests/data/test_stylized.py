"""The facts measure what they say, on series whose answer is known."""

import pytest
import torch

from arena.data.synthetic.noise import ar1, bridge_extremes, day_profile, tail_scale
from arena.data.synthetic.stylized import (
    BANDS,
    autocorrelation,
    correlation,
    excess_kurtosis,
    hill_index,
    judge,
    stylized_facts,
)

SIZE = 200_000


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def normal(*shape, generator):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def test_hill_index_of_a_pareto_tail(generator):
    pareto = torch.rand(SIZE, 1, generator=generator, dtype=torch.float64).pow(-1 / 3)  # P(X > x) = x**-3
    assert hill_index(pareto).item() == pytest.approx(3.0, rel=0.03)


def test_moments_and_memory_of_known_series(generator):
    noise = normal(SIZE, generator=generator)
    path = ar1(noise.clone(), half_life=5.0, dt=1.0)
    assert path.std().item() == pytest.approx(1.0, rel=0.03)
    assert autocorrelation(path, 5).item() == pytest.approx(0.5, abs=0.02)
    assert correlation(noise, -2 * noise).item() == pytest.approx(-1.0)
    assert excess_kurtosis(noise).item() == pytest.approx(0.0, abs=0.05)


def test_tail_scale_makes_a_student_t_of_unit_variance(generator):
    scale = tail_scale(torch.rand(SIZE, 5, generator=generator, dtype=torch.float64), 10.0)
    assert scale.mean().item() == pytest.approx(1.0, rel=0.01)
    student = scale.sqrt() * normal(SIZE, generator=generator)
    assert excess_kurtosis(student).item() == pytest.approx(1.0, abs=0.25)  # 6 / (nu - 4)
    assert torch.equal(tail_scale(torch.empty(4, 0), float("inf")), torch.ones(4))


def test_bridge_extremes_are_those_of_a_fine_walk(generator):
    """A walk of 400 steps, whose maximum falls short by 0.58 of a step's deviation (Broadie, Glasserman, Kou 1997)."""
    walk = 0.02 * (normal(5000, 400, generator=generator) / 20.0).cumsum(1)
    top = walk.max(1).values.clamp_min(0.0) + 0.5826 * 0.02 / 20.0
    open_, close = torch.full_like(top, 100.0), 100.0 * walk[:, -1].exp()
    up, down = torch.rand(2, 5000, generator=generator, dtype=torch.float64)
    high, low = bridge_extremes(open_, close, torch.full_like(top, 0.02**2), up, down)
    levels = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    torch.testing.assert_close((high / open_).log().quantile(levels), top.quantile(levels), rtol=0.06, atol=2e-4)
    assert (low <= torch.minimum(open_, close)).all()


@pytest.mark.parametrize("bars_per_day", [1, 13, 78])
def test_day_profile_has_mean_one(bars_per_day):
    assert day_profile(bars_per_day, 2.0, 1.0, 4.0).mean().item() == pytest.approx(1.0)


def test_judge_takes_the_median_over_panels():
    inside = {fact: (max(low, -9.0) + min(high, 9.0)) / 2 for fact, (low, high) in BANDS.items()}
    outside = dict.fromkeys(BANDS, 1e9)
    assert all(verdict.passed for verdict in judge([inside, inside, outside]))
    failed = [verdict.fact for verdict in judge([inside, outside, outside]) if not verdict.passed]
    assert set(failed) == set(BANDS) - {"modes_above_noise"}  # which has no upper bound


def test_small_panels_are_refused():
    with pytest.raises(ValueError, match=r"need bars \[T >= 100, A >= 2, 6\], found \(50, 2, 6\)"):
        stylized_facts(torch.ones(50, 2, 6))
