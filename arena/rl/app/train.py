"""`arena.train` and `arena.resume_training`: from a config to a finished training, in Python."""

from pathlib import Path

from rich.console import Console

from arena.errors import UserError
from arena.rl.app.config import TrainConfig, load_train_config, make_train_config
from arena.rl.app.run import TrainingRun, load_training
from arena.rl.app.session import run_training
from arena.rl.records import Fields


def train(
    config: str | Path | Fields | TrainConfig,
    *,
    iterations: int | None = None,
    env_steps: int | None = None,
    minutes: float | None = None,
    seed: int | None = None,
    name: str | None = None,
    out: str | Path | None = None,
    overrides: Fields | None = None,
    quiet: bool = False,
) -> TrainingRun:
    """Train an agent with RLlib and return its run: the policy, the records, the learning curve.

        run = arena.train("smoke", iterations=6)
        arena.run_tournament(agents=["cash", "momentum", run.spec])

    config      name of a shipped config such as "tensor_ppo", a YAML file, its sections as a mapping, or a TrainConfig
    iterations, env_steps, minutes
                when to stop, whichever comes first [iterations, market steps, min]; if given, the config's are ignored
    seed        of weights, markets and actions
    name, out   name of the run folder, and its parent folder
    overrides   other fields of the config: {"training.lr": 1e-3} or {"training": {"lr": 1e-3}}
    quiet       print nothing

    The first Ctrl-C (or a notebook's stop button) ends the training after the iteration under way and saves it:
    `interrupted` of the returned run is then True, and `resume_training(run)` continues it. A second Ctrl-C raises
    KeyboardInterrupt at once. Outside the main thread, signals are left alone. A Ray that runs in this process is used.

    UserError: the config cannot be used. IncompleteTraining: an error stopped the training after a checkpoint was
    written; an error before that is raised as it is.
    """
    named = {
        "iterations": iterations,
        "env_steps": env_steps,
        "minutes": minutes,
        "seed": seed,
        "name": name,
        "out": None if out is None else str(out),
    }
    made = make_train_config(config, _changes(overrides, named))
    return run_training(made, None, _call("train", config, {**named, "overrides": overrides}), _console(quiet))


def resume_training(
    run: str | Path | TrainingRun,
    *,
    iterations: int | None = None,
    env_steps: int | None = None,
    minutes: float | None = None,
    overrides: Fields | None = None,
    quiet: bool = False,
) -> TrainingRun:
    """Continue a training at its last checkpoint, after an interruption or for longer, and return its run.

        run = arena.resume_training("runs/0001-smoke", iterations=8)

    run         its folder, or what `train` returned
    iterations, env_steps, minutes
                when to stop, counted from the beginning of the training; if given, the config's are ignored
    overrides   other fields of section `run`, such as {"run.checkpoint_every": 5}; nothing else may change
    quiet       print nothing; all else as in `train`
    """
    path = run.path if isinstance(run, TrainingRun) else Path(run)
    named = {"iterations": iterations, "env_steps": env_steps, "minutes": minutes}
    changed = make_train_config(config_file(path), _changes(overrides, named))
    check_unchanged(path, changed)
    return run_training(changed, path, _call("resume_training", path, {}), _console(quiet))


def config_file(run: Path) -> Path:
    """The config that a run began with; UserError if the folder is not of a training."""
    return load_training(run).path / "config.yaml"


def check_unchanged(run: Path, config: TrainConfig) -> None:
    """UserError if the config differs from the run's in more than how long it goes on and where."""
    saved = load_train_config(config_file(run), ())
    if config.model_copy(update={"run": None}) != saved.model_copy(update={"run": None}):
        raise UserError(f"{run}: a training continues with the config it began with; only --run.* may be given")


def _changes(overrides: Fields | None, named: Fields) -> dict[str, object]:
    return {**(overrides or {}), **{f"run.{name}": value for name, value in named.items() if value is not None}}


def _call(function: str, first: object, named: Fields) -> str:
    """The call, for the records; config.yaml has what a mapping says."""
    shown = repr(str(first)) if isinstance(first, str | Path) else f"<{type(first).__name__}>"
    given = [f"{name}={value!r}" for name, value in named.items() if value is not None]
    return f"arena.{function}({', '.join([shown, *given])})  # called from Python"


def _console(quiet: bool) -> Console:
    # Plain lines in a notebook too: a live display needs ipywidgets there.
    return Console(highlight=False, soft_wrap=True, quiet=quiet, force_jupyter=False)
