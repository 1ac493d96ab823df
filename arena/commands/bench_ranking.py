"""Measures what grows with the field of a tournament: schedule, reading results back, statistics.

python scripts/benchmark_ranking.py --json ranking.json
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from arena.commands.naming import description, program

SCRIPT, COMMAND = "benchmark_ranking.py", "arena bench ranking"


def main(arguments: Sequence[str] | None = None) -> int:
    """`arena bench ranking` of these arguments, or the script of the command line's."""
    parser = argparse.ArgumentParser(
        program(arguments, COMMAND),
        description=description(__doc__, arguments, SCRIPT, COMMAND),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--entrants", type=int, nargs="+", default=[50, 100, 200, 400, 800], metavar="M", help="sizes of the field"
    )
    parser.add_argument("--scenarios", type=int, default=100, help="that each entrant plays once (default 100)")
    parser.add_argument("--unit-files", type=int, default=500, help="written and read (default 500)")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write the numbers there")
    options = parser.parse_args(arguments)

    if min(options.entrants) < 16 or sorted(set(options.entrants)) != options.entrants:
        parser.error(f"--entrants are {options.entrants}, expected numbers from 16 up, ascending")
    for name in ("scenarios", "unit_files"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} is {getattr(options, name)}, expected at least 1")
    from arena.bench.ranking import RankingBenchmark, benchmark_ranking

    print(f"ranks fields of {', '.join(map(str, options.entrants))} over {options.scenarios} scenarios", flush=True)
    result = benchmark_ranking(RankingBenchmark(tuple(options.entrants), options.scenarios, options.unit_files))
    for field in result["fields"]:
        print(
            f"{field['entrants']:>6} entrants, {field['rows']:>8,} rows: lineups {field['lineups_seconds']:.2f} s, "
            f"growth {field['growth_seconds']:.3f} s, leaderboard {field['leaderboard_seconds']:.2f} s, peak "
            f"{field['peak_memory_bytes'] / 1e6:,.0f} MB"
        )
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=2) + "\n")
        print(f"wrote {options.json}")
    return 0
