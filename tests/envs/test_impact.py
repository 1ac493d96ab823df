"""Impact formulas: the smooth, cancellation-free forms against the textbook ones in 50 digits."""

from dataclasses import replace
from math import inf, nextafter

import mpmath
import pytest
import torch
from torch import Tensor

from arena.market.impact import (
    SMOOTHING,
    average_displacement,
    average_impact,
    decay,
    displacement,
    mode_displacements,
    modes_by_exponent,
    potential,
    rest_average,
    smooth_power,
    temporary_impact,
)
from arena.market.presets import PRESETS, preset
from arena.market.types import ImpactMode, MarketParams, Quotes

EXPONENTS = [0.3, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0]
# Of the displacement at the larger end of the path. Logarithms reach 60 in size (eps**2), so exp loses two digits.
FLOAT64 = 1e-13
FLOAT32 = 4e-6
# What |e| -> sqrt(e**2 + eps**2) changes where imbalance and fill exceed 1e-4 days: under (eps / e)**(1 + delta).
SMOOTHED = 1e-10
SIZES = [0.0, 1e-12, 1e-9, 1e-6, 1e-4, 0.01, 0.3, 2.0]  # days of volume

mpmath.mp.dps = 50


def exact_power(x: float, exponent: float) -> mpmath.mpf:
    """sgn(x) |x|**exponent."""
    return mpmath.sign(x) * mpmath.fabs(x) ** mpmath.mpf(exponent)


def exact_average(start: float, change: float, exponent: float, smoothing: float = 0.0) -> mpmath.mpf:
    """(Phi(start + change) - Phi(start)) / change, as it is written on paper; Phi' = D at change = 0."""
    delta, eps = mpmath.mpf(exponent), mpmath.mpf(smoothing)
    if change == 0:
        return start * (mpmath.mpf(start) ** 2 + eps**2) ** ((delta - 1) / 2) if start else mpmath.mpf(0)
    phi = lambda e: (e * e + eps * eps) ** ((1 + delta) / 2) / (1 + delta)  # noqa: E731
    return (phi(mpmath.mpf(start) + mpmath.mpf(change)) - phi(mpmath.mpf(start))) / mpmath.mpf(change)


def paths(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Starts and changes: at rest, back to rest, through rest, tiny steps, every pair of sizes and signs."""
    signed = [*SIZES, *(-size for size in SIZES[1:])]
    pairs = [(e, x) for e in signed for x in signed]
    pairs += [(e, -e) for e in signed] + [(e, -2 * e) for e in signed] + [(e, 1e-6 * e) for e in signed]
    start, change = torch.tensor(pairs, dtype=torch.float64).to(dtype).T
    return start.contiguous(), change.contiguous()


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, FLOAT64), (torch.float32, FLOAT32)])
def test_average_displacement_is_the_exact_mean(dtype: torch.dtype, tolerance: float, exponent: float) -> None:
    """Against the difference of smoothed potentials in 50 digits, from and to rest included."""
    start, change = paths(dtype)
    got = average_displacement(start, change, exponent).tolist()
    eps = 0.0 if exponent == 1.0 else SMOOTHING[dtype]
    for e, x, value in zip(start.tolist(), change.tolist(), got):
        size = exact_power(max(abs(e), abs(x), abs(e + x), eps), exponent)
        assert abs(value - exact_average(e, x, exponent, eps)) <= tolerance * size, (e, x)


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_smoothing_is_invisible(exponent: float) -> None:
    """Against the formula without smoothing: the potential is lifted by eps**(1 + delta) / (1 + delta) at most."""
    start, change = paths(torch.float64)
    got = average_displacement(start, change, exponent).tolist()
    lift = 0.0 if exponent == 1.0 else SMOOTHING[torch.float64] ** (1 + exponent) / (1 + exponent)
    for e, x, value in zip(start.tolist(), change.tolist(), got):
        if x != 0:
            rounding = FLOAT64 * exact_power(max(abs(e), abs(x), abs(e + x), 1e-12), exponent)
            assert abs(value - exact_average(e, x, exponent)) <= lift / abs(x) + rounding, (e, x)


@pytest.mark.parametrize("exponent", [0.3, 0.5, 0.75])
def test_tiny_fill_keeps_its_digits_in_float32(exponent: float) -> None:
    """X / E = 1e-6 in float32, where the difference of two potentials is wrong by a tenth."""
    start, change = torch.tensor([0.01]), torch.tensor([1e-8])
    exact = float(exact_average(start.item(), change.item(), exponent))
    assert average_displacement(start, change, exponent).item() == pytest.approx(exact, rel=FLOAT32)
    phi = lambda e: e.abs() ** (1 + exponent) / (1 + exponent)  # noqa: E731
    naive = ((phi(start + change) - phi(start)) / change).item()
    assert abs(naive / exact - 1) > 0.01


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, FLOAT64), (torch.float32, FLOAT32)])
def test_smooth_power(dtype: torch.dtype, tolerance: float, exponent: float) -> None:
    """sgn(x) |x|**delta with |x| smoothed; without smoothing from 1e-6 on; odd; 0 at 0."""
    x = torch.tensor([*SIZES, *(-s for s in SIZES)], dtype=torch.float64).to(dtype)
    got = smooth_power(x, exponent)
    eps = 0.0 if exponent == 1.0 else SMOOTHING[dtype]
    for value, exact in zip(got.tolist(), x.tolist()):
        assert value == pytest.approx(float(exact_average(exact, 0.0, exponent, eps)), rel=tolerance, abs=0)
        if abs(exact) >= 1e-4:
            assert value == pytest.approx(float(exact_power(exact, exponent)), rel=2 * tolerance, abs=0)
    assert torch.equal(smooth_power(-x, exponent), -got)


def test_general_exponent_agrees_with_the_square_root() -> None:
    """The path for any exponent, at the number next to 1/2, equals the special case for 1/2."""
    start, change = paths(torch.float64)
    size = torch.maximum(torch.maximum(start.abs(), change.abs()), torch.tensor(1e-12)).sqrt()
    general = nextafter(0.5, 1.0)
    error = (average_displacement(start, change, general) - average_displacement(start, change, 0.5)).abs()
    assert float((error / size).max()) < FLOAT64
    error = (smooth_power(start, general) - smooth_power(start, 0.5)).abs()
    assert float((error / size).max()) < FLOAT64


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gradients_are_finite_at_rest(dtype: torch.dtype, exponent: float) -> None:
    """Exactly at 0, from rest, back to rest, and around: where the textbook form has slope infinity or 0 / 0."""
    start, change = (x.requires_grad_() for x in paths(dtype))
    total = average_displacement(start, change, exponent).sum() + smooth_power(start, exponent).sum()
    total = total + rest_average(change, ((1.0, exponent),)).sum()
    for gradient in torch.autograd.grad(total, (start, change)):
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_gradients_match_finite_differences(exponent: float) -> None:
    start = torch.tensor([0.0, 0.02, -0.3, 0.1, 0.05], dtype=torch.float64, requires_grad=True)
    change = torch.tensor([0.1, 0.01, 0.5, -0.03, 1e-4], dtype=torch.float64, requires_grad=True)
    # The start at rest stays out of the finite difference: there, the slope lives on a scale of eps.
    function = lambda e, x: average_displacement(torch.cat([e.new_zeros(1), e]), x, exponent)  # noqa: E731
    moving = start[1:].detach().requires_grad_()
    assert torch.autograd.gradcheck(function, (moving, change), eps=1e-7, atol=1e-6, rtol=1e-5)
    assert torch.autograd.gradcheck(lambda x: smooth_power(x, exponent), (change,), eps=1e-7, atol=1e-6, rtol=1e-5)
    at_rest = lambda x: rest_average(x, ((0.7, exponent), (0.3, 1.0)))  # noqa: E731
    assert torch.autograd.gradcheck(at_rest, (change,), eps=1e-7, atol=1e-6, rtol=1e-5)


def quotes(num_assets: int, dtype: torch.dtype = torch.float64) -> Quotes:
    """Assets of different depth and volatility; only these two matter to impact."""
    volatility = torch.linspace(0.01, 0.05, num_assets, dtype=dtype).unsqueeze(0)
    adv = torch.logspace(4, 8, num_assets, dtype=dtype).unsqueeze(0)
    ones = torch.ones_like(adv)
    return Quotes(
        ones, ones, ones, volatility, adv, adv, 0 * ones, 0 * ones, ones > 0, torch.zeros(1, dtype=torch.bool)
    )


@pytest.mark.parametrize("name", [*PRESETS, "mixed"])
def test_sums_over_modes(name: str) -> None:
    """Displacement, average and potential of a whole market against the sums in 50 digits, limiter scale included."""
    params = (
        MarketParams(modes=(ImpactMode(0.4, 0.3, 0.5), ImpactMode(0.2, 1.0, inf))) if name == "mixed" else preset(name)
    )
    market = quotes(3)
    generator = torch.Generator().manual_seed(0)
    num_modes = len(params.modes)
    imbalance = 0.1 * market.adv.unsqueeze(-1) * torch.randn(1, 3, num_modes, generator=generator, dtype=torch.float64)
    net_flow = 0.05 * market.adv * torch.randn(1, 3, generator=generator, dtype=torch.float64)
    scale = 0.5 + torch.rand(1, 3, num_modes, generator=generator, dtype=torch.float64)
    got = [
        f.flatten().tolist()
        for f in (
            displacement(params, market, imbalance, scale),
            average_impact(params, market, imbalance, net_flow, scale),
            potential(params, market, imbalance, scale),
        )
    ]
    for a in range(3):
        volume, x = mpmath.mpf(market.adv[0, a].item()), mpmath.mpf(net_flow[0, a].item())
        total, mean, energy = mpmath.mpf(0), mpmath.mpf(0), mpmath.mpf(0)
        for m, mode in enumerate(params.modes):
            c = mpmath.mpf(mode.coef) * market.volatility[0, a].item() * scale[0, a, m].item()
            e = mpmath.mpf(imbalance[0, a, m].item())
            total += c * exact_power(e / volume, mode.exponent)
            mean += c * exact_average(e / volume, x / volume, mode.exponent)
            energy += (
                c
                * volume
                * mpmath.fabs(e / volume) ** (1 + mpmath.mpf(mode.exponent))
                / (1 + mpmath.mpf(mode.exponent))
            )
        for values, exact in zip(got, (total, mean, energy)):
            assert values[a] == pytest.approx(float(exact), rel=SMOOTHED, abs=1e-25)


def test_potential_is_the_integral_of_displacement() -> None:
    """dPhi_m / dE_m = D_m for every mode, by automatic differentiation; Phi(0) = 0; and by quadrature."""
    params, market = MarketParams(modes=(*preset("sqrt").modes, ImpactMode(0.4, 0.3, 0.5))), quotes(4)
    generator = torch.Generator().manual_seed(1)
    imbalance = market.adv.unsqueeze(-1) * torch.randn(1, 4, 4, generator=generator, dtype=torch.float64)
    imbalance.requires_grad_()
    (slope,) = torch.autograd.grad(potential(params, market, imbalance).sum(), imbalance)
    torch.testing.assert_close(
        slope, torch.stack(mode_displacements(params, market, imbalance, None), -1), rtol=1e-10, atol=0
    )
    assert float(potential(params, market, torch.zeros_like(imbalance)).abs().max()) == 0.0
    # Quadrature along E(s) = E s**4, s from 0 to 1: work = integral of D(E(s)) . E'(s) ds, smooth in s.
    imbalance = imbalance.detach()
    s = torch.linspace(0, 1, 2001, dtype=torch.float64)
    force = [torch.stack(mode_displacements(params, market, imbalance * t**4, None), -1) for t in s.tolist()]
    power = torch.stack([(f * imbalance * 4 * t**3).sum(-1) for f, t in zip(force, s.tolist())])
    torch.testing.assert_close(
        torch.trapezoid(power, s, dim=0), potential(params, market, imbalance), rtol=1e-5, atol=0
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", [*PRESETS, "mixed"])
def test_rest_average_is_the_average_from_rest(name: str, dtype: torch.dtype) -> None:
    """Modes merged by exponent, started at 0: the same as the sum over modes of the general formula."""
    modes = (ImpactMode(0.4, 0.3, 0.5), ImpactMode(0.1, 0.3, 9.0), ImpactMode(0.2, 1.0, inf))
    params = replace(preset("sqrt"), modes=modes) if name == "mixed" else preset(name)
    volume = torch.tensor([*SIZES, *(-s for s in SIZES)], dtype=torch.float64).to(dtype)
    got = rest_average(volume, modes_by_exponent(params.modes))
    expected = torch.zeros_like(volume)
    for mode in params.modes:
        expected = expected + mode.coef * average_displacement(torch.zeros_like(volume), volume, mode.exponent)
    tolerance = 10 * torch.finfo(dtype).eps  # same formulas, sums in another order
    torch.testing.assert_close(got, expected, rtol=tolerance, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_temporary_impact(dtype: torch.dtype) -> None:
    """sgn(X) eta sigma (|X| / (V dt))**beta; odd; finite slope at 0."""
    params, market = preset("sqrt", dt=1 / 13), quotes(5, dtype)
    participation = torch.tensor([-0.1, 1e-3, 0.0, 1e-4, 2.0], dtype=dtype)
    net_flow = (participation * market.adv * params.dt).requires_grad_()
    got = temporary_impact(params, market, net_flow)
    exact = [
        0.142 * sigma * float(exact_power(x / (volume / 13), 0.6))
        for sigma, x, volume in zip(market.volatility[0].tolist(), net_flow[0].tolist(), market.adv[0].tolist())
    ]
    assert got[0].tolist() == pytest.approx(exact, rel=FLOAT32 if dtype == torch.float32 else SMOOTHED)
    assert torch.equal(temporary_impact(params, market, -net_flow), -got)
    (slope,) = torch.autograd.grad(got.sum(), net_flow)
    assert torch.isfinite(slope).all()


def test_decay() -> None:
    """Half of the imbalance is left after a half-life, all of it in a permanent mode; steps compose."""
    params = MarketParams(
        dt=0.25, modes=(ImpactMode(1.0, 0.5, 0.125), ImpactMode(1.0, 1.0, 5.0), ImpactMode(1.0, 1.0, inf))
    )
    imbalance = torch.tensor([[[8.0, 8.0, 8.0]]], dtype=torch.float64)
    assert decay(params, imbalance).tolist() == [[pytest.approx([2.0, 8.0 * 2**-0.05, 8.0], rel=1e-15)]]
    twice = decay(params, decay(params, imbalance))
    torch.testing.assert_close(twice, decay(replace(params, dt=0.5), imbalance), rtol=1e-14, atol=0)
    assert imbalance.tolist() == [[[8.0, 8.0, 8.0]]]
