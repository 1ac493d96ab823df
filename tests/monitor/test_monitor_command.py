"""`arena monitor`: what it says of a cluster, of none, and of a wrong address."""

import json
import os
import socket
from pathlib import Path

import pytest

from arena.cli import main
from arena.cluster.status import DISABLED, Endpoint, Health, cluster_health
from arena.commands import monitor as command
from arena.errors import UserError
from arena.monitor import dashboard


def health(**changes):
    """Of a Ray on which a tournament plays, without Prometheus and Grafana."""
    facts = {
        "address": "10.0.0.1:6379",
        "version": "2.60.0",
        "dashboard": "http://127.0.0.1:8265",
        "session": "/tmp/ray/session_1",
        "nodes": (2, 3),
        "actors": {"ForecastServer alive": 1},
        "endpoints": (Endpoint("10.0.0.1:8080", 12, None), Endpoint("10.0.0.2:8080", None, None)),
        "prometheus": "http://localhost:9090",
        "has_prometheus": False,
        "grafana": "http://localhost:3000",
        "has_grafana": False,
    }
    return Health(**facts | changes)


def said(**changes):
    return "\n".join(f"{name} {value}" for name, value in command.lines(health(**changes)))


def test_it_says_what_is_there_and_how_to_start_what_is_not():
    text = said()
    for part in (
        "2 alive, 1 dead",
        "http://127.0.0.1:8265; it asks for a token: run `ray get-auth-token`",
        "1 ForecastServer alive",
        "http://10.0.0.1:8080/metrics, 12 of arena, scraped by nobody",
        "http://10.0.0.2:8080/metrics does not answer",
        "http://localhost:9090 does not answer",
        "prometheus --web.listen-address=127.0.0.1:9090 --config.file=/tmp/ray/session_1/metrics/prometheus/",
        "deploy/monitoring/compose.yaml up",
    ):
        assert part in text


def test_it_proposes_nothing_where_nothing_is_missing():
    scraped = (Endpoint("10.0.0.1:8080", 12, True),)
    text = said(endpoints=scraped, has_prometheus=True, has_grafana=True)
    assert "scraped by Prometheus" in text
    assert "to scrape" not in text
    assert "to chart" not in text


def test_it_says_so_if_prometheus_watches_somebody_else_or_there_is_no_dashboard():
    text = said(endpoints=(Endpoint("10.0.0.1:8080", 0, False),), has_prometheus=True, grafana=DISABLED)
    assert "none of arena yet, not scraped by Prometheus" in text
    assert "to scrape prometheus" in text
    assert "grafana RAY_GRAFANA_HOST=DISABLED" in text
    text = said(dashboard=None, actors=None)
    assert "dashboard none: start the tournament with --ray.dashboard" in text
    assert "to scrape" not in text


def test_it_exits_with_0_without_prometheus_and_with_1_and_a_sentence_without_ray(monkeypatch, capsys):
    monkeypatch.setattr(command, "cluster_health", lambda address: health())
    assert main(["monitor"]) == 0
    assert "  nodes       2 alive, 1 dead\n" in capsys.readouterr().out

    def nothing(address):
        raise UserError("no Ray runs on this machine; start one")

    monkeypatch.setattr(command, "cluster_health", nothing)
    assert main(["monitor"]) == 1
    assert capsys.readouterr().err == "error: no Ray runs on this machine; start one\n"


@pytest.mark.ray  # which ends the Ray that other tests of this process share
def test_an_address_where_nobody_listens_is_one_sentence_at_once():
    with socket.create_server(("127.0.0.1", 0)) as server:
        free = server.getsockname()[1]
    with pytest.raises(UserError, match=f"^--address 127.0.0.1:{free}: nobody answers at "):
        cluster_health(f"127.0.0.1:{free}")
    with pytest.raises(UserError, match="expected host:port of the head node"):
        cluster_health("ray://127.0.0.1:10001")


def test_the_dashboard_is_written_where_it_is_wanted(tmp_path, capsys):
    assert main(["monitor", "--write-dashboard", str(tmp_path / "new")]) == 0
    written = Path(capsys.readouterr().out.strip())
    assert json.loads(written.read_text())["uid"] == "arena"
    (tmp_path / "file").write_text("")
    assert main(["monitor", "--write-dashboard", str(tmp_path / "file")]) == 2
    assert "--write-dashboard" in capsys.readouterr().err


def test_ray_is_told_of_our_dashboard_unless_it_was_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.setattr(dashboard, "GRAFANA_FOLDER", tmp_path / "dashboards")
    monkeypatch.setenv(dashboard.OUTPUT_DIR, "elsewhere")
    dashboard.provision()
    assert not (tmp_path / "dashboards").exists()
    monkeypatch.delenv(dashboard.OUTPUT_DIR)
    dashboard.provision()
    assert os.environ.pop(dashboard.OUTPUT_DIR) == str(tmp_path / "dashboards")
    assert (tmp_path / "dashboards/arena_dashboard.json").is_file()


def test_no_place_for_it_is_no_reason_to_stop(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(dashboard, "GRAFANA_FOLDER", tmp_path / "file")
    monkeypatch.delenv(dashboard.OUTPUT_DIR, raising=False)
    dashboard.provision()
    assert dashboard.OUTPUT_DIR not in os.environ
