"""A Ray cluster of real processes on this machine, and a tournament long enough to lose some of them on the way."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import ray
import yaml
from ray.cluster_utils import Cluster

ROOT = Path(__file__).parents[2]
STORE_BYTES = 100 * 1024**2
NUM_UNITS = 40
FIELD = '''
import os
import signal
import time
from pathlib import Path

import ray
import torch


class Slow:
    """Sleeps, says on which node it was, and hangs once if it is told to."""

    history_length = 0

    def __init__(self, seconds=0.0, mark="", hang=""):
        self._seconds, self._mark, self._hang = seconds, mark, hang

    def reset(self):
        if self._mark:
            Path(self._mark + ray.get_runtime_context().get_node_id()).touch()
        if self._hang:
            try:
                file = os.open(self._hang, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            except FileExistsError:
                return
            os.write(file, str(os.getpid()).encode())
            os.close(file)
            os.kill(os.getpid(), signal.SIGSTOP)

    def act(self, observation, generator):
        time.sleep(self._seconds)
        return torch.randn(observation.weight.shape, generator=generator, dtype=torch.float64) * 0.2
'''


class Nodes:
    """A head that has no processors, hence only drivers, and workers with one each."""

    def __init__(self, workers: int, folder: Path, head_store: int = STORE_BYTES) -> None:
        self.folder = folder
        self.temporary: list[str] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        head = {"include_dashboard": True, "dashboard_host": "127.0.0.1", "dashboard_port": port}
        self.cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": head_store, **head}
        )
        self.dashboard = f"http://127.0.0.1:{port}"
        for _ in range(workers):
            self.add()

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self):
        # Nodes that shared a folder would unpack the files of a job over each other.
        own = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # short, for the names of sockets are
        self.temporary.append(own)
        return self.cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES, temp_dir=own)

    def shutdown(self) -> None:
        self.cluster.shutdown()
        for folder in self.temporary:
            shutil.rmtree(folder, ignore_errors=True)

    def kill(self, node) -> None:
        """As if its machine lost power."""
        self.cluster.remove_node(node, allow_graceful=False)

    @contextmanager
    def stopped(self, node):
        """All processes of the node stand still, as on a machine that swaps or is cut off; they are killed after."""
        roots = [psutil.Process(each.process.pid) for kind in node.all_processes.values() for each in kind]
        processes = {process.pid: process for root in roots for process in [root, *root.children(recursive=True)]}
        for process in processes.values():
            process.suspend()
        try:
            yield
        finally:
            for process in processes.values():
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self.kill(node)

    def drive(self, *arguments: object, script: str = "tournament.py", **options: str) -> subprocess.Popen:
        """A driver on the head's machine."""
        where = ["--run.address" if script == "train.py" else "--ray.address", self.address]
        return self._begin([sys.executable, str(ROOT / "scripts" / script), *map(str, arguments), *where], options)

    def submit(self, *command: object, **options: str) -> subprocess.Popen:
        """`ray job submit`, as docs/cluster.md has it."""
        start = ["ray", "job", "submit", "--address", self.dashboard, "--working-dir", str(ROOT), "--"]
        return self._begin([*start, *map(str, command)], options)

    def _begin(self, command: list[str], options: dict[str, str]) -> subprocess.Popen:
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env={**os.environ, "COLUMNS": "200", **options},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def write_config(folder: Path, seconds: float = 0.0, units: int = NUM_UNITS, **params: object) -> Path:
    """A field of five with an agent of a loose file, over `units` units that sleep for ten times `seconds` at least."""
    (folder / "agents.py").write_text(FIELD)
    content = {
        "name": "faults",
        "data": {"num_assets": 2, "scenarios": units, "episode_length": 10},
        "agents": [
            {"agent": "cash"},
            {"agent": "momentum"},
            {"agent": "mean_variance", "name": "drift", "params": {"forecaster": "drift", "speed": 0.5}},
            {"agent": f"{folder}/agents.py:Slow", "params": {"seconds": seconds, **params}},
            {"agent": "random"},
        ],
        "tournament": {"batch_size": 1, "paths_mb": 1},
    }
    path = folder / "faults.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def digest_of(runs: Path, name: str = "0001-faults") -> str:
    """Of a finished run."""
    return str(json.loads((runs / name / "leaderboard.json").read_text())["digest"])


def wait_for_units(run: Path, count: int, driver: subprocess.Popen, seconds: float = 240.0) -> None:
    """Until so many units are stored; the driver must be at work all the time."""
    deadline = time.monotonic() + seconds
    while len(list((run / "units").glob("*.parquet"))) < count:
        assert driver.poll() is None, driver.communicate()[0]
        assert time.monotonic() < deadline, f"fewer than {count} units within {seconds} s"
        time.sleep(0.1)


def said_at_the_end(driver: subprocess.Popen, code: int | None = 0, seconds: float = 600.0) -> str:
    """All that a driver said; it must end with the code."""
    try:
        said = driver.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        driver.kill()
        raise AssertionError(f"no end within {seconds} s: {driver.communicate()[0][-3000:]}") from None
    assert code is None or driver.returncode == code, said[-5000:]
    return said


def idle(address: str, seconds: float = 60.0) -> None:
    """Connects, and waits until no task and no actor of a driver that has gone holds anything."""
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=False)
    deadline = time.monotonic() + seconds
    while True:
        has, free = ray.cluster_resources(), ray.available_resources()
        workers = [key for key in has if key == "CPU"]
        busy = [key for key in workers if free.get(key, 0) < has[key]]
        actors = [actor for actor in ray.util.list_named_actors(all_namespaces=True) if actor["namespace"] == "arena"]
        if not busy and not actors:
            return
        assert time.monotonic() < deadline, (busy, actors)
        time.sleep(0.5)
