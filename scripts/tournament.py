"""Plays a tournament and ranks the agents. Without arguments: the default field on a synthetic market.

python scripts/tournament.py [--config FILE] [--data DIR] [--resume RUN] [--out DIR] [--seed N] [--section.field VALUE]
"""

import sys

from arena.cli import tournament

if __name__ == "__main__":
    sys.exit(tournament(sys.argv[1:]))
