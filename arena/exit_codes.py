"""Exit codes of every command, and the one place where an exception becomes a sentence and a code."""

import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

from arena.errors import UserError

FAILED, BAD_INPUT, INTERRUPTED, BROKEN_PIPE = 1, 2, 130, 141  # the last two: 128 + number of the signal

Parameters = ParamSpec("Parameters")


def with_exit_code(command: Callable[Parameters, int]) -> Callable[Parameters, int]:
    """The command, which then prints a UserError or OSError as one sentence and returns a code instead of raising."""

    @wraps(command)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> int:
        try:
            try:
                return command(*args, **kwargs)
            finally:
                sys.stdout.flush()  # here, so that it is noticed if the reader of a pipe has left
        except BrokenPipeError:
            # The interpreter flushes again at its end, where the error cannot be caught.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return BROKEN_PIPE
        except UserError as error:
            return refuse(str(error))
        except OSError as error:
            return refuse(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        except KeyboardInterrupt:
            return INTERRUPTED

    return run


def refuse(sentence: str, code: int = BAD_INPUT) -> int:
    """Prints the sentence as an error; returns the exit code."""
    print(f"error: {sentence}", file=sys.stderr)
    return code
