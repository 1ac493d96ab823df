"""What the forecaster benchmark counts and writes; how fast anything is stays out of the tests."""

import json
from pathlib import Path

import pytest
import torch

from arena.bench.forecaster import count_multiply_adds
from arena.forecast.export.exporter import export, script_module
from arena.forecast.export.parity import sample_cases
from arena.forecast.export.sources import open_random, open_toto
from arena.forecast.models.bar_models import TotoOnBars
from tests.script import run_script

ROOT = Path(__file__).parents[2]
TOTO = ROOT / "tests" / "golden" / "toto2_tiny"
KEYS = (
    "predictions_per_second",
    "predictions_per_cpu_second",
    "latency_ms_p50",
    "latency_ms_p95",
    "share_of_float32_matrix_rate",
    "multiply_adds_per_prediction",
    "float32_matrix_multiply_adds_per_second",
)


def run(*arguments):
    return run_script(ROOT / "scripts" / "benchmark_forecaster.py", *arguments, cwd=ROOT)


def multiply_adds_of_toto(config, context, horizon):
    """By hand, for 6 variates: products of the network's equations with the savings that its last layers allow."""
    width, patch, d_ff = config["d_model"], config["patch_size"], config["d_ff"]
    heads, head = config["num_heads"], config["qk_dim"]
    read = horizon // patch  # tokens whose output is read
    tokens = context // patch + read - 1
    total = 6 * tokens * (2 * patch * 4 * width + 4 * width * width + 2 * patch * width)  # embedding of the patches
    for layer in range(config["num_layers"]):
        across = layer % config["layer_group_size"] == config["layer_group_size"] - 1
        last = layer >= config["num_layers"] - 2
        rows, keys = 6 * (read if last else tokens), 6 * (read if across else tokens)
        total += (rows * heads * head + 2 * keys * heads * head) * width + rows * heads * head * width  # projections
        total += 2 * rows * (6 if across else tokens) * heads * head  # scores, and the mean of the values
        total += rows * 3 * width * d_ff
    out = 9 * patch
    return total + 6 * read * (width * 4 * width + 4 * width * out + width * out)


@pytest.mark.parametrize("scripted", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_multiply_adds_are_those_of_the_pruned_network(scripted):
    source = open_random("toto-4m")
    assert isinstance(source.module, TotoOnBars)
    case = sample_cases(128, 64, 0, "cpu")[0]
    module = script_module(source.module) if scripted else source.module
    assert count_multiply_adds(module, case) == multiply_adds_of_toto(source.manifest["config"], 128, 64)


@pytest.mark.slow
def test_a_file_is_measured(tmp_path):
    source = open_toto(TOTO)
    export(source.module, tmp_path / "toto.pt", source.manifest, 32, 4)
    written = tmp_path / "numbers" / "toto.json"
    size = ("--batch-size", 2, "--num-iterations", 2, "--context", 32, "--horizon", 4)
    done = run("--model", tmp_path / "toto.pt", *size, "--json", written)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith(f"2 calls of {tmp_path / 'toto.pt'} on cpu, 1 thread(s): 2 series")
    assert done.stdout.splitlines()[-1] == f"wrote {written}"
    result = json.loads(written.read_text())
    assert all(result[key] > 0 for key in KEYS)
    assert result["weights"] == "of the file"
    assert {"hardware", "versions", "command"} <= result.keys()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--model", "toto-5m"), "expected one of toto-4m"),
        (("--model", "/no/such/file.pt"), "does not exist"),
        (("--batch-size", 0), "--batch-size is 0"),
        (("--device", "cuda"), "this torch sees no GPU"),
        (("--capture",), "--capture makes a CUDA graph"),
    ],
)
def test_bad_input_is_one_sentence(arguments, expected):
    if expected.endswith("GPU") and torch.cuda.is_available():
        pytest.skip("there is one")
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert expected in done.stderr
