"""Run a golden folder (a checkpoint and what its upstream made of given inputs) through the shipped forecaster.

    python scripts/verify_forecaster.py --golden DIR

One line an array: its name, eager or script (saved as TorchScript and loaded again), the error of its worst element as
share of the tolerance, ok or FAILED; or skipped and why. The last line counts them.
Exit code 0 if no array failed, 1 if one did, 2 if the folder cannot be run.
"""

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # `tools` lies beside this folder and is not installed

from tools.verify.forecasters.arrays import ArrayCheck, GoldenError
from tools.verify.forecasters.folder import open_golden, verify_golden
from tools.verify.summary import summary


def main(golden: Path) -> int:
    """Compare a forecaster with what its upstream gave."""
    torch.set_num_threads(1)  # models this small are faster on one
    checks: list[ArrayCheck] = []
    try:
        opened = open_golden(golden)
        print(f"{golden} is of {opened.kind}: array, route, error as share of its tolerance, result")
        print(f"entry points of the reloaded TorchScript: {', '.join(opened.entry_points)}")
        for check in verify_golden(opened):
            checks.append(check)
            print(check.line)
    except GoldenError as error:
        print(f"verify_forecaster: {error}", file=sys.stderr)
        return 2
    print(summary(checks))
    return int(any(check.status == "FAIL" for check in checks))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golden", type=Path, required=True, metavar="DIR", help="folder with checkpoint and arrays")
    options = parser.parse_args()
    sys.exit(main(options.golden))
