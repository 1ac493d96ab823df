"""Whatever a cluster loses on the way, a tournament ends with the digest of the same config on one machine.

The nodes are real processes on this machine, and what is killed is killed. What a training does when it loses a node
is in tests/training/test_faults.py.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from io import StringIO

import numpy as np
import pytest
import ray
from nodes_setup import NUM_UNITS, ROOT, digest_of, idle, said_at_the_end, wait_for_units, write_config
from ray._private.internal_api import memory_summary
from ray.job_submission import JobSubmissionClient
from rich.console import Console

from arena.config.flags import load_config
from arena.forecast.serving import server
from arena.tournament.results.outcome import rank
from arena.tournament.run.run_units import run_units
from arena.tournament.setup.plan import make_plan, resolve_paths
from arena.tournament.store.run_folder import create_run

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(3600)]

UNIT = 0.05  # seconds of each of the ten steps of a unit


@pytest.mark.parametrize("full", [False, True], ids=["small", "default"])
def test_a_job_that_loses_a_node(make_nodes, tmp_path, expected, full):
    """The default tournament, all of it, and a small one."""
    what = [] if full else ["--config", write_config(tmp_path, UNIT)]
    runs, name = tmp_path / "runs", "0001-default" if full else "0001-faults"
    nodes = make_nodes(2)
    job = nodes.submit("python", "scripts/tournament.py", "--ray.address", "auto", "--out", runs, *what)
    wait_for_units(runs / name, 1 if full else 5, job, seconds=1500.0)
    nodes.kill(next(iter(nodes.cluster.worker_nodes)))
    killed_at = len(list((runs / name / "units").glob("*.parquet")))
    said = said_at_the_end(job, seconds=2400.0)
    assert killed_at < len(list((runs / name / "units").glob("*.parquet"))), "on the way"
    assert "succeeded" in said
    if full:
        alone = [sys.executable, str(ROOT / "scripts" / "tournament.py"), "--out", str(tmp_path / "alone")]
        subprocess.run(alone, check=True, capture_output=True)
        expected = digest_of(tmp_path / "alone", name)
    assert digest_of(runs, name) == expected


def test_a_node_that_is_added_is_used(make_nodes, tmp_path, expected):
    nodes = make_nodes(1)
    config = write_config(tmp_path, UNIT, mark=str(tmp_path / "node-"))
    driver = nodes.drive("--config", config, "--out", tmp_path / "runs")
    wait_for_units(tmp_path / "runs" / "0001-faults", 3, driver)
    nodes.add()
    said_at_the_end(driver)
    assert {path.name.removeprefix("node-") for path in tmp_path.glob("node-*")} == {
        node.node_id for node in nodes.cluster.worker_nodes
    }
    assert digest_of(tmp_path / "runs") == expected


def test_an_object_store_that_is_full(make_nodes, tmp_path, expected):
    """More than it holds is in the store of the driver's node, so whatever comes in is spilled to disk."""
    nodes = make_nodes(2, head_store=80 * 1024**2)
    ray.init(address=nodes.address, log_to_driver=False)
    ballast = [ray.put(np.zeros(10 * 1024**2, np.uint8)) for _ in range(20)]
    driver = nodes.drive("--config", write_config(tmp_path), "--out", tmp_path / "runs", "--tournament.paths-mb", "200")
    said_at_the_end(driver)
    spilled = memory_summary(nodes.address, stats_only=True)
    assert re.search(r"Spilled \d\d+ MiB", spilled), spilled
    assert all(ray.get(reference).nbytes == 10 * 1024**2 for reference in ballast)
    assert digest_of(tmp_path / "runs") == expected


def test_the_node_of_the_forecast_server_is_lost(make_nodes, tmp_path, expected, monkeypatch):
    """And with it the server for good, as it may live nowhere else."""
    nodes = make_nodes(2)
    doomed = next(iter(nodes.cluster.worker_nodes))
    monkeypatch.setattr(server, "_own_node", lambda: doomed.node_id)
    begun, start = threading.Event(), server.start_server

    def start_there(*arguments, **settings):
        actor = start(*arguments, **settings | {"here": True})
        begun.set()
        return actor

    monkeypatch.setattr(server, "start_server", start_there)
    config = load_config(
        write_config(tmp_path, UNIT), ["--out", str(tmp_path / "runs"), "--ray.address", nodes.address]
    )
    config = resolve_paths(config)
    plan = make_plan(config)
    run = create_run(config, "a command", plan.data_digest, plan.job.forecasters)
    killed = []

    def kill():
        begun.wait()
        while len(list((run / "units").glob("*.parquet"))) < 5:
            time.sleep(0.1)
        nodes.kill(doomed)
        killed.append(len(list((run / "units").glob("*.parquet"))))

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    run_units(config, plan, run, Console(file=StringIO()))
    thread.join()
    assert killed[0] < NUM_UNITS
    assert "no forecast server" not in (run / "log.jsonl").read_text(), "there was one"
    assert rank(run, plan, config.seed).digest == expected


def test_a_process_that_hangs_does_not_hold_up_the_end(make_nodes, tmp_path, expected):
    """It is stopped, not killed: Ray takes it for alive, and would wait for it for ever."""
    nodes = make_nodes(2)
    hung = tmp_path / "hung"
    driver = nodes.drive("--config", write_config(tmp_path, UNIT, hang=str(hung)), "--out", tmp_path / "runs")
    try:
        said_at_the_end(driver, seconds=300.0)
    finally:
        with suppress(ProcessLookupError):
            os.kill(int(hung.read_text()), signal.SIGKILL)
    assert digest_of(tmp_path / "runs") == expected
    at = unit_times(tmp_path / "runs" / "0001-faults")
    # Three times the longest, which began with the start of a worker, and ten seconds.
    assert at[-1] - at[-2] < 3 * at[0] + 10 + 20


def test_a_node_that_stands_still_does_not_hold_up_the_end(make_nodes, tmp_path, expected):
    """Ray takes the node for dead after a while, yet what it had sent there is not heard of for minutes."""
    nodes = make_nodes(2)
    driver = nodes.drive("--config", write_config(tmp_path, UNIT), "--out", tmp_path / "runs")
    wait_for_units(tmp_path / "runs" / "0001-faults", 5, driver)
    begun = time.monotonic()
    with nodes.stopped(next(iter(nodes.cluster.worker_nodes))):
        said_at_the_end(driver)
    first = unit_times(tmp_path / "runs" / "0001-faults")[0]
    assert time.monotonic() - begun < 3 * first + 10 + 120, "as stated, and some time to play the others"
    assert digest_of(tmp_path / "runs") == expected


@pytest.mark.parametrize("end", ["job stop", "ctrl-c", "killed"])
def test_what_ends_a_driver_leaves_nothing_behind_and_can_be_gone_on_with(make_nodes, tmp_path, expected, end):
    nodes = make_nodes(2)
    run = tmp_path / "runs" / "0001-faults"
    what = ("--config", write_config(tmp_path, UNIT), "--out", run.parent)
    if end == "job stop":
        driver = nodes.submit("python", "scripts/tournament.py", "--ray.address", "auto", *what)
        wait_for_units(run, 5, driver)
        jobs = JobSubmissionClient(nodes.dashboard)
        (submitted,) = [job.submission_id for job in jobs.list_jobs() if job.submission_id]
        subprocess.run(["ray", "job", "stop", "--address", nodes.dashboard, submitted], check=True, capture_output=True)
        said = said_at_the_end(driver, code=None)
        assert "go on with" in said
        assert f"--resume {run}" in said
    else:
        driver = nodes.drive(*what)
        wait_for_units(run, 5, driver)
        os.kill(driver.pid, signal.SIGINT if end == "ctrl-c" else signal.SIGKILL)
        said_at_the_end(driver, code=130 if end == "ctrl-c" else -signal.SIGKILL)
    assert not (run / "leaderboard.json").exists(), "on the way"
    idle(nodes.address)
    said_at_the_end(nodes.drive("--resume", run))
    assert digest_of(run.parent) == expected
    idle(nodes.address)


def unit_times(run):
    """When each unit was stored, from the start [s]."""
    events = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return sorted(event["seconds"] for event in events if event["event"] == "unit")
