"""docs/cluster.md does what it says, on a cluster that its own commands start, which a token guards."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from nodes_setup import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(2400)]

PAGE = ROOT / "docs" / "cluster.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TINY = "--data.scenarios 8 --data.episode-length 5 --data.num-assets 2"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def processes_that_name(text: str) -> list[int]:
    """Of this machine, by their command lines."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if text in (entry / "cmdline").read_bytes().decode(errors="replace"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def page():
    """(run, folder): what runs commands of the page in a copy of the repository's top folder, and that folder.

    The ports are free ones, and the folder of Ray's files says which processes to end.
    """
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as temporary:
        folder = Path(temporary, "arena")
        folder.mkdir()
        for name in ("arena", "configs", "scripts"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        ports = {"8265": str(free_port())}
        options = f"--port={free_port()} --ray-client-server-port={free_port()} --temp-dir={temporary}/ray"
        options += f" --dashboard-port={ports['8265']} --dashboard-agent-listen-port={free_port()} --num-cpus=2"
        home = Path(temporary, "home")
        home.mkdir()
        environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        environment |= {
            "HOME": str(home),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "200",
        }
        started = [block for block in BLOCK.findall(PAGE.read_text()) if "ray start --head" in block]
        assert len(started) == 1

        def run(command: str, **more: str) -> subprocess.CompletedProcess:
            begin = f"export RAY_AUTH_MODE=token RAY_API_SERVER_ADDRESS=http://127.0.0.1:{ports['8265']}\n"
            return subprocess.run(
                ["bash", "-euo", "pipefail", "-c", begin + command],
                cwd=folder,
                env=environment | more,
                capture_output=True,
                text=True,
                check=False,
                timeout=1200,
            )

        begin = started[0].replace("ray start --head", f"ray start --head {options}").replace("8265", ports["8265"])
        try:
            done = run(begin)
            assert done.returncode == 0, done.stdout + done.stderr
            yield run, folder
        finally:
            for kill in (signal.SIGTERM, signal.SIGKILL):
                for pid in processes_that_name(temporary):
                    if pid != os.getpid():
                        os.kill(pid, kill)
                time.sleep(2)


def block_with(text: str) -> str:
    (block,) = [block for block in BLOCK.findall(PAGE.read_text()) if text in block]
    return block


@pytest.mark.parametrize(
    ("script", "smaller", "result"),
    [
        ("scripts/tournament.py", TINY, "runs/0001-default/report.html"),
        ("scripts/train.py", "--run.iterations 2", "runs/*-smoke/policy.pt"),
        ("scripts/build_table.py", TINY, "tables/*.npy"),
        ("scripts/export_models.py", "", "compiled_models/toto_fp32.pt"),
    ],
)
def test_each_kind_of_job_runs(page, script, smaller, result):
    run, folder = page
    command = block_with(script).replace(script, f"{script} {smaller}")
    done = run(command)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "succeeded" in done.stdout
    assert list(folder.glob(result))


def test_who_has_no_token_or_another_is_told_in_a_sentence(page):
    run, folder = page
    (address,) = set(re.findall(r"--gcs-address=(\S+)", _command_line("raylet", str(folder.parent))))
    command = f"python scripts/tournament.py {TINY} --out elsewhere --ray.address {address}"
    for token, said in (
        ("", "asks for a token and there is none; give RAY_AUTH_TOKEN"),
        ("a" * 64, "does not let us in"),
    ):
        done = run(command, **({"RAY_AUTH_TOKEN": token} if token else {"HOME": str(folder)}))
        assert done.returncode == 2, done.stdout + done.stderr
        assert said in done.stderr
        (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert sentence.startswith(f"error: --ray.address {address}: ")
        assert "Traceback" not in done.stderr


def _command_line(program: str, text: str) -> str:
    for pid in processes_that_name(text):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        if words[0].endswith(program):
            return " ".join(words)
    raise AssertionError(f"no {program} runs")
