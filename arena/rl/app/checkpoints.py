"""The checkpoints of a run: whole or not there, whenever the process is killed.

RUN/checkpoints/000120/   the last: RLlib's checkpoint, training.json, and policy.pt where there is one
RUN/checkpoints/best/     a copy of the one that was evaluated best
"""

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from arena.errors import UserError

STATE = "training.json"
POLICY = "policy.pt"
KEPT = 2  # of the numbered ones: the last, and the one before in case a disk loses it


@dataclass(frozen=True)
class TrainingState:
    """Where a training stands, besides what RLlib keeps."""

    iteration: int = 0
    env_steps: int = 0  # market steps
    seconds: float = 0.0  # wall clock of all sessions
    cpu_seconds: float = 0.0  # of this process, in which local runners and learners work
    best_growth: float | None = None  # on validation scenarios
    best_iteration: int = 0
    stale_evaluations: int = 0  # since the best


def save(run: Path, state: TrainingState, write: Callable[[Path], None]) -> Path:
    """A numbered checkpoint; `write` puts into a folder what belongs into it. Older ones go."""
    parent = run / "checkpoints"
    parent.mkdir(parents=True, exist_ok=True)
    final, draft = parent / f"{state.iteration:06d}", parent / f".{state.iteration:06d}.draft"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    write(draft)
    write_state(draft, state)
    _replace(draft, final)
    for old in numbered(run)[:-KEPT]:
        shutil.rmtree(old)
    return final


def write_state(checkpoint: Path, state: TrainingState) -> None:
    """Beside RLlib's files; a reader finds the old one or the new one, whole."""
    draft = checkpoint / f".{STATE}"
    draft.write_text(json.dumps(asdict(state), indent=1) + "\n")
    os.replace(draft, checkpoint / STATE)


def keep_as_best(run: Path, checkpoint: Path) -> Path:
    """Copy a checkpoint to `best`."""
    draft, best = run / "checkpoints/.best.draft", run / "checkpoints/best"
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(checkpoint, draft)
    _replace(draft, best)
    return best


def last(run: Path) -> tuple[Path, TrainingState]:
    """The checkpoint to go on from."""
    found = numbered(run)
    if not found:
        raise UserError(f"{run}: no checkpoint was written before the training stopped; start it again")
    return found[-1], TrainingState(**json.loads((found[-1] / STATE).read_text()))


def numbered(run: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    parent = run / "checkpoints"
    return sorted(path for path in parent.glob("*") if re.fullmatch(r"\d{6,}", path.name))


def _replace(draft: Path, final: Path) -> None:
    """A folder cannot be renamed over one that holds something."""
    shutil.rmtree(final, ignore_errors=True)
    os.replace(draft, final)
