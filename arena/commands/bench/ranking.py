"""Measures what grows with the field of a tournament: schedule, reading results back, statistics.

python scripts/benchmark_ranking.py --json ranking.json
"""

from collections.abc import Sequence

from arena.commands.bench.record import benchmark_parser, write_record
from arena.exit_codes import with_exit_code


@with_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """`arena bench ranking` of these arguments, or the script of the command line's."""
    parser = benchmark_parser("ranking", __doc__, arguments)
    parser.add_argument(
        "--entrants", type=int, nargs="+", default=[50, 100, 200, 400, 800], metavar="M", help="sizes of the field"
    )
    parser.add_argument("--scenarios", type=int, default=100, help="that each entrant plays once (default 100)")
    parser.add_argument("--unit-files", type=int, default=500, help="written and read (default 500)")
    options = parser.parse_args(arguments)

    if min(options.entrants) < 16 or sorted(set(options.entrants)) != options.entrants:
        parser.error(f"--entrants are {options.entrants}, expected numbers from 16 up, ascending")
    parser.require_positive(options, "scenarios", "unit_files")
    from arena.bench.ranking import RankingBenchmark, benchmark_ranking

    print(f"ranks fields of {', '.join(map(str, options.entrants))} over {options.scenarios} scenarios", flush=True)
    result = benchmark_ranking(RankingBenchmark(tuple(options.entrants), options.scenarios, options.unit_files))
    for field in result["fields"]:
        print(
            f"{field['entrants']:>6} entrants, {field['rows']:>8,} rows: lineups {field['lineups_seconds']:.2f} s, "
            f"growth {field['growth_seconds']:.3f} s, leaderboard {field['leaderboard_seconds']:.2f} s, peak "
            f"{field['peak_memory_bytes'] / 1e6:,.0f} MB"
        )
    write_record(options.json, result)
    return 0
