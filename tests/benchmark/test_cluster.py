"""What Ray costs is measured on the real runner: the parts add up, and a driver does not grow with units."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from arena.bench import cluster
from arena.bench.process_tree import DRIVER, REST, cpu_by_kind, process_tree
from arena.tournament.run import workers
from arena.tournament.setup.plan import make_plan

ROOT = Path(__file__).parents[2]
LINUX = pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
# Of anonymous memory, per smallest unit, over the second half of 10,000. One Arrow table of one row with its Python
# objects takes 50,000: keeping any would be seen ten times over. What is left is names of units and Ray's own records.
DRIVER_BYTES, WORKER_BYTES = 5_000, 1_000


@LINUX
def test_the_tree_has_children_and_their_time():
    burn = "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass\n"
    program = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])\ninput()"
    before = process_tree(os.getpid())
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE) as child:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            after = process_tree(os.getpid())
            spent = cpu_by_kind(before, after)
            if spent[REST] >= 0.5:  # with that of the grandchild that has ended
                break
            time.sleep(0.1)
        child.communicate(b"\n")
    assert 0.5 <= spent[REST] < 10
    assert after[os.getpid()].kind == DRIVER
    assert after[child.pid].own_bytes > 1_000_000


def test_memory_is_a_slope_over_the_second_half():
    samples = [{"units": float(n), "bytes": 1e6 + (50.0 * n if n < 50 else 2500 + 2.0 * (n - 50))} for n in range(100)]
    assert cluster.slopes(samples)["bytes"] == pytest.approx(2.0)
    with pytest.raises(ValueError, match="make no slope"):
        cluster.slopes(samples[:2])


@LINUX
def test_in_this_process_nothing_is_added():
    plan = make_plan(cluster.small_config(8, seats=2, batch_size=4))
    found = cluster.measure(plan, 0, 6, 0.0)
    assert found["units"] == len(found["plays"]) == 6
    assert {play["pid"] for play in found["plays"]} == {os.getpid()}
    assert all(play["table_bytes"] > 0 for play in found["plays"])
    assert sum(play["cpu_seconds"] for play in found["plays"]) == pytest.approx(6 * found["play_cpu_seconds_per_unit"])
    assert found["cpu_seconds_per_unit"] > 0.5 * found["play_cpu_seconds_per_unit"]  # /proc counts in hundredths
    assert workers.run_unit is cluster.run_unit, "put back"
    assert (cluster.run_unit_in_worker.__module__, cluster.run_unit_in_worker.__name__) == workers.WORKER_FUNCTION


@pytest.mark.slow
@pytest.mark.ray
@LINUX
def test_the_script_measures(tmp_path):
    path = tmp_path / "cluster.json"
    size = ("--units", 1, "--rounds", 1, "--workers", 0, 1, "--idle-seconds", 1, "--small-units", 30)
    size += ("--session-units", 800, "--large-units", 150, "--json", path)
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "benchmark_cluster.py"), *map(str, size)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"wrote {path}"
    record = json.loads(path.read_text())
    (found,) = record["runs"]["1"]
    assert record["overhead"] == found["overhead"] > 0
    parts = sum(found["overhead_cpu_seconds_per_unit"].values()) + found["play_cpu_seconds_per_unit"]
    assert parts == pytest.approx(found["cpu_seconds_per_unit"])
    assert record["unit"]["rows"] == record["unit"]["scenarios"] * record["unit"]["seats"]
    assert 0 < record["smallest_unit"]["round_trip_ms"]["p50"] <= record["smallest_unit"]["round_trip_ms"]["p95"]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(3000)
@LINUX
def test_memory_is_flat_over_ten_thousand_units():
    per_unit = cluster.long_session(10_000, 1, 1)["per_unit"]
    assert per_unit["driver_bytes"] < DRIVER_BYTES
    assert per_unit["worker_bytes"] < WORKER_BYTES


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--units", "0"], "--units is 0"),
        (["--workers", "0"], "--workers are 0 or more, with one above 0"),
        (["--parts", "all"], "invalid choice: 'all'"),
    ],
)
def test_bad_sizes_are_refused(arguments, said, capsys):
    from arena.commands.bench.cluster import main

    assert main(arguments) == 2
    assert said in capsys.readouterr().err
