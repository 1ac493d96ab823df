"""Charts of one line per entrant: how the ranking settled, and performance profiles. The leaders have colours."""

import html
from collections.abc import Mapping, Sequence

from arena.tournament.leaderboard import ContinuousPath, Profiles
from arena.tournament.report.figures import MAX_ROWS, MUTED, Figure
from arena.tournament.stats.continuous import Curve
from arena.tournament.stats.convergence import Running

COLORS = ("#3f7fd9", "#e08a2b", "#2f9e8f", "#c0504d", "#8b6fc4")  # as many as can be told apart in both themes
FILLS = tuple(f"rgba({int(c[1:3], 16)}, {int(c[3:5], 16)}, {int(c[5:], 16)}, 0.14)" for c in COLORS)
NUM_BANDS = 3  # more bands than that hide each other
HEIGHT, TICKS = 330, 8
MIN_DATES, MAX_DATES = 3, 4  # below an axis; with fewer windows it counts bars
MAX_JOINS = 40  # lines where windows meet


def settling_figure(running: Running, ranking: Sequence[str], scale: float, title: str, unit: str) -> Figure:
    """Running estimates of the leaders over the number of scenarios, with bands; of the others in grey."""
    leaders = list(ranking[: len(COLORS)])
    traces = []
    for name in ranking[len(COLORS) : MAX_ROWS]:
        values = [estimate.value * scale for estimate in running.estimates[name]]
        traces.append(_line(name, running.scenarios, values, MUTED, 0.6) | {"showlegend": False, "hoverinfo": "skip"})
    for place, name in enumerate(leaders[:NUM_BANDS]):
        found = running.estimates[name]
        known = [(n, e) for n, e in zip(running.scenarios, found) if e.low is not None and e.high is not None]
        edge: Figure = {"type": "scatter", "mode": "lines", "hoverinfo": "skip", "showlegend": False}
        edge |= {"line": {"width": 0}, "x": [n for n, _ in known]}
        traces.append({**edge, "y": [(e.low or 0.0) * scale for _, e in known]})
        traces.append(
            {**edge, "y": [(e.high or 0.0) * scale for _, e in known], "fill": "tonexty", "fillcolor": FILLS[place]}
        )
    for place, name in enumerate(leaders):
        values = [estimate.value * scale for estimate in running.estimates[name]]
        hover = f"{html.escape(name)}<br>after %{{x}} {unit}s %{{y:,.1f}}<extra></extra>"
        trace = _line(name, running.scenarios, values, COLORS[place], 2.0)
        traces.append(trace | {"hovertemplate": hover, "legendrank": place + 1})
    layout = _layout(f"{unit}s", title)
    if running.scenarios[-1] - running.scenarios[0] < TICKS:  # or they would have fractions
        layout["xaxis"]["dtick"] = 1
    layout["yaxis"]["range"] = _range_of(running, ranking, scale)
    return {"data": traces, "layout": layout}


def profile_figure(profiles: Profiles, ranking: Sequence[str], unit: str) -> Figure:
    """Share of scenarios with at least a score, over that score."""
    x = [score * 1e4 for score in profiles["threshold"]]
    traces = []
    for place, name in reversed(list(enumerate(ranking[:MAX_ROWS]))):  # the coloured ones on top
        leading = place < len(COLORS)
        values = [100 * share for share in profiles["share"][name]]
        trace = _line(name, x, values, COLORS[place] if leading else MUTED, 2.0 if leading else 0.6)
        hover = f"{html.escape(name)}<br>at least %{{x:.0f}} bps in %{{y:.0f}} % of the {unit}s<extra></extra>"
        traces.append(trace | {"hovertemplate": hover, "showlegend": leading, "legendrank": place + 1})
    layout = _layout(f"growth above cash in a {unit} [bps]", f"{unit}s with at least that [%]")
    layout["yaxis"]["range"] = [0, 102]
    zero = {"type": "line", "x0": 0, "x1": 0, "yref": "paper", "y0": 0, "y1": 1, "layer": "below"}
    layout["shapes"] = [zero | {"line": {"color": MUTED, "width": 1, "dash": "dot"}}]
    return {"data": traces, "layout": layout}


def path_figure(path: Mapping[str, Curve], ranking: Sequence[str], found: ContinuousPath) -> Figure:
    """Return along the continuous path; a dotted line and a date where a window begins."""
    traces = []
    shown = [name for name in ranking if name in path][:MAX_ROWS]
    for place, name in reversed(list(enumerate(shown))):
        leading = place < len(COLORS)
        values = [100 * (wealth - 1) for wealth in path[name].wealth]
        trace = _line(name, path[name].step, values, COLORS[place] if leading else MUTED, 1.8 if leading else 0.6)
        hover = f"{html.escape(name)}<br>step %{{x}}, return %{{y:.1f}} %<extra></extra>"
        traces.append(trace | {"hovertemplate": hover, "showlegend": leading, "legendrank": place + 1})
    layout = _layout("first day of each window", "return [%]")
    length = found["steps"] // found["windows"]
    starts = [window * length for window in range(found["windows"])]
    if len(starts) < MIN_DATES:
        layout["xaxis"]["title"]["text"] = f"bars since {found['begins'][0]}"
    else:
        dated = range(0, len(starts), 1 + len(starts) // MAX_DATES)
        ticks = {"tickvals": [starts[window] for window in dated], "ticktext": [found["begins"][w] for w in dated]}
        layout["xaxis"] |= ticks
    join = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "layer": "below"}
    join["line"] = {"color": MUTED, "width": 1, "dash": "dot"}
    layout["shapes"] = [{**join, "x0": start, "x1": start} for start in starts[1:]] if len(starts) <= MAX_JOINS else []
    return {"data": traces, "layout": layout}


def _range_of(running: Running, ranking: Sequence[str], scale: float) -> list[float]:
    """Ends that hold the leaders with their bands and the middle of the others; a total loss would flatten the rest."""
    shown = [
        end
        for name in ranking[:NUM_BANDS]
        for estimate in running.estimates[name]
        for end in (estimate.value, estimate.low, estimate.high)
        if end is not None
    ]
    others = sorted(running.estimates[name][-1].value for name in ranking[:MAX_ROWS])
    shown += others[len(others) // 8 :]
    margin = 0.05 * (max(shown) - min(shown)) or 1e-4
    return [(min(shown) - margin) * scale, (max(shown) + margin) * scale]


def _line(name: str, x: Sequence[float], y: Sequence[float], color: str, width: float) -> Figure:
    line = {"color": color, "width": width}
    return {"type": "scatter", "mode": "lines", "name": html.escape(name), "x": list(x), "y": list(y), "line": line}


def _layout(x_title: str, y_title: str) -> Figure:
    return {
        "height": HEIGHT,
        "margin": {"l": 58, "r": 10, "t": 8, "b": 45},
        "xaxis": {"title": {"text": x_title, "font": {"size": 12}}, "zeroline": False, "nticks": TICKS},
        "yaxis": {"title": {"text": y_title, "font": {"size": 12}}, "zeroline": True, "nticks": TICKS},
        "showlegend": True,
    }
