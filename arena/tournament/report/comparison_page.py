"""The page that compares runs. Formats, and computes nothing."""

import html
from pathlib import Path

from arena.tournament.report import pages
from arena.tournament.report.figures import MUTED, Figure, off_scale, value_range
from arena.tournament.report.lines import COLORS
from arena.tournament.report.run_comparison import Comparison, Placed
from arena.tournament.report.tables import Cell, Table
from arena.tournament.wording import EMPTY, bps, interval, rank_interval

ROW_HEIGHT = 18  # of one run of one entrant


def write_comparison(path: Path, found: Comparison) -> Path:
    """Write the page; it needs no network."""
    page = pages.render(
        "comparison.html.j2",
        title=f"{len(found.runs)} runs compared",
        found=found,
        growths=growth_table(found),
        ranks=rank_table(found),
        settings=settings_table(found),
        backdrops={},
        charts=pages.shortened({"growth": growth_figure(found)}),
    )
    path.write_text(page, encoding="utf-8")
    return path


def growth_table(found: Comparison) -> Table:
    """Growth of each entrant in each run."""
    rows = [
        [Cell(agent, agent), *(_growth(standing) for standing in standings)]
        for agent, standings in found.standings.items()
    ]
    return Table("Growth per game in bps, 95 % interval", ["entrant", *found.runs], rows)


def rank_table(found: Comparison) -> Table:
    """Rank of each entrant in each run, with the places won or lost since the first."""
    rows = [
        [Cell(agent, agent), *(_rank(standing) for standing in standings)]
        for agent, standings in found.standings.items()
    ]
    return Table(
        "Rank (ranks that are not ruled out), places won or lost since the first run", ["entrant", *found.runs], rows
    )


def settings_table(found: Comparison) -> Table:
    """What differs."""
    rows = [[Cell(name, name), *(Cell(value, value) for value in values)] for name, values in found.settings.items()]
    return Table("Settings and versions that differ", ["setting", *found.runs], rows)


def growth_figure(found: Comparison) -> Figure:
    """One row per entrant, in it one interval per run."""
    names, num_runs = list(found.standings), len(found.runs)
    traces = [_run_trace(run, place, found) for place, run in enumerate(found.runs)]
    entries = [placed.standing for all_of in found.standings.values() for placed in all_of if placed]
    low, high = value_range(entries, "growth", off_scale(entries, "growth", 0.0), 0.0)
    zero = {"type": "line", "x0": 0, "x1": 0, "yref": "paper", "y0": 0, "y1": 1, "layer": "below"}
    title = {"text": "growth per game [bps]", "font": {"size": 12}}
    layout = {
        "height": 70 + len(names) * (10 + ROW_HEIGHT * num_runs),
        "margin": {"l": 10, "r": 10, "t": 8, "b": 45},
        "xaxis": {"title": title, "zeroline": False, "range": [low * 1e4, high * 1e4]},
        "yaxis": {
            "tickvals": list(range(len(names))),
            "ticktext": [html.escape(name) for name in names],
            "range": [len(names) - 0.4, -0.6],
            "automargin": True,
            "zeroline": False,
            "showgrid": False,
        },
        "showlegend": True,
        "shapes": [zero | {"line": {"color": MUTED, "width": 1, "dash": "dot"}}],
    }
    return {"data": traces, "layout": layout}


def _run_trace(run: str, place: int, found: Comparison) -> Figure:
    shift = (place - (len(found.runs) - 1) / 2) * 0.7 / len(found.runs)
    there = [(row, all_of[place]) for row, all_of in enumerate(found.standings.values())]
    known = [(row, placed.standing) for row, placed in there if placed]
    color = COLORS[place % len(COLORS)]
    error = {
        "type": "data",
        "symmetric": False,
        "array": [0.0 if of.growth_high is None else (of.growth_high - of.growth) * 1e4 for _, of in known],
        "arrayminus": [0.0 if of.growth_low is None else (of.growth - of.growth_low) * 1e4 for _, of in known],
        "color": color,
        "width": 3,
    }
    return {
        "type": "scatter",
        "mode": "markers",
        "name": html.escape(run),
        "x": [standing.growth * 1e4 for _, standing in known],
        "y": [row + shift for row, _ in known],
        "error_x": error,
        "marker": {"color": color, "size": 7},
        "hovertemplate": f"{html.escape(run)} %{{x:.1f}} bps<extra></extra>",
    }


def _growth(placed: Placed | None) -> Cell:
    if placed is None:
        return Cell(EMPTY)
    standing = placed.standing
    return Cell(bps(standing.growth), standing.growth, interval(*map(bps, standing.ends("growth"))))


def _rank(placed: Placed | None) -> Cell:
    if placed is None:
        return Cell(EMPTY)
    standing = placed.standing
    span = rank_interval(standing.rank_low, standing.rank_high)
    text = str(standing.rank) if span == str(standing.rank) else f"{standing.rank} ({span})"
    return Cell(text, standing.rank, _moved(placed.change))


def _moved(change: int | None) -> str:
    if not change:
        return ""
    return f"▲ {change}" if change > 0 else f"▼ {-change}"
