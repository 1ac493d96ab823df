"""Replay a folder of truth values (closed forms, equilibria, a ledger) through the shipped market, in float64.

The file of statistics (Sharpe ratios, skills, alpha-rank) goes through the functions that rank a tournament.

    python scripts/verify_physics.py --truth DIR

One line a check: PASS or FAIL, name, value, expected, error; or SKIP, name, reason. The last line counts them.
Exit code 0 if no check failed, 1 if one did, 2 if the folder cannot be replayed.
"""

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `tools` lies beside this folder and is not installed

from tools.verify.physics.checks import Check
from tools.verify.physics.folder import verify_folder
from tools.verify.physics.truth import TruthError
from tools.verify.summary import summary


def main(truth: Path) -> int:
    """Replay every file of a truth folder through the shipped market."""
    torch.set_num_threads(1)  # markets this small are faster on one
    print(f"replaying {truth} through the shipped market, float64: result, name, value, expected, error")
    checks: list[Check] = []
    try:
        for check in verify_folder(truth):
            checks.append(check)
            print(check.line)
    except TruthError as error:
        print(f"verify_physics: {error}", file=sys.stderr)
        return 2
    print(summary(checks))
    return int(any(check.status == "FAIL" for check in checks))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path, required=True, metavar="DIR", help="folder with the truth files")
    options = parser.parse_args()
    sys.exit(main(options.truth))
