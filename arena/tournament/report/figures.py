"""Plotly figures of one row per entrant, as plain dicts. Colours hold on both grounds; the page sets the ink."""

import html
import statistics
from collections.abc import Collection, Sequence
from typing import Any

from arena.tournament.leaderboard import Leaderboard, Standing

ACCENT, MUTED = "#3f7fd9", "#8b919b"
BAND_FILL = "rgba(63, 127, 217, 0.20)"
COST_PARTS = {
    "spread": ("spread", "#3f7fd9"),
    "fee": ("fees", "#8b6fc4"),
    "impact_cost": ("impact", "#e08a2b"),
    "penalty": ("forced trades", "#c0504d"),
    "financing": ("financing", "#2f9e8f"),
}
ROW_HEIGHT = 26
MAX_ROWS = 40  # entrants of a chart: the table has all, and nobody scrolls through 200 bars
OFF_SCALE = 20  # median absolute deviations from the median: a total loss would flatten everybody else

Figure = dict[str, Any]


def growth_figure(leaderboard: Leaderboard) -> Figure:
    """Growth and its interval per entrant, best on top; the raw score in grey beside the control-variate one."""
    entries = leaderboard.standings[:MAX_ROWS]
    traces = []
    if leaderboard.headline == "growth_cv":
        traces.append(_interval_trace(entries, "growth_raw", 1e4, "raw", MUTED, 0.18))
    name = "luck of the prices removed" if traces else "growth"
    traces.append(_interval_trace(entries, "growth", 1e4, name, ACCENT, 0.0))
    above = " above cash" if leaderboard.cash else ""
    figure = _forest(traces, entries, "growth", 1e4, f"growth per game{above} [bps]", 0.0)
    figure["layout"]["showlegend"] = len(traces) > 1
    return figure


def rating_figure(leaderboard: Leaderboard) -> Figure:
    """Rating and its interval per entrant, in the order of growth."""
    entries = leaderboard.standings[:MAX_ROWS]
    trace = _interval_trace(entries, "rating", 1.0, "rating", ACCENT, 0.0)
    return _forest([trace], entries, "rating", 1.0, "rating (cash = 1000)", 1000.0)


def cost_figure(leaderboard: Leaderboard) -> Figure:
    """Mean costs per game, stacked by what they were paid for; financing received points left."""
    entries = leaderboard.standings[:MAX_ROWS]
    names = [html.escape(entry.agent) for entry in entries]
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": label,
            "y": names,
            "x": [(-1 if part == "financing" else 1) * (entry.number(part) or 0.0) * 1e4 for entry in entries],
            "marker": {"color": color},
            "hovertemplate": f"%{{y}}<br>{label} %{{x:.1f}} bps<extra></extra>",
        }
        for part, (label, color) in COST_PARTS.items()
        if any(entry.number(part) for entry in entries)
    ]
    layout = _layout(len(entries), "mean cost a game [bps of nav]")
    return {"data": traces, "layout": layout | {"barmode": "relative", "showlegend": True, "bargap": 0.35}}


def _interval_trace(
    entries: Sequence[Standing], field: str, scale: float, name: str, color: str, shift: float
) -> Figure:
    """Points with error bars; an entrant without an interval has a bare point. `shift` moves the row down."""
    found = [(place, entry, entry.number(field)) for place, entry in enumerate(entries)]
    known = [(place, entry, middle) for place, entry, middle in found if middle is not None]
    value = [middle * scale for _, _, middle in known]
    low, high = [], []
    for _, entry, middle in known:
        least, most = entry.ends(field)
        low.append(0.0 if least is None else (middle - least) * scale)
        high.append(0.0 if most is None else (most - middle) * scale)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": value,
        "y": [place + shift for place, _, _ in known],
        "error_x": {"type": "data", "symmetric": False, "array": high, "arrayminus": low, "color": color, "width": 3},
        "marker": {"color": color, "size": 7 if shift == 0 else 5},
        "customdata": [
            [html.escape(entry.agent), value[i] - low[i], value[i] + high[i]] for i, (_, entry, _) in enumerate(known)
        ],
        "hovertemplate": "%{customdata[0]}<br>%{x:.1f} (%{customdata[1]:.1f} to %{customdata[2]:.1f})<extra></extra>",
    }


def off_scale(entries: Sequence[Standing], field: str, reference: float) -> set[str]:
    """Entrants so far from the others that an axis showing them would show nothing else."""
    values = {entry.agent: value for entry in entries if (value := entry.number(field)) is not None}
    center = statistics.median(values.values())
    spread = statistics.median(abs(value - center) for value in values.values())
    far = {agent for agent, value in values.items() if spread and abs(value - center) > OFF_SCALE * spread}
    shown = [reference, *(value for agent, value in values.items() if agent not in far)]
    return {agent for agent in far if not min(shown) <= values[agent] <= max(shown)}  # cash is where the axis begins


def value_range(
    entries: Sequence[Standing], field: str, hidden: set[str], reference: float, also: str | None = None
) -> tuple[float, float]:
    """Ends of an axis that holds the reference and the intervals of all entrants not hidden, with a margin."""
    names = [name + end for name in (field, also) if name for end in ("", "_low", "_high")]
    found = [entry.number(name) for entry in entries if entry.agent not in hidden for name in names]
    shown = [reference, *(value for value in found if value is not None)]
    margin = 0.04 * (max(shown) - min(shown)) or 1e-4
    return min(shown) - margin, max(shown) + margin


def row_names(entries: Sequence[Standing], hidden: Collection[str] = ()) -> list[str]:
    """Labels of the rows."""
    return [entry.agent + (" (off scale)" if entry.agent in hidden else "") for entry in entries]


def _forest(
    traces: list[Figure], entries: Sequence[Standing], field: str, scale: float, title: str, reference: float
) -> Figure:
    layout = _layout(len(entries), title)
    hidden = off_scale(entries, field, reference)
    low, high = value_range(entries, field, hidden, reference, "growth_raw" if field == "growth" else None)
    layout["xaxis"]["range"] = [low * scale, high * scale]
    names = [html.escape(name) for name in row_names(entries, hidden)]
    places = list(range(len(entries)))
    del layout["yaxis"]["autorange"]  # it would win over the range
    layout["yaxis"] |= {"tickvals": places, "ticktext": names, "range": [len(entries) - 0.4, -0.6]}
    line = {"type": "line", "x0": reference, "x1": reference, "yref": "paper", "y0": 0, "y1": 1}
    layout["shapes"] = [line | {"line": {"color": MUTED, "width": 1, "dash": "dot"}, "layer": "below"}]
    return {"data": traces, "layout": layout}


def _layout(num_rows: int, title: str) -> Figure:
    return {
        "height": 68 + ROW_HEIGHT * num_rows,
        "margin": {"l": 10, "r": 10, "t": 8, "b": 45},
        "xaxis": {"title": {"text": title, "font": {"size": 12}}, "zeroline": False},
        "yaxis": {"autorange": "reversed", "automargin": True, "zeroline": False, "showgrid": False},
        "showlegend": False,
    }
