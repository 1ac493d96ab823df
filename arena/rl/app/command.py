"""`arena train`: reads the command line, trains, says where the results are and how to continue."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from arena.errors import IncompleteTraining, UserError
from arena.exit_codes import FAILED, INTERRUPTED
from arena.rl.app.config import load_train_config

if TYPE_CHECKING:  # what it imports takes a second, and a mistake in the config is to be reported at once
    from arena.rl.app.run import TrainingRun

DESCRIPTION = """\
Trains an agent with RLlib: the stock path or the tensor path, as the config says.

Every field of the config can be given as a flag as well, with a value as in YAML:
  --run.minutes 5 --run.seed 3 --training.lr 1e-3 --environment.env_config.num_agents 4
--run.iterations, --run.env_steps and --run.minutes take the place of all three in the config.
--resume continues a run at its last checkpoint; only --run.* may be given with it. A section `tune` makes it a grid.
"""


def train(arguments: Sequence[str], command: str) -> int:
    """Returns the exit code; UserError says what cannot be used. command: the words that began it."""
    parser = argparse.ArgumentParser(
        "arena train", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", metavar="CONFIG", help="a YAML file, or a shipped config such as tensor_ppo")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="a run folder")
    options, flags = parser.parse_known_args(list(arguments))
    if (options.config is None) == (options.resume is None):
        raise UserError("give either --config FILE, such as --config tensor_ppo, or --resume RUN")

    from arena.rl.app.session import run_training
    from arena.rl.app.train import check_unchanged, config_file

    if options.resume is None:
        config = load_train_config(options.config, flags)
    else:
        config = load_train_config(config_file(options.resume), flags)
        check_unchanged(options.resume, config)
    console = Console(highlight=False, soft_wrap=True)
    try:
        run = run_training(config, options.resume, command, console)
    except UserError:
        raise
    except IncompleteTraining as error:
        console.print(f"error: {error.reason}", style="red", markup=False)
        console.print(f"Continue from the last checkpoint with\n  {_again(error.run)}", markup=False)
        return FAILED
    except Exception as error:
        console.print(f"error: {type(error).__name__}: {error}", style="red", markup=False)
        console.print("No checkpoint was written yet: correct the cause and start the training again.", markup=False)
        return FAILED
    return _farewell(console, run)


def _farewell(console: Console, run: "TrainingRun") -> int:
    """Say where the results are and how to continue; returns the exit code."""
    if run.trials is not None:
        return INTERRUPTED if run.interrupted else 0
    if run.interrupted:
        console.print(f"Stopped. Continue with\n  {_again(run.path)}", markup=False)
        return INTERRUPTED
    for purpose, what in {
        "policy": run.spec,
        "play": f"arena tournament --agent {run.spec}",
        "curve": run.path / "plots/learning.png",
        "watch": f"tensorboard --logdir {run.path / 'tensorboard'}",
        "longer": f"{_again(run.path)} --run.minutes ...",
    }.items():
        console.print(f"  {purpose:<8} {what}", markup=False)
    return 0


def _again(run: Path) -> str:
    return f"arena train --resume {shlex.quote(str(run))}"
