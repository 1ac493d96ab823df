"""How far an agent is kept apart, and what it may use."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["none", "process", "sandbox"]


@dataclass(frozen=True)
class Isolation:
    """How an agent is kept apart; the limits mean nothing at level none.

    decision_seconds  wall clock of one decision for all markets of a batch
    startup_seconds   wall clock of making the agent
    memory_mb         data of its process

    Verdicts about time depend on the machine, so the limit is far above what a decision takes, and what a match has
    decided is stored with its rows.
    """

    level: Level = "none"
    decision_seconds: float = 10.0
    startup_seconds: float = 60.0
    memory_mb: int = 2048
