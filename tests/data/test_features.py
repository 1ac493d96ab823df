"""Causal features: nothing after a bar can reach them, and each equals its plain definition."""

from datetime import UTC, datetime

import pytest
import torch

from arena.data.features import (
    bar_slots,
    calendar_stamps,
    forecast_bar_volume,
    frozen_features,
    trailing_adv,
    trailing_mean,
    whole_days,
)
from arena.data.synthetic.market import SyntheticParams, generate
from arena.data.types import CLOSE, VOLUME

HOUR = 3_600_000_000


@pytest.fixture(scope="module", params=[1, 4], ids=["daily", "intraday"])
def market(request):
    """Bars [T, A, 6], slots [T] and dt of a synthetic market."""
    scenario = generate(SyntheticParams(num_assets=3, num_bars=160, bars_per_day=request.param), [5])
    return scenario.bars[0], torch.arange(160) % request.param, scenario.dt


def features(bars, slots, dt):
    return {
        "adv": trailing_adv(bars[..., VOLUME], dt, 20),
        "bar_volume": forecast_bar_volume(bars[..., VOLUME], slots, dt, 20),
    }


@pytest.mark.parametrize("t", [0, 1, 59, 101, 158])
def test_the_future_changes_nothing_before_it(market, t):
    bars, slots, dt = market
    noisy = bars.clone()
    noisy[t + 1 :] = (
        torch.rand(bars[t + 1 :].shape, generator=torch.Generator().manual_seed(1), dtype=bars.dtype) * 1e6 + 1
    )
    before, after = features(bars, slots, dt), features(noisy, slots, dt)
    for name in before:
        assert torch.equal(before[name][: t + 1], after[name][: t + 1]), name
    # The forecast of bar t + 1 is made before that bar.
    assert torch.equal(before["bar_volume"][: t + 2], after["bar_volume"][: t + 2])


def test_features_equal_their_definitions(market):
    bars, _, dt = market
    volume = bars[..., VOLUME]
    adv = trailing_adv(volume, dt, 20)
    for t in (3, 20, 150):
        window = slice(max(0, t - 19), t + 1)
        torch.testing.assert_close(adv[t], volume[window].mean(0) / dt)


def test_frozen_features_are_those_of_the_last_whole_days(market):
    bars, _, dt = market
    volatility, adv = frozen_features(bars[:61], dt)
    window = whole_days(61, dt)
    torch.testing.assert_close(adv, trailing_adv(bars[:61, :, VOLUME], dt, window)[-1])
    moves = bars[:61, :, CLOSE].log().diff(dim=0)[-window:]
    torch.testing.assert_close(volatility, (moves.square().mean(0) / dt).sqrt())


def test_volatility_is_the_generators():
    params = SyntheticParams(num_bars=1000, volatility_spread=0.0, log_volatility_sd=(0.0,) * 3, dof=(8.0,) * 3)
    volatility, _ = frozen_features(generate(params, range(4)).bars, 1.0)
    torch.testing.assert_close(volatility, torch.full_like(volatility, params.daily_volatility), rtol=0.12, atol=0)


def test_leading_axes_are_free():
    volume = torch.rand(2, 3, 50, 4, dtype=torch.float64)
    slots = torch.arange(50) % 5
    whole = forecast_bar_volume(volume, slots, 0.2, 20)
    torch.testing.assert_close(whole[1, 2], forecast_bar_volume(volume[1, 2], slots, 0.2, 20))
    torch.testing.assert_close(trailing_mean(volume, 7)[1, 2], trailing_mean(volume[1, 2], 7))


def test_volume_profile_is_learned():
    slots = torch.arange(120) % 4
    shape = torch.tensor([2.0, 0.5, 0.5, 1.0], dtype=torch.float64)
    volume = 1000.0 * shape[slots][:, None]
    forecast = forecast_bar_volume(volume, slots, 0.25)
    torch.testing.assert_close(forecast[100:], volume[100:], rtol=0.03, atol=0)


def test_no_volume_gives_no_forecast_and_no_nan():
    assert not forecast_bar_volume(torch.zeros(40, 2), torch.arange(40) % 4, 0.25).any()


def test_slots_count_bars_of_a_date():
    times = torch.tensor([14 * HOUR, 15 * HOUR, 16 * HOUR, 37 * HOUR, 38 * HOUR, 62 * HOUR])
    assert bar_slots(times).tolist() == [0, 1, 2, 0, 1, 0]


def test_calendar_stamps_equal_the_standard_library():
    generator = torch.Generator().manual_seed(0)
    times = torch.randint(-(10**15), 4 * 10**15, (2000,), generator=generator)
    times = torch.cat([times, torch.tensor([0, 951_782_400_000_000, 1_709_164_800_000_000])])  # and two leap days
    for time, stamp in zip(times.tolist(), calendar_stamps(times).tolist()):
        moment = datetime.fromtimestamp(time // 1_000_000, UTC)
        assert stamp == [moment.minute, moment.hour, moment.weekday(), moment.day, moment.month]
