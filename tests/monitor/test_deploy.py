"""deploy/monitoring: files that Prometheus, Grafana and Compose read fit together."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from arena.monitor.dashboard import GRAFANA_FOLDER

FOLDER = Path(__file__).parents[2] / "deploy/monitoring"


def read(name):
    return yaml.safe_load((FOLDER / name).read_text())


def test_images_are_pinned_and_everything_listens_on_loopback_only():
    services = read("compose.yaml")["services"]
    for service in services.values():
        name, _, tag = service["image"].partition(":")
        assert name in ("prom/prometheus", "grafana/grafana")
        assert tag.lstrip("v").replace(".", "").isdecimal(), "a version, never latest"
        assert service["network_mode"] == "host", "Ray's metrics are ports of the machine"
    assert "--web.listen-address=127.0.0.1:9090" in services["prometheus"]["command"]
    assert services["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert services["grafana"]["environment"]["GF_SECURITY_ALLOW_EMBEDDING"] == "true"


def test_what_is_mounted_exists_and_is_where_it_is_read():
    compose = read("compose.yaml")
    mounts = {name: dict(m.split(":")[:2] for m in each["volumes"]) for name, each in compose["services"].items()}
    for mounted in mounts.values():
        for source in mounted:
            is_here = source.startswith("./") and (FOLDER / source).exists()
            assert is_here or source == "/tmp/ray" or source in compose["volumes"], source
    assert mounts["prometheus"]["./prometheus.yml"] == "/etc/prometheus/prometheus.yml"
    assert "--config.file=/etc/prometheus/prometheus.yml" in compose["services"]["prometheus"]["command"]
    assert mounts["grafana"]["./grafana"] == "/etc/grafana/provisioning"
    assert mounts["grafana"]["/tmp/ray"] == mounts["prometheus"]["/tmp/ray"] == "/tmp/ray", "links lead there"


def test_prometheus_reads_the_file_that_ray_writes():
    (job,) = read("prometheus.yml")["scrape_configs"]
    assert job["file_sd_configs"][0]["files"] == ["/tmp/ray/session_latest/prom_metrics_service_discovery.json"]


def test_grafana_is_given_the_source_and_the_folder_of_dashboards():
    (source,) = read("grafana/datasources/prometheus.yaml")["datasources"]
    assert (source["name"], source["type"], source["url"]) == ("Prometheus", "prometheus", "http://127.0.0.1:9090")
    (provider,) = read("grafana/dashboards/ray.yaml")["providers"]
    assert provider["options"]["path"] == str(GRAFANA_FOLDER) == "/tmp/ray/grafana_dashboards"
    assert f"--write-dashboard {GRAFANA_FOLDER}" in (FOLDER / "README.md").read_text()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool (Debian: apt install prometheus)")
def test_promtool_accepts_the_configuration():
    command = ["promtool", "check", "config", str(FOLDER / "prometheus.yml")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
