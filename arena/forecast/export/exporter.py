"""Writes a model into one file that needs torch alone, runs it in a fresh process and compares it with the model.

The only caller of torch.jit.script. Formats: "torchscript" (.pt, any context and horizon), "export" (.pt2, a program of
torch.export for one context and horizon and any batch) and "aotinductor" (.pt2, the same compiled for this machine).
"""

import copy
import json
import os
import tempfile
import time
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from arena.forecast.export.artifact import MANIFEST
from arena.forecast.export.parity import Case, Output, errors, run_alone, run_here, sample_cases
from arena.forecast.models.bar_models import KronosOnBars, Toto1OnBars

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
SUFFIXES = {"torchscript": ".pt", "export": ".pt2", "aotinductor": ".pt2"}
# Largest distance of a file from its model, in standard deviations of a channel. Both run the same kernels and differ
# by rounding where a compiler merges operations: about 1e-6 in float32, up to the error of the dtype itself in half.
LIMITS = {"float32": 1e-3, "float16": 1e-1, "bfloat16": 1e-1}
MAX_BATCH = 65_536  # of a .pt2 program
TRIED_PATHS = 2
WARMUP_CALLS, TIMED_CALLS = 3, 5


def script_module(module: nn.Module) -> torch.jit.ScriptModule:
    """TorchScript of a module, without the notice of torch 2.13 that TorchScript is to be replaced."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(module)


def export(
    module: nn.Module,
    path: Path,
    manifest: dict[str, Any],
    context: int,
    horizon: int,
    dtype: str = "float32",
    device: str = "cpu",
    form: str = "torchscript",
) -> dict[str, Any]:
    """Write the float32 bar model `module` in the given dtype; returns the manifest that is in the file.

    manifest          what is known of the model; what is measured here is added
    context, horizon  bars that it is tried on; of a .pt2 also the most that it will take
    """
    if path.suffix != SUFFIXES[form]:
        raise ValueError(f"{path} must end in {SUFFIXES[form]} to hold the format {form}")
    any_length = form == "torchscript"
    if not any_length:
        _refuse_loops(module, form)
        manifest = manifest | {"max_horizon": horizon}
    cases = sample_cases(context, horizon, min(int(manifest["num_samples"]), TRIED_PATHS), device, any_length)
    reference = module.to(device).eval()
    expected = run_here(reference, cases)
    _check_finite(expected, cases)
    model, answers, error_vs_float32 = reference, expected, {}
    for name in DTYPES:
        cast = reference if name == "float32" else copy.deepcopy(reference).to(DTYPES[name])
        outputs = run_here(cast, cases)
        distance = errors(outputs, expected, cases)
        error_vs_float32[name] = {"median": float(distance.median()), "max": float(distance.max())}
        if name == dtype:
            model, answers = cast, outputs
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        draft = Path(folder, path.name)
        notes = _save(model, draft, form, cases)
        tolerance = float(errors(run_alone(form, draft, cases, device), answers, cases).max())
        if not tolerance <= LIMITS[dtype]:
            raise RuntimeError(f"{path} would differ from its model by {tolerance:.2g} deviations; not written")
        whole = manifest | {
            "format": form,
            "context": context,
            "horizon": horizon,
            "dtype": dtype,
            "device": device,
            "torch": torch.__version__,
            "tolerance": tolerance,
            "error_vs_float32": error_vs_float32,
            **notes,
        }
        add_manifest(draft, whole)
        os.replace(draft, path)  # all or nothing
    return whole


def _save(module: nn.Module, path: Path, form: str, cases: list[Case]) -> dict[str, Any]:
    """Write the model; returns what is worth a line in the manifest."""
    if form == "torchscript":
        scripted = script_module(module)
        torch.jit.save(scripted, str(path))
        return {"optimize_for_inference": _gain_of_freezing(scripted, cases[0])}
    context, stamps, horizon, _, _ = cases[1]  # a batch above 1, so that its size stays free
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    shapes = ({0: batch}, {0: batch}, None, None, None)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's compiler uses what torch deprecates, and falls back where it must
        program = torch.export.export(module, (context, stamps, horizon, 0, 0), dynamic_shapes=shapes)
        if form == "export":
            torch.export.save(program, str(path))
        else:
            torch._inductor.aoti_compile_and_package(program, package_path=str(path))
    return {}


def _refuse_loops(module: nn.Module, form: str) -> None:
    """Generation is a loop over tokens that are drawn as it runs: no graph of fixed operations holds it."""
    if isinstance(module, KronosOnBars | Toto1OnBars):
        raise ValueError(
            f"{type(module).__name__} decodes in a loop that depends on its own draws, which {form} cannot hold; "
            "use the format torchscript"
        )


def _check_finite(outputs: list[Output], cases: list[Case]) -> None:
    """A forecast of a channel that has been seen is a number."""
    for (quantiles, samples), case in zip(outputs, cases):
        seen = torch.isfinite(case[0]).any(1)  # [B, 6]
        finite = quantiles.isfinite().all(-1).all(1) & samples.isfinite().all(2).all(1)  # [B, 6]
        if not finite[seen].all():
            raise ValueError("the model forecasts NaN or infinity on sample bars; are its weights what they should be?")


def add_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Put the manifest where torch keeps extra files: one place in all formats, and no code runs to read it."""
    with zipfile.ZipFile(path, "a") as archive:
        root = archive.namelist()[0].split("/", 1)[0]
        archive.writestr(f"{root}/extra/{MANIFEST}", json.dumps(manifest, indent=1))


def _gain_of_freezing(scripted: torch.jit.ScriptModule, case: Case) -> dict[str, float]:
    """Milliseconds of one call, as saved and after torch.jit.optimize_for_inference.

    Measured for the manifest and not used: the result cannot be saved (torch says so), and it melts `.model` and its
    entry points into one graph. Whoever wants it calls it on the loaded module.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        frozen = torch.jit.optimize_for_inference(scripted)
    return {"plain_ms": _best_ms(scripted, case), "optimized_ms": _best_ms(frozen, case)}


def _best_ms(module: nn.Module, case: Case) -> float:
    """Fastest of a few calls, after those in which TorchScript still rewrites its graph."""
    best = float("inf")
    with torch.no_grad():
        for i in range(WARMUP_CALLS + TIMED_CALLS):
            start = time.perf_counter()
            quantiles, _ = module(*case)
            quantiles.sum().item()  # waits for a GPU
            if i >= WARMUP_CALLS:
                best = min(best, time.perf_counter() - start)
    return 1e3 * best
