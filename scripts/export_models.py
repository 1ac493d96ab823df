"""Writes forecasters as files that need torch alone; `arena export` is the same command. --help tells more."""

import sys

from arena.commands.export import main

if __name__ == "__main__":
    sys.exit(main())
