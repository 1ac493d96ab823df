"""What a forecaster may be asked. Anything else is refused in one sentence, before a number is computed.

Missing values are NaN, in any channel and anywhere in the context. They are never refused, because one halted asset
must not cost a batch of thousands: a series with fewer than `MIN_KNOWN` known closes, of which no return can be
computed, gets a forecast of NaN, which means "no opinion"; all others are forecast from what is known. A series that
never moved is forecast to stay. Zero, negative and infinite prices are no prices and are refused.

N series, all leading axes as one   C context bars   H horizon
"""

import torch
from torch import Tensor

from arena.data.types import CHANNELS, CLOSE
from arena.forecast.stamps import business_day_stamps
from arena.forecast.types import ForecasterInfo

MIN_KNOWN = 2  # closes: one return
NUM_PRICES = CLOSE + 1


def check_shapes(info: ForecasterInfo, context: Tensor, stamps: Tensor | None, horizon: int) -> None:
    """ValueError unless shapes, dtypes and lengths are what `Forecaster.predict` takes."""
    if context.dim() < 2 or context.size(-1) != len(CHANNELS) or not context.is_floating_point():
        raise ValueError(
            f"context is {context.dtype} of shape {tuple(context.shape)}, expected floats [..., bars, {len(CHANNELS)}] "
            f"with the channels {', '.join(CHANNELS)}; fill those you lack with NaN"
        )
    if context.numel() == 0:
        raise ValueError(f"context has shape {tuple(context.shape)}, expected at least one series of one bar")
    length = context.size(-2)
    if length < info.min_context:
        raise ValueError(
            f"context has {length} bars, {info.name} needs at least {info.min_context}; "
            "give more history, or pad it on the left with NaN"
        )
    longest = info.max_horizon
    if horizon < 1 or (longest is not None and horizon > longest):
        raise ValueError(f"horizon is {horizon}, {info.name} forecasts 1 to {longest or 'any number of'} bars")
    if stamps is not None:
        if stamps.dtype != torch.int64:
            raise ValueError(f"stamps are {stamps.dtype}, expected int64 nanoseconds since 1970")
        _check_broadcast(stamps, (*context.shape[:-2], length + horizon))


def check_values(context: Tensor) -> None:
    """ValueError if a price is not positive, or a number infinite or a volume negative; NaN passes."""
    wrong = context.isinf()
    wrong[..., :NUM_PRICES] |= context[..., :NUM_PRICES] <= 0
    wrong[..., NUM_PRICES:] |= context[..., NUM_PRICES:] < 0
    if wrong.any():
        *series, bar, channel = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"context has {int(wrong.sum())} impossible values, the first {context[(*series, bar, channel)].item()} as "
            f"{CHANNELS[channel]} of bar {bar}{f' of series {series}' if series else ''}; expected positive prices and "
            "no negative volume, NaN where missing"
        )


def flat_stamps(context: Tensor, stamps: Tensor | None, horizon: int) -> Tensor:
    """One row of stamps per series: int64 [N, C + H], without a copy where the series share them."""
    length = context.size(-2) + horizon
    if stamps is None:
        stamps = business_day_stamps(context.size(-2), horizon).to(context.device)
    return stamps.broadcast_to((*context.shape[:-2], length)).reshape(-1, length)


def _check_broadcast(stamps: Tensor, expected: tuple[int, ...]) -> None:
    leading = stamps.shape[:-1]
    fits = len(leading) < len(expected) and all(
        own in (1, wanted) for own, wanted in zip(reversed(leading), reversed(expected[:-1]))
    )
    if stamps.dim() == 0 or stamps.size(-1) != expected[-1] or not fits:
        raise ValueError(
            f"stamps have shape {tuple(stamps.shape)}, expected {expected} for the context's bars and those to come, "
            f"or ({expected[-1]},) for all series; arena.forecast.stamps.extend_stamps adds the latter"
        )
