"""Fixtures of clusters; what they are made of is in nodes_setup.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import ray  # brings the psutil that nodes_setup imports

sys.path.append(str(Path(__file__).parent))  # for nodes_setup


@pytest.fixture
def make_nodes(tmp_path, monkeypatch):
    """(workers, ...) -> Nodes, ended after the test."""
    # The entrypoint of a job is what PATH finds where the head was started.
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    from nodes_setup import Nodes

    made = []

    def make(workers, **settings):
        made.append(Nodes(workers, tmp_path, **settings))
        return made[-1]

    yield make
    if ray.is_initialized():
        ray.shutdown()
    for nodes in made:
        nodes.shutdown()


@pytest.fixture(scope="session")
def expected(tmp_path_factory):
    """The digest of the tournament of `write_config` in one process."""
    from nodes_setup import ROOT, digest_of, write_config

    folder = tmp_path_factory.mktemp("alone")
    command = [sys.executable, str(ROOT / "scripts" / "tournament.py"), "--config", str(write_config(folder))]
    subprocess.run([*command, "--out", str(folder / "runs"), "--ray.workers", "0"], check=True, capture_output=True)
    return digest_of(folder / "runs")
