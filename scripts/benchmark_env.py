"""Measures market steps per second; `arena bench env` is the same command. --help tells more."""

import sys

from arena.commands.bench.env import main

if __name__ == "__main__":
    sys.exit(main())
