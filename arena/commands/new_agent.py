"""`arena new-agent`: a file to start from, which keeps the contract as it stands."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from arena.errors import UserError
from arena.exit_codes import with_exit_code

ONE_MARKET = '''"""An agent for one market at a time; it plays in all of them. Try it:  arena check {file}:{name}"""

import numpy as np


class {name}:
    """Holds what has fallen below its average of the last bars, in proportion to how far."""

    history_length = 20  # bars wanted in obs.open, obs.high, obs.low, obs.close, obs.volume, obs.amount

    def __init__(self, lookback: int = 20):  # parameters, settable from a config
        self.lookback = lookback

    def act(self, obs):
        """Called once a bar; all that `obs` holds is listed in arena/agents/numpy_agent.py.

        Returns signed fractions of wealth, one per asset; `obs.weight` means do nothing. Random numbers come from
        `obs.rng` only, or the same match would not give the same result again.
        """
        average = obs.close[:, -self.lookback :].mean(axis=1)
        score = np.maximum(1 - obs.close[:, -1] / average, 0)
        return score / max(score.sum(), 1)
'''

BATCH = '''"""An agent that decides for a batch of markets at once, in torch. Try it:  arena check {file}:{name}"""

import torch

CLOSE = 3  # of the channels open, high, low, close, volume, amount


class {name}:
    """Holds what has fallen below its average of the last bars, in proportion to how far."""

    def __init__(self, lookback: int = 20):  # parameters, settable from a config
        self.lookback = lookback

    @property
    def history_length(self):
        """Bars wanted in observation.history."""
        return self.lookback

    def reset(self):
        """Forget the past: called before every match. This agent has none."""

    def act(self, observation, generator):
        """Called once a bar; the fields, [B, ...] over the markets, are listed in arena/market/types.py (Observation).

        Returns target weights [B, A], signed fractions of wealth; `observation.weight` means do nothing. Random numbers
        come from `generator` only.
        """
        closes = observation.history[..., CLOSE]  # [B, A, C]
        score = (1 - closes[..., -1] / closes.mean(-1)).clamp(min=0)  # [B, A]
        return score / torch.clamp(score.sum(-1, keepdim=True), min=1)
'''


@with_exit_code
def new_agent(arguments: Sequence[str]) -> int:
    """Write NAME.py here and say what to do next; returns the exit code."""
    parser = argparse.ArgumentParser("arena new-agent", description="Writes an agent to start from into this folder.")
    parser.add_argument("name", help="of the file, such as my_agent; the class in it is then MyAgent")
    parser.add_argument("--batch", action="store_true", help="for a batch of markets in torch: faster, and harder")
    options = parser.parse_args(arguments)
    stem = options.name.removesuffix(".py")
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", stem):
        raise UserError(f"{options.name!r}: invalid file name; use letters, digits and underscores")
    path, name = Path(f"{stem}.py"), class_name(stem)
    try:
        with path.open("x") as file:
            file.write((BATCH if options.batch else ONE_MARKET).format(file=path, name=name))
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from error
    spec = f"{path}:{name}"
    print(f"wrote {path} with the class {name}; next\n  arena check {spec}\n  arena tournament --agent {spec}")
    return 0


def class_name(stem: str) -> str:
    """my_agent -> MyAgent."""
    return "".join(part[:1].upper() + part[1:] for part in stem.split("_"))
