"""Tests marked `gpu` are skipped, with the reason, where torch sees no GPU."""

import pytest
import torch


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, and this torch sees none")
