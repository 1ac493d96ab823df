"""A checkpoint is restored by RLlib itself in a fresh process, after `arena.register_rllib()`."""

import subprocess
import sys
from pathlib import Path

import pytest
from rllib_setup import tensor_config

ROOT = Path(__file__).parent.parent.parent
RESTORE = """
import sys
import ray
import arena
from ray.rllib.algorithms.algorithm import Algorithm

ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
arena.register_rllib()
algorithm = Algorithm.from_checkpoint(sys.argv[1])
print(algorithm.train()["training_iteration"])
algorithm.stop()
"""


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_a_fresh_process_restores_a_checkpoint(build, tmp_path):
    """Its runner is a process of its own, which learns of the environment from the driver."""
    algorithm = build(tensor_config().env_runners(num_env_runners=1))
    command = [sys.executable, "-W", "ignore", "-c", RESTORE, algorithm.save_to_path(str(tmp_path))]
    algorithm.stop()
    restored = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert restored.stdout.strip() == "1", restored.stderr
