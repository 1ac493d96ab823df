"""Measures latency and throughput of a forecaster; `arena bench forecaster` is the same command. --help tells more."""

import sys

from arena.commands.bench.forecaster import main

if __name__ == "__main__":
    sys.exit(main())
