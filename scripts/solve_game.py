"""Solve the execution games and schedules of a truth folder by gradient play through the shipped step, in float64.

    python scripts/solve_game.py --truth DIR

One line a game: PASS or FAIL, name, players, trades, rounds of play, how far from first-order conditions it ended, the
worst player's cost and what the file expects, relative errors of cost and schedules, exploitability; or SKIP, name,
reason. The last line counts them. Exit code 0 if no game failed, 1 if one did, 2 if the folder cannot be read.
"""

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `tools` lies beside this folder and is not installed

from tools.verify.physics.solutions import COLUMNS, Solution, solve_folder
from tools.verify.physics.truth import TruthError
from tools.verify.summary import summary


def main(truth: Path, max_trades: int) -> int:
    """Let the players of every game find its equilibrium by their own gradients."""
    torch.set_num_threads(1)  # markets this small are faster on one
    print(f"playing the games of {truth} through the shipped market, float64: {COLUMNS}")
    solutions: list[Solution] = []
    try:
        for solution in solve_folder(truth, max_trades):
            solutions.append(solution)
            print(solution.line, flush=True)
    except TruthError as error:
        print(f"solve_game: {error}", file=sys.stderr)
        return 2
    print(summary(solutions))
    return int(any(solution.status == "FAIL" for solution in solutions))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path, required=True, metavar="DIR", help="folder with the truth files")
    parser.add_argument(
        "--max-trades",
        type=int,
        default=160,
        help="longer games are skipped; one of 640 trades takes half a minute and gigabytes (default 160)",
    )
    options = parser.parse_args()
    sys.exit(main(options.truth, options.max_trades))
