"""Costs from records become what a cluster can do; here from records with round numbers."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from arena.bench.cluster_scale import MARGIN, cluster_scale, internet, unit_costs, validation

ROOT = Path(__file__).parents[2]
PLAYS = [{"pid": 1, "begin": 10.0 * n, "seconds": 10.0, "cpu_seconds": 8.0, "table_bytes": 9} for n in range(6)]
CLUSTER = {
    "unit": {"scenarios": 128, "seats": 16, "assets": 8, "steps": 120, "rows": 2048, "stored_bytes": 100_000},
    "runs": {
        "0": [{"units": 6, "seconds": 60.0, "plays": PLAYS}],
        "1": [{"units": 6, "seconds": 60.1, "plays": PLAYS}],
        "2": [{"units": 6, "seconds": 30.1, "plays": PLAYS}],
    },
    "smallest_unit": {
        "play_cpu_ms": 15.0,
        "ray_cpu_ms": 12.0,
        "driver_cpu_ms": 4.0,
        "round_trip_ms": {"p50": 22.0, "p95": 40.0},
    },
    "wait_cpu_seconds": {"per_in_flight": 0.0},
    "sessions": {
        "rows_2048": {"rows": 2048, "per_unit": {"driver_cpu_seconds": 0.010 + 2047e-5}},
        "rows_1": {"rows": 1, "per_unit": {"driver_cpu_seconds": 0.010}},
    },
    "hardware": {},
    "versions": {},
    "command": "python scripts/benchmark_cluster.py",
}
RANKING = {
    "fields": [
        {"entrants": 100, "rows": 10_000, "growth_seconds": 0.01, "leaderboard_seconds": 1.0},
        {"entrants": 200, "rows": 20_000, "growth_seconds": 0.02, "leaderboard_seconds": 4.0},
    ],
    "exponents": {"leaderboard_seconds": 2.0},
    "scenarios": 100,
    "unit_file": {"rows": 800, "check_seconds": 0.002, "read_seconds": 0.003, "bytes": 40_000, "memory_bytes": 160_000},
    "command": "python scripts/benchmark_ranking.py",
}


def test_costs_are_a_line_in_rows():
    costs = unit_costs(CLUSTER, 1000)
    assert costs.submit == pytest.approx(0.004)
    assert costs.submit + costs.collect == pytest.approx(0.010 + 999e-5)
    assert costs.dispatch == pytest.approx(0.003)
    assert costs.play == (8.0,) * 6
    assert unit_costs(CLUSTER, 1000, share=0.25).play == (2.0,) * 6


def test_the_model_repeats_runs_that_go_as_it_says():
    found = validation(CLUSTER)
    assert [run["workers"] for run in found] == [1, 2]
    assert all(run["ratio"] == pytest.approx(1.0, abs=0.01) for run in found)
    assert all(run["ratio_from_one_worker"] == pytest.approx(1.0, abs=0.01) for run in found)


def test_one_driver_reaches_as_many_workers_as_it_can_feed():
    record = cluster_scale(CLUSTER, RANKING, workers=(1, 8, 64, 1024), hours=0.1)
    most = record["workers_of_one_driver"]
    assert most == pytest.approx(8.0 / (0.010 + 2047e-5))
    for reach in record["reach"]:
        possible = min(1.0, most / reach["workers"])
        assert 0.85 * possible < reach["efficiency"] <= possible + 1e-6
    calm, *others = record["faults"]
    assert calm["lost_plays"] == 0
    assert all(case["finished"] == 1.0 and case["seconds"] >= calm["seconds"] for case in others)
    assert others[1]["lost_plays"] > others[0]["lost_plays"]
    assert others[1]["seconds"] > calm["seconds"]
    assert record["smaller_units"][0]["batch_size"] == 128
    json.dumps(record, allow_nan=False)


def test_ten_thousand_entrants_are_counted_by_the_schedule():
    found = internet(CLUSTER, RANKING)
    assert found["units"] == 10 * 1250  # ten rounds of 10,000 / 8 lineups, whose 100 scenarios are one batch
    assert found["rows"] == 10_000 * 1_000
    assert found["agent_steps"] == 10_000 * 1_000 * 120
    assert found["core_seconds"] == pytest.approx(found["agent_steps"] * 8.0 / (128 * 16 * 120))
    assert found["cores_for_a_billion_steps_a_day"] == pytest.approx(1e9 / 86_400 * 8.0 / (128 * 16 * 120))
    assert found["leaderboard"]["seconds"] == pytest.approx(4.0 * 50**2 * 10)
    assert [day["workers"] for day in found["days"]] == [8, 64, 512]
    assert found["days"][0]["rounds_seconds"] == pytest.approx(found["core_seconds"] / 8, rel=0.02)


def test_the_shipped_records_hold_what_the_model_says():
    """On the machine of the record the model's time is within its margin of the measured one."""
    record = json.loads((ROOT / "benchmarks" / "cluster_scale.json").read_text())
    assert record["margin"] == MARGIN
    assert all(abs(run["ratio"] - 1.0) < MARGIN for run in record["validation"])


@pytest.mark.slow
def test_the_script_writes_what_the_shipped_records_give(tmp_path):
    path = tmp_path / "scale.json"
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "simulate_cluster.py"), "--json", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found, shipped = json.loads(path.read_text()), json.loads((ROOT / "benchmarks" / "cluster_scale.json").read_text())
    assert found | {"command": ""} == shipped | {"command": ""}


def test_a_record_of_something_else_is_refused(tmp_path, monkeypatch, capsys):
    path = tmp_path / "other.json"
    path.write_text("{}")
    script = str(ROOT / "scripts" / "simulate_cluster.py")
    monkeypatch.setattr(sys, "argv", [script, "--cluster", str(path)])
    assert runpy.run_path(script)["main"]() == 2
    assert capsys.readouterr().err.startswith("error: ")
