"""The copy of a run in an object store: moto's S3 server on the loopback interface, over HTTP, as any S3 is spoken to.

`pip install 'moto[server]'` into any environment and put its `moto_server` on the PATH; without it these are skipped.
"""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import ProxyHandler, Request, build_opener

import pytest

from arena.cli import main, tournament
from arena.config.files import dump_config
from arena.tournament.store import remote_folder
from arena.tournament.store.remote_folder import RemoteFolder, child_uri
from tests.tournament.test_mirror import NUM_UNITS, ROOT, SLOW, begin, digest_of, files, small

MOTO = shutil.which("moto_server")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(MOTO is None, reason="needs an S3 server: moto_server of moto[server] on the PATH"),
]
WHERE = "s3://arena-runs/some/prefix"


class Server:
    """An S3 server that forgets everything when it is stopped."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.options = f"?endpoint_override=127.0.0.1:{self.port}&scheme=http"
        self.uri = WHERE + self.options

    def start(self) -> None:
        """Returns when it answers and has the bucket."""
        assert MOTO
        self.process = subprocess.Popen(
            [MOTO, "-H", "127.0.0.1", "-p", str(self.port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        request = Request(f"http://127.0.0.1:{self.port}/arena-runs", method="PUT")
        deadline = time.monotonic() + 60
        while True:
            try:
                build_opener(ProxyHandler({})).open(request, timeout=5).close()
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.2)
            else:
                return

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def run(self, name: str) -> dict[str, bytes]:
        """All files of a run there."""
        folder = RemoteFolder(child_uri(self.uri, name))
        return {file: folder.read(file) for file in sorted(folder.list())}

    def runs(self) -> list[str]:
        return sorted({name.split("/")[0] for name in RemoteFolder(self.uri).list()})


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of the environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not of the URI")
    server = Server()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of a run without a copy."""
    return digest_of(begin(small(tmp_path_factory.mktemp("quiet"), mirror=None))[1])


def test_a_run_its_copy_and_a_resume_from_the_copy(
    tmp_path: Path, s3: Server, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, run = begin(small(tmp_path, mirror=s3.uri))
    assert code == 0
    assert s3.runs() == [run.name]
    there = s3.run(run.name)
    assert there == files(run)
    uri = child_uri(s3.uri, run.name)
    assert uri in capsys.readouterr().out.replace("\n", "")

    victims = sorted(name for name in there if name.startswith("units/"))[2:]
    RemoteFolder(uri).remove(victims)
    shutil.rmtree(tmp_path / "here")
    assert tournament(["--resume", uri]) == 0
    assert digest_of(run) == expected
    again = s3.run(run.name)
    assert again == files(run)
    kept = {name: content for name, content in there.items() if name.startswith("units/") and name not in victims}
    assert len(kept) == 2
    assert kept.items() <= again.items()

    monkeypatch.chdir(tmp_path)
    assert main(["report", uri]) == 0
    assert (tmp_path / "runs" / run.name / "report.html").exists()


def test_the_endpoint_may_come_from_the_environment(
    tmp_path: Path, s3: Server, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3.port}")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    code, run = begin(small(tmp_path, mirror=WHERE))
    assert code == 0
    assert digest_of(run) == expected
    assert s3.run(run.name) == files(run)


def test_no_such_bucket_and_no_server_are_a_sentence_soon(
    tmp_path: Path, s3: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    start = time.monotonic()
    code, run = begin(small(tmp_path, mirror=f"s3://nobody/x{s3.options}"))
    assert code == 1
    said = capsys.readouterr().err
    assert f"into {child_uri(f's3://nobody/x{s3.options}', run.name)}: AWS Error NO_SUCH_BUCKET" in said
    assert "stopped after 0 of 6 units" in said
    assert "Traceback" not in said
    s3.stop()
    code, run = begin(small(tmp_path, mirror=s3.uri))
    assert code == 1
    assert "Could not connect to server" in capsys.readouterr().err
    assert time.monotonic() - start < 60


def test_a_server_that_is_gone_half_way_is_one_sentence_and_the_run_goes_on_later(
    tmp_path: Path,
    s3: Server,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(remote_folder, "RETRY_SECONDS", 3.0)
    real = RemoteFolder._put
    count = [0]

    def put(folder: RemoteFolder, content: bytes, name: str) -> None:
        count[0] += 1
        if count[0] == 10:
            s3.stop()
        real(folder, content, name)

    with monkeypatch.context() as patch:
        patch.setattr(RemoteFolder, "_put", put)
        code, run = begin(small(tmp_path, mirror=s3.uri))
    said = capsys.readouterr().err
    assert code == 1
    assert "cannot put " in said
    assert "NETWORK_CONNECTION" in said
    assert f"--resume {run}" in said
    s3.start()  # empty: as a bucket that was deleted
    assert tournament(["--resume", str(run)]) == 0
    assert digest_of(run) == expected
    assert s3.run(run.name) == files(run)


def test_a_killed_driver_is_replaced_from_the_object_store(tmp_path: Path, s3: Server) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    field = {"agents": [{"agent": "cash"}, {"agent": f"{tmp_path}/slow.py:Slow", "copies": 2}]}
    (tmp_path / "calm").mkdir()
    calm = digest_of(begin(small(tmp_path / "calm", mirror=None, **field))[1])
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(small(tmp_path, mirror=s3.uri, **field)))
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / "tournament.py"), "--config", str(path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(0.1)
        if sum("/units/" in name for name in RemoteFolder(s3.uri).list()) >= 2:
            break
    process.kill()
    assert process.wait() == -signal.SIGKILL
    (name,) = s3.runs()
    assert 2 <= sum(file.startswith("units/") for file in s3.run(name)) < NUM_UNITS
    shutil.rmtree(tmp_path / "here")
    assert tournament(["--resume", child_uri(s3.uri, name)]) == 0
    run = tmp_path / "here" / name
    assert digest_of(run) == calm
    events = [json.loads(line)["event"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert events.count("unit") < NUM_UNITS
    assert s3.run(name) == files(run)
