"""The picture of a training: what an episode returned, and what validation said, over market steps."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from arena.trainer.record import EVALUATIONS, PROGRESS, read_rows

BPS = 1e4


def write_curve(run: Path) -> Path:
    """RUN/plots/learning.png of the run's records."""
    progress = [row for row in read_rows(run / PROGRESS) if row["episode_return"] is not None]
    verdicts = read_rows(run / EVALUATIONS)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    left.plot([row["env_steps"] for row in progress], [row["episode_return"] for row in progress], lw=1.5)
    left.set(title="Training: return of an episode", xlabel="market steps", ylabel="reward per agent")
    steps = [row["env_steps"] for row in verdicts]
    growth = [BPS * row["growth"] for row in verdicts]
    right.plot(steps, growth, marker="o", ms=3, lw=1.5, label="learner")
    if verdicts and all(row["growth_low"] is not None for row in verdicts):
        ends = ([BPS * row[key] for row in verdicts] for key in ("growth_low", "growth_high"))
        right.fill_between(steps, *ends, alpha=0.2, label="95 %")
    best = [BPS * row["field"][row["best_opponent"]] for row in verdicts]
    right.plot(steps, best, color="gray", ls="--", lw=1, label="best opponent")
    right.axhline(0, color="black", lw=0.6)
    right.set(title="Validation: growth above cash", xlabel="market steps", ylabel="bps a game")
    right.legend(frameon=False)
    path = run / "plots" / "learning.png"
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path
