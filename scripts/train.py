"""Trains an agent; `arena train` is the same command.

python scripts/train.py --config configs/train/tensor_ppo.yaml --run.minutes 10
"""

import sys

from arena.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
