"""`arena train`: says what will be done, trains, says what came of it."""

import argparse
import json
import logging
import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arena.cluster.joining import LOCAL, check_answers, job_note, quiet_ray
from arena.errors import UserError
from arena.trainer.config import TrainConfig, dump_train_config, load_train_config

if TYPE_CHECKING:
    from rich.console import Console

    from arena.trainer.checkpoints import TrainingState
    from arena.trainer.loop import Training

FAILED, INTERRUPTED = 1, 130  # exit codes
DESCRIPTION = """\
Trains an agent with RLlib: the stock path or the tensor path, as the file says.

Every field of the file can be given as a flag as well, with a value as in YAML:
  --run.minutes 5 --run.seed 3 --training.lr 1e-3 --environment.env_config.num_agents 4
--resume goes on at the last checkpoint of a run; only --run.* may be given with it. A section `tune` makes it a grid.
"""


def train(arguments: Sequence[str], command: str) -> int:
    """Returns the exit code; UserError says what cannot be used. command: the words that began it."""
    parser = argparse.ArgumentParser(
        "arena train", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="sections run, league and those of RLlib")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="a run folder")
    options, flags = parser.parse_known_args(list(arguments))
    if (options.config is None) == (options.resume is None):
        raise UserError("give --config FILE, such as configs/train/tensor_ppo.yaml, or --resume RUN")
    if options.resume is not None:
        return _train(_saved(options.resume, flags), options.resume, command)
    return _train(load_train_config(options.config, flags), None, command)


def _saved(run: Path, flags: Sequence[str]) -> TrainConfig:
    """The config that the run began with; how long it goes on may change."""
    path = run / "config.yaml"
    if not path.is_file():
        raise UserError(f"--resume {run}: no config.yaml there; give the folder of a run, such as runs/0001-train")
    config = load_train_config(path, flags)
    if config.model_copy(update={"run": None}) != load_train_config(path, ()).model_copy(update={"run": None}):
        raise UserError("--resume: a training goes on with the config it began with; only --run.* may be given")
    return config


def _train(config: TrainConfig, resumed: Path | None, command: str) -> int:
    from rich.console import Console

    from arena.tournament.run_folder import environment, make_folder

    console = Console(highlight=False, soft_wrap=True)
    console.print(summary(config), markup=False)
    if note := job_note(config.run.address, "--run.address"):
        console.print(f"note: {note}", markup=False)
    check_answers(config.run.address, f"--run.address {config.run.address}")  # before there is a run folder
    _quiet(config.run.address)
    _check(config)
    if resumed is None:
        files = {"config.yaml": dump_train_config(config), "command.txt": command + "\n"}
        run = make_folder(config.run.out, config.run.name, files | {"environment.json": _json(environment())})
    else:
        run = resumed
    console.print(f"run folder {run}", markup=False)
    if "tune" in config.sections:
        return _tune(config, run, console)

    from arena.trainer.loop import Training

    training = Training(config, run, console, command, resume=resumed is not None)
    try:
        training.train()
    except UserError:
        raise
    except Exception as error:
        console.print(f"error: {type(error).__name__}: {error}", style="red", markup=False)
        console.print(f"go on from the last checkpoint with\n  {_again(run)}", markup=False)
        return FAILED
    if training.interrupted:
        console.print(f"stopped; go on with\n  {_again(run)}", markup=False)
        return INTERRUPTED
    _farewell(console, run, training)
    return 0


def summary(config: TrainConfig) -> str:
    """What will run, in a line."""
    sections, run = config.sections, config.run
    env = sections.get("environment", {}).get("env_config", {})
    network = (sections.get("network") or {}).get("kind", "RLlib's own network")
    what = f"{sections.get('algorithm')}, {network}"
    if "tune" in sections:
        return f"train a grid of {what}, seed {run.seed}"
    ends = {"iterations": run.iterations, "market steps": run.env_steps, "minutes": run.minutes}
    end = " or ".join(f"{value:,} {unit}" for unit, value in ends.items() if value is not None)
    league = "" if config.league is None else ", in a league"
    return (
        f"train {what}, {env.get('num_agents', 1)} learners against "
        f"{env.get('num_opponents', len(env.get('opponents', ())))} opponents{league}, until {end}, seed {run.seed}"
    )


def _check(config: TrainConfig) -> None:
    """Make the config of RLlib and what it says of the market once, before a run folder is made."""
    if "tune" in config.sections:
        return  # every point of the grid is checked there
    from arena.envs.rllib import make_arena_env
    from arena.trainer.loop import algorithm_config
    from arena.training.registration import STOCK_ENV, TENSOR_ENV, ingredients

    try:
        made = algorithm_config(config)
        made.validate()
        if made.env == TENSOR_ENV:
            ingredients({**made.env_config, "num_markets": made.num_envs_per_env_runner})
        elif made.env == STOCK_ENV:
            make_arena_env(made.env_config)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"the training cannot be set up: {error}") from error


def _tune(config: TrainConfig, run: Path, console: "Console") -> int:
    from arena.trainer.loop import started_ray
    from arena.training.tuning import run_grid

    try:
        with started_ray(config):
            sections = {"debugging": {"seed": config.run.seed}, **config.sections}
            rows = run_grid(sections, run, lambda line: console.print(line, markup=False))
    except ValueError as error:
        raise UserError(str(error)) from error
    console.print(
        f"best: {rows[0]['parameters']}, {rows[0]['metric']}; all trials in {run / 'trials.csv'}", markup=False
    )
    return 0


def _farewell(console: "Console", run: Path, training: "Training") -> None:
    """Keep the best policy where it is found, and say what came of it."""
    import shutil

    from arena.trainer.checkpoints import POLICY
    from arena.trainer.curve import write_curve

    state, best = training.state, run / "checkpoints/best"
    if (best / POLICY).exists():
        shutil.copyfile(best / POLICY, run / POLICY)
    write_curve(run)
    (run / "summary.json").write_text(_json(_summary(run, state)))
    rate = state.env_steps / max(state.seconds, 1e-9)
    console.print(
        f"\n{state.iteration:,} iterations, {state.env_steps:,} market steps in {state.seconds / 60:.1f} min "
        f"({rate:,.0f}/s); best on validation: iteration {state.best_iteration}",
        markup=False,
    )
    spec = f"policy:{run / POLICY}" if (run / POLICY).exists() else f"rllib:{best}"
    for purpose, what in {
        "policy": spec,
        "play": f"python scripts/tournament.py --agent {spec}",
        "curve": run / "plots/learning.png",
        "watch": f"tensorboard --logdir {run / 'tensorboard'}",
        "go on": f"{_again(run)} --run.minutes ...",
    }.items():
        console.print(f"  {purpose:<8} {what}", markup=False)


def _quiet(address: str) -> None:
    """RLlib and torch advise programmers of RLlib and torch; who trains an agent wants to see the training."""
    quiet_ray(is_local=address == LOCAL)
    import ray.rllib  # noqa: F401 - gives its logger a level

    for name in ("ray", "ray.rllib", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")


def _summary(run: Path, state: "TrainingState") -> dict[str, Any]:
    """What came of a run, in one file to keep."""
    from dataclasses import asdict

    from arena.trainer.record import EVALUATIONS, PROGRESS, read_rows

    returns = [row["episode_return"] for row in read_rows(run / PROGRESS) if row["episode_return"] is not None]
    return {
        **asdict(state),
        "episode_return_first": returns[0] if returns else None,
        "episode_return_last": returns[-1] if returns else None,
        "evaluations": read_rows(run / EVALUATIONS),
        "command": (run / "command.txt").read_text().strip(),
        "environment": json.loads((run / "environment.json").read_text()),
    }


def _again(run: Path) -> str:
    return f"python scripts/train.py --resume {shlex.quote(str(run))}"


def _json(content: Any) -> str:
    return json.dumps(content, indent=1) + "\n"
