"""Measures what a cache of forecasts saves; `arena bench cache` is the same command. --help tells more."""

import sys

from arena.commands.bench.cache import main

if __name__ == "__main__":
    sys.exit(main())
