"""Expected returns and their confidence, against distributions whose truth is known."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from arena.forecast.baselines import Persistence
from arena.forecast.returns import (
    expected_return,
    reliability,
    return_features,
)
from arena.forecast.types import QUANTILE_LEVELS, Forecast
from arena.market.types import FORECAST_HORIZONS

SCORES = torch.special.ndtri(torch.tensor(QUANTILE_LEVELS, dtype=torch.float64))
PRICE = 50.0


def forecast_of(log_quantiles):
    """A forecast whose log returns from PRICE have these quantiles [..., Q], over one bar."""
    return Forecast(PRICE * torch.as_tensor(log_quantiles, dtype=torch.float64).exp().unsqueeze(-2))


def summary(log_quantiles):
    """Expected return and confidence of one bar."""
    forecast = forecast_of(log_quantiles)
    price = torch.full(forecast.quantiles.shape[:-2], PRICE, dtype=torch.float64)
    expected, confidence = expected_return(forecast, price, [1])
    return expected.squeeze(-1), confidence.squeeze(-1)


@given(st.floats(-0.2, 0.2).filter(lambda m: abs(m) > 1e-6), st.floats(1e-3, 0.5))
def test_a_log_normal_forecast_is_read_exactly(mean, deviation):
    expected, confidence = summary(mean + deviation * SCORES)
    assert expected.item() == pytest.approx(mean, abs=1e-12)
    assert confidence.item() == pytest.approx(stats.norm.cdf(abs(mean) / deviation), abs=1e-9)


@given(st.lists(st.integers(-100, 100), min_size=9, max_size=9))
def test_mean_and_sign_are_those_of_the_interpolated_distribution(percent):
    """Against a fine grid over the same quantile function."""
    x = np.sort(np.array(percent)) / 100.0
    z = SCORES.numpy()
    grid = np.linspace(-8.0, 8.0, 40_001)
    piece = np.clip(np.searchsorted(z, grid) - 1, 0, 7)
    log_return = x[piece] + (x[piece + 1] - x[piece]) / (z[piece + 1] - z[piece]) * (grid - z[piece])
    density = stats.norm.pdf(grid) / stats.norm.pdf(grid).sum()
    expected, confidence = summary(x)
    assert expected.item() == pytest.approx((log_return * density).sum(), abs=1e-6)
    if expected.item() != 0:
        right = density[np.sign(log_return) == np.sign(expected.item())].sum() + density[log_return == 0].sum() / 2
        assert confidence.item() == pytest.approx(right, abs=1e-3)


def test_the_confidence_of_the_other_side():
    """A forecast mirrored around the price has the opposite return and the same confidence."""
    x = torch.sort(torch.randn(200, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).values
    expected, confidence = summary(x)
    mirrored, same = summary(-x.flip(-1))
    torch.testing.assert_close(mirrored, -expected)
    torch.testing.assert_close(same, confidence)


def test_a_forecast_without_an_opinion():
    expected, confidence = summary(torch.zeros(9))
    assert (expected.item(), confidence.item()) == (0.0, 0.5)
    expected, confidence = summary(0.1 * SCORES)
    assert (expected.item(), confidence.item()) == (0.0, 0.5)
    expected, confidence = summary(torch.full((9,), math.nan))
    assert expected.isnan()
    assert confidence.isnan()


def test_a_certain_forecast():
    assert summary(torch.full((9,), 0.01))[1].item() == 1.0
    assert summary(torch.full((9,), -0.01))[1].item() == 1.0


def test_rounding_is_no_opinion():
    """A random walk expects nothing, in float32 too, whatever its price."""
    generator = torch.Generator().manual_seed(0)
    context = (5.0 + 0.02 * torch.randn(500, 40, 1, generator=generator).cumsum(1)).exp().expand(-1, -1, 6)
    expected, _ = expected_return(Persistence().predict(context, None, 20), context[:, -1, 3], FORECAST_HORIZONS)
    assert (expected == 0).all()


def test_features_are_returns_and_the_spread_of_the_first_horizon():
    context = torch.rand(4, 3, 40, 6, generator=torch.Generator().manual_seed(0)) + 10.0
    forecast, price = Persistence().predict(context, None, 20), context[..., -1, 3]
    tilted = forecast._replace(quantiles=forecast.quantiles * 1.01)
    features = return_features(tilted, price)
    assert features.shape == (4, 3, 4)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features[..., :3], expected_return(tilted, price, FORECAST_HORIZONS)[0])
    spread = (tilted.quantiles[..., 0, -1] / tilted.quantiles[..., 0, 0]).log()
    torch.testing.assert_close(features[..., 3], spread)


def test_features_of_a_forecast_of_nan_are_zero():
    quantiles = torch.full((2, 20, 9), 10.0)
    quantiles[1] = math.nan
    features = return_features(Forecast(quantiles), torch.full((2,), 9.0))
    assert (features[0, :3] > 0).all()
    assert (features[1] == 0).all()


@pytest.mark.parametrize("value", [0.0, -3.0, math.inf, math.nan])
def test_a_horizon_forecast_at_no_price_is_no_opinion(value):
    quantiles = torch.arange(11.0, 20.0).expand(1, 20, 9).clone()
    quantiles[0, 4, 0] = value
    forecast, price = Forecast(quantiles), torch.tensor([10.0])
    for found in expected_return(forecast, price, FORECAST_HORIZONS):
        assert found.isnan().tolist() == [[False, True, False]]
    features = return_features(forecast, price)
    assert (features[0, [0, 2, 3]] > 0).all()
    assert features[0, 1] == 0


@pytest.mark.parametrize(
    ("price", "horizons", "message"),
    [
        (torch.ones(2), [0], r"horizons are \(0,\), expected some of 1 .. 5"),
        (torch.ones(2), [1, 6], r"horizons are \(1, 6\)"),
        (torch.ones(2), [], r"horizons are \(\)"),
        (torch.ones(3), [1], r"price has shape \(3,\), expected \(2,\)"),
    ],
)
def test_bad_questions_are_refused(price, horizons, message):
    with pytest.raises(ValueError, match=message):
        expected_return(Forecast(torch.ones(2, 5, 9)), price, horizons)


def directions(num_series, scale, seed=0):
    """Forecasts of a return with mean m that say N(m, (1 / scale)^2) where the truth is N(m, 1); confidence and hit."""
    generator = torch.Generator().manual_seed(seed)
    mean, noise = torch.randn(2, num_series, generator=generator, dtype=torch.float64)
    mean = 0.5 * mean
    expected, p = summary(0.01 * (mean.unsqueeze(-1) + SCORES / scale))
    return p, (mean + noise).sign() == expected.sign()


def test_reliability_of_an_honest_forecaster():
    p, hit = directions(40_000, 1.0)
    assert reliability(p, hit).expected_error < 0.015


@pytest.mark.parametrize("scale", [3.0, 0.3], ids=["over-confident", "under-confident"])
def test_reliability_shows_a_forecaster_that_is_wrongly_sure(scale):
    assert reliability(*directions(20_000, scale)).expected_error > 0.09


def test_reliability_is_by_bins():
    p = torch.tensor([0.12, 0.18, 0.75, 1.0])
    found = reliability(p, torch.tensor([0, 1, 1, 1]), num_bins=10)
    assert found.num_cases.tolist() == [0, 2, 0, 0, 0, 0, 0, 1, 0, 1]
    assert found.confidence[[1, 7, 9]].tolist() == pytest.approx([0.15, 0.75, 1.0])
    assert found.hit_rate[[1, 7, 9]].tolist() == [0.5, 1.0, 1.0]
    assert found.expected_error == pytest.approx((2 * 0.35 + 0.25) / 4)
