"""Trains the embedded forecaster from a config file and records what it cost and how the loss fell."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import yaml

from arena.bench.machine import command, describe_machine, versions
from arena.data.synthetic.params import SyntheticParams, fair
from arena.data.synthetic.seeds import Role, scenario_seeds
from arena.data.synthetic.training_windows import SCENARIOS, Lessons, draw_lessons, lessons_of
from arena.forecast.evaluate.embedded_training import TrainingSettings, train, write_weights
from arena.forecast.fingerprint import file_hash
from arena.forecast.models.checkpoint import WEIGHTS

VALIDATION_SCENARIOS = 256
SECTIONS = dict.fromkeys(("network", "training", "lessons")).keys()
LESSONS = dict.fromkeys(("markets_per_step", "windows_per_asset")).keys()


def read_plan(path: Path) -> tuple[dict[str, Any], TrainingSettings, dict[str, int]]:
    """Network, training and lessons of a config file; ValueError names what it cannot use."""
    try:
        plan = yaml.safe_load(path.read_text())
        if not isinstance(plan, dict) or plan.keys() != SECTIONS or not all(isinstance(s, dict) for s in plan.values()):
            raise ValueError(f"{path}: expected the sections {', '.join(SECTIONS)}, each with fields")
        settings = TrainingSettings(**plan["training"])
    except (OSError, yaml.YAMLError, TypeError) as error:
        raise ValueError(f"{path} cannot be used: {error}") from error
    if plan["lessons"].keys() != LESSONS:
        raise ValueError(f"{path}: lessons has {', '.join(plan['lessons'])}, expected {', '.join(LESSONS)}")
    return plan["network"], settings, plan["lessons"]


def train_embedded(path: Path, folder: Path, report: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Write the weights into `folder`, where a training that was cut goes on; returns the record of the training."""
    network, settings, plan = read_plan(path)
    patch, context = network["patch_size"], network["max_context"]
    length, per_step = context + patch, plan["markets_per_step"] * SCENARIOS

    def lessons_from(step: int) -> Iterator[Lessons]:
        return draw_lessons(step * per_step, plan["markets_per_step"], length, patch, plan["windows_per_asset"])

    market = SyntheticParams(num_bars=length)
    unseen = scenario_seeds("validation", VALIDATION_SCENARIOS)
    validation = {
        name: lessons_of(params, unseen, length, patch) for name, params in (("signal", market), ("fair", fair(market)))
    }
    checkpoint = folder / "training.pt"
    model, history = train(network, settings, lessons_from, validation, checkpoint, report)
    write_weights(model, network, folder)
    checkpoint.unlink()
    return {
        "config": {"network": network, "training": vars(settings), "lessons": plan},
        "seeds": {role: [seeds[0], seeds[-1]] for role, seeds in _seeds(settings.steps * per_step, unseen).items()},
        "sha256": file_hash(folder / WEIGHTS),
        "num_parameters": sum(parameter.numel() for parameter in model.parameters()),
        "cpu_seconds": history[-1]["cpu_seconds"],
        "threads": torch.get_num_threads(),
        "history": history,
        "command": command(),
        "hardware": describe_machine("cpu"),
        "versions": versions(),
    }


def plot_history(record: dict[str, Any], path: Path) -> None:
    """Loss and skill over the steps of a training, as a picture."""
    from matplotlib.figure import Figure

    rows = record["history"]
    step = [row["step"] for row in rows]
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    losses, means = figure.subplots(1, 2)
    for name, label in (("signal", "unseen, signal"), ("fair", "unseen, fair")):
        losses.plot(step, [row[f"{name}_pinball"] for row in rows], label=label)
    losses.plot(step[1:], [row["train_pinball"] for row in rows[1:]], label="training, markets of all kinds")
    means.plot(step, [row["signal_mean_explained"] for row in rows], label="unseen, signal")
    losses.set(xlabel="step", title="pinball loss, in units of the trailing volatility")
    means.set(xlabel="step", title="variance of the true mean return explained")
    for axes in (losses, means):
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=90)


def _seeds(num_trained: int, unseen: tuple[int, ...]) -> dict[Role, tuple[int, ...]]:
    first = scenario_seeds("train", 1)
    return {"train": (first[0], first[0] + num_trained - 1), "validation": unseen}
