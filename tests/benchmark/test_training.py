"""What the training benchmark counts; the numbers themselves are for its script."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from arena.bench.stopwatch import Stopwatch
from tests.script import run_script

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts/benchmark_training.py"
TINY = {
    "market": {"num_agents": 2, "reach": 4.0, "synthetic": {"num_assets": 2, "num_bars": 66}},
    "networks": {"mlp": {"kind": "mlp", "width": 8}},
    "training": {"num_epochs": 1, "minibatch_size": 16, "lr": 1e-3, "use_kl_loss": False},
    "stock": {"num_envs_per_env_runner": 2, "train_batch_size_per_learner": 16},
    "tensor": {"num_envs_per_env_runner": 4, "rollout_fragment_length": 4},
}


class Work:
    """Two functions, of which one calls the other."""

    def outer(self):
        spin(0.03)
        self.inner()

    def inner(self):
        spin(0.02)


def spin(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_time_counts_once_and_for_the_inner_of_two():
    stopwatch, original = Stopwatch(), Work.outer
    with stopwatch.watching([(Work, "outer", "outer"), (Work, "inner", "inner")]):
        start = time.process_time()
        Work().outer()
        spent = time.process_time() - start
    assert stopwatch.seconds["inner"] >= 0.02
    assert stopwatch.seconds["outer"] >= 0.03
    assert sum(stopwatch.seconds.values()) <= spent
    assert Work.outer is original


@pytest.mark.ray
@pytest.mark.slow
def test_both_paths_are_measured_on_one_workload(tmp_path):
    workload, record = tmp_path / "tiny.yaml", tmp_path / "record.json"
    workload.write_text(yaml.safe_dump(TINY, sort_keys=False))
    command = [sys.executable, str(SCRIPT), "--config", str(workload), "--rounds", "1", "--json", str(record)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = json.loads(record.read_text())
    assert {"stock", "tensor", "ratio_end_to_end", "ratio_sampling", "hardware", "versions", "command"} <= set(found)
    for path in ("stock", "tensor"):
        parts = found[path]["cpu_us_per_env_step"]
        assert min(parts.values()) >= 0, parts
        assert min(value for key, value in found[path].items() if key != "cpu_us_per_env_step") > 0
    assert found["ratio_end_to_end"] == pytest.approx(
        found["tensor"]["env_steps_per_second"] / found["stock"]["env_steps_per_second"]
    )
    assert "sampling: markets" in done.stdout


@pytest.mark.ray
@pytest.mark.slow
def test_rollouts_inside_the_learner_are_measured(tmp_path):
    workload, record = tmp_path / "tiny.yaml", tmp_path / "record.json"
    workload.write_text(yaml.safe_dump(TINY, sort_keys=False))
    sizes = {"num-envs": 8, "num-agents": 2, "num-assets": 3, "rollout-length": 4, "minibatch-size": 32, "rounds": 1}
    flags = [f"--{name}={size}" for name, size in sizes.items()]
    command = [sys.executable, str(SCRIPT), "--resident", "--device", "cpu", "--config", str(workload), *flags]
    done = subprocess.run([*command, "--json", str(record)], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = json.loads(record.read_text())
    assert found["agent_steps_per_second"] == pytest.approx(2 * found["env_steps_per_second"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rounds", "0"], "--rounds is 0, expected at least 1"),
        (["--config", "nowhere.yaml"], "nowhere.yaml cannot be read"),
    ],
)
def test_bad_input_is_one_sentence(arguments, said):
    done = run_script(SCRIPT, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
