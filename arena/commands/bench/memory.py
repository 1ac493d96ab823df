"""Measures the bytes that markets of several sizes take, by part and at the peak of a step.

python scripts/benchmark_memory.py --json memory.json
"""

from collections.abc import Sequence

from arena.commands.bench.record import benchmark_parser, write_record
from arena.exit_codes import with_exit_code


@with_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """`arena bench memory` of these arguments, or the script of the command line's."""
    parser = benchmark_parser("memory", __doc__, arguments)
    options = parser.parse_args(arguments)
    from arena.bench.memory import SIZES, benchmark_memory

    print(f"bytes of markets of {len(SIZES)} sizes, each in processes of its own", flush=True)
    result = benchmark_memory()
    for market in result["markets"]:
        print(
            f"{market['num_agents']:>3} agents x {market['num_assets']:>3} assets, {market['history_length']:>2} bars: "
            f"state {market['state_bytes']:>6,}, displayed bars {market['displayed_history_bytes']:>9,}, observations "
            f"{market['observation_bytes']:>7,}, at the peak of a step {market['peak_bytes']:>9,} bytes a market"
        )
    write_record(options.json, result)
    return 0
