"""Measures what Ray adds to the units of a tournament: processor time, latency, and memory over many units.

python scripts/benchmark_cluster.py --json cluster.json
"""

from collections.abc import Mapping, Sequence
from typing import Any

from arena.commands.bench.record import benchmark_parser, write_record
from arena.commands.script_parser import ScriptParser
from arena.errors import UserError
from arena.exit_codes import with_exit_code


@with_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """`arena bench cluster` of these arguments, or the script of the command line's."""
    parser = benchmark_parser("cluster", __doc__, arguments)
    _add_options(parser)
    options = parser.parse_args(arguments)

    parser.require_positive(options, "units", "rounds", "small_units", "session_units", "large_units")
    if min(options.workers) < 0 or max(options.workers) < 1 or options.idle_seconds < 0:
        parser.error("--workers are 0 or more, with one above 0, and --idle-seconds is not negative")
    from arena.bench.cluster import ClusterBenchmark, benchmark_cluster

    size = {key: value for key, value in vars(options).items() if key != "json"}
    run = ClusterBenchmark(**size | {"workers": tuple(options.workers), "parts": tuple(options.parts)})
    if "overhead" in run.parts:
        numbers = ", ".join(map(str, run.workers))
        print(f"{run.rounds} rounds of {run.units} units of the default tournament with {numbers} workers", flush=True)
    if "smallest" in run.parts:
        print(f"{run.small_units} of the smallest units", flush=True)
    if "sessions" in run.parts:
        print(f"{run.session_units} of the smallest units into a run folder", flush=True)
    try:
        result = benchmark_cluster(run)
    except ValueError as error:
        raise UserError(str(error)) from error
    _print_result(result)
    write_record(options.json, result)
    return 0


def _add_options(parser: ScriptParser) -> None:
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=("overhead", "smallest", "sessions"),
        default=["overhead", "smallest", "sessions"],
        help="what Ray adds to a unit; to one that hardly computes; what units of a long run add to driver and workers "
        "(default all)",
    )
    parser.add_argument("--units", type=int, default=8, help="of the default size, per setting and round (default 8)")
    parser.add_argument("--rounds", type=int, default=2, help="(default 2)")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2], metavar="W", help="(default 0 1 2)")
    parser.add_argument("--small-units", type=int, default=400, help="that hardly compute (default 400)")
    parser.add_argument("--idle-seconds", type=float, default=20.0, help="watched without work (default 20)")
    parser.add_argument(
        "--session-units", type=int, default=10_000, help="the smallest, stored: memory, driver (default 10000)"
    )
    parser.add_argument("--large-units", type=int, default=600, help="of as many rows as a default one (default 600)")


def _print_result(result: Mapping[str, Any]) -> None:
    if "overhead" in result:
        print(
            f"overhead of Ray {result['overhead']:.1%} of a unit's work, target {result['target']:.0%} "
            f"{'reached' if result['reached'] else 'missed'}"
        )
    if "smallest_unit" in result:
        smallest = result["smallest_unit"]
        print(
            f"a unit that hardly computes costs {smallest['ray_cpu_ms']:.1f} ms of CPU, and is back after "
            f"{smallest['round_trip_ms']['p50']:.1f} ms"
        )
    for session in result.get("sessions", {}).values():
        print(
            f"a stored unit of {session['rows']} rows adds {session['per_unit']['driver_bytes']:,.0f} bytes to the "
            f"driver, {session['per_unit']['worker_bytes']:,.0f} to the worker, and takes "
            f"{1e3 * session['per_unit']['driver_cpu_seconds']:.1f} ms of the driver"
        )
