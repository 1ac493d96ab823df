"""What a training left in its run folder: the policy, the records as tables, the learning curve."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from pandas import DataFrame

from arena.config.files import read_sections
from arena.errors import UserError
from arena.rl.app.checkpoints import POLICY
from arena.rl.app.curve import SIZE, draw_curve
from arena.rl.app.record import EVALUATIONS, PROGRESS, read_rows
from arena.rl.records import Row
from arena.tournament.wording import bps

SUMMARY, TRIALS = "summary.json", "trials.json"


@dataclass(frozen=True)
class TrainingRun:
    """A training and its results. Every property reads the run folder anew.

    run = arena.train("smoke", iterations=6)
    run.evaluations[["iteration", "growth", "lead"]]
    run.plot().savefig("learning.png")
    arena.run_tournament(agents=["cash", "momentum", run.spec])
    """

    path: Path  # the run folder, such as runs/0001-smoke

    @property
    def policy(self) -> Path | None:
        """The policy that was best on validation, one file that needs torch alone.

        None: RLlib's own network, a grid, or a training that stopped before its first evaluation
        """
        return _existing(self.path / POLICY)

    @property
    def checkpoint(self) -> Path | None:
        """RLlib's checkpoint of the best policy (of a grid: of its best trial); None: nothing was evaluated yet."""
        if not self._is_grid:
            return _existing(self.path / "checkpoints/best")
        found = [row["checkpoint"] for row in self._trial_rows if row["checkpoint"]]
        return self.path / found[0] if found else None

    @property
    def spec(self) -> str:
        """The best policy as an entrant of a tournament: "policy:FILE", or "rllib:CHECKPOINT" without such a file."""
        if self.policy:
            return f"policy:{self.policy.resolve()}"
        if self.checkpoint:
            return f"rllib:{self.checkpoint.resolve()}"
        raise UserError(
            f"{self.path}: the training stopped before its first evaluation, so there is no policy; train for longer"
        )

    @property
    def progress(self) -> DataFrame:
        """One row per iteration.

        iteration, env_steps (market steps so far), seconds (wall clock so far), episodes (that ended in it),
        episode_return (mean reward per agent of an episode; NaN while none ended), env_steps_per_second, and the
        numbers of RLlib's learners and of the league, such as policy_loss and entropy
        """
        return _frame(_numbers(read_rows(self.path / PROGRESS)))

    @property
    def evaluations(self) -> DataFrame:
        """One row per evaluation on validation markets.

        iteration, env_steps, growth (log growth above cash per match, a fraction, with growth_low and growth_high: its
        95 % interval), best_opponent, lead (growth above that of the best opponent, with its interval), seconds (that
        playing took), field/NAME (growth of each opponent)
        """
        rows = _numbers(read_rows(self.path / EVALUATIONS))
        return _frame([_flat(row, "field", "field/") for row in rows])

    @property
    def trials(self) -> DataFrame | None:
        """One row per trial of a grid, best first; None for a single training.

        trial, state (done, failed or unfinished), the values of the grid such as training.lr, metric (by which the
        trials are ranked), iterations, env_steps, checkpoint (relative to `path`), error
        """
        return _frame([_flat(row, "parameters") for row in self._trial_rows]) if self._is_grid else None

    @property
    def summary(self) -> Row:
        """The content of summary.json: totals, best iteration, evaluations, versions; empty until a training ends."""
        file = self.path / SUMMARY
        return json.loads(file.read_text()) if file.is_file() else {}

    @property
    def interrupted(self) -> bool:
        """True unless the training reached its end; `arena.resume_training(run)` continues it (not a grid)."""
        summary = self.summary  # written at the end only; those of older versions do not have the key
        return bool(summary.get("interrupted", not summary))

    def plot(self) -> Figure:
        """The learning curve: return in training, growth on validation. A notebook shows it; `.savefig` writes it."""
        if self._is_grid:
            raise UserError(f"{self.path}: a grid has no learning curve; use `.trials`")
        from matplotlib import pyplot as plt  # through which a notebook learns how to show a figure

        figure = plt.figure(figsize=SIZE, layout="constrained")
        draw_curve(figure, read_rows(self.path / PROGRESS), read_rows(self.path / EVALUATIONS))
        plt.close(figure)  # else a notebook would show it twice
        return figure

    def __repr__(self) -> str:
        return f"TrainingRun({str(self.path)!r}: {', '.join(self._facts())})"

    def _facts(self) -> list[str]:
        end = ["interrupted"] if self.interrupted else []
        if self._is_grid:
            rows = self._trial_rows
            return [f"{len(rows)} trials", *([f"best {rows[0]['parameters']}"] if rows else []), *end]
        progress, evaluations = read_rows(self.path / PROGRESS), read_rows(self.path / EVALUATIONS)
        steps = progress[-1]["env_steps"] if progress else 0
        found = [f"{len(progress):,} iterations", f"{steps:,} market steps"]
        if evaluations:
            best = max(evaluations, key=lambda row: row["growth"])
            found.append(f"best growth {bps(best['growth'])} bps at iteration {best['iteration']}")
        return found + end

    @property
    def _is_grid(self) -> bool:
        return "tune" in read_sections(self.path / "config.yaml")[0]

    @property
    def _trial_rows(self) -> list[Row]:
        file = self.path / TRIALS
        return json.loads(file.read_text())["trials"] if file.is_file() else []


def load_training(run_folder: str | Path) -> TrainingRun:
    """The training in a run folder, such as "runs/0001-smoke", also one that was interrupted or killed."""
    path = Path(run_folder)
    if not (path / "config.yaml").is_file():
        raise UserError(f"{path}: no config.yaml there; give the folder of a training, such as runs/0001-train")
    if "run" not in read_sections(path / "config.yaml")[0]:
        raise UserError(
            f"{path}: its config.yaml has no section `run`, so it is not of a training; give another folder"
        )
    return TrainingRun(path)


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None


def _frame(rows: Sequence[Row]) -> DataFrame:
    return DataFrame(list(rows)) if rows else DataFrame(columns=["iteration", "env_steps"])


def _numbers(rows: Sequence[Row]) -> list[Row]:
    """The records write null for what is not a finite number."""
    return [{name: math.nan if value is None else value for name, value in row.items()} for row in rows]


def _flat(row: Row, name: str, prefix: str = "") -> Row:
    """The row with the entries of one of its dicts as columns of their own, in its place."""
    flat: Row = {}
    for key, value in row.items():
        flat |= {f"{prefix}{inner}": x for inner, x in value.items()} if key == name else {key: value}
    return flat
