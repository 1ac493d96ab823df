"""The exceptions that users of `arena` meet. Their message is one sentence (or one line per mistake) to act on."""

from pathlib import Path


class ArenaError(Exception):
    """Base of the errors that arena raises on purpose."""


class UserError(ArenaError, ValueError):
    """An input that cannot be used: a config, a file, a name, an address. The message says what to change."""


class ResumableError(ArenaError, RuntimeError):
    """The work stopped before its end; what was finished is stored and can be continued."""


class IncompleteRun(ResumableError):
    """A tournament stopped early, for example on a full disk; `arena.resume_tournament(error.run)` continues it."""

    def __init__(self, reason: str, run: Path, num_done: int, num_units: int):
        super().__init__(f"{reason} after {num_done} of {num_units} batches")
        self.run, self.num_done, self.num_units = run, num_done, num_units


class IncompleteTraining(ResumableError):
    """An error stopped a training; `arena.resume_training(error.run)` continues it at its last checkpoint."""

    def __init__(self, reason: str, run: Path):
        super().__init__(f"{reason}; continue at the last checkpoint with arena.resume_training({str(run)!r})")
        self.reason, self.run = reason, run


class RunInterrupted(KeyboardInterrupt):
    """Ctrl-C, or a notebook's stop button, ended a tournament; `arena.resume_tournament(error.run)` continues it.

    It is a KeyboardInterrupt, so that a loop that catches `Exception` stops too.
    """

    def __init__(self, run: Path, num_done: int, num_units: int):
        super().__init__(f"stopped after {num_done} of {num_units} batches")
        self.run, self.num_done, self.num_units = run, num_done, num_units
