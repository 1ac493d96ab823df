"""Small charts, one per entrant on one scale: wealth and drawdown over the steps of a game, with bands."""

import html
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from arena.tournament.report.figures import ACCENT, BAND_FILL, MUTED, Figure
from arena.tournament.stats.curves import Band

MAX_PANELS = 12
HEIGHT = 170
LOSS, LOSS_FILL = "#e08a2b", "rgba(224, 138, 43, 0.22)"


class Panels(NamedTuple):
    """Charts to be set side by side."""

    figures: dict[str, Figure]  # entrant -> its chart, in rank order
    backdrop: list[Figure]  # traces behind each of them, kept once: the medians of all, in grey


def wealth_panels(bands: Mapping[str, Band], ranking: Sequence[str]) -> Panels:
    """Return since the start."""
    shown = {name: _percent(bands[name], 1.0) for name in ranking if name in bands}
    return _panels(shown, ACCENT, BAND_FILL)


def drawdown_panels(bands: Mapping[str, Band], ranking: Sequence[str]) -> Panels:
    """Drawdown, drawn downwards."""
    shown = {name: _percent(bands[name], 0.0) for name in ranking if name in bands}
    panels = _panels(shown, LOSS, LOSS_FILL)
    for figure in panels.figures.values():
        figure["layout"]["yaxis"]["range"] = figure["layout"]["yaxis"]["range"][::-1]
    return panels


def _percent(band: Band, origin: float) -> Band:
    low, median, high = ([(value - origin) * 100 for value in curve] for curve in (band.low, band.median, band.high))
    return band._replace(low=low, median=median, high=high)


def _panels(shown: Mapping[str, Band], color: str, fill: str) -> Panels:
    bands = {name: shown[name] for name in list(shown)[:MAX_PANELS]}
    if not bands:
        return Panels({}, [])
    low, high = min(min(band.low) for band in bands.values()), max(max(band.high) for band in bands.values())
    margin = 0.04 * (high - low) or 1.0
    scale = [low - margin, high + margin]
    grey: Figure = {"type": "scatter", "mode": "lines", "hoverinfo": "skip", "line": {"color": MUTED, "width": 0.6}}
    backdrop = [{**grey, "x": band.step, "y": band.median} for band in bands.values()]
    return Panels({name: _panel(name, band, color, fill, scale) for name, band in bands.items()}, backdrop)


def _panel(name: str, band: Band, color: str, fill: str, scale: list[float]) -> Figure:
    """The entrant's median and band."""
    quiet: Figure = {"type": "scatter", "mode": "lines", "hoverinfo": "skip"}
    hover = f"{html.escape(name)}<br>step %{{x}}, median %{{y:.2f}} %<extra></extra>"
    main = {"line": {"color": color, "width": 2}, "hoverinfo": "all", "hovertemplate": hover}
    traces = [
        {**quiet, "x": band.step, "y": band.low, "line": {"width": 0}},
        {**quiet, "x": band.step, "y": band.high, "fill": "tonexty", "fillcolor": fill, "line": {"width": 0}},
        {**quiet, "x": band.step, "y": band.median, **main},
    ]
    layout = {
        "height": HEIGHT,
        "margin": {"l": 48, "r": 6, "t": 6, "b": 24},
        "showlegend": False,
        "xaxis": {"zeroline": False, "nticks": 4},
        "yaxis": {"zeroline": True, "nticks": 4, "ticksuffix": " %", "range": scale},
    }
    return {"data": traces, "layout": layout}
