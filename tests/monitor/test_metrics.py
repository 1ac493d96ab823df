"""Declared metrics, the Grafana dashboard and the page about them tell of the same numbers; recording is free."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from arena.config.schedule import ScheduleConfig
from arena.forecast import call_stats
from arena.forecast.baselines import Drift, Persistence
from arena.forecast.ensemble import Ensemble
from arena.monitor import metrics
from arena.monitor.dashboard import GRAFANA_DASHBOARD
from arena.monitor.metrics import Metric
from arena.tournament.play.job import UnitTables
from arena.tournament.run import progress
from arena.tournament.run.workers import task_name
from arena.tournament.schedule.lineups import build_units
from arena.tournament.schedule.swiss import swiss_schedule
from arena.tournament.types import SCHEMA, Lineup
from tests.forecast.test_server import walks

ROOT = Path(__file__).parents[2]
METRICS = [value for value in vars(metrics).values() if isinstance(value, Metric)]
PAGE = ROOT / "docs/monitoring.md"
DASHBOARD = json.loads(GRAFANA_DASHBOARD.read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
NAME = re.compile(r"\bray_[a-z_]+")


def test_panels_ask_for_every_declared_metric_and_for_no_other_of_ours():
    asked = {name for query in QUERIES for name in NAME.findall(query)}
    ours = {name for name in asked if name.startswith("ray_arena_")}
    declared = {series: metric.name for metric in METRICS for series in metric.series}
    assert ours <= declared.keys()
    assert {declared[name] for name in ours} == {metric.name for metric in METRICS}
    assert all(name.startswith(("ray_tasks", "ray_rllib_")) for name in asked - ours)


def test_panels_group_by_tags_that_their_metrics_have():
    of_ray = {"le", "State", "WorkerId", "SessionName"}
    for query in QUERIES:
        tags = {tag for metric in METRICS if metric.name in query for tag in metric.tags}
        grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")}
        assert grouped <= tags | of_ray, query
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", query))
        assert labels <= tags | {"SessionName", "Name", "State"}, query


def test_the_dashboard_is_one_that_grafana_10_and_11_load():
    """What they need: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/."""
    assert 36 <= DASHBOARD["schemaVersion"] <= 39, "10.0 writes 38, 11 writes 39, and both migrate what is older"
    assert (DASHBOARD["uid"], DASHBOARD["title"], DASHBOARD["id"]) == ("arena", "Arena", None)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"] == [
        *("Tournament", "Market", "Forecast", "Training")
    ]
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource", "SessionName"]
    for panel in PANELS:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert len(panel["description"]) > 40, panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
        assert all('SessionName=~"$SessionName"' in target["expr"] for target in panel["targets"])


def test_units_of_a_stage_are_one_bar_that_the_panel_of_units_selects():
    (selector,) = {found for query in QUERIES for found in re.findall(r'\bName=~"([^"]+)"', query)}
    agents = [f"agent_{index}" for index in range(6)]
    schedule = swiss_schedule(agents, ScheduleConfig(format="swiss", rounds=2, seats=3, batch_size=2), 0, range(16))
    for units, stage in ((schedule.stage(0, None), " round-001"), (build_units([Lineup(0, ("a",))], range(4), 2), "")):
        assert len(units) > 1
        assert {task_name("play mine", unit) for unit in units} == {f"play mine{stage}"}
        assert re.fullmatch(selector, f"play mine{stage}")


def test_panels_do_not_cover_each_other():
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_rates_are_asked_of_counters_and_of_histograms_only():
    gauges = {series for metric in METRICS if metric.kind == "gauge" for series in metric.series}
    rated = {name for query in QUERIES for name in re.findall(r"(?:rate|increase)\((ray_\w+)", query)}
    assert rated
    assert not rated & gauges


def test_the_page_has_a_row_for_every_metric():
    rows = dict(re.findall(r"^\| `(arena_\w+)` \| (.*) \|$", PAGE.read_text(), re.MULTILINE))
    assert rows == {
        metric.name: f"{metric.kind} | {', '.join(metric.tags) or 'none'} | {metric.unit} | {metric.meaning}"
        for metric in METRICS
    }


def test_names_follow_prometheus_and_tags_are_few():
    assert len({metric.name for metric in METRICS}) == len(METRICS) > 10
    for metric in METRICS:
        assert re.fullmatch(r"arena_[a-z_]+", metric.name)
        assert not metric.name.endswith("_total"), "Ray adds it"
        assert (metric.kind == "histogram") == bool(metric.buckets)
        assert metric.buckets == tuple(sorted(metric.buckets))
        assert set(metric.tags) <= {"agent", "forecaster", "source"}


def test_the_dashboard_is_part_of_the_package():
    """hatchling packs every file in the package's folder that git does not ignore."""
    assert GRAFANA_DASHBOARD.is_relative_to(ROOT / "arena")
    ignored = subprocess.run(["git", "check-ignore", "-q", str(GRAFANA_DASHBOARD)], cwd=ROOT, check=False)
    assert ignored.returncode == 1


def test_without_ray_nothing_is_recorded_and_ray_is_not_imported():
    program = """
import sys, time
from arena.monitor import metrics
start = time.perf_counter()
for _ in range(10_000):
    metrics.LATENCY.record(0.1, forecaster="drift")
print((time.perf_counter() - start) / 10_000)
assert "ray" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert float(done.stdout) < 2e-5, "a call costs well below a microsecond; this bound is for a busy machine"


@pytest.fixture
def recorded(monkeypatch):
    """(name, value, tags) of everything that is recorded, as if there were a Ray."""
    seen = []
    monkeypatch.setattr(metrics, "is_recording", lambda: True)
    for metric in METRICS:
        tell = lambda value, tags, name=metric.name: seen.append((name, value, tags))  # noqa: E731
        monkeypatch.setitem(metric.__dict__, "_instrument", tell)
    return seen


def test_what_is_no_number_or_no_addition_is_left_out(recorded):
    for value in (float("nan"), float("inf"), 0, -1):
        metrics.MATCHES.record(value)
    metrics.EPISODE_RETURN.record(float("nan"))
    metrics.EPISODE_RETURN.record(-1.5)
    assert recorded == [("arena_training_return", -1.5, {})]


def test_a_unit_is_counted_from_its_tables(recorded):
    """Two scenarios of three seats, of which one forfeits both."""
    num_rows = 6
    columns = {name: [0] * num_rows for name in SCHEMA}
    columns |= {
        "scenario": [7, 7, 7, 9, 9, 9],
        "agent": ["a", "b", "c"] * 2,
        "final_nav": [1.1, 0.9, 0.0, 1.0, 1.0, 1.0],
        "num_steps": [20, 20, 0] * 2,
        "status": ["ok", "ok", "forfeit"] * 2,
    }
    progress.count_unit(UnitTables(pa.table(columns), None, pa.table({"displacement": [0.01, -0.03]}), None))
    assert recorded == [
        ("arena_matches", 2, {}),
        ("arena_market_steps", 40, {}),
        ("arena_agent_steps", 80, {}),
        ("arena_nav_dispersion", pytest.approx(0.4784, abs=1e-4), {}),
        ("arena_nav_dispersion", 0.0, {}),
        ("arena_displacement", pytest.approx(0.02), {}),
        ("arena_forfeits", 2, {"agent": "c"}),
    ]


def test_listeners_hear_of_models_once_however_they_are_asked(monkeypatch):
    heard = []
    monkeypatch.setattr(call_stats, "_listeners", {lambda *call: heard.append(call[:2])})
    Ensemble([Drift(), Persistence()]).predict(walks(5, 30), None, 3)
    assert heard == [("drift", 5), ("persistence", 5)]


def test_a_metric_says_how_prometheus_names_it():
    kinds = {
        kind: Metric("arena_x", kind, "s", "", buckets=(1.0,)).series for kind in ("counter", "gauge", "histogram")
    }
    assert kinds == {
        "counter": ("ray_arena_x_total",),
        "gauge": ("ray_arena_x",),
        "histogram": ("ray_arena_x_bucket", "ray_arena_x_sum", "ray_arena_x_count"),
    }


def test_counting_a_unit_costs_little(recorded):
    """Against a unit of the same size, which takes about a second: far below one per cent."""
    columns = {name: [0] * 1024 for name in SCHEMA}
    columns |= {"scenario": [row // 16 for row in range(1024)], "status": ["ok"] * 1024, "agent": ["a"] * 1024}
    tables = UnitTables(pa.table(columns), None, pa.table({"displacement": []}), None)
    start = time.perf_counter()
    for _ in range(20):
        progress.count_unit(tables)
    assert (time.perf_counter() - start) / 20 < 5e-3
