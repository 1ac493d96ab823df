"""Ray's dashboard, and ours for Grafana: where they are, and what Ray must know before it starts."""

import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path

GRAFANA_DASHBOARD = Path(__file__).parent / "grafana" / "arena_dashboard.json"
GRAFANA_FOLDER = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "grafana_dashboards"
OUTPUT_DIR = "RAY_METRICS_GRAFANA_DASHBOARD_OUTPUT_DIR"  # where Ray writes its dashboards and tells Grafana to look
TOKEN_HINT = "it asks for a token: run `ray get-auth-token`"


def place_grafana_dashboard(folder: Path) -> Path:
    """Put our dashboard into a folder, which is made; the path of the copy. OSError if that cannot be written to."""
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(GRAFANA_DASHBOARD, folder))


def provision() -> None:
    """Have the Ray that this process is about to start provide Grafana with our dashboard beside its own.

    In a folder beside its sessions, because Ray empties the one of its own session when it starts. Nothing where the
    variable is set, or the folder is somebody else's.
    """
    if OUTPUT_DIR in os.environ:
        return
    with suppress(OSError):
        os.environ[OUTPUT_DIR] = str(place_grafana_dashboard(GRAFANA_FOLDER).parent)


def dashboard_line() -> str:
    """Where the dashboard of the Ray of this process is, in a line."""
    import ray
    from ray.util.client import ray as client

    if client.is_connected():  # ray://
        return f"dashboard: on the head node, port 8265 unless it was told otherwise; {TOKEN_HINT}"
    url = ray.init(ignore_reinit_error=True, logging_level=logging.ERROR, log_to_driver=False).dashboard_url
    return f"dashboard: http://{url}; {TOKEN_HINT}" if url else "dashboard: this cluster has none"
