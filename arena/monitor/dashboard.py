"""Ray's dashboard, and ours for Grafana: where they are, and what Ray must know before it starts."""

import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path

GRAFANA_DASHBOARD = Path(__file__).parent / "grafana" / "arena_dashboard.json"
OUTPUT_DIR = "RAY_METRICS_GRAFANA_DASHBOARD_OUTPUT_DIR"  # where Ray writes its dashboards and tells Grafana to look
TOKEN_HINT = "it asks for a token: run `ray get-auth-token`"


def place_grafana_dashboard(folder: Path) -> Path:
    """Put our dashboard into a folder, which is made; the path of the copy. OSError if that cannot be written to."""
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(GRAFANA_DASHBOARD, folder))


def provision() -> None:
    """Have the Ray that this process is about to start provide Grafana with our dashboard beside its own.

    In a folder of the user's, because Ray empties the one of its session when it starts. Whoever has set the variable,
    or has no place to write to, has chosen otherwise.
    """
    if OUTPUT_DIR in os.environ:
        return
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    with suppress(OSError, RuntimeError):  # no home
        os.environ[OUTPUT_DIR] = str(place_grafana_dashboard(Path(cache) / "arena" / "grafana").parent)


def dashboard_line() -> str:
    """Where the dashboard of the Ray of this process is, in a line."""
    import ray

    url = ray.init(ignore_reinit_error=True, logging_level=logging.ERROR, log_to_driver=False).dashboard_url
    return f"dashboard: http://{url}; {TOKEN_HINT}" if url else "dashboard: this cluster has none"
