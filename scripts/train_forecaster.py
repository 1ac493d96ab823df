"""Trains the embedded forecaster on the synthetic market, on one CPU core; an interrupted training goes on.

python scripts/train_forecaster.py [--config FILE] [--out DIR] [--json FILE] [--work DIR]
"""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=ROOT / "configs/forecast/embedded.yaml", metavar="FILE")
    parser.add_argument("--out", type=Path, default=Path("runs/embedded"), metavar="DIR", help="for the weights")
    parser.add_argument("--json", type=Path, metavar="FILE", help="for the record, with its plot beside")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    import torch

    from arena.bench.embedded import plot_history, read_plan, train_embedded

    try:
        network, settings, _ = read_plan(options.config)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    torch.set_num_threads(options.threads)
    print(f"{settings.steps} steps of a network of width {network['d_model']} into {options.out}", flush=True)
    record = train_embedded(options.config, options.out, lambda row: print(json.dumps(row), flush=True))
    target = options.json or options.out / "training.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(record, indent=1) + "\n")
    plot_history(record, target.with_suffix(".png"))
    print(f"wrote {options.out}, {target} and {target.with_suffix('.png')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
