"""Measures the bytes that markets take; `arena bench memory` is the same command. --help tells more."""

import sys

from arena.commands.bench.memory import main

if __name__ == "__main__":
    sys.exit(main())
