"""The picture of a training: what an episode returned, and what validation said, over market steps."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure  # not pyplot, which would choose a window system for the whole process

from arena.rl.app.record import EVALUATIONS, PROGRESS, read_rows
from arena.rl.records import Row
from arena.units import IN_BPS

SIZE = (11, 4)  # inches


def write_curve(run: Path) -> Path:
    """RUN/plots/learning.png of the run's records."""
    figure = Figure(figsize=SIZE, layout="constrained")
    draw_curve(figure, read_rows(run / PROGRESS), read_rows(run / EVALUATIONS))
    path = run / "plots" / "learning.png"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)
    return path


def draw_curve(figure: Figure, progress: Sequence[Row], evaluations: Sequence[Row]) -> None:
    """Two panels: return of an episode in training, growth on validation scenarios; x axes in market steps."""
    progress = [row for row in progress if row["episode_return"] is not None]
    left, right = figure.subplots(1, 2)
    left.plot([row["env_steps"] for row in progress], [row["episode_return"] for row in progress], lw=1.5)
    left.set(title="Training: return of an episode", xlabel="market steps", ylabel="reward per agent")
    steps = [row["env_steps"] for row in evaluations]
    growth = [IN_BPS * row["growth"] for row in evaluations]
    right.plot(steps, growth, marker="o", ms=3, lw=1.5, label="learner")
    if evaluations and all(row["growth_low"] is not None for row in evaluations):
        ends = ([IN_BPS * row[key] for row in evaluations] for key in ("growth_low", "growth_high"))
        right.fill_between(steps, *ends, alpha=0.2, label="95 %")
    best = [IN_BPS * row["field"][row["best_opponent"]] for row in evaluations]
    right.plot(steps, best, color="gray", ls="--", lw=1, label="best opponent")
    right.axhline(0, color="black", lw=0.6)
    right.set(title="Validation: growth above cash", xlabel="market steps", ylabel="bps a game")
    right.legend(frameon=False)
