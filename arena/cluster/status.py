"""How a running Ray is: what answers, who is alive, who is watching. Looks from outside in and changes nothing."""

import json
import logging
import os
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from arena.cluster.joining import CLIENT, join
from arena.errors import UserError
from arena.monitor.metrics import PREFIX

TIMEOUT = 5.0  # seconds that anything may take to answer
PROMETHEUS, GRAFANA = "http://localhost:9090", "http://localhost:3000"  # Ray's own defaults
DISABLED = "DISABLED"  # what Ray takes for "there is no Grafana"


class Endpoint(NamedTuple):
    """Where a node serves its metrics."""

    address: str  # host:port
    num_metrics: int | None  # names that begin with ray_arena_; None: it does not answer
    scraped: bool | None  # by Prometheus, without an error; None: there is no Prometheus


class Health(NamedTuple):
    """Of a cluster, now."""

    address: str  # of its GCS
    version: str  # of Ray
    dashboard: str | None  # URL
    session: str  # folder of its session, on the head node
    nodes: tuple[int, int]  # alive, known
    actors: Mapping[str, int] | None  # how many by "class state"; None: no dashboard to ask
    endpoints: tuple[Endpoint, ...]  # of the nodes that are alive
    prometheus: str  # URL
    has_prometheus: bool
    grafana: str  # URL, or DISABLED
    has_grafana: bool


def cluster_health(address: str = "auto") -> Health:
    """The health of a cluster; UserError says in a sentence why there is none at this address.

    address  host:port of its head node; auto: RAY_ADDRESS, or the one that runs on this machine
    """
    if address.startswith(CLIENT):
        raise UserError(f"--address {address}: expected host:port of the head node")
    prometheus = os.environ.get("RAY_PROMETHEUS_HOST", PROMETHEUS).rstrip("/")
    grafana = os.environ.get("RAY_GRAFANA_HOST", GRAFANA).rstrip("/")
    with _joined(address) as context:
        import ray

        known = ray.nodes()
        alive = [node for node in known if node["Alive"]]
        dashboard = f"http://{context.dashboard_url}" if context.dashboard_url else None
        has_prometheus = _answers(f"{prometheus}/api/v1/query?query=vector(1)")
        targets = _targets(prometheus) if has_prometheus else None
        return Health(
            address=context.address_info["gcs_address"],
            version=ray.__version__,
            dashboard=dashboard,
            session=context.address_info["session_dir"],
            nodes=(len(alive), len(known)),
            actors=_actors(dashboard),
            endpoints=tuple(
                _endpoint(f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}", targets) for node in alive
            ),
            prometheus=prometheus,
            has_prometheus=has_prometheus,
            grafana=grafana,
            has_grafana=grafana != DISABLED and _answers(f"{grafana}/api/health"),
        )


@contextmanager
def _joined(address: str) -> Iterator[Any]:
    """The context of a connection to a cluster; a Ray that this process belongs to is used and left as it is."""
    if "ray" not in sys.modules and _has_token():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # read when Ray is imported; unset, it would not show the token
    import ray

    is_ours = not ray.is_initialized()
    if is_ours:
        join(address, {}, flag="--address")
    try:
        yield ray.init(ignore_reinit_error=True, logging_level=logging.ERROR, log_to_driver=False)
    finally:
        if is_ours:
            ray.shutdown()


def _has_token() -> bool:
    """Where Ray looks for one."""
    named = (os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    return any(named) or Path("~/.ray/auth_token").expanduser().exists()


def _actors(dashboard: str | None) -> dict[str, int] | None:
    if dashboard is None:
        return None
    from ray.util.state import list_actors

    try:
        found = list_actors(address=dashboard, limit=10_000, timeout=int(TIMEOUT), raise_on_missing_output=False)
    except Exception:  # a dashboard that starts, or ends, is not there for this purpose
        return None
    counts: dict[str, int] = {}
    for actor in found:
        key = f"{actor.class_name} {str(actor.state).lower()}"
        counts[key] = counts.get(key, 0) + 1
    return counts


def _endpoint(address: str, targets: Mapping[str, bool] | None) -> Endpoint:
    try:
        text = _get(f"http://{address}/metrics").decode()
        lines = [line.split()[2] for line in text.splitlines() if line.startswith(f"# TYPE {PREFIX}arena_")]
        num_metrics = len(set(lines))
    except OSError:
        num_metrics = None
    return Endpoint(address, num_metrics, None if targets is None else targets.get(address, False))


def _targets(prometheus: str) -> dict[str, bool]:
    """host:port of what Prometheus scrapes -> whether the last time went well."""
    try:
        active = json.loads(_get(f"{prometheus}/api/v1/targets?state=active"))["data"]["activeTargets"]
    except (OSError, ValueError, KeyError):
        return {}
    return {target["discoveredLabels"]["__address__"]: target["health"] == "up" for target in active}


def _answers(url: str) -> bool:
    try:
        _get(url)
    except (OSError, ValueError):
        return False
    return True


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
        return bytes(response.read())
