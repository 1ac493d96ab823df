"""How a running Ray is: what answers, who is alive, who is watching. Looks from outside in and changes nothing."""

import json
import logging
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from arena.monitor.metrics import PREFIX

TIMEOUT = 5.0  # seconds that anything may take to answer
PROMETHEUS, GRAFANA = "http://localhost:9090", "http://localhost:3000"  # Ray's own defaults
DISABLED = "DISABLED"  # what Ray takes for "there is no Grafana"


class NoCluster(Exception):
    """Nothing to look at; the message is one sentence."""


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


def look(address: str = "auto") -> Health:
    """The health of a cluster; NoCluster if there is none at this address.

    address  host:port of its GCS; auto: RAY_ADDRESS, or the one that runs on this machine
    """
    with _joined(address) as context:
        import ray

        known = ray.nodes()
        alive = [node for node in known if node["Alive"]]
        dashboard = f"http://{context.dashboard_url}" if context.dashboard_url else None
        prometheus = os.environ.get("RAY_PROMETHEUS_HOST", PROMETHEUS).rstrip("/")
        grafana = os.environ.get("RAY_GRAFANA_HOST", GRAFANA).rstrip("/")
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
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if ray.is_initialized():
        yield ray.init(ignore_reinit_error=True, **quiet)
        return
    named = os.environ.get("RAY_ADDRESS") or "auto" if address == "auto" else address
    try:
        if named != "auto":
            _knock(named)
        context = ray.init(address=named, namespace="arena", **quiet)
    except NoCluster:
        raise
    except Exception as error:
        raise NoCluster(_reason(error, named)) from error
    try:
        yield context
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """NoCluster at once where Ray would try for half a minute."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise NoCluster(f"--address {address}: expected host:port of a Ray cluster, such as 127.0.0.1:6379")
    try:
        socket.create_connection((host, int(port)), TIMEOUT).close()
    except (OSError, OverflowError) as error:
        raise NoCluster(f"no Ray answers at {address} ({error}); is it running, and is this its GCS port?") from error


def _reason(error: Exception, address: str) -> str:
    """One sentence for what Ray says in many."""
    text = " ".join(str(error).split())
    if "Could not find any running Ray instance" in text:
        return (
            "no Ray runs on this machine; start one with `ray start --head`, or look at a tournament while it plays "
            "with --ray.dashboard"
        )
    if "authentication" in text.lower() or "token" in text.lower():
        return f"the Ray at {address} wants a token that is not here: put it into RAY_AUTH_TOKEN or ~/.ray/auth_token"
    return f"the Ray at {address} cannot be joined: {text[:200]}"


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
