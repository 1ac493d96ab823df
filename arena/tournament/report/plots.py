"""Plots for papers, mails and notebooks; matplotlib figures without a display and without pyplot's state."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from arena.tournament.leaderboard import Leaderboard, Standing
from arena.tournament.report.figures import ACCENT, COST_PARTS, MAX_ROWS, MUTED, off_scale, row_names, value_range
from arena.tournament.stats.curves import BAND, Band

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NUM_COLORED = 3  # leaders drawn in colour, the first with its band; the others as thin medians


KINDS = ("growth", "rating", "costs", "wealth")


def plot(kind: str, leaderboard: Leaderboard, bands: Mapping[str, Band] | None = None) -> "Figure":
    """One of KINDS as a figure, of the first MAX_ROWS entrants of a large field; "wealth" needs the bands."""
    entries = leaderboard.standings[:MAX_ROWS]
    if kind == "growth":
        above = " above cash" if leaderboard.cash else ""
        return _forest(entries, "growth", 1e4, f"growth per game{above} [bps]", 0.0)
    if kind == "rating":
        return _forest(entries, "rating", 1.0, "Plackett-Luce rating, cash = 1000", 1000.0)
    if kind == "costs":
        return _costs(entries)
    assert kind == "wealth", kind
    assert bands, "no paths were kept"
    return _wealth(entries, bands)


def write_plots(folder: Path, leaderboard: Leaderboard, bands: Mapping[str, Band] | None) -> list[Path]:
    """Write growth.png, rating.png, costs.png and, given paths, wealth.png; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for kind in KINDS:
        if kind != "wealth" or bands:
            written.append(folder / f"{kind}.png")
            plot(kind, leaderboard, bands).savefig(written[-1], dpi=140)
    return written


def _forest(entries: Sequence[Standing], field: str, scale: float, label: str, reference: float) -> "Figure":
    hidden = off_scale(entries, field, reference)
    figure, axes = _row_axes(row_names(entries, hidden))
    low, high = value_range(entries, field, hidden, reference)
    axes.set_xlim(low * scale, high * scale)
    axes.axvline(reference, color=MUTED, linewidth=0.8, linestyle=":")
    for place, entry in enumerate(entries):
        value, (least, most) = entry.number(field), entry.ends(field)
        if value is None or entry.agent in hidden:
            continue
        if least is not None and most is not None:
            axes.hlines(place, least * scale, most * scale, color=ACCENT)
        axes.plot(value * scale, place, "o", color=ACCENT, markersize=4)
    axes.set_xlabel(label)
    return figure


def _costs(entries: Sequence[Standing]) -> "Figure":
    figure, axes = _row_axes(row_names(entries))
    paid, received = [0.0] * len(entries), [0.0] * len(entries)
    for part, (label, color) in COST_PARTS.items():
        amounts = [(-1 if part == "financing" else 1) * (entry.number(part) or 0.0) * 1e4 for entry in entries]
        if not any(amounts):
            continue
        starts = [paid[i] if amount >= 0 else received[i] for i, amount in enumerate(amounts)]
        axes.barh(range(len(entries)), amounts, left=starts, color=color, label=label, height=0.6)
        paid = [total + max(amount, 0.0) for total, amount in zip(paid, amounts)]
        received = [total + min(amount, 0.0) for total, amount in zip(received, amounts)]
    if any(paid) or any(received):
        axes.legend(frameon=False, fontsize=8)
    axes.set_xlabel("mean cost per game [bps of the initial nav]")
    return figure


def _wealth(entries: Sequence[Standing], bands: Mapping[str, Band]) -> "Figure":
    from arena.tournament.report.notebook_figure import NotebookFigure

    figure = NotebookFigure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    for place, entry in enumerate(entry for entry in entries if entry.agent in bands):
        band = bands[entry.agent]
        leading = place < NUM_COLORED
        color = f"C{place}" if leading else MUTED
        axes.plot(
            band.step,
            band.median,
            color=color,
            linewidth=1.6 if leading else 0.7,
            label=entry.agent if leading else None,
        )
        if place == 0:
            axes.fill_between(band.step, band.low, band.high, color=color, alpha=0.12, linewidth=0)
    axes.set_xlabel("step")
    axes.set_ylabel(f"nav / initial nav: median, {BAND[0]:.0%} to {BAND[1]:.0%}")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _row_axes(names: list[str]) -> "tuple[Figure, Axes]":
    """Axes with one row per entrant, the first on top. Figure objects, not pyplot: no global state, no display."""
    from arena.tournament.report.notebook_figure import NotebookFigure

    figure = NotebookFigure(figsize=(7, 1.0 + 0.3 * len(names)), layout="constrained")
    axes = figure.subplots()
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure, axes
