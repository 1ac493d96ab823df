"""Causal features of bars: what may be known about volume and volatility before a bar trades.

Letters: T bars (second to last axis), A assets; leading axes [...] are free. The value at bar t uses bars <= t, the
volume forecast for bar t bars < t.
"""

import torch
from torch import Tensor

from arena.data.types import CLOSE, VOLUME, Bars

MICROSECONDS_PER_DAY = 86_400_000_000
PROFILE_DAYS = 20  # days behind an intraday volume profile


def trailing_mean(x: Tensor, window: int) -> Tensor:
    """Mean of the last `window` values up to and including t, of fewer at the start; [..., T, A] -> [..., T, A]."""
    window = min(window, x.shape[-2])
    padded = torch.cat([x.new_zeros(*x.shape[:-2], window - 1, x.shape[-1]), x], -2)
    count = torch.arange(1, x.shape[-2] + 1, dtype=x.dtype, device=x.device).clamp_max(window)
    # Sums of windows, not differences of a running sum: exact zeros stay zero and nothing drifts over long series.
    return padded.unfold(-2, window, 1).sum(-1) / count[:, None]


def whole_days(window: int, dt: float) -> int:
    """Number of bars in the whole days that fit in `window` bars: a part of a day would tilt a daily mean."""
    per_day = round(1.0 / dt) if dt < 1.0 else 1
    return window // per_day * per_day if window >= per_day else window


def trailing_adv(volume: Tensor, dt: float, window: int = 60) -> Tensor:
    """Average daily volume of the last `window` bars [shares/day]; volume per bar [..., T, A] -> [..., T, A]."""
    return trailing_mean(volume, whole_days(window, dt)) / dt


def frozen_features(history: Tensor, dt: float) -> tuple[Tensor, Tensor]:
    """Volatility [1/sqrt(day)] and average daily volume [shares/day] of a whole warm-up: [..., T, A, 6] -> [..., A].

    Root mean square log return: over 60 bars an estimate of the mean is noise, far smaller than the volatility. Both
    use the last whole days of the warm-up.
    """
    num_bars = whole_days(history.shape[-3], dt)
    squared = history[..., CLOSE].log().diff(dim=-2)[..., -num_bars:, :].square()
    return (squared.mean(-2) / dt).sqrt(), history[..., -num_bars:, :, VOLUME].mean(-2) / dt


def bar_slots(timestamps: Tensor) -> Tensor:
    """Index of each bar within its UTC date, [T] -> [T] int64; counted, so daylight saving moves nothing."""
    day = torch.div(timestamps, MICROSECONDS_PER_DAY, rounding_mode="floor")
    place = torch.arange(len(day), device=day.device)
    is_first = torch.cat([torch.ones_like(day[:1], dtype=torch.bool), day[1:] != day[:-1]])
    return place - torch.where(is_first, place, 0).cummax(0).values


def forecast_bar_volume(volume: Tensor, slots: Tensor, dt: float, window: int = 60) -> Tensor:
    """Volume expected of bar t, made from bars before t [shares]; [..., T, A] -> [..., T, A], 0 at bar 0.

        V * dt * profile(slot of t),   V = trailing average daily volume up to t - 1

    slots    index of each bar within its day [T], see `bar_slots`
    profile  mean volume of the slot over mean volume of all bars, past PROFILE_DAYS days; 1 until a day is known
    """
    forecast = _one_later(trailing_adv(volume, dt, window) * dt)
    num_slots = int(slots.max()) + 1
    if num_slots == 1:
        return forecast
    overall = _one_later(trailing_mean(volume, PROFILE_DAYS * num_slots))
    profile = torch.ones_like(volume)
    for slot in range(num_slots):
        rows = (slots == slot).nonzero().squeeze(-1)
        same = volume.index_select(-2, rows)  # [..., days, A]
        past = trailing_mean(same, PROFILE_DAYS)[..., :-1, :]
        known = overall.index_select(-2, rows[1:])
        profile[..., rows[1:], :] = torch.where(known > 0, past / known, 1.0)
    return forecast * profile


def calendar_stamps(timestamps: Tensor) -> Tensor:
    """Minute, hour, weekday (Monday 0), day of the month, month of each bar: int64 [T] microseconds UTC -> [T, 5]."""
    days = torch.div(timestamps, MICROSECONDS_PER_DAY, rounding_mode="floor")
    minutes = torch.div(timestamps - days * MICROSECONDS_PER_DAY, 60_000_000, rounding_mode="floor")
    # Civil date from a day count in integers: years start in March, so that the leap day comes last.
    shifted = days + 719_468  # days since 1 March of year 0
    era = torch.div(shifted, 146_097, rounding_mode="floor")
    day_of_era = shifted - era * 146_097
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_index = (5 * day_of_year + 2) // 153  # March 0 .. February 11
    day = day_of_year - (153 * month_index + 2) // 5 + 1
    month = torch.where(month_index < 10, month_index + 3, month_index - 9)
    return torch.stack([minutes % 60, minutes // 60, (days + 3) % 7, day, month], -1)


def volume_forecast_of(bars: Bars, window: int = 60) -> Tensor:
    """`forecast_bar_volume` of long bars, [T, A]."""
    return forecast_bar_volume(bars.values[..., VOLUME], bar_slots(bars.timestamps), bars.dt, window)


def _one_later(x: Tensor) -> Tensor:
    """Value of the bar before, 0 at bar 0, along the second to last axis."""
    return torch.cat([torch.zeros_like(x[..., :1, :]), x[..., :-1, :]], -2)
