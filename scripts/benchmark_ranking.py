"""Measures what grows with the field of a tournament; `arena bench ranking` is the same command. --help tells more."""

import sys

from arena.commands.bench.ranking import main

if __name__ == "__main__":
    sys.exit(main())
