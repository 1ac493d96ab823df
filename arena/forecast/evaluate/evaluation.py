"""Forecasts of every date against what came: scores per forecaster and horizon, with intervals, against persistence.

Everything is scored as log returns since the close at which the forecast was made, so that assets at any price count
alike. All forecasters see the same dates.

Letters: W scenarios, T bars, A assets, O forecast dates (origins), K horizons, Q quantile levels, C context bars.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from arena.data.types import CLOSE
from arena.forecast.evaluate import significance
from arena.forecast.evaluate.scoring import central_interval, crps_from_quantiles, crps_from_samples, pinball, rank_ic
from arena.forecast.evaluate.significance import Estimate, unit_sums
from arena.forecast.request import check_shapes
from arena.forecast.returns import expected_return
from arena.forecast.types import QUANTILE_LEVELS, Forecaster

REFERENCE = "persistence"
CHUNK_SERIES = 4096  # forecast in one call: bounds the memory of the context windows
MASSES = (0.2, 0.4, 0.6, 0.8)  # of central intervals
CONFIDENCE_BINS = 8

Progress = Callable[[str, int], None]  # (forecaster, dates forecast since the last call)


@dataclass(frozen=True)
class Setting:
    """Which forecasts are asked for."""

    context_length: int = 64  # bars each forecast sees
    horizons: tuple[int, ...] = (1, 5, 20)  # bars ahead that are scored
    stride: int = 1  # bars between two forecast dates
    first: int | None = None  # bar of the first forecast date; None: the first with a full context

    def origins(self, num_bars: int) -> Tensor:
        """[O] bars at whose close a forecast is made: full context behind, all horizons ahead."""
        first = self.context_length - 1 if self.first is None else self.first
        if min(self.context_length, self.stride, *self.horizons) < 1 or len(set(self.horizons)) < len(self.horizons):
            raise ValueError(f"{self}: expected a context, a stride and different horizons of at least 1 bar")
        if first < self.context_length - 1:
            raise ValueError(f"first is bar {first}, expected {self.context_length - 1} or later: a full context")
        last = num_bars - 1 - max(self.horizons)
        if first > last:
            raise ValueError(
                f"{num_bars} bars hold no forecast date with {self.context_length} bars of context and "
                f"{max(self.horizons)} to come; bring more bars or shorten one of them"
            )
        return torch.arange(first, last + 1, self.stride)

    def overlap(self, horizon: int) -> int:
        """Forecast dates whose outcomes overlap with that of one date, itself included."""
        return -(-horizon // self.stride)


class Panel(NamedTuple):
    """What one forecaster said, as log returns since the origin's close; NaN where it said nothing."""

    quantiles: Tensor  # [W, O, A, K, Q]
    expected: Tensor  # [W, O, A, K]
    confidence: Tensor  # [W, O, A, K] that the direction is right
    crps_samples: Tensor | None  # [W, O, A, K] fair CRPS of its sampled paths


class ConfidenceBin(NamedTuple):
    """Forecasts of about the same confidence in their direction."""

    confidence: float  # mean
    right: Estimate  # share whose direction was right
    num_forecasts: int


class Scored(NamedTuple):
    """The scores of one forecaster at one horizon."""

    pinball: list[float]  # mean loss at each level
    crps: Estimate  # mean
    crps_skill: Estimate  # 1 - crps / that of persistence
    crps_samples: Estimate | None  # fair CRPS of the sampled paths
    coverage: dict[float, Estimate]  # mass of a central interval -> share of outcomes in it
    width: dict[float, float]  # its mean width
    below: list[Estimate]  # share of outcomes at or below each quantile; right if equal to the level
    rank_ic: Estimate
    dm_statistic: float  # Diebold-Mariano against persistence by CRPS; negative: better than it
    dm_p_value: float | None
    reliability: list[ConfidenceBin]
    num_scored: int  # forecasts of one asset
    num_silent: int  # outcomes without a forecast


class Evaluation(NamedTuple):
    """All scores of a run."""

    setting: Setting
    origins: Tensor  # [O]
    actual: Tensor  # [W, O, A, K]
    panels: dict[str, Panel]  # forecaster -> its forecasts
    scores: dict[tuple[str, int], Scored]  # (forecaster, horizon)

    def rows(self) -> list[dict[str, Any]]:
        """One flat row per forecaster and horizon, for tables and files."""
        return [
            {"forecaster": name, "horizon": horizon, **_flat(score)} for (name, horizon), score in self.scores.items()
        ]


def evaluate(
    forecasters: Mapping[str, Forecaster],
    bars: Tensor,
    setting: Setting,
    stamps: Tensor | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score forecasters, persistence among them, on bars [W, T, A, 6].

    W = 1 is one history, whose intervals are by blocks of dates; W > 1 are independent scenarios.

    stamps    [T] int64 ns, naive local time of the bars; None: daily bars on business days
    """
    if REFERENCE not in forecasters:
        raise ValueError(f"{REFERENCE} is not among the forecasters {', '.join(forecasters)}: skill is measured on it")
    origins = setting.origins(bars.shape[1])
    ahead = origins[:, None] + torch.tensor(setting.horizons)  # [O, K]
    close = bars[..., CLOSE].double()
    actual = (close[:, ahead] / close[:, origins].unsqueeze(2)).log().transpose(2, 3)  # [W, O, A, K]
    for forecaster in forecasters.values():  # before the first spends minutes
        check_shapes(forecaster.info, bars[:1, : setting.context_length].transpose(1, 2), None, max(setting.horizons))
    panels = {
        name: forecast_panel(forecaster, bars, setting, stamps, actual, partial(progress, name) if progress else None)
        for name, forecaster in forecasters.items()
    }
    scores = {
        (name, horizon): score(panel, panels[REFERENCE], actual, place, setting.overlap(horizon))
        for place, horizon in enumerate(setting.horizons)
        for name, panel in panels.items()
    }
    return Evaluation(setting, origins, actual, panels, scores)


def forecast_panel(
    forecaster: Forecaster,
    bars: Tensor,
    setting: Setting,
    stamps: Tensor | None,
    actual: Tensor,
    progress: Callable[[int], None] | None = None,
) -> Panel:
    """Ask one forecaster for all dates of all scenarios, a few at a time."""
    origins = setting.origins(bars.shape[1])
    size = max(1, CHUNK_SERIES // bars.shape[2])
    chunks = []
    for window, known in zip(bars, actual):
        for chunk, outcome in zip(origins.split(size), known.split(size)):
            chunks.append(_forecast(forecaster, window, chunk, setting, stamps, outcome))
            if progress:
                progress(len(chunk))
    sampled = [chunk.crps_samples for chunk in chunks if chunk.crps_samples is not None]
    return Panel(
        _whole([chunk.quantiles for chunk in chunks], len(bars)),
        _whole([chunk.expected for chunk in chunks], len(bars)),
        _whole([chunk.confidence for chunk in chunks], len(bars)),
        _whole(sampled, len(bars)) if sampled else None,
    )


def score(panel: Panel, reference: Panel, actual: Tensor, place: int, overlap: int) -> Scored:
    """Scores at the horizon that stands at `place` among K. A date counts once: its assets are averaged first."""
    outcome, quantiles = actual[..., place], panel.quantiles[..., place, :]  # [W, O, A], [W, O, A, Q]
    crps = crps_from_quantiles(quantiles, outcome)
    rival = crps_from_quantiles(reference.quantiles[..., place, :], outcome)
    # In comparisons, an outcome about which either is silent counts for neither.
    silent = (crps + rival).isnan()
    mine, theirs = (loss.masked_fill(silent, torch.nan).nanmean(-1) for loss in (crps, rival))  # [W, O] each
    comparison = significance.compare_losses(mine, theirs, overlap)
    intervals = {mass: central_interval(quantiles, outcome, mass) for mass in MASSES}
    at_or_below = (outcome.unsqueeze(-1) <= quantiles).double()
    at_or_below.masked_fill_((outcome.unsqueeze(-1) - quantiles).isnan(), torch.nan)
    expected = panel.expected[..., place]
    sampled = None if panel.crps_samples is None else panel.crps_samples[..., place].nanmean(-1)
    return Scored(
        pinball=pinball(quantiles, outcome).flatten(0, -2).nanmean(0).tolist(),
        crps=significance.mean(crps.nanmean(-1), overlap),
        crps_skill=significance.skill(mine, theirs, overlap),
        crps_samples=None if sampled is None else significance.mean(sampled, overlap),
        coverage={mass: significance.mean(found.covered.nanmean(-1), overlap) for mass, found in intervals.items()},
        width={mass: float(found.width.nanmean()) for mass, found in intervals.items()},
        below=[significance.mean(level.nanmean(-1), overlap) for level in at_or_below.unbind(-1)],
        rank_ic=significance.mean(rank_ic(expected, outcome), overlap),
        dm_statistic=comparison.statistic,
        dm_p_value=comparison.p_value,
        reliability=direction_reliability(panel.confidence[..., place], expected, outcome, overlap),
        num_scored=int((~crps.isnan()).sum()),
        num_silent=int((crps.isnan() & ~outcome.isnan()).sum()),
    )


def direction_reliability(confidence: Tensor, expected: Tensor, outcome: Tensor, overlap: int) -> list[ConfidenceBin]:
    """How often the direction was right among forecasts of about the same confidence; [W, O, A] each.

    Bins of equal counts. Forecasts without a direction and outcomes of exactly 0 are left out.
    """
    counted = (expected.sign() * outcome.sign()).abs() == 1
    right = (expected.sign() == outcome.sign()).double()
    confidence = confidence.round(decimals=6)  # equal but for the last bits is equal
    told = confidence[counted].sort().values
    if not len(told):
        return []
    starts = told[torch.arange(CONFIDENCE_BINS) * len(told) // CONFIDENCE_BINS].unique()
    bins = []
    for low, high in zip(starts, [*starts[1:], torch.inf]):
        inside = counted & (confidence >= low) & (confidence < high)
        hits, count = (right * inside).sum(-1), inside.double().sum(-1)  # [W, O]
        share = significance.ratio(unit_sums(hits, overlap), unit_sums(count, overlap))
        bins.append(ConfidenceBin(float(confidence[inside].mean()), share, int(count.sum())))
    return bins


def _forecast(
    forecaster: Forecaster,
    window: Tensor,
    origins: Tensor,
    setting: Setting,
    stamps: Tensor | None,
    outcome: Tensor,
) -> Panel:
    """Forecasts at some origins [O] of one window [T, A, 6], with outcome [O, A, K]."""
    longest, steps = max(setting.horizons), torch.tensor(setting.horizons) - 1
    past = torch.arange(1 - setting.context_length, 1)
    context = window[origins[:, None] + past].transpose(1, 2)  # [O, A, C, 6]
    when = None
    if stamps is not None:
        around = torch.arange(1 - setting.context_length, longest + 1)
        when = stamps[origins[:, None] + around].unsqueeze(1).expand(-1, window.shape[1], -1)  # [O, A, C + H]
    price = context[..., -1, CLOSE]  # [O, A]
    forecast = forecaster.predict(context, when, longest)
    expected, confidence = expected_return(forecast, price, setting.horizons)
    sampled = None
    if forecast.samples is not None:
        sampled = crps_from_samples(_log_return(forecast.samples[..., steps, :], price), outcome)
    return Panel(_log_return(forecast.quantiles[..., steps, :], price), expected.double(), confidence.double(), sampled)


def _whole(parts: list[Tensor], num_windows: int) -> Tensor:
    """Chunks [O', ...] of all windows in order -> [W, O, ...]."""
    return torch.cat(parts).unflatten(0, (num_windows, -1))


def _log_return(future: Tensor, price: Tensor) -> Tensor:
    """[O, A, K, ...] prices to come -> log return since price [O, A]; NaN where a forecast is no price."""
    ratio = future.double() / price.double()[..., None, None]
    return torch.where(ratio > 0, ratio, torch.nan).log()


def _flat(score: Scored) -> dict[str, Any]:
    """A score as numbers with a name each."""
    row: dict[str, Any] = {"pinball": sum(score.pinball) / len(score.pinball)}

    def put(name: str, estimate: Estimate) -> None:
        row.update({name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high})

    put("crps", score.crps)
    put("crps_skill", score.crps_skill)
    if score.crps_samples is not None:
        put("crps_samples", score.crps_samples)
    for mass in MASSES:
        put(f"coverage_{mass:.0%}".rstrip("%"), score.coverage[mass])
        row[f"width_{mass:.0%}".rstrip("%")] = score.width[mass]
    put("rank_ic", score.rank_ic)
    row |= {"dm_statistic": score.dm_statistic, "dm_p_value": score.dm_p_value}
    row |= {f"pinball_{level:g}": loss for level, loss in zip(QUANTILE_LEVELS, score.pinball)}
    row |= {"num_scored": score.num_scored, "num_silent": score.num_silent}
    return row
