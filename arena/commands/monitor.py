"""`arena monitor`: says how a running Ray is, where its dashboard is, and how to start what is missing."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from arena.cluster.status import DISABLED, Health, cluster_health
from arena.errors import UserError
from arena.exit_codes import FAILED, refuse, with_exit_code
from arena.monitor.dashboard import TOKEN_HINT, place_grafana_dashboard

DESCRIPTION = """\
Looks at a running Ray: nodes, actors, metrics, Prometheus, Grafana; says how to start what is missing. Changes nothing.
Prometheus and Grafana are looked for at RAY_PROMETHEUS_HOST (default http://localhost:9090) and RAY_GRAFANA_HOST
(default http://localhost:3000). Exit code 0 whether they are there or not, 1 where there is no Ray.
"""


@with_exit_code
def monitor(arguments: Sequence[str]) -> int:
    """Prints what it finds; returns the exit code."""
    parser = argparse.ArgumentParser(
        "arena monitor", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--address", default="auto", help="host:port of a head node; default: RAY_ADDRESS, or the Ray of this machine"
    )
    parser.add_argument(
        "--write-dashboard",
        type=Path,
        metavar="DIR",
        help="only put arena_dashboard.json there, for a Grafana or for RAY_METRICS_GRAFANA_DASHBOARD_OUTPUT_DIR",
    )
    options = parser.parse_args(arguments)
    if options.write_dashboard is not None:
        try:
            print(place_grafana_dashboard(options.write_dashboard))
        except OSError as error:
            raise UserError(f"--write-dashboard {options.write_dashboard}: {error.strerror}") from error
        return 0
    try:
        health = cluster_health(options.address)
    except UserError as error:
        return refuse(str(error), FAILED)  # there is no Ray
    for name, value in lines(health):
        print(f"  {name:<11} {value}")
    return 0


def lines(health: Health) -> Iterator[tuple[str, str]]:
    """What is said: names and values."""
    alive, known = health.nodes
    yield "ray", f"{health.version} at {health.address}, its GCS answers"
    yield "nodes", f"{alive} alive" + (f", {known - alive} dead" if known > alive else "")
    if health.dashboard is None:
        yield "dashboard", "none: start the tournament with --ray.dashboard, or the Ray with --include-dashboard=true"
    else:
        yield "dashboard", f"{health.dashboard}; {TOKEN_HINT}"
    if health.actors is not None:
        yield "actors", ", ".join(f"{count} {what}" for what, count in sorted(health.actors.items())) or "none"
    for endpoint in health.endpoints:
        if endpoint.num_metrics is None:
            yield "metrics", f"http://{endpoint.address}/metrics does not answer"
            continue
        watched = {True: "scraped by Prometheus", False: "not scraped by Prometheus", None: "scraped by nobody"}
        found = f"{endpoint.num_metrics} of arena" if endpoint.num_metrics else "none of arena yet"
        yield "metrics", f"http://{endpoint.address}/metrics, {found}, {watched[endpoint.scraped]}"
    yield "prometheus", f"{health.prometheus} {'answers' if health.has_prometheus else 'does not answer'}"
    if health.grafana == DISABLED:
        yield "grafana", "RAY_GRAFANA_HOST=DISABLED"
    else:
        yield "grafana", f"{health.grafana} {'answers' if health.has_grafana else 'does not answer'}"
    yield from missing(health)


def missing(health: Health) -> Iterator[tuple[str, str]]:
    """How to start what is not there."""
    scraped = all(endpoint.scraped for endpoint in health.endpoints)
    if health.dashboard is None:
        return  # without it, Ray writes no file that tells Prometheus where to look
    if not scraped:
        config = f"{health.session}/metrics/prometheus/prometheus.yml"
        yield "to scrape", f"prometheus --web.listen-address=127.0.0.1:9090 --config.file={config}"
    if not health.has_grafana:
        yield "to chart", "docker compose -f deploy/monitoring/compose.yaml up (Prometheus and Grafana)"
