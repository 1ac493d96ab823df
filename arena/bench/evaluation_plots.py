"""PNG plots of an evaluation; matplotlib without a display. One colour per forecaster in all of them."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from arena.bench.evaluation import Finished
from arena.data.types import CLOSE
from arena.forecast.evaluate.evaluation import REFERENCE, Evaluation
from arena.forecast.evaluate.significance import Estimate
from arena.forecast.types import MEDIAN, QUANTILE_LEVELS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MUTED = "#8b919b"
COLORS = ("#3f7fd9", "#e08a2b", "#2f9e8f", "#c0504d", "#8b6fc4", "#7a8f3c")
SPREAD = 0.12  # between the marks of two forecasters at one horizon
SHOWN_CONTEXT = 40  # bars before the forecast in the fan plot
MIN_SHOWN = 200  # forecasts in a bin of confidence: fewer say nothing


def write_plots(folder: Path, finished: Finished) -> list[Path]:
    """Write skill.png, coverage.png, quantiles.png, direction.png and fan.png; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    found, names = finished.scores, list(finished.forecasters)
    rivals = iter(COLORS * len(names))
    colors = {name: MUTED if name == REFERENCE else next(rivals) for name in names}
    plots = {
        "skill": _skill(found, colors),
        "coverage": _coverage(found, colors),
        "quantiles": _quantiles(found, colors),
        "direction": _direction(found, colors),
        "fan": _fan(finished, colors),
    }
    written = []
    for name, figure in plots.items():
        if figure is not None:
            figure.savefig(folder / f"{name}.png", dpi=140)
            written.append(folder / f"{name}.png")
    return written


def _skill(found: Evaluation, colors: Mapping[str, str]) -> "Figure | None":
    """CRPS skill against persistence by horizon, with intervals."""
    names = [name for name in colors if name != REFERENCE]
    if not names:
        return None
    figure, axes = _by_horizon(found, names, colors, lambda score: score.crps_skill, 100)
    axes.axhline(0, color=MUTED, linewidth=0.9, linestyle=":", zorder=0)
    axes.set_ylabel("CRPS skill against persistence [%]")
    axes.set_title("below 0: worse than a random walk", fontsize=9, color=MUTED, loc="left")
    return figure


def _coverage(found: Evaluation, colors: Mapping[str, str]) -> "Figure":
    """Share of outcomes in the central 80 % interval by horizon."""
    figure, axes = _by_horizon(found, list(colors), colors, lambda score: score.coverage[0.8], 100)
    axes.axhline(80, color=MUTED, linewidth=0.9, linestyle=":", zorder=0)
    axes.set_ylabel("outcomes in the 80 % interval [%]")
    axes.set_title("above 80: too wide, below: too narrow", fontsize=9, color=MUTED, loc="left")
    return figure


def _by_horizon(found, names, colors, pick, scale):  # type: ignore[no-untyped-def]  # matplotlib objects, a getter
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    horizons = found.setting.horizons
    for place, name in enumerate(names):
        shift = (place - (len(names) - 1) / 2) * SPREAD
        for x, horizon in enumerate(horizons):
            _whisker(axes, x + shift, pick(found.scores[name, horizon]), scale, colors[name], name if x == 0 else None)
    axes.set_xticks(range(len(horizons)), [str(horizon) for horizon in horizons])
    axes.set_xlim(-0.6, len(horizons) - 0.4)
    axes.set_xlabel("bars ahead")
    axes.spines[["top", "right"]].set_visible(False)
    _legend(figure, axes)
    return figure, axes


def _quantiles(found: Evaluation, colors: Mapping[str, str]) -> "Figure":
    """How often the outcome fell below each quantile, minus how often it should; a band of 0 is calibrated."""
    figure, row = _panels(found)
    for axes, horizon in zip(row, found.setting.horizons):
        axes.axhline(0, color=MUTED, linewidth=0.9, linestyle=":", zorder=0)
        for name, color in colors.items():
            below = found.scores[name, horizon].below
            excess = [(share.value - level) * 100 for share, level in zip(below, QUANTILE_LEVELS)]
            axes.plot([100 * level for level in QUANTILE_LEVELS], excess, "o-", color=color, markersize=3, label=name)
            low, high = (
                [math.nan if end is None else (end - level) * 100 for end, level in zip(ends, QUANTILE_LEVELS)]
                for ends in ([share.low for share in below], [share.high for share in below])
            )
            axes.fill_between(
                [100 * level for level in QUANTILE_LEVELS], low, high, color=color, alpha=0.1, linewidth=0
            )
        axes.set_xlabel("quantile level [%]")
        axes.set_xticks([10, 30, 50, 70, 90])
    row[0].set_ylabel("outcomes below it, minus the level [%]")
    _legend(figure, row[0])
    return figure


def _direction(found: Evaluation, colors: Mapping[str, str]) -> "Figure | None":
    """Reliability diagram of the direction: how often it was right against how sure the forecaster was."""
    shown = [
        name for name in colors if any(found.scores[name, horizon].reliability for horizon in found.setting.horizons)
    ]
    if not shown:
        return None
    figure, row = _panels(found)
    for axes, horizon in zip(row, found.setting.horizons):
        bins = {name: found.scores[name, horizon].reliability for name in shown}
        for name, told in bins.items():
            kept = [one for one in told if one.num_forecasts >= MIN_SHOWN]
            for place, one in enumerate(kept):
                _whisker(axes, 100 * one.confidence, one.right, 100, colors[name], name if place == 0 else None)
            axes.plot(
                [100 * one.confidence for one in kept],
                [100 * one.right.value for one in kept],
                color=colors[name],
                linewidth=0.8,
            )
        axes.set_xlabel("confidence in the direction [%]")
    limits = [(axes.get_xlim(), axes.get_ylim()) for axes in row]
    for axes, (xlim, ylim) in zip(row, limits):
        axes.plot([0, 100], [0, 100], color=MUTED, linewidth=0.9, linestyle=":", zorder=0)
        axes.set(xlim=xlim, ylim=ylim)  # a scale for all of the diagonal would flatten the rest
    row[0].set_ylabel("direction was right [%]")
    _legend(figure, row[0])
    return figure


def _fan(finished: Finished, colors: Mapping[str, str]) -> "Figure":
    """One forecast of each forecaster beside what came: the asset and date in the middle of the data."""
    from matplotlib.figure import Figure

    found, market, forecasters = finished.scores, finished.market, finished.forecasters
    longest, context_length = max(found.setting.horizons), found.setting.context_length
    window, origin = market.bars[len(market.bars) // 2], int(found.origins[len(found.origins) // 2])
    asset = window.shape[1] // 2
    bars = window[origin + 1 - context_length : origin + 1, asset]
    stamps = None if market.stamps is None else market.stamps[origin + 1 - context_length : origin + 1 + longest]
    figure = Figure(figsize=(3.2 * len(forecasters) + 0.6, 3.2), layout="constrained")
    row = figure.subplots(1, len(forecasters), sharey=True, squeeze=False)[0]
    past = window[max(origin + 1 - SHOWN_CONTEXT, 0) : origin + 1, asset, CLOSE].tolist()
    future = window[origin : origin + 1 + longest, asset, CLOSE].tolist()
    ahead = list(range(longest + 1))
    for axes, (name, forecaster) in zip(row, forecasters.items()):
        quantiles = forecaster.predict(bars, stamps, longest).quantiles.double().cpu()  # [H, Q]
        now = torch.full((1, quantiles.shape[-1]), past[-1], dtype=torch.float64)
        fan = torch.cat([now, quantiles]).T.tolist()  # [Q][1 + H]
        axes.plot(range(1 - len(past), 1), past, color="#333333", linewidth=1)
        axes.plot(ahead, future, color="#333333", linewidth=1, linestyle="--", label="came")
        for low in range(MEDIAN):
            axes.fill_between(ahead, fan[low], fan[-1 - low], color=colors[name], alpha=0.16, linewidth=0)
        axes.plot(ahead, fan[MEDIAN], color=colors[name], linewidth=1.6, label="median")
        axes.axvline(0, color=MUTED, linewidth=0.6, linestyle=":")
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("bars")
        axes.spines[["top", "right"]].set_visible(False)
    row[0].set_ylabel(f"close of {market.symbols[asset]}")
    row[0].legend(frameon=False, fontsize=8)  # "came" and "median"; colours are named by the titles
    return figure


def _legend(figure: "Figure", axes: "Axes") -> None:
    """Under the plot, where it hides nothing."""
    marks, names = axes.get_legend_handles_labels()
    figure.legend(marks, names, loc="outside lower center", ncols=4, frameon=False, fontsize=8)


def _panels(found: Evaluation) -> "tuple[Figure, list[Axes]]":
    """One panel per horizon."""
    from matplotlib.figure import Figure

    horizons = found.setting.horizons
    figure = Figure(figsize=(3.2 * len(horizons) + 0.6, 3.4), layout="constrained")
    row = list(figure.subplots(1, len(horizons), sharey=True, squeeze=False)[0])
    for axes, horizon in zip(row, horizons):
        axes.set_title("1 bar ahead" if horizon == 1 else f"{horizon} bars ahead", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, row


def _whisker(axes: "Axes", x: float, estimate: Estimate, scale: float, color: str, label: str | None) -> None:
    if estimate.low is not None and estimate.high is not None:
        axes.vlines(x, estimate.low * scale, estimate.high * scale, color=color, linewidth=1.4)
    axes.plot(x, estimate.value * scale, "o", color=color, markersize=4.5, label=label)
