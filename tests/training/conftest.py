"""Lets the tests of this folder import the modules beside them (probes), on one thread; a Ray for those that ask."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
torch.set_num_threads(1)  # the tensors are small, and pytest may run several workers


@pytest.fixture(scope="module")
def local_ray():
    """One Ray for the whole file."""
    import ray  # seconds that the tests without it need not wait

    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def build():
    """Builds algorithms of RLlib, and stops them again."""
    built = []

    def make(config):
        built.append(config.build_algo())
        return built[-1]

    yield make
    for algorithm in built:
        algorithm.stop()
