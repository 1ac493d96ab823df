"""A grid of trainings by Ray Tune, from the sections of one file.

    training: {lr: {grid_search: [1.0e-3, 3.0e-4]}}     # anywhere in the other sections, the network's included
    tune: {stop: {env_steps: 500000}, max_failures: 1}

Every point of the grid is checked before the first of them starts. Trials are ranked by the last number that their
metric was reported with: iterations in which no episode ended report none.
"""

import csv
import json
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path

import ray
from ray import tune
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.tune.experiment import Trial

from arena.rl.records import Fields, TrialRow
from arena.rl.rllib.compat import generate_variants
from arena.rl.rllib.config_file import make_rllib_config

FOLDER = "trials"  # under `out`
REPORTED_STEPS = "num_env_steps_sampled_lifetime"
STOPS = {"iterations": "training_iteration", "env_steps": REPORTED_STEPS}  # as Tune calls them
SUPPRESS = "To suppress all validation errors"  # begins advice that RLlib adds to its sentences
TALKATIVE = ("ray.tune", "ray.rllib", "tensorboardX")  # loggers

Parameters = dict[str, object]  # by the name in the file: training.lr


@dataclass(frozen=True)
class TuneSettings:
    """The section `tune`.

    stop              iterations or env_steps (market steps) after which a trial ends, or both: what comes first
    metric, mode      a number of RLlib's results, by its keys joined by "/", and whether "max" or "min" is best
    num_samples       trials of each point of the grid, with the seeds debugging.seed, debugging.seed + 1 ...
    max_concurrent    trials at a time; 0: as many as Ray has processors for
    max_failures      how often a trial that failed begins again, at its last checkpoint where it has one
    checkpoint_every  iterations; 0: only when a trial ends
    """

    stop: Mapping[str, int]
    metric: str = "env_runners/episode_return_mean"
    mode: str = "max"
    num_samples: int = 1
    max_concurrent: int = 0
    max_failures: int = 0
    checkpoint_every: int = 0

    def __post_init__(self) -> None:
        stop = self.stop
        if not isinstance(stop, Mapping) or not stop or not set(stop) <= set(STOPS) or not _counts(*stop.values()):
            raise ValueError(f"tune.stop is {stop!r}, expected iterations or env_steps with a number, or both")
        if self.mode not in ("max", "min"):
            raise ValueError(f"tune.mode is {self.mode!r}, expected max or min")
        if not isinstance(self.metric, str):
            raise ValueError(f"tune.metric is {self.metric!r}, expected keys of RLlib's results joined by '/'")
        for name, least in (("num_samples", 1), ("max_concurrent", 0), ("max_failures", 0), ("checkpoint_every", 0)):
            if not _counts(getattr(self, name), least=least):
                raise ValueError(f"tune.{name} is {getattr(self, name)!r}, expected a whole number from {least} on")


@dataclass(frozen=True)
class Point:
    """One trial to make."""

    parameters: Parameters
    config: AlgorithmConfig


def tune_settings(section: object) -> TuneSettings:
    """Of the section's fields; ValueError says what cannot be used."""
    if not isinstance(section, Mapping):
        raise ValueError(f"tune is {section!r}, expected fields, at least stop")
    names = [field.name for field in fields(TuneSettings)]
    for name in section:
        if name not in names:
            close = get_close_matches(str(name), names, 1)
            hint = f"did you mean {close[0]}?" if close else f"expected {', '.join(names)}"
            raise ValueError(f"tune has an unknown field {name!r}; {hint}")
    if "stop" not in section:
        raise ValueError("tune lacks stop, expected iterations or env_steps with a number")
    return TuneSettings(**section)


def grid(sections: Fields, num_samples: int = 1) -> list[Point]:
    """Every trial of the grid in `sections`, which lack `tune`; ValueError names the one that cannot be trained."""
    try:
        variants = list(generate_variants(dict(sections)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"a grid_search cannot be read, expected a list of values: {error}") from error
    points = []
    for found, chosen in variants:
        parameters = {".".join(map(str, path)): value for path, value in found.items()}
        for sample in range(num_samples):
            named = parameters | ({"sample": sample} if num_samples > 1 else {})
            try:
                points.append(Point(named, _config(chosen, sample)))
            except (KeyError, TypeError, ValueError) as error:
                problem = str(error).split(SUPPRESS)[0].strip()
                raise ValueError(f"{words(named)}: {problem}" if named else problem) from error
    if len({point.config.algo_class for point in points}) > 1:
        raise ValueError("the grid has several algorithms, expected one: their numbers of steps mean different things")
    return points


def words(parameters: Parameters) -> str:
    """Parameters in one line."""
    return ", ".join(f"{name} {value}" for name, value in parameters.items()) or "the only point"


def run_grid(sections: Fields, out: Path, report: Callable[[str], None] = lambda line: None) -> list[TrialRow]:
    """Train every point of the grid; a row of each trial, best first, is returned and written.

    sections  of make_rllib_config, and `tune`                          report  takes a line as each trial ends
    out       gets trials.json, trials.csv and the folder `trials`, with RLlib's results and a checkpoint of each

    A row: trial (number in the grid), state (done, failed, unfinished: interrupted), parameters, metric (None: never
    reported), iterations, env_steps, checkpoint (relative to `out`, for Algorithm.from_checkpoint; None: there is
    none), error (its last line). Uses the Ray of this process, or a local one for the time.
    """
    rest = dict(sections)
    settings = tune_settings(rest.pop("tune", None))
    if (out / FOLDER).exists():
        raise ValueError(f"{out / FOLDER} exists already; give another folder")
    with _quiet(), _local_ray():
        points = grid(rest, settings.num_samples)
        _check_resources(points)
        out.mkdir(parents=True, exist_ok=True)
        progress = TuneProgress(settings.metric, points, report)
        results = _tuner(settings, points, out, progress).fit()
    rows = [_row(number, points[number], progress, result, out.resolve()) for number, result in enumerate(results)]
    rows.sort(key=lambda row: _rank(row, settings.mode))
    if all(row["metric"] is None for row in rows):
        report(f"no trial reported {settings.metric}: the names that there are stand in {FOLDER}/*/result.json")
    _write(rows, settings, out)
    return rows


class TuneProgress(tune.Callback):
    """What the trials report while they run; they come in the order of the grid."""

    def __init__(self, metric: str, points: list[Point], report: Callable[[str], None]) -> None:
        self._keys, self._points, self._report = metric.split("/"), points, report
        self.metric: list[float | None] = [None] * len(points)
        self.steps, self.iterations = [0] * len(points), [0] * len(points)
        self.state = ["unfinished"] * len(points)

    def __getstate__(self) -> dict[str, object]:
        """Without whom it reports to: Tune pickles its callbacks, and what draws on a terminal cannot be pickled."""
        return {**self.__dict__, "_report": None}

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: Mapping[str, object], **info: object
    ) -> None:
        number = trials.index(trial)
        self.iterations[number] = _count(result, "training_iteration")
        self.steps[number] = _count(result, REPORTED_STEPS)
        value = finite(result, self._keys)
        if value is not None:
            self.metric[number] = value

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        self._ended(trials.index(trial), "done")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: object) -> None:
        self._ended(trials.index(trial), "failed")

    def _ended(self, number: int, state: str) -> None:
        self.state[number] = state
        value = "none" if self.metric[number] is None else f"{self.metric[number]:.6g}"
        self._report(
            f"trial {number + 1} of {len(self._points)} {state} ({words(self._points[number].parameters)}): "
            f"{'/'.join(self._keys)} {value} after {self.steps[number]:,} env steps"
        )


def finite(result: Mapping[str, object], keys: list[str]) -> float | None:
    """The number under these keys; None where there is none, or NaN."""
    value: object = result
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _config(chosen: Fields, sample: int) -> AlgorithmConfig:
    """Of one point, with the seed of the sample, checked."""
    config = make_rllib_config(chosen)
    if sample and config.seed is not None:
        config.debugging(seed=config.seed + sample)
    config.copy(copy_frozen=False).validate()
    return config


def _count(result: Mapping[str, object], key: str) -> int:
    return int(finite(result, [key]) or 0)


def _counts(*values: object, least: int = 1) -> bool:
    return all(isinstance(value, int) and not isinstance(value, bool) and value >= least for value in values)


def _check_resources(points: list[Point]) -> None:
    """Tune would wait for ever for what the cluster does not have."""
    has = ray.cluster_resources()
    for point in points:
        needs = point.config.algo_class.default_resource_request(point.config.to_dict()).required_resources
        for name, amount in needs.items():
            if amount > has.get(name, 0):
                raise ValueError(
                    f"a trial needs {amount:g} {name} and Ray has {has.get(name, 0):g}: ask for fewer env runners or "
                    "learners, or start Ray with more"
                )


def _tuner(settings: TuneSettings, points: list[Point], out: Path, progress: TuneProgress) -> tune.Tuner:
    return tune.Tuner(
        points[0].config.algo_class,
        param_space={"grid_search": [point.config.to_dict() for point in points]},
        tune_config=tune.TuneConfig(
            max_concurrent_trials=settings.max_concurrent or None,
            trial_dirname_creator=lambda trial: trial.trial_id,  # else a list of all of RLlib's settings
        ),
        run_config=tune.RunConfig(
            name=FOLDER,
            storage_path=str(out.resolve()),
            stop={STOPS[name]: number for name, number in settings.stop.items()},
            failure_config=tune.FailureConfig(max_failures=settings.max_failures),
            checkpoint_config=tune.CheckpointConfig(
                num_to_keep=1, checkpoint_frequency=settings.checkpoint_every, checkpoint_at_end=True
            ),
            callbacks=[progress],
            verbose=0,
        ),
    )


def _row(number: int, point: Point, progress: TuneProgress, result: tune.Result, out: Path) -> TrialRow:
    error = str(result.error).strip().splitlines()[-1] if result.error else None
    return {
        "trial": number,
        "state": progress.state[number],
        "parameters": point.parameters,
        "metric": progress.metric[number],
        "iterations": progress.iterations[number],
        "env_steps": progress.steps[number],
        "checkpoint": str(Path(result.checkpoint.path).relative_to(out)) if result.checkpoint else None,
        "error": error,
    }


def _rank(row: TrialRow, mode: str) -> tuple[bool, float]:
    """Smallest is best; without a number, last."""
    value = row["metric"]
    return (value is None, 0.0 if value is None else -value if mode == "max" else value)


def _write(rows: list[TrialRow], settings: TuneSettings, out: Path) -> None:
    table = {"metric": settings.metric, "mode": settings.mode, "stop": dict(settings.stop), "trials": rows}
    (out / "trials.json").write_text(json.dumps(table, indent=1) + "\n")
    with (out / "trials.csv").open("w", newline="") as file:
        flat = [{**{k: v for k, v in row.items() if k != "parameters"}, **row["parameters"]} for row in rows]
        writer = csv.DictWriter(file, fieldnames=list(flat[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(flat)


@contextmanager
def _local_ray() -> Iterator[None]:
    """The Ray that runs, or one of this process alone: Tune by itself would join any that it finds."""
    if ray.is_initialized():
        yield
        return
    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _quiet() -> Iterator[None]:
    """Only errors: verbose=0 leaves Tune's tables in the newer of its two kinds of output, hence the other one."""
    loggers = [logging.getLogger(name) for name in TALKATIVE]
    levels = [logger.level for logger in loggers]
    before = os.environ.get("RAY_AIR_NEW_OUTPUT")
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
        if before is None:
            del os.environ["RAY_AIR_NEW_OUTPUT"]
        else:
            os.environ["RAY_AIR_NEW_OUTPUT"] = before
