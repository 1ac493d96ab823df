"""Time stamps of bars: int64 nanoseconds since 1970 of naive local time."""

import torch
from torch import Tensor

DAY = 86_400_000_000_000  # ns
WEEK = 7 * DAY
FIRST_MONDAY = 10_959 * DAY  # 2000-01-03, where bars without stamps are taken to begin
EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday; Monday is 0


def business_day_stamps(context_length: int, horizon: int) -> Tensor:
    """Midnights of the weekdays from 2000-01-03 on: what `stamps=None` means. -> int64 [C + H]"""
    bar = torch.arange(context_length + horizon)
    return FIRST_MONDAY + (bar // 5 * 7 + bar % 5) * DAY


def extend_stamps(stamps: Tensor, horizon: int) -> Tensor:
    """Stamps of the context and a guess of those of the bars to come: int64 [..., C] -> [..., C + H].

    After a bar at some time of day comes the next one by the shortest interval that followed this time of day in the
    context; where the time was not seen, by the median interval. So sessions, lunch breaks and round-the-clock trading
    go on as they were. If no bar of the context fell on a weekend, none will; holidays are not known.
    """
    gaps = stamps.diff(dim=-1)  # [..., C - 1]
    if gaps.size(-1) == 0:
        gaps = torch.full_like(stamps, DAY)
    usual = gaps.median(-1).values
    time_of_day = stamps[..., : gaps.size(-1)].remainder(DAY)
    weekends_trade = _is_weekend(stamps).any(-1)
    extended, last = [stamps], stamps[..., -1]
    never = torch.iinfo(torch.int64).max
    for _ in range(horizon):
        seen = time_of_day == last.remainder(DAY).unsqueeze(-1)
        gap = gaps.masked_fill(~seen, never).amin(-1)
        last = last + torch.where(gap == never, usual, gap)
        monday = last + (7 - _weekday(last)) * DAY
        last = torch.where(_is_weekend(last) & ~weekends_trade, monday, last)
        extended.append(last.unsqueeze(-1))
    return torch.cat(extended, dim=-1)


def _weekday(stamps: Tensor) -> Tensor:
    return (stamps.div(DAY, rounding_mode="floor") + EPOCH_WEEKDAY).remainder(7)


def _is_weekend(stamps: Tensor) -> Tensor:
    return _weekday(stamps) >= 5
