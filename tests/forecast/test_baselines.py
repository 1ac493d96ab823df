"""Laws of the forecasters without weights, each on all three."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from arena.data.types import CLOSE
from arena.forecast.baselines import NORMAL, STUDENT, Drift, Persistence, SeasonalNaive, season_of
from arena.forecast.stamps import DAY, business_day_stamps
from arena.forecast.types import MEDIAN, QUANTILE_LEVELS

ALL = [Persistence, Drift, SeasonalNaive]
EXACT = {"rtol": 1e-10, "atol": 0.0}  # float64


def bars(closes):
    """Bars [..., C, 6] that trade at their closes only."""
    closes = torch.as_tensor(closes, dtype=torch.float64)
    return torch.cat([closes.unsqueeze(-1).expand(*closes.shape, 4), torch.ones(*closes.shape, 2)], -1)


def walks(num_series, length, volatility=0.02, drift=0.0, seed=0):
    steps = torch.randn(num_series, length, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return 100.0 * (volatility * steps + drift).cumsum(1).exp()


@pytest.mark.parametrize("make", ALL)
def test_quantiles_ascend_around_a_positive_median(make):
    quantiles = make().predict(bars(walks(50, 40)), None, 12).quantiles
    assert quantiles.shape == (50, 12, len(QUANTILE_LEVELS))
    assert (quantiles.diff(dim=-1) > 0).all()
    assert (quantiles > 0).all()


@pytest.mark.parametrize("make", ALL)
def test_a_price_in_other_units_is_forecast_in_those_units(make):
    context = bars(walks(20, 40))
    cents = make().predict(context * 100.0, None, 5).quantiles
    torch.testing.assert_close(cents, make().predict(context, None, 5).quantiles * 100.0, **EXACT)


@pytest.mark.parametrize("make", ALL)
def test_series_do_not_touch_each_other(make):
    """Any order and any leading axes give every series the same forecast."""
    context = bars(walks(12, 40))
    context[3, 10:20] = math.nan
    context[5] = math.nan
    whole = make().predict(context, None, 5).quantiles
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(make().predict(context[order], None, 5).quantiles, whole[order], **EXACT, equal_nan=True)
    grid = make().predict(context.reshape(3, 2, 2, 40, 6), None, 5).quantiles
    torch.testing.assert_close(grid.reshape(12, 5, -1), whole, **EXACT, equal_nan=True)
    single = make().predict(context[7], None, 5).quantiles
    torch.testing.assert_close(single, whole[7], **EXACT)


@pytest.mark.parametrize("make", ALL)
def test_a_longer_horizon_only_adds_bars(make):
    context = bars(walks(5, 40))
    long = make().predict(context, None, 30).quantiles
    torch.testing.assert_close(make().predict(context, None, 4).quantiles, long[:, :4], **EXACT)


@pytest.mark.parametrize("make", ALL)
def test_only_closes_are_read(make):
    context = bars(walks(5, 40))
    blind = context.clone()
    blind[..., [c for c in range(6) if c != CLOSE]] = math.nan  # no volume, no range
    assert torch.equal(make().predict(blind, None, 4).quantiles, make().predict(context, None, 4).quantiles)


@pytest.mark.parametrize("make", ALL)
def test_a_constant_price_stays(make):
    quantiles = make().predict(bars(torch.full((3, 40), 7.0)), None, 6).quantiles
    torch.testing.assert_close(quantiles, torch.full_like(quantiles, 7.0), **EXACT)


@pytest.mark.parametrize("make", ALL)
def test_bars_missing_before_the_first_change_nothing(make):
    closes = walks(4, 30)
    padded = torch.cat([torch.full((4, 15), math.nan, dtype=torch.float64), closes], 1)
    stamps = business_day_stamps(45, 6)
    whole = make().predict(bars(closes), stamps[15:], 6).quantiles
    torch.testing.assert_close(make().predict(bars(padded), stamps, 6).quantiles, whole, **EXACT)


@pytest.mark.parametrize("make", [Persistence, Drift])
def test_a_halt_at_the_end_is_forecast_from_the_last_known_close(make):
    closes = walks(4, 30)
    halted = torch.cat([closes, torch.full((4, 7), math.nan, dtype=torch.float64)], 1)
    expected = make().predict(bars(closes), None, 6).quantiles
    torch.testing.assert_close(make().predict(bars(halted), None, 6).quantiles, expected, **EXACT)


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("num_known", [0, 1])
def test_a_series_without_a_return_is_nan_and_harms_no_other(make, num_known):
    context = bars(walks(3, 40))
    expected = make().predict(context, None, 4).quantiles
    context[1, num_known:] = math.nan
    quantiles = make().predict(context, None, 4).quantiles
    assert quantiles[1].isnan().all()
    torch.testing.assert_close(quantiles[[0, 2]], expected[[0, 2]], **EXACT)


@settings(max_examples=50)
@given(st.data())
def test_any_two_known_closes_give_a_finite_forecast(data):
    known = data.draw(st.lists(st.booleans(), min_size=12, max_size=12).filter(lambda k: sum(k) >= 2))
    closes = torch.where(torch.tensor(known), walks(1, 12, seed=data.draw(st.integers(0, 99))), math.nan)
    for make in ALL:
        assert make().predict(bars(closes), None, 9).quantiles.isfinite().all()


def test_the_tables_of_quantiles():
    levels = np.array(QUANTILE_LEVELS)
    np.testing.assert_allclose(NORMAL, stats.norm.ppf(levels), atol=5e-6)
    np.testing.assert_allclose(STUDENT, stats.t.ppf(levels, 5) * math.sqrt(3 / 5), atol=5e-6)


def test_persistence_is_its_formula():
    closes = [100.0, 102.0, 99.0, 99.5, 101.0]
    returns = np.diff(np.log(closes))
    weight = 0.9 ** np.arange(3, -1, -1)
    sigma = math.sqrt((weight * returns**2).sum() / weight.sum())
    quantiles = Persistence(decay=0.9).predict(bars(closes), None, 4).quantiles
    unit = np.array(NORMAL) + (np.array(STUDENT) - np.array(NORMAL)) / 2
    np.testing.assert_allclose(quantiles[3], 101.0 * np.exp(sigma * 2 * unit), rtol=1e-12)


def coverage(quantiles, outcome):
    """Share of outcomes [N, H] between the outermost quantiles, [H]."""
    inside = (outcome >= quantiles[..., 0]) & (outcome <= quantiles[..., -1])
    return inside.double().mean(0)


def test_persistence_covers_what_it_says():
    """Tails are those of a Student t over one bar and of a normal distribution over many."""
    num_series, length, horizon = 4000, 200, 100
    generator = torch.Generator().manual_seed(3)
    normal = torch.randn(num_series, length + horizon, generator=generator, dtype=torch.float64)
    chi2 = torch.randn(num_series, length + horizon, 5, generator=generator, dtype=torch.float64).square().sum(-1)
    closes = (0.02 * normal * (3.0 / chi2).sqrt()).cumsum(1).exp()  # Student t, 5 degrees of freedom
    quantiles = Persistence(decay=1.0).predict(bars(closes[:, :length]), None, horizon).quantiles
    found = coverage(quantiles, closes[:, length:])
    assert found[[0, -1]].tolist() == pytest.approx([0.8, 0.8], abs=0.02)  # three standard errors


def test_persistence_follows_the_volatility():
    calm, wild = walks(200, 100, 0.01), walks(200, 100, 0.03, seed=1)
    closes = torch.cat([calm, calm[:, -1:] / wild[:, :1] * wild], 1)
    quantiles = Persistence().predict(bars(closes), None, 1).quantiles[:, 0]
    spread = (quantiles[:, -1] / quantiles[:, 0]).log().mean() / (STUDENT[-1] - STUDENT[0])
    assert spread == pytest.approx(0.03, rel=0.1)


def test_drift_goes_on_by_the_mean_return():
    closes = walks(3, 61, drift=0.003)
    median = Drift().predict(bars(closes), None, 10).quantiles[..., MEDIAN]
    per_bar = (closes[:, -1] / closes[:, 0]) ** (1 / 60)
    torch.testing.assert_close(median[:, 9], closes[:, -1] * per_bar**10, **EXACT)


def test_drift_is_wider_than_persistence_by_the_error_of_the_mean():
    context = bars(walks(5, 26))
    ratio = [make().predict(context, None, 25).quantiles.log().diff(dim=-1)[:, 24, 0] for make in (Drift, Persistence)]
    torch.testing.assert_close(ratio[0], ratio[1] * math.sqrt(2.0), **EXACT)  # h = n: 25 + 25^2 / 25


def test_a_perfect_season_is_repeated_without_spread():
    profile = torch.tensor([0.01, -0.02, 0.005, 0.03], dtype=torch.float64)
    closes = 50.0 * profile.repeat(10).cumsum(0).exp()
    quantiles = SeasonalNaive(season=4).predict(bars(closes[:30]), None, 10).quantiles
    torch.testing.assert_close(quantiles, closes[30:].unsqueeze(-1).expand(-1, 9), rtol=1e-6, atol=0.0)


def test_the_season_is_a_day_of_intraday_bars_and_a_week_of_daily_ones():
    day = torch.arange(26) * DAY // 96
    intraday = torch.cat([day + n * DAY for n in (0, 1, 4)])  # a weekend between the last two
    assert season_of(intraday[None]).item() == 26
    assert season_of(intraday[None, :60]).item() == 26
    assert season_of(intraday[None, :20]).item() == 0
    assert season_of(business_day_stamps(20, 0)[None]).item() == 5


def test_a_season_that_the_context_does_not_show_is_a_random_walk():
    context = bars(walks(5, 10))
    stamps = torch.arange(13) * DAY // 96
    quantiles = SeasonalNaive().predict(context, stamps, 3).quantiles
    torch.testing.assert_close(quantiles, Persistence(decay=1.0).predict(context, stamps, 3).quantiles, **EXACT)


def test_seasonal_naive_covers_what_it_says():
    """Over one season and over several, where the same noise is repeated."""
    closes = walks(4000, 240, seed=4)
    quantiles = SeasonalNaive(season=4).predict(bars(closes[:, :200]), None, 40).quantiles
    found = coverage(quantiles, closes[:, 200:])
    assert found[[19, 38, 39]].tolist() == pytest.approx([0.8, 0.8, 0.8], abs=0.03)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Persistence(decay=0.0), "decay is 0.0, expected 0 < decay <= 1"),
        (lambda: Drift(decay=1.5), "decay is 1.5"),
        (lambda: SeasonalNaive(season=0), "season is 0 bars"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_fingerprints_tell_settings_apart():
    made = [Persistence(), Persistence(decay=0.9), Drift(), SeasonalNaive(), SeasonalNaive(season=7)]
    assert len({forecaster.info.fingerprint for forecaster in made}) == len(made)
    assert Persistence().info == Persistence().info
