"""Measures the bytes that markets of several sizes take, by part and at the peak of a step.

python scripts/benchmark_memory.py --json memory.json
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from arena.commands.naming import description, program

SCRIPT, COMMAND = "benchmark_memory.py", "arena bench memory"


def main(arguments: Sequence[str] | None = None) -> int:
    """`arena bench memory` of these arguments, or the script of the command line's."""
    parser = argparse.ArgumentParser(
        program(arguments, COMMAND),
        description=description(__doc__, arguments, SCRIPT, COMMAND),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write the numbers there")
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
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=2) + "\n")
        print(f"wrote {options.json}")
    return 0
