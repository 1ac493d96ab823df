"""Tests marked `gpu` are skipped, with the reason, where torch sees no GPU; those that ask for `local_ray` share one.

A process of pytest starts that Ray before the first test that asks, and stops it before one that starts its own.
"""

import pytest
import torch

torch.set_num_threads(1)  # the tensors are small, and pytest may run several workers
SHARED = {"started": False}


@pytest.fixture(scope="session")
def local_ray():
    """The process is connected to a Ray of four CPUs, which may be in use by actors of tests before."""


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device, and this torch sees none")
    if "local_ray" in item.fixturenames:
        start_shared_ray()
    elif item.get_closest_marker("ray"):
        stop_shared_ray()


def pytest_sessionfinish():
    stop_shared_ray()


def start_shared_ray():
    import ray  # seconds that the tests without it need not wait

    if not ray.is_initialized():
        # Without workers in advance: most tests use fewer than there are CPUs.
        lazily = {"prestart_worker_first_driver": False}
        ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False, _system_config=lazily)
        SHARED["started"] = True


def stop_shared_ray():
    if SHARED["started"]:
        import ray

        ray.shutdown()
        SHARED["started"] = False
