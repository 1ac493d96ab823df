"""Stamps of bars to come follow the rhythm of those that were."""

from datetime import datetime, timedelta

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arena.forecast.stamps import DAY, business_day_stamps, extend_stamps

EPOCH = datetime(1970, 1, 1)
MINUTE = DAY // 1440


def times(stamps):
    return [EPOCH + timedelta(microseconds=stamp / 1000) for stamp in stamps.tolist()]


def stamps_of(dates):
    return torch.tensor([round((date - EPOCH).total_seconds()) * 10**9 for date in dates])


def session(first_day, num_days, slots):
    """Bars at `slots`, minutes of the day, on weekdays."""
    days = [first_day + timedelta(days=n) for n in range(num_days)]
    return stamps_of([day + timedelta(minutes=m) for day in days if day.weekday() < 5 for m in slots])


def test_bars_without_stamps_are_weekdays_from_the_first_monday_of_2000():
    found = times(business_day_stamps(9, 4))
    assert found[:6] == [datetime(2000, 1, day) for day in (3, 4, 5, 6, 7, 10)]
    assert len(found) == 13
    assert all(time.weekday() < 5 for time in found)


@pytest.mark.parametrize(
    "stamps",
    [
        business_day_stamps(60, 0),
        session(datetime(2024, 3, 4), 40, range(570, 960, 5)),  # 9:30 to 15:55
        session(datetime(2024, 3, 4), 40, [*range(570, 690, 15), *range(780, 900, 15)]),  # with a lunch break
        torch.arange(2000) * 5 * MINUTE,  # round the clock, weekends too
        stamps_of([datetime(2024, 3, 1) + timedelta(weeks=n) for n in range(30)]),  # weekly on Fridays
    ],
    ids=["daily", "session", "lunch", "always", "weekly"],
)
def test_the_rhythm_goes_on(stamps):
    """Hide the last part of a regular calendar, wherever it is cut, and find it again."""
    horizon = 20
    for length in range(len(stamps) * 2 // 3, len(stamps) - horizon, 7):
        assert torch.equal(extend_stamps(stamps[:length], horizon), stamps[: length + horizon])


def test_a_holiday_and_a_half_day_in_the_context_change_nothing():
    slots = range(570, 960, 30)
    full = session(datetime(2024, 3, 4), 21, slots)
    holiday = EPOCH + timedelta(microseconds=int(full[26]) / 1000)
    keep = torch.tensor([t.date() != holiday.date() for t in times(full)])
    keep[45:52] = False  # the afternoon of another day
    future = extend_stamps(full[:-30][keep[:-30]], 30)[-30:]
    assert torch.equal(future, full[-30:])


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 20_000))
def test_stamps_ascend_and_start_with_the_context(length, horizon, minutes):
    context = torch.arange(length) * minutes * MINUTE
    found = extend_stamps(context, horizon)
    assert torch.equal(found[:length], context)
    assert (found.diff() > 0).all()


def test_every_series_has_its_own_rhythm():
    daily, always = business_day_stamps(30, 0), torch.arange(30) * 60 * MINUTE
    both = extend_stamps(torch.stack([daily, always])[:, None], 5)  # [2, 1, 35]
    assert torch.equal(both[0, 0], extend_stamps(daily, 5))
    assert torch.equal(both[1, 0], extend_stamps(always, 5))
