"""Prometheus scrapes a tournament and a training while they run, and every panel of the dashboard has data."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pyarrow as pa
import pytest
import ray
import torch

from arena.forecast.serving.server import RemoteForecaster, start_server
from arena.monitor.dashboard import GRAFANA_DASHBOARD
from arena.tournament.play.job import UnitTables
from arena.tournament.run.progress import count_unit
from arena.tournament.types import SCHEMA

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        shutil.which("prometheus") is None, reason="no prometheus here (Debian: apt install prometheus)"
    ),
]
ROOT = Path(__file__).parents[2]
ARENA = (sys.executable, "-c", "from arena.cli import main; raise SystemExit(main())")
DEADLINE = 600.0  # seconds until every panel must have had data, on a busy machine
TOURNAMENT = """\
name: watched
out: {out}
data: {{scenarios: 20000, num_assets: 2, episode_length: 16, warmup: 64}}
agents:
  - agent: cash
  - agent: momentum
  - agent: mean_variance
    name: drift
    params: {{forecaster: drift}}
  - agent: {out}/faulty.py:Faulty
tournament: {{batch_size: 50}}
"""
FAULTY = """\
class Faulty:
    def act(self, obs):
        raise RuntimeError("always")
"""
TRAINING = (
    "--config",
    str(ROOT / "configs/train/smoke.yaml"),
    "--run.iterations",
    "500",
    "--run.evaluation.every",
    "1",
)


@pytest.fixture
def cluster():
    """A Ray with a dashboard, whose metrics are fresh; its context."""
    yield ray.init(
        address="local",
        num_cpus=3,
        include_dashboard=True,
        log_to_driver=False,
        _system_config={"metrics_report_interval_ms": 1000},
    )
    ray.shutdown()


def test_counting_a_unit_costs_less_than_a_hundredth_of_a_short_one(cluster):
    """64 matches of 16 seats take a worker a second and more."""
    columns = {name: [0] * 1024 for name in SCHEMA}
    columns |= {"scenario": [row // 16 for row in range(1024)], "status": ["ok"] * 1024, "agent": ["a"] * 1024}
    tables = UnitTables(pa.table(columns), None, pa.table({"displacement": [0.0] * 1000}), None)
    count_unit(tables)
    start = time.process_time()
    for _ in range(50):
        count_unit(tables)
    assert (time.process_time() - start) / 50 < 0.01


@pytest.fixture
def ask(cluster, tmp_path):
    """(PromQL) -> values, by a Prometheus that reads the file which Ray writes for it, as deploy/monitoring has it."""
    port = 19090 + os.getpid() % 1000
    config = (ROOT / "deploy/monitoring/prometheus.yml").read_text()
    config = config.replace("/tmp/ray/session_latest", cluster.address_info["session_dir"]).replace("10s", "1s")
    (tmp_path / "prometheus.yml").write_text(config)
    server = subprocess.Popen(
        [
            "prometheus",
            f"--config.file={tmp_path}/prometheus.yml",
            f"--storage.tsdb.path={tmp_path}/tsdb",
            f"--web.listen-address=127.0.0.1:{port}",
        ],
        stderr=(tmp_path / "prometheus.log").open("w"),
    )

    def asked(query):
        url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                found = json.load(response)["data"]["result"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{query}: {error.read().decode()}") from error
        except OSError:
            return []  # not up yet
        return [value for value in (float(one["value"][1]) for one in found) if not math.isnan(value)]

    asked.url = f"http://127.0.0.1:{port}"
    yield asked
    server.terminate()
    server.wait(30)


@pytest.fixture
def begin(cluster, tmp_path):
    """(name, words) starts `arena` of these words in this cluster, and ends it as Ctrl-C would."""
    running = []

    def start(name, *words):
        output = (tmp_path / f"{name}.log").open("w")
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        running.append(subprocess.Popen([*ARENA, *words], cwd=ROOT, env=environment, stdout=output, stderr=output))
        return running[-1]

    yield start
    for process in running:
        process.send_signal(signal.SIGINT)
    for process in running:
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def queries():
    """(panel, PromQL) of the dashboard, its variables filled in."""
    for panel in json.loads(GRAFANA_DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"].replace("$SessionName", ".+").replace("$__rate_interval", "30s")


def test_every_panel_has_data_while_a_tournament_and_a_training_run(cluster, ask, begin, tmp_path):
    address = cluster.address_info["gcs_address"]
    (tmp_path / "faulty.py").write_text(FAULTY)
    (tmp_path / "watched.yaml").write_text(TOURNAMENT.format(out=tmp_path))
    at = ("--ray.address", address, "--ray.workers", "1")
    begin("tournament", "tournament", "--config", str(tmp_path / "watched.yaml"), *at)
    begin("training", "train", *TRAINING, "--run.out", str(tmp_path), "--run.address", address)
    server = start_server(["drift"], num_cpus=0)
    forecaster, context = RemoteForecaster("drift"), 100 + torch.rand(4, 40, 6)

    missing, end = list(queries()), time.monotonic() + DEADLINE
    while missing and time.monotonic() < end:
        for step in range(5):
            forecaster.predict(context + step % 2, None, 5)  # some of it from memory
            time.sleep(1)
        missing = [(panel, query) for panel, query in missing if not ask(query)]
    said = "".join(f"\n{name}: {(tmp_path / name).read_text()[-1500:]}" for name in ("tournament.log", "training.log"))
    assert missing == [], said

    logs = Path(cluster.address_info["session_dir"], "logs").glob("worker-*.err")
    lines = [line for log in logs for line in log.read_text().splitlines() if line.startswith("{")]
    records = [json.loads(line) for line in lines if "batch-00000-lineup-00000" in line]
    assert {"begins", "played", "forfeits:"} <= {word for record in records for word in record["message"].split()}
    assert {record["facts"]["unit"] for record in records} == {"batch-00000-lineup-00000"}
    assert {record["task_name"] for record in records} == {"play watched"}

    seen = subprocess.run(
        [*ARENA, "monitor", "--address", address],
        env={**os.environ, "RAY_PROMETHEUS_HOST": ask.url},
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert seen.returncode == 0, seen.stderr
    assert "scraped by Prometheus" in seen.stdout
    assert "ForecastServer alive" in seen.stdout
    del server  # held until here
