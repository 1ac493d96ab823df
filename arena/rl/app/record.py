"""What a training says while it goes on: progress.jsonl, evaluations.jsonl, TensorBoard, and lines on the terminal."""

import json
import math
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from arena.rl.app.evaluation import EvaluationResult
from arena.rl.records import Row
from arena.tournament.stats.growth import Estimate
from arena.tournament.wording import bps, half_width

PROGRESS, EVALUATIONS, TENSORBOARD = "progress.jsonl", "evaluations.jsonl", "tensorboard"


class Record:
    """A row per iteration and per evaluation; rows beyond `iteration`, of a session that was cut off, are forgotten."""

    def __init__(self, run: Path, console: Console, iteration: int = 0) -> None:
        from tensorboardX import SummaryWriter

        self._run, self._console = run, console
        for name in (PROGRESS, EVALUATIONS):
            rows = [row for row in read_rows(run / name) if row["iteration"] <= iteration]
            (run / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
        self._board = SummaryWriter(str(run / TENSORBOARD), purge_step=iteration + 1 if iteration else None)
        self._live = Live(console=console, refresh_per_second=2, transient=True)
        self._validation = ""

    def __enter__(self) -> "Record":
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.__exit__(None, None, None)
        self._board.close()

    def iteration(self, row: Row) -> None:
        """Numbers of an iteration; `iteration` and `env_steps` among them."""
        self._write(PROGRESS, row)
        for name, value in row.items():
            if isinstance(value, int | float) and not math.isnan(value):
                self._board.add_scalar(name if "/" in name else f"train/{name}", value, row["env_steps"])
        self._live.update(Text(f"{iteration_line(row)}{self._validation}", style="dim"))

    def evaluation(self, iteration: int, env_steps: int, result: EvaluationResult, is_best: bool) -> None:
        """What an evaluation found."""
        self._write(EVALUATIONS, {"iteration": iteration, "env_steps": env_steps, **result.as_dict()})
        self._board.add_scalar("validation/growth", result.growth.value, env_steps)
        self._board.add_scalar("validation/lead", result.lead.value, env_steps)
        for name, estimate in result.field.items():
            self._board.add_scalar(f"validation/field/{name}", estimate.value, env_steps)
        self._validation = f"   validation {growth_and_lead(result)}"
        mark = "  best so far" if is_best else ""
        line = f"iteration {iteration:5d}  {env_steps:12,d} steps  validation {growth_and_lead(result)}{mark}"
        self._console.print(line, markup=False, highlight=False)

    def _write(self, name: str, row: Row) -> None:
        finite = {key: None if isinstance(x, float) and not math.isfinite(x) else x for key, x in row.items()}
        with (self._run / name).open("a") as file:
            file.write(json.dumps(finite, default=float) + "\n")  # RLlib counts in NumPy's integers


def read_rows(path: Path) -> list[Row]:
    """Rows of a file; a last line that was cut off is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


def iteration_line(row: Row) -> str:
    """What is shown of an iteration."""
    value = row["episode_return"]
    gained = "no episode ended yet" if value is None or math.isnan(value) else f"return {value:+.3f}"
    rate = row["env_steps_per_second"]
    return f"iteration {row['iteration']:5d}  {row['env_steps']:12,d} steps  {rate:8,.0f}/s  {gained}"


def growth_and_lead(result: EvaluationResult) -> str:
    """Growth and lead in bps of a game."""

    def shown(estimate: Estimate) -> str:
        margin = half_width(estimate.low, estimate.high, bps)
        return f"{bps(estimate.value)}{f' ± {margin}' if margin else ''} bps"

    best = result.field[result.best]
    return f"{shown(result.growth)}, best opponent {result.best} {bps(best.value)}, lead {shown(result.lead)}"
