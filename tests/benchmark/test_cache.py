"""The benchmark of the cache, as its user meets it."""

import json
from pathlib import Path

import torch

from arena.bench.cache import rolling_windows
from tests.script import run_script

ROOT = Path(__file__).parents[2]


def run(*arguments):
    return run_script(ROOT / "scripts" / "benchmark_cache.py", *arguments, cwd=ROOT)


def test_windows_roll():
    windows = rolling_windows(3, 40, 5)
    assert windows.shape == (5, 3, 40, 6)
    assert torch.equal(windows[1:, :, :-1], windows[:-1, :, 1:])


def test_it_measures_the_hit_rates_that_were_asked_for(tmp_path):
    path = tmp_path / "new" / "cache.json"
    size = ("--context", 20, "--horizon", 2, "--num-series", 3, "--num-bars", 2)
    done = run("--model", "persistence", *size, "--hit-rates", 0.5, 0.75, "--json", path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"wrote {path}"
    record = json.loads(path.read_text())
    assert [measured["hit_rate"] for measured in record["replays"]] == [0.5, 0.75]
    for measured in record["replays"]:
        assert measured["target"] == 0.9 / (1 - measured["hit_rate"])
        assert measured["reached"] == (measured["speedup"] >= measured["target"])
    assert {"hardware", "versions", "command", "peak_memory_bytes"} <= record.keys()


def test_bad_input_is_one_sentence():
    assert "--hit-rates are [1.0], expected 0 <= H < 1" in run("--hit-rates", 1).stderr
    unknown = run("--model", "persistance")
    assert unknown.returncode == 2
    assert unknown.stderr.startswith("error: forecaster 'persistance' is unknown")
    assert unknown.stderr.count("\n") == 1
