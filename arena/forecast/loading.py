"""Finds the forecaster behind a name or a file."""

import difflib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from arena.errors import UserError
from arena.forecast.baselines import Drift, Persistence, SeasonalNaive
from arena.forecast.ensemble import Ensemble
from arena.forecast.fingerprint import file_hash
from arena.forecast.forecaster import ModelForecaster
from arena.forecast.types import Forecaster

BASELINES: dict[str, Callable[[], Forecaster]] = {
    "persistence": Persistence,
    "drift": Drift,
    "seasonal_naive": SeasonalNaive,
}
EMBEDDED = "embedded"
ENSEMBLE = "ensemble"
ENSEMBLE_MEMBERS = ("persistence", EMBEDDED)
ARTIFACT_SUFFIXES = (".pt", ".pt2")
DESCRIPTIONS = {  # of specs that no class documents
    EMBEDDED: "The forecaster that comes with arena: a small Toto 2.0 network trained on synthetic bars.",
    ENSEMBLE: f"The ensemble of {' and '.join(ENSEMBLE_MEMBERS)}, with equal weights.",
    "A+B": "The ensemble of the forecasters A, B, ..., with equal weights.",
    "FILE": "A file (.pt, .pt2) that `arena export` writes, such as Kronos or Toto.",
}


class ForecasterDescription(NamedTuple):
    """One row of the table of forecasters."""

    name: str  # the spec; in A+B and FILE the capitals stand for other specs and for a path
    description: str  # one line
    parameters: dict[str, Any]  # name -> default; no spec takes any
    min_context: int | None  # bars that it needs to see; None: as its members or its file say
    max_horizon: int | None  # bars ahead that it forecasts; None: any, or as its members or its file say


def load_forecaster(spec: str, device: str = "cpu") -> Forecaster:
    """The forecaster that `spec` names; UserError says what is wrong with it.

        forecaster = load_forecaster("embedded")
        context = bars.values[-64:].transpose(0, 1)               # [A, C, 6]: the last 64 bars of A symbols
        forecast = forecaster.predict(context, None, horizon=5)   # None: daily bars
        forecast.median                                           # [A, 5] close prices, as in the context
        forecast.quantiles                                        # [A, 5, 9] at the levels 0.1, 0.2 ... 0.9

    spec    persistence, drift, seasonal_naive, embedded, ensemble (persistence + embedded, equal weights), the path of
            an artefact (.pt, .pt2), or several of these joined by "+": their ensemble with equal weights
    device  of the network: cpu, cuda, cuda:1
    """
    if spec.endswith(ARTIFACT_SUFFIXES) and Path(spec).exists():  # first, because a path may hold a "+"
        return _load_file(Path(spec), device)
    if "+" in spec:
        return Ensemble([load_forecaster(part.strip(), device) for part in spec.split("+")])
    if spec in BASELINES:
        return BASELINES[spec]()
    if spec == EMBEDDED:
        from arena.forecast.models.embedded import load_embedded

        return load_embedded(device)
    if spec == ENSEMBLE:
        return Ensemble([load_forecaster(member, device) for member in ENSEMBLE_MEMBERS], name=ENSEMBLE)
    if spec.endswith(ARTIFACT_SUFFIXES):
        raise UserError(f"forecaster {spec!r}: no such file; use `arena export` to write artefacts")
    names = (*BASELINES, EMBEDDED, ENSEMBLE)
    close = difflib.get_close_matches(spec, names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    raise UserError(
        f"forecaster {spec!r} is unknown, expected {', '.join(names)}, a .pt or .pt2 file, or several joined by +{hint}"
    )


def describe_forecasters() -> list[ForecasterDescription]:
    """What `load_forecaster` takes, in the order of its documentation."""
    lines = {name: (inspect.getdoc(found) or "").splitlines()[0] for name, found in BASELINES.items()}
    rows = []
    for name, line in (lines | DESCRIPTIONS).items():
        found = load_forecaster(name) if name in (*BASELINES, EMBEDDED, ENSEMBLE) else None
        limits = (None, None) if found is None else (found.info.min_context, found.info.max_horizon)
        rows.append(ForecasterDescription(name, line, {}, *limits))
    return rows


def absolute(spec: str) -> str:
    """The spec with absolute paths, for a process that runs in another directory."""
    parts = _parts(spec)
    return "+".join(str(Path(part).resolve()) if part.endswith(ARTIFACT_SUFFIXES) else part for part in parts)


def artifact_files(spec: str) -> set[Path]:
    """Absolute paths of the artefacts that the spec names; none is opened, and none need exist."""
    return {Path(part).resolve() for part in _parts(spec) if part.endswith(ARTIFACT_SUFFIXES)}


def _parts(spec: str) -> list[str]:
    """The specs of an ensemble's members; of another forecaster, its own."""
    if spec.endswith(ARTIFACT_SUFFIXES) and Path(spec).exists():  # a path may hold a "+"
        return [spec]
    return [part.strip() for part in spec.split("+")]


def _load_file(path: Path, device: str) -> Forecaster:
    from arena.forecast.export.artifact import load_artifact

    module, manifest = load_artifact(path, device)
    return ModelForecaster(module, manifest, device=device, content_hash=file_hash(path))
