"""One session of a training, as `arena.train` and `arena train` run it: checks, run folder, training, results."""

import json
import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from arena.cluster.joining import LOCAL, check_answers, job_note, quiet_ray
from arena.errors import IncompleteTraining, UserError
from arena.rl.app.checkpoints import POLICY, TrainingState, numbered
from arena.rl.app.config import TrainConfig, dump_train_config
from arena.rl.app.curve import write_curve
from arena.rl.app.record import EVALUATIONS, PROGRESS, read_rows
from arena.rl.app.run import SUMMARY, TrainingRun, load_training
from arena.rl.records import Row
from arena.tournament.store.run_folder import environment, make_folder


def run_training(config: TrainConfig, resumed: Path | None, command: str, console: Console) -> TrainingRun:
    """Do the work, and say on the console what is done.

    resumed  run folder to continue; None: a new one
    command  the command or the call that began it, for the records
    """
    console.print(describe(config), markup=False)
    if note := job_note(config.run.address, "--run.address"):
        console.print(f"note: {note}", markup=False)
    check_answers(config.run.address, f"--run.address {config.run.address}")  # before there is a run folder
    with _quiet_libraries(config.run.address):  # what imports Ray is imported inside: its settings must stand before
        _check(config)
        if resumed is None:
            files = {"config.yaml": dump_train_config(config), "command.txt": command + "\n"}
            run = make_folder(config.run.out, config.run.name, files | {"environment.json": _json(environment())})
        else:
            run = resumed
            (run / SUMMARY).unlink(missing_ok=True)  # of the session before
        console.print(f"run folder {run}", markup=False)
        if "tune" in config.sections:
            _train_grid(config, run, console)
        else:
            _train_one(config, run, console, command, resume=resumed is not None)
    return load_training(run)


def describe(config: TrainConfig) -> str:
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
    from arena.rl.app.loop import algorithm_config
    from arena.rl.rllib.registration import STOCK_ENV, TENSOR_ENV, market_setup

    try:
        made = algorithm_config(config)
        made.validate()
        if made.env == TENSOR_ENV:
            market_setup({**made.env_config, "num_markets": made.num_envs_per_env_runner})
        elif made.env == STOCK_ENV:
            make_arena_env(made.env_config)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"the training cannot be set up: {error}") from error


def _train_one(config: TrainConfig, run: Path, console: Console, command: str, resume: bool) -> None:
    from arena.rl.app.loop import Training

    training = Training(config, run, console, command, resume=resume)
    try:
        state = training.train()
    except UserError:
        raise
    except Exception as error:
        if not numbered(run):
            raise
        raise IncompleteTraining(f"{type(error).__name__}: {error}", run) from error
    best = run / "checkpoints/best" / POLICY
    if best.exists():
        shutil.copyfile(best, run / POLICY)
    write_curve(run)
    (run / SUMMARY).write_text(_json(_summary(run, state, training.interrupted)))
    rate = state.env_steps / max(state.seconds, 1e-9)
    console.print(
        f"\n{state.iteration:,} iterations, {state.env_steps:,} market steps in {state.seconds / 60:.1f} min "
        f"({rate:,.0f}/s); best on validation: iteration {state.best_iteration}",
        markup=False,
    )


def _train_grid(config: TrainConfig, run: Path, console: Console) -> None:
    from arena.rl.app.loop import started_ray
    from arena.rl.rllib.tuning import run_grid

    try:
        with started_ray(config):
            sections = {"debugging": {"seed": config.run.seed}, **config.sections}
            rows = run_grid(sections, run, lambda line: console.print(line, markup=False))
    except ValueError as error:
        raise UserError(str(error)) from error
    interrupted = any(row["state"] == "unfinished" for row in rows)
    (run / SUMMARY).write_text(_json({"best": rows[0], "interrupted": interrupted, **_origin(run)}))
    console.print(
        f"best: {rows[0]['parameters']}, {rows[0]['metric']}; all trials in {run / 'trials.csv'}", markup=False
    )


def _summary(run: Path, state: TrainingState, interrupted: bool) -> Row:
    """What came of a run, in one file to keep."""
    returns = [row["episode_return"] for row in read_rows(run / PROGRESS) if row["episode_return"] is not None]
    return {
        **asdict(state),
        "interrupted": interrupted,
        "episode_return_first": returns[0] if returns else None,
        "episode_return_last": returns[-1] if returns else None,
        "evaluations": read_rows(run / EVALUATIONS),
        **_origin(run),
    }


def _origin(run: Path) -> Row:
    environment = json.loads((run / "environment.json").read_text())
    return {"command": (run / "command.txt").read_text().strip(), "environment": environment}


@contextmanager
def _quiet_libraries(address: str) -> Iterator[None]:
    """Show errors of RLlib and torch only: their advice is for programmers and would hide the training."""
    quiet_ray(is_local=address == LOCAL)
    import ray.rllib  # noqa: F401 - gives its logger a level

    loggers = [logging.getLogger(name) for name in ("ray", "ray.rllib", "ray.tune")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels):
                logger.setLevel(level)


def _json(content: Row) -> str:
    return json.dumps(content, indent=1) + "\n"
