"""Lets the tests of this folder import the modules beside them (probes), on one thread."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)  # the tensors are small, and pytest may run several workers
