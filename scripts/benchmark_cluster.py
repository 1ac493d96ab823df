"""Measures what Ray adds to units of work; `arena bench cluster` is the same command. --help tells more."""

import sys

from arena.commands.bench.cluster import main

if __name__ == "__main__":
    sys.exit(main())
