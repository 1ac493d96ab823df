"""Plain types of what a training reads and writes: sections of its config, rows of its records.

Nothing heavy is imported here.
"""

from collections.abc import Mapping
from typing import Any, TypedDict

# A section of a YAML file. The names of its fields are checked where a record or a config of RLlib is made of them.
Fields = Mapping[str, Any]
# An iteration, an evaluation or a summary as JSON holds it; null stands for what is not a finite number.
Row = dict[str, Any]


class TrialRow(TypedDict):
    """One trial of a grid, in trials.json."""

    trial: int  # number in the grid
    state: str  # done, failed, unfinished: interrupted
    parameters: dict[str, object]  # by the name in the file: training.lr
    metric: float | None  # None: never reported
    iterations: int
    env_steps: int
    checkpoint: str | None  # relative to the run folder, for Algorithm.from_checkpoint
    error: str | None  # its last line
