"""`arena bench KIND`: measures speed on this machine; every kind is a script too (scripts/benchmark_KIND.py)."""

import importlib
from collections.abc import Sequence

from arena.exit_codes import BAD_INPUT

KINDS = ("env", "forecaster", "cache", "training", "cluster", "memory", "ranking")
USAGE = f"""\
usage: arena bench {"|".join(KINDS)} [options]
--help after a kind tells more"""


def bench(arguments: Sequence[str]) -> int:
    """Run one benchmark; returns the exit code."""
    given = list(arguments)
    if given and given[0] in KINDS:
        run = importlib.import_module(f"arena.commands.bench.{given[0]}").main
        return int(run(given[1:]))
    print(USAGE)
    return 0 if given and given[0] in ("-h", "--help") else BAD_INPUT
