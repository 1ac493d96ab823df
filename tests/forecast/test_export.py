"""An exported file is its model, and needs torch alone."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch

from arena.forecast.export import exporter as exporting
from arena.forecast.export.artifact import load_artifact, read_manifest
from arena.forecast.export.exporter import DTYPES, export
from arena.forecast.export.parity import errors, run_here, sample_cases
from arena.forecast.export.sources import open_kronos, open_toto
from arena.forecast.forecaster import ModelForecaster

GOLDEN = Path(__file__).parent.parent / "golden"
CONTEXT, HORIZON = 48, 16
KINDS = ("toto2", "toto1", "kronos")
ONE_KIND_AND_THE_REST = ["toto2", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:])]

# None of these can be imported: torch, what it needs itself and the standard library must do.
ALONE = """
import sys
for name in ("arena", "safetensors", "huggingface_hub", "scipy", "pandas", "ray", "pydantic"):
    sys.modules[name] = None
import torch
path, asked, answered = sys.argv[1:]
if path.endswith(".pt"):
    module = torch.jit.load(path)
else:
    module = torch.export.load(path).module()
with torch.no_grad():
    outputs = [module(*case) for case in torch.load(asked, weights_only=True)]
    if path.endswith(".pt"):
        outputs.append(tuple(name for name in ("forward", "forecast") if hasattr(module.model, name)))
torch.save(outputs, answered)
"""


def source_of(kind):
    """A tiny model, few paths."""
    if kind == "kronos":
        source = open_kronos(GOLDEN / "kronos_tiny" / "predictor", GOLDEN / "kronos_tiny" / "tokenizer", 64)
    else:
        source = open_toto(GOLDEN / f"{kind}_tiny")
    return source._replace(manifest=source.manifest | {"num_samples": 0 if kind == "toto2" else 2})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """(kind) -> its float32 TorchScript file: path, manifest, model in eager; each is written once."""
    return cache(lambda kind: written(tmp_path_factory.mktemp("models"), kind))


def written(folder, kind, **changes):
    """The exported file, its manifest, and the model in eager."""
    source = source_of(kind)
    suffix = ".pt" if changes.get("form", "torchscript") == "torchscript" else ".pt2"
    path = folder / f"{kind}{suffix}"
    manifest = export(source.module, path, source.manifest, CONTEXT, HORIZON, **changes)
    return path, manifest, source.module


def run_alone(folder, path, cases):
    """What the file says to the cases, in a process that can import torch only."""
    asked, answered = folder / "asked.pt", folder / "answered.pt"
    torch.save(cases, asked)
    arguments = [sys.executable, "-I", "-c", ALONE, str(path), str(asked), str(answered)]
    run = subprocess.run(arguments, capture_output=True, text=True, check=False, cwd=folder)
    assert run.returncode == 0, run.stderr
    return torch.load(answered, weights_only=True)


@pytest.mark.parametrize("kind", ONE_KIND_AND_THE_REST)
def test_a_file_runs_where_only_torch_can_be_imported(tmp_path, files, kind):
    path, manifest, module = files(kind)
    cases = sample_cases(CONTEXT, HORIZON, manifest["num_samples"], "cpu")
    *outputs, entry_points = run_alone(tmp_path, path, cases)
    assert errors(outputs, run_here(module, cases), cases).max() <= max(manifest["tolerance"], 1e-6)
    assert entry_points == (("forward",) if kind == "kronos" else ("forward", "forecast")), "the network's own calls"


@pytest.mark.parametrize("kind", ONE_KIND_AND_THE_REST)
def test_the_manifest_says_what_is_in_the_file(files, kind):
    path, manifest, _ = files(kind)
    assert read_manifest(path) == json.loads(json.dumps(manifest))
    stored = {"manifest.json": ""}
    torch.jit.load(str(path), _extra_files=stored)
    assert json.loads(stored["manifest.json"]) == read_manifest(path), "torch's own way of reading it"
    assert manifest["kind"] == kind
    assert manifest["tolerance"] <= 1e-5
    assert manifest["error_vs_float32"].keys() == DTYPES.keys()
    assert manifest["error_vs_float32"]["float32"] == {"median": 0.0, "max": 0.0}
    assert manifest["sha256"]
    assert manifest["torch"] == torch.__version__


@pytest.mark.parametrize("kind", ONE_KIND_AND_THE_REST)
def test_a_loaded_file_is_a_forecaster(files, kind):
    path, _, module = files(kind)
    loaded, manifest = load_artifact(path)
    context, stamps, horizon, *_ = sample_cases(CONTEXT, HORIZON, 2, "cpu")[0]
    found = ModelForecaster(loaded, manifest).predict(context, stamps, horizon)
    expected = ModelForecaster(module, manifest).predict(context, stamps, horizon)
    torch.testing.assert_close(found.quantiles, expected.quantiles)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("toto2", "float16"),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in (("toto2", "bfloat16"), ("toto1", "float16"), ("kronos", "bfloat16"))
        ),
    ],
)
def test_half_precision_is_for_the_weights_alone(tmp_path, kind, dtype):
    path, manifest, _ = written(tmp_path, kind, dtype=dtype)
    loaded, _ = load_artifact(path)
    assert {parameter.dtype for parameter in loaded.parameters()} == {DTYPES[dtype]}
    error = manifest["error_vs_float32"][dtype]
    assert 0 < error["median"] < 0.3, (
        "a price level of 1e5 must not drown the deviations, as it would in half precision"
    )
    context, stamps, *rest = sample_cases(CONTEXT, HORIZON, 2, "cpu")[0]
    high = context + 1e5
    near, far = loaded(context, stamps, *rest)[0], loaded(high, stamps, *rest)[0]
    assert near.dtype == torch.float32
    assert abs((far - near)[..., :4].median() - 1e5) < 1.0, "half precision has no numbers between 99968 and 100032"


@pytest.mark.slow
def test_a_program_takes_shorter_contexts_and_horizons_and_any_batch(tmp_path):
    path, manifest, module = written(tmp_path, "toto2", form="export")
    cases = [(*case[:3], 0, 0) for case in sample_cases(CONTEXT, HORIZON, 0, "cpu", any_length=False)]
    assert errors(run_alone(tmp_path, path, cases), run_here(module, cases), cases).max() <= 1e-6
    assert manifest["max_horizon"] == HORIZON
    loaded, _ = load_artifact(path)
    for batch, context, horizon in ((1, CONTEXT, HORIZON), (3, 20, 5), (2, 1, 1)):
        bars, stamps, *_ = sample_cases(context, horizon, 0, "cpu")[0]
        case = (bars.repeat(batch, 1, 1), stamps.repeat(batch, 1), horizon, 0, 0)
        assert errors(run_here(loaded, [case]), run_here(module, [case]), [case]).max() < 1e-4
    bars, stamps, *_ = sample_cases(CONTEXT + 1, HORIZON, 0, "cpu")[0]
    with pytest.raises(ValueError, match=r"context has 49 bars .* at most 48 and 16"):
        loaded(bars, stamps, HORIZON, 0, 0)


@pytest.mark.slow
def test_a_compiled_program_is_its_model(tmp_path):
    path, manifest, module = written(tmp_path, "toto2", form="aotinductor")
    assert manifest["tolerance"] < 1e-4
    loaded, _ = load_artifact(path)
    cases = sample_cases(CONTEXT, HORIZON, 0, "cpu")
    assert errors(run_here(loaded, cases), run_here(module, cases), cases).max() < 1e-4


@pytest.mark.parametrize("form", ["export", "aotinductor"])
@pytest.mark.parametrize("kind", ["toto1", "kronos"])
def test_loops_over_draws_are_refused_by_name(tmp_path, kind, form):
    with pytest.raises(ValueError, match="decodes in a loop that depends on its own draws"):
        written(tmp_path, kind, form=form)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_differs_from_its_model_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setitem(exporting.LIMITS, "float32", -1.0)
    with pytest.raises(RuntimeError, match="would differ from its model by 0 deviations; not written"):
        written(tmp_path, "toto2")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_forecast_nan_are_not_written(tmp_path):
    source = source_of("toto2")
    with torch.no_grad():
        next(source.module.parameters())[0] = torch.nan
    with pytest.raises(ValueError, match="forecasts NaN or infinity"):
        export(source.module, tmp_path / "toto.pt", source.manifest, CONTEXT, HORIZON)
    assert list(tmp_path.iterdir()) == []


def test_the_name_must_fit_the_format(tmp_path):
    source = source_of("toto2")
    with pytest.raises(ValueError, match=r"must end in \.pt2"):
        export(source.module, tmp_path / "toto.pt", source.manifest, CONTEXT, HORIZON, form="export")
