"""A golden folder of a forecaster: which model it is of, and every array of it, eager and from a reloaded file.

Folder of a Toto model: config.json, model.safetensors, manifest.json, cases/. Of Kronos: tokenizer/ and predictor/ with
config.json and model.safetensors each, meta.json and the npz files.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from arena.forecast.export.exporter import script_module
from arena.forecast.models.bar_models import KronosOnBars, Toto1OnBars, TotoOnBars
from arena.forecast.models.checkpoint import CONFIG
from arena.forecast.models.kronos import load_kronos
from arena.forecast.models.toto import load_toto2
from arena.forecast.models.toto1 import load_toto1
from tools.verify.forecasters import kronos, toto1, toto2
from tools.verify.forecasters.arrays import ArrayCheck, GoldenError, Route
from tools.verify.forecasters.cases import read_cases, read_object


class Golden(NamedTuple):
    """A folder that was read in full."""

    kind: str
    bars: nn.Module  # what is exported; the network is its submodule `model`
    entry_points: tuple[str, ...]  # of the reloaded network, from which the arrays are taken
    checks: Callable[[Any, Route], Iterator[ArrayCheck]]  # of a network


def open_golden(folder: Path) -> Golden:
    """Reads everything; GoldenError if it is no golden folder of a known model, or lacks a part."""
    if not folder.is_dir():
        raise GoldenError(f"{folder} is not a folder")
    try:
        if (folder / "predictor").is_dir() or (folder / "tokenizer").is_dir():
            return _open_kronos(folder)
        if (folder / CONFIG).is_file():
            return _open_toto(folder)
    except GoldenError:
        raise
    except ValueError as error:  # a checkpoint or a file of arrays was refused
        raise GoldenError(str(error)) from error
    raise GoldenError(f"{folder} holds neither {CONFIG} nor tokenizer/ and predictor/: it is no golden folder")


def verify_golden(golden: Golden) -> Iterator[ArrayCheck]:
    """Every array in eager, then in TorchScript that went through a file."""
    yield from verify_route(golden, "eager")
    yield from verify_route(golden, "script")


def verify_route(golden: Golden, route: Route) -> Iterator[ArrayCheck]:
    """Every array on one of the two routes."""
    bars = golden.bars if route == "eager" else through_file(golden.bars)
    try:
        with torch.no_grad():
            yield from golden.checks(bars.model, route)
    except GoldenError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, torch.jit.Error) as error:  # what misfits of shapes raise
        cause = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise GoldenError(f"the arrays do not go through the {golden.kind} model ({route}): {cause}") from error


def through_file(module: nn.Module) -> torch.jit.ScriptModule:
    """TorchScript of a module, saved and loaded again."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "model.pt"))
        torch.jit.save(script_module(module), path)
        return torch.jit.load(path)


def _open_toto(folder: Path) -> Golden:
    config = read_object(folder / CONFIG)
    kind = "toto1" if "embed_dim" in config else "toto2" if "residual_attn_ratio" in config else ""
    if not kind:
        raise GoldenError(f"{folder / CONFIG} is neither of Toto 2.0 nor of Toto 1.0: no other model has such a folder")
    bars = Toto1OnBars(load_toto1(folder)) if kind == "toto1" else TotoOnBars(load_toto2(folder))
    parts = toto1 if kind == "toto1" else toto2
    cases = read_cases(folder)

    def checks(model: Any, route: Route) -> Iterator[ArrayCheck]:
        for case in cases:
            yield from parts.check_case(model, case, route)

    return Golden(kind, bars.eval(), parts.ENTRY_POINTS, checks)


def _open_kronos(folder: Path) -> Golden:
    arrays = kronos.read_golden(folder)
    network = load_kronos(folder / "tokenizer", folder / "predictor", max(arrays.regimes.values()))

    def checks(model: Any, route: Route) -> Iterator[ArrayCheck]:
        return kronos.check_kronos(model, arrays, route)

    return Golden("kronos", KronosOnBars(network).eval(), kronos.ENTRY_POINTS, checks)
