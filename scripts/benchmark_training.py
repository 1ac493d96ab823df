"""Measures how fast agents are trained; `arena bench training` is the same command. --help tells more."""

import sys

from arena.commands.bench.training import main

if __name__ == "__main__":
    sys.exit(main())
