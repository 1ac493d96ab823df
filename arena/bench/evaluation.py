"""Evaluates forecasters on a synthetic market or on a user's bars."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor

from arena.data.bars.readers import FillPolicy, load_bars
from arena.data.synthetic.market import SyntheticParams, fair, generate
from arena.data.synthetic.seeds import scenario_seeds
from arena.forecast.evaluate.evaluation import REFERENCE, Evaluation, Setting, evaluate
from arena.forecast.loading import load_forecaster
from arena.forecast.types import Forecaster

if TYPE_CHECKING:
    from rich.console import Console

EPISODE = 120  # bars after the context of a synthetic scenario
MICROSECOND = 1_000  # ns


@dataclass(frozen=True)
class Request:
    """What a user asks to have evaluated."""

    forecasters: tuple[str, ...]  # specs, see arena.forecast.loading; persistence is always added
    data: str = "synthetic"  # or a folder or file of bars
    mode: Literal["signal", "fair"] = "signal"  # of the synthetic market
    scenarios: int = 256
    seeds: Literal["ranking", "validation"] = "ranking"  # never those that models are trained on
    first_seed: int = 0  # place in the range of `seeds`
    fill: FillPolicy = "halt"  # of bars
    horizons: tuple[int, ...] = (1, 5, 20)
    context: int = 64
    stride: int = 1
    device: str = "cpu"


class Market(NamedTuple):
    """The bars to forecast."""

    bars: Tensor  # [W, T, A, 6], NaN where missing
    stamps: Tensor | None  # [T] int64 ns
    symbols: tuple[str, ...]
    description: str
    notes: str = ""  # what was found in a user's bars


class Finished(NamedTuple):
    """An evaluation with what it was made of."""

    request: Request
    scores: Evaluation
    market: Market
    forecasters: dict[str, Forecaster]
    warnings: list[str]  # what the reader must know


def load_market(request: Request) -> Market:
    """Synthetic scenarios, or one history of bars with what is missing as NaN."""
    if request.data == "synthetic":
        params = SyntheticParams(num_bars=request.context + EPISODE)
        params = fair(params) if request.mode == "fair" else params
        seeds = scenario_seeds(request.seeds, request.scenarios, request.first_seed)
        bars = generate(params, seeds, warmup=request.context).bars
        described = f"{len(seeds)} synthetic scenarios ({request.mode} mode, {request.seeds} seeds {seeds[0]} on)"
        return Market(bars, None, tuple(f"asset {place}" for place in range(params.num_assets)), described)
    history, report = load_bars(request.data, fill=request.fill)
    values = history.values.masked_fill(~history.tradable.unsqueeze(-1), torch.nan)
    stamps = history.timestamps * MICROSECOND
    described = f"one history of {len(stamps)} bars, {_date(stamps[0])} to {_date(stamps[-1])}"
    return Market(values[None], stamps, history.symbols, described, report.text())


def load_forecasters(request: Request) -> dict[str, Forecaster]:
    """Name -> forecaster, persistence first; of two with one name the second gets its fingerprint added."""
    found: dict[str, Forecaster] = {}
    for spec in dict.fromkeys((REFERENCE, *request.forecasters)):
        forecaster = load_forecaster(spec, request.device)
        name = forecaster.info.name
        found[f"{name} {forecaster.info.fingerprint[:6]}" if name in found else name] = forecaster
    return found


def overlap_warnings(forecasters: Mapping[str, Forecaster], stamps: Tensor | None, origins: Tensor) -> list[str]:
    """A sentence for every forecaster whose weights may have seen the dates on which it is scored."""
    if stamps is None:
        return []  # synthetic seeds are kept apart
    days = [_date(stamp) for stamp in stamps[origins]]
    warnings = []
    for name, forecaster in forecasters.items():
        cutoff = forecaster.info.training_cutoff
        seen = sum(day <= cutoff for day in days) if cutoff else 0
        if seen:
            warnings.append(
                f"{name} was trained on data up to {cutoff}: {seen} of {len(days)} forecast dates are not after that; "
                "its scores there are no evidence"
            )
    return warnings


def run(request: Request, console: "Console") -> Finished:
    """Say what will be done, load, forecast with a progress bar, score."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    forecasters = load_forecasters(request)
    market = load_market(request)
    setting = Setting(request.context, request.horizons, request.stride)
    origins = setting.origins(market.bars.shape[1])
    warnings = overlap_warnings(forecasters, market.stamps, origins)
    console.print(f"  data        {market.description}, {len(market.symbols)} assets", markup=False)
    every = "every bar" if request.stride == 1 else f"one every {request.stride} bars"
    a_scenario = " a scenario" if len(market.bars) > 1 else ""
    console.print(f"  dates       {len(origins)}{a_scenario}, {every}, each with {request.context} bars of context")
    console.print(f"  forecasters {', '.join(forecasters)}\n", markup=False)
    if market.notes:
        console.print(f"{market.notes}\n", style="dim", markup=False)
    for warning in warnings:
        console.print(f"warning: {warning}\n", style="yellow", markup=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("dates"))
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        total = len(market.bars) * len(origins)
        tasks = {name: progress.add_task(name, total=total) for name in forecasters}
        found = evaluate(
            forecasters, market.bars, setting, market.stamps, lambda name, n: progress.advance(tasks[name], n)
        )
    return Finished(request, found, market, forecasters, warnings)


def _date(stamp: Tensor) -> str:
    """ISO date of a stamp in ns."""
    return datetime.fromtimestamp(int(stamp) / 1e9, UTC).date().isoformat()
