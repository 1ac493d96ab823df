"""What every forecaster must keep, checked on made-up bars.

The clauses, by the names that a violation quotes:

    identity      a name, a fingerprint, whole numbers as limits, a date or None as training cut-off
    runs          predict raises on no valid context: any price level, missing bars, no volume, a price that stays
    shape         quantiles [..., H, Q], samples [..., H, S], channels [..., H, 6, Q], on the context's device
    order         quantiles do not decrease along Q
    finite        a series with two known closes has a forecast without NaN or infinity
    no opinion    a series without any has one of NaN
    repeat        the same question has the same answer, and draws from no global random generator
    batch         a forecaster that draws no paths forecasts a series in a batch as it does alone, and as it does beside
                  a series of NaN
    no mutation   context and stamps are left as they were
    refusal       other channels, too short a context, horizon 0 or beyond the longest, an infinite price: ValueError
"""

import math
from datetime import date

import torch
from torch import Tensor

from arena.data.types import CHANNELS, CLOSE
from arena.forecast.stamps import business_day_stamps
from arena.forecast.types import QUANTILE_LEVELS, Forecast, Forecaster

NUM_SERIES = 6
# Relative to the price. A series in a batch and alone may differ by the rounding of differently shaped matrix products,
# which a network of many layers multiplies.
BATCH_TOLERANCE = 1e-3


class ContractViolation(ValueError):
    """A forecaster broke a clause."""


def check_forecaster(forecaster: Forecaster, context_length: int = 64, horizon: int = 5) -> None:
    """Raises ContractViolation, naming forecaster and clause, unless it keeps all of them.

    context_length, horizon  bars tried, within the forecaster's own limits
    """
    _check_identity(forecaster)
    length = max(context_length, forecaster.info.min_context)
    horizon = min(horizon, forecaster.info.max_horizon or horizon)
    stamps = business_day_stamps(length, horizon)
    context = fake_context(length)
    whole = _ask(forecaster, context, stamps, horizon)
    again = _ask(forecaster, context, stamps, horizon)
    if not all(_same(old, new) for old, new in zip(whole, again)):
        raise _violation(forecaster, "repeat", "two answers to one question differ")

    silent = context.clone()
    silent[0] = math.nan
    beside = _ask(forecaster, silent, stamps, horizon)
    if not beside.quantiles[0].isnan().all():
        raise _violation(forecaster, "no opinion", "a series of NaN has a forecast that is not NaN")
    grid = _ask(forecaster, context.reshape(2, 3, length, -1), stamps, horizon).quantiles
    if not _same(grid.reshape(whole.quantiles.shape), whole.quantiles):
        raise _violation(forecaster, "shape", "the same series on other leading axes have another forecast")
    if whole.samples is None:
        if not _same(beside.quantiles[1:], whole.quantiles[1:]):
            raise _violation(forecaster, "batch", "a series of NaN changes the forecasts of the others")
        for series in range(NUM_SERIES):
            alone = _ask(forecaster, context[series], stamps, horizon).quantiles
            gap = ((alone - whole.quantiles[series]) / whole.quantiles[series, :, -1:]).abs().max().item()
            if not gap <= BATCH_TOLERANCE:
                raise _violation(forecaster, "batch", f"series {series} alone differs from the batch by {gap:.2g}")
    _check_refusals(forecaster, context, horizon)


def fake_context(length: int) -> Tensor:
    """Six series [6, C, 6] float32: ordinary, cheap, dear, with missing bars, without volume, one that stays."""
    generator = torch.Generator().manual_seed(11)
    close = 50.0 * (0.02 * torch.randn(NUM_SERIES, length, generator=generator)).cumsum(1).exp()
    close[1] *= 1e-3
    close[2] *= 1e4
    close[5] = close[5, :1]
    spread = torch.rand(NUM_SERIES, length, generator=generator) * 0.01
    spread[5] = 0.0
    volume = 1e5 * (1.0 + torch.rand(NUM_SERIES, length, generator=generator))
    context = torch.stack([close, close * (1 + spread), close * (1 - spread), close, volume, volume * close], -1)
    context[3, torch.arange(length) % 4 == 1] = math.nan
    context[4, :, CLOSE + 1 :] = math.nan
    return context


def _check_identity(forecaster: Forecaster) -> None:
    info = forecaster.info
    for name, text in (("name", info.name), ("fingerprint", info.fingerprint)):
        if not isinstance(text, str) or not text:
            raise _violation(forecaster, "identity", f"{name} is {text!r}, expected a text")
    limits = (info.min_context, 1 if info.max_horizon is None else info.max_horizon)
    if not all(isinstance(limit, int) and limit >= 1 for limit in limits):
        raise _violation(forecaster, "identity", f"min_context and max_horizon are {limits}, expected numbers from 1")
    try:
        date.fromisoformat(info.training_cutoff or "2000-01-01")
    except (TypeError, ValueError):
        found = f"training_cutoff is {info.training_cutoff!r}"
        raise _violation(forecaster, "identity", f"{found}, expected an ISO date") from None


def _ask(forecaster: Forecaster, context: Tensor, stamps: Tensor, horizon: int) -> Forecast:
    """The answer, after the clauses that one answer can break."""
    kept, kept_stamps, state = context.clone(), stamps.clone(), torch.get_rng_state()
    try:
        forecast = forecaster.predict(context, stamps, horizon)
    except Exception as error:
        raise _violation(forecaster, "runs", f"predict raised {type(error).__name__}: {error}") from error
    if not torch.equal(state, torch.get_rng_state()):
        raise _violation(forecaster, "repeat", "predict drew from the global random generator")
    if not _same(kept, context) or not torch.equal(kept_stamps, stamps):
        raise _violation(forecaster, "no mutation", "predict changed its context or stamps")
    steps = (*context.shape[:-2], horizon)
    expected = {"quantiles": (*steps, len(QUANTILE_LEVELS)), "channels": (*steps, len(CHANNELS), len(QUANTILE_LEVELS))}
    if forecast.samples is not None:
        expected["samples"] = (*steps, forecast.samples.size(-1))
    for name, field in forecast._asdict().items():
        if field is not None and (tuple(field.shape) != expected[name] or field.device != context.device):
            found = f"{tuple(field.shape)} on {field.device}"
            raise _violation(forecaster, "shape", f"{name} are {found}, expected {expected[name]} on {context.device}")
    known = (~context[..., CLOSE].isnan()).sum(-1) > 1
    if not forecast.quantiles[known].isfinite().all():
        raise _violation(forecaster, "finite", "a series with known closes has NaN or infinite quantiles")
    if (forecast.quantiles.diff(dim=-1) < 0).any():
        raise _violation(forecaster, "order", "quantiles decrease")
    return forecast


def _check_refusals(forecaster: Forecaster, context: Tensor, horizon: int) -> None:
    infinite = context.clone()
    infinite[0, 0, CLOSE] = math.inf
    questions = {"4 channels": (context[..., :4], horizon), "horizon 0": (context, 0)}
    questions["an infinite price"] = (infinite, horizon)
    if forecaster.info.min_context > 1:
        questions["too short a context"] = (context[:, : forecaster.info.min_context - 1], horizon)
    if forecaster.info.max_horizon is not None:
        questions["too long a horizon"] = (context, forecaster.info.max_horizon + 1)
    for name, (wrong, steps) in questions.items():
        try:
            forecaster.predict(wrong, None, steps)
        except ValueError:
            continue
        except Exception as error:
            found = f"{name} raised {type(error).__name__}: {error}"
            raise _violation(forecaster, "refusal", f"{found}; expected a ValueError") from error
        raise _violation(forecaster, "refusal", f"{name} was forecast, expected a ValueError")


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    """Bit by bit, NaN being equal to NaN."""
    if a is None or b is None:
        return a is b
    return a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())


def _violation(forecaster: Forecaster, clause: str, detail: str) -> ContractViolation:
    return ContractViolation(f"forecaster {forecaster.info.name!r} breaks the clause {clause!r}: {detail}")
