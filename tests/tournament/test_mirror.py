"""A run and its copy are one run: either is enough to go on from, and nothing that happens to one loses the other."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from arena.cli import main, tournament
from arena.config.files import dump_config
from arena.config.tournament import TournamentConfig
from arena.errors import IncompleteRun, UserError
from arena.tournament.play.job import run_unit
from arena.tournament.report import plots
from arena.tournament.results.outcome import rank
from arena.tournament.run import run_units as run_units_module
from arena.tournament.run.run_units import run_units
from arena.tournament.setup.plan import make_plan, resolve_paths
from arena.tournament.store import mirror as mirror_module
from arena.tournament.store import remote_folder
from arena.tournament.store.mirror import Mirror, fetch_run, open_mirror
from arena.tournament.store.remote_folder import RemoteFolder, child_uri, parent_uri
from arena.tournament.store.run_folder import create_run
from arena.tournament.store.units import StorageError, unit_files, write_paths, write_unit
from tests.tournament.test_stopping import config as stopping_config

ROOT = Path(__file__).parents[2]
NUM_UNITS = 6
SLOW = """
import time
import torch

class Slow:
    history_length = 0
    def reset(self): pass
    def act(self, observation, generator):
        time.sleep(0.02)
        return torch.randn(observation.weight.shape, generator=generator, dtype=torch.float64) * 0.2
"""


def small(folder: Path, **changes: object) -> TournamentConfig:
    """Six units of milliseconds, with their copy in FOLDER/there."""
    content = {
        "name": "small",
        "out": folder / "here",
        "mirror": str(folder / "there"),
        "data": {"num_assets": 2, "scenarios": NUM_UNITS, "episode_length": 6},
        "agents": [{"agent": "cash"}, {"agent": "random", "copies": 2}],
        "tournament": {"seats": 3, "batch_size": 1, "lineups": 1, "paths_mb": 0.1},
        "ray": {"workers": 0},
    }
    return TournamentConfig.model_validate(content | changes)


def begin(config: TournamentConfig) -> tuple[int, Path]:
    """Exit code and folder of a new run, as from the command line."""
    path = config.out.parent / "config.yaml"
    path.write_text(dump_config(config))
    return tournament(["--config", str(path)]), sorted(config.out.iterdir())[-1]


def digest_of(run: Path) -> str:
    digest: str = json.loads((run / "leaderboard.json").read_text())["digest"]
    return digest


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of a run without a copy."""
    return digest_of(begin(small(tmp_path_factory.mktemp("quiet"), mirror=None))[1])


@pytest.fixture(autouse=True)
def quick_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take longer than all the rest."""

    def write(folder: Path, *shown: object) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "growth.png").write_bytes(b"a plot")

    monkeypatch.setattr(plots, "write_plots", write)


class Fails:
    """The store takes `room` files and then none, until it has room again or has refused `until` times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int):
        self.room, self.tried, self.until = room, 0, 10**6
        real, lock = RemoteFolder._put, threading.Lock()

        def put(folder: RemoteFolder, content: bytes, name: str) -> None:
            with lock:
                self.room -= 1
                fails = self.room < 0 and self.tried < self.until
                self.tried += fails
            if fails:
                raise OSError(
                    "When initiating multiple part upload for key 'k' in bucket 'b': AWS Error ACCESS_DENIED during "
                    "CreateMultipartUpload operation: Access Denied (Request ID: 1a2b)\nmore"
                )
            real(folder, content, name)

        monkeypatch.setattr(RemoteFolder, "_put", put)
        monkeypatch.setattr(remote_folder, "RETRY_SECONDS", 0.0)


def test_the_copy_has_every_file_of_the_run(tmp_path: Path, expected: str) -> None:
    code, run = begin(small(tmp_path))
    assert code == 0
    assert digest_of(run) == expected, "a copy changes no result"
    there = files(tmp_path / "there" / run.name)
    assert there == files(run)
    assert {"report.html", "log.jsonl", "plots/growth.png", "environment.json", "command.txt"} <= set(there)
    assert sum(name.startswith("units/") for name in there) == NUM_UNITS
    assert sum(name.startswith("paths/") for name in there) > NUM_UNITS


def test_a_run_goes_on_from_its_copy_alone(
    tmp_path: Path, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C after three units, then the disk is lost."""
    stored = run_units_module._store

    def stop(run: Path, mirror: Mirror | None, unit: object, tables: object) -> None:
        if len(list((run / "units").glob("*.parquet"))) == 3:
            raise KeyboardInterrupt
        stored(run, mirror, unit, tables)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(run_units_module, "_store", stop)
        code, run = begin(small(tmp_path))
    assert code == 130
    uri = (tmp_path / "there" / run.name).as_uri()
    assert f"python scripts/tournament.py --resume {uri}" in capsys.readouterr().out
    there = files(tmp_path / "there" / run.name)
    assert sum(name.startswith("units/") for name in there) == 3
    assert '"interrupted"' in there["log.jsonl"].decode()
    kept = {name: content for name, content in there.items() if name.startswith(("units/", "paths/"))}
    shutil.rmtree(tmp_path / "here")

    assert tournament(["--resume", uri, "--out", str(tmp_path / "elsewhere"), "--ray.workers", "0"]) == 0
    again = tmp_path / "elsewhere" / run.name
    assert digest_of(again) == expected
    assert files(again) == files(tmp_path / "there" / run.name)
    assert kept.items() <= files(again).items(), "what was finished is not played again"
    events = [json.loads(line)["event"] for line in (again / "log.jsonl").read_text().splitlines()]
    assert events.count("begin") == 2
    assert events.count("unit") == NUM_UNITS


@pytest.mark.slow
def test_what_is_only_here_is_put_and_what_is_only_there_is_fetched(tmp_path: Path, expected: str) -> None:
    _, run = begin(small(tmp_path))
    there, names = tmp_path / "there" / run.name, sorted(path.name for path in (run / "units").iterdir())
    before = files(run)
    for name in names[:3]:
        (there / "units" / name).unlink()
    for name in names[5:]:
        (run / "units" / name).unlink()
    assert tournament(["--resume", str(run)]) == 0
    assert digest_of(run) == expected
    for folder in (run, there):
        assert {name: files(folder)[f"units/{name}"] for name in names} == {n: before[f"units/{n}"] for n in names}


def test_a_damaged_copy_is_noticed_and_made_good(
    tmp_path: Path, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, run = begin(small(tmp_path))
    there = tmp_path / "there" / run.name
    victim = sorted((there / "units").iterdir())[2]
    victim.write_bytes(victim.read_bytes()[:-50])
    shutil.rmtree(run)
    assert tournament(["--resume", there.as_uri()]) == 0
    assert f"unit {victim.stem} is played again" in " ".join(capsys.readouterr().out.split())
    assert digest_of(run) == expected
    assert victim.read_bytes() == (run / "units" / victim.name).read_bytes()
    assert not list(there.rglob("*.corrupt"))


@pytest.mark.parametrize(
    "room",
    [8, pytest.param(0, marks=pytest.mark.slow), pytest.param(3 + 3 * NUM_UNITS + 2, marks=pytest.mark.slow)],
)
def test_a_store_that_fails_is_one_sentence_and_loses_nothing(
    tmp_path: Path, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], room: int
) -> None:
    """In the middle, at the first file, or when only the report is left."""
    fails = Fails(monkeypatch, room)
    code, run = begin(small(tmp_path))
    said = capsys.readouterr().err
    assert code == 1
    assert said.count("cannot put") == 1
    assert f"into {(tmp_path / 'there' / run.name).as_uri()}: AWS Error ACCESS_DENIED" in said
    assert "operation: Access Denied" in said
    assert "Request ID" not in said
    assert "Traceback" not in said
    assert f"go on with\n  python scripts/tournament.py --resume {run}" in said
    fails.room = 10**6
    assert tournament(["--resume", str(run)]) == 0
    assert digest_of(run) == expected
    assert files(run) == files(tmp_path / "there" / run.name)


def test_a_short_outage_is_waited_for(tmp_path: Path, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fails = Fails(monkeypatch, 6)
    monkeypatch.setattr(remote_folder, "RETRY_SECONDS", 60.0)
    monkeypatch.setattr(remote_folder, "FIRST_WAIT", 0.01)
    fails.until = 5
    code, run = begin(small(tmp_path))
    assert code == 0
    assert fails.tried == 5
    assert digest_of(run) == expected
    assert files(run) == files(tmp_path / "there" / run.name)


def test_rows_of_a_unit_are_put_last_and_few_units_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = resolve_paths(small(tmp_path))
    plan, run = make_plan(config), create_run(config, "a command", "")
    run_units(config, plan, run, Console(file=StringIO()))
    monkeypatch.setattr(mirror_module, "MOST_PENDING", 2)
    asked: list[str] = []
    gate = threading.Event()

    class Slow(RemoteFolder):
        def put(self, path: Path, name: str, patient: bool = True) -> None:
            asked.append(name)
            gate.wait(20)
            super().put(path, name, patient)

    mirror = Mirror(Slow(child_uri(config.mirror or "", run.name)), run)
    try:
        threads = threading.Thread(target=lambda: [mirror.put_unit(unit) for unit in plan.units])
        threads.start()
        time.sleep(0.2)
        assert threads.is_alive(), "the run waits for a store that does not keep up"
        assert len(asked) == 3
        gate.set()
        threads.join()
        mirror.wait()
    finally:
        mirror.close()
    for unit in plan.units:
        mine = [name for name in asked if name in unit_files(unit)]
        assert mine == [name for name in unit_files(unit) if (run / name).exists()]
        assert mine[-1] == f"units/{unit.name}.parquet"


@pytest.mark.slow
def test_two_drivers_never_meet_in_one_folder(tmp_path: Path) -> None:
    runs = []
    for driver, seed in (("a", 1), ("b", 2)):
        (tmp_path / driver).mkdir()
        code, run = begin(small(tmp_path / driver, seed=seed, mirror=str(tmp_path / "there")))
        assert code == 0
        runs.append(run)
    assert [run.name[:11] for run in runs] == ["0001-small-", "0001-small-"]
    assert len({run.name for run in runs}) == 2
    for run in runs:
        assert files(tmp_path / "there" / run.name) == files(run)


@pytest.mark.slow
def test_a_folder_of_another_run_is_refused_on_both_sides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs that were begun without a copy have names that others have as well."""
    runs = []
    for driver, seed in (("a", 1), ("b", 2)):
        (tmp_path / driver).mkdir()
        runs.append(begin(small(tmp_path / driver, seed=seed, mirror=None))[1])
    assert runs[0].name == runs[1].name == "0001-small"
    there = tmp_path / "there"
    assert tournament(["--resume", str(runs[0]), "--mirror", str(there)]) == 0
    before = files(there)
    assert tournament(["--resume", str(runs[1]), "--mirror", str(there)]) == 2
    assert "holds another run than" in capsys.readouterr().err
    assert tournament(["--resume", (there / "0001-small").as_uri(), "--out", str(runs[1].parent)]) == 2
    said = capsys.readouterr().err
    assert f"{runs[1]} is the folder of another run than" in said
    assert said.count("\n") == 1
    assert files(there) == before


def test_what_the_stop_rule_drops_is_dropped_there_too(tmp_path: Path) -> None:
    config = resolve_paths(stopping_config(tmp_path, mirror=str(tmp_path / "there")))
    plan, run = make_plan(config), create_run(config, "a command", "")
    with open_mirror(run, config.mirror) as mirror:
        assert mirror
        run_units(config, plan, run, Console(file=StringIO()), mirror)
        mirror.finish()
    there = tmp_path / "there" / run.name
    kept = files(run)
    assert files(there) == kept
    beyond = plan.units[-1]  # put by a driver that was killed before it could throw this away
    tables = run_unit(plan.job, beyond)
    write_paths(there, beyond, tables.paths)
    write_unit(there, beyond, tables.results)
    assert len(files(there)) == len(kept) + 2
    with open_mirror(run, config.mirror) as mirror:
        run_units(config, plan, run, Console(file=StringIO()), mirror)
    assert set(files(there)) == set(kept)
    assert rank(run, plan, 0).stop["decided"]


@pytest.mark.slow
def test_a_folder_is_not_its_own_copy(tmp_path: Path) -> None:
    code, run = begin(small(tmp_path, mirror=str(tmp_path / "here")))
    assert code == 0
    with open_mirror(run, (tmp_path / "here").as_uri()) as mirror:
        assert mirror is None
    assert [path.name for path in (tmp_path / "here").iterdir()] == [run.name]


@pytest.mark.slow
def test_a_copy_can_be_given_up_or_moved_on_a_resume(tmp_path: Path, expected: str) -> None:
    _, run = begin(small(tmp_path))
    shutil.rmtree(tmp_path / "there")
    (run / "units" / sorted(path.name for path in (run / "units").iterdir())[0]).unlink()
    assert tournament(["--resume", str(run), "--mirror", "None"]) == 0
    assert not (tmp_path / "there").exists()
    assert tournament(["--resume", str(run), "--mirror", str(tmp_path / "other")]) == 0
    assert files(tmp_path / "other" / run.name) == files(run)
    assert digest_of(run) == expected
    played = (run / "log.jsonl").read_text().count('"unit"')
    uri, moved = (tmp_path / "other" / run.name).as_uri(), tmp_path / "moved" / run.name
    for place in ("None", str(tmp_path / "third")):  # what is fetched need not be played, wherever it is kept
        shutil.rmtree(moved, ignore_errors=True)
        assert tournament(["--resume", uri, "--out", str(moved.parent), "--mirror", place]) == 0
        assert digest_of(moved) == expected
        assert (moved / "log.jsonl").read_text().count('"unit"') == played
    assert files(tmp_path / "third" / run.name) == files(moved)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("foo://bucket/runs", "nothing can be stored in 'foo://bucket/runs': Unrecognized filesystem type"),
        ("s3://bucket/runs?wrong=1", "Unexpected query parameter in S3 URI: 'wrong'"),
        ("hdfs://x/runs", "nothing can be stored in 'hdfs://x/runs'"),
        ("s3://KEYID:TOPSECRET@bucket/runs?region=eu-west-1", "put it into the environment (AWS_ACCESS_KEY_ID"),
        ("mock://x", "expected s3://BUCKET/PREFIX"),
    ],
)
def test_a_wrong_uri_is_one_sentence_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], uri: str, said: str
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(small(tmp_path, mirror=uri)))
    assert tournament(["--config", str(path)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert "TOPSECRET" not in error
    assert not (tmp_path / "here").exists()


def test_a_uri_without_a_run_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tournament(["--resume", (tmp_path / "nothing").as_uri()]) == 2
    error = capsys.readouterr().err
    assert "cannot read a config.yaml there (" in error
    assert error.count("\n") == 1
    assert main(["report", (tmp_path / "nothing").as_uri()]) == 2
    assert "nothing is there. Give the URI of a run" in capsys.readouterr().err


@pytest.mark.slow
def test_a_report_is_written_of_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, run = begin(small(tmp_path))
    uri = (tmp_path / "there" / run.name).as_uri()
    desk = tmp_path / "desk"
    desk.mkdir()
    monkeypatch.chdir(desk)
    capsys.readouterr()
    assert main(["report", uri]) == 0
    assert capsys.readouterr().out == f"runs/{run.name}/report.html\n"
    copied = desk / "runs" / run.name
    assert (copied / "report.html").read_bytes() == (run / "report.html").read_bytes()
    assert not (copied / "units").exists(), "a report needs no single units"
    assert (copied / "paths").exists()
    assert main(["report", uri, str(run)]) == 0
    assert (desk / "runs" / "comparison.html").exists()


def test_what_is_newer_is_kept(tmp_path: Path) -> None:
    config = resolve_paths(small(tmp_path))
    run = create_run(config, "a command", "")
    there = tmp_path / "there" / run.name
    for name in ("log.jsonl", "report.html"):
        (run / name).write_text("short")
    with open_mirror(run, config.mirror) as mirror:
        assert mirror
        mirror.finish()
    (run / "log.jsonl").write_text("longer here, as the driver was killed before it could put it\n")
    assert fetch_run(there.as_uri(), run.parent) == run
    assert (run / "log.jsonl").read_text().startswith("longer here")
    time.sleep(0.02)
    (there / "report.html").write_text("written elsewhere")
    fetch_run(there.as_uri(), run.parent)
    assert (run / "report.html").read_text() == "written elsewhere"


def test_names_that_lead_out_of_the_folder_are_not_listed() -> None:
    assert [remote_folder._is_plain(name) for name in ("a/b.c", "../a", "a/../b", "/etc/x", "a/.tmp", "")] == [
        True,
        *[False] * 5,
    ]


def test_uris_of_folders_and_their_parents() -> None:
    options = "?endpoint_override=127.0.0.1:9000&scheme=http"
    assert child_uri(f"s3://bucket/runs/{options}", "0001-x") == f"s3://bucket/runs/0001-x{options}"
    assert parent_uri(f"s3://bucket/runs/0001-x{options}") == (f"s3://bucket/runs{options}", "0001-x")
    assert child_uri("s3://bucket", "0001-x") == "s3://bucket/0001-x"
    assert parent_uri("file:///mnt/nfs/0001-x/") == ("file:///mnt/nfs", "0001-x")


def test_a_listing_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = resolve_paths(small(tmp_path))
    plan, run = make_plan(config), create_run(config, "a command", "")

    def gone(folder: RemoteFolder) -> None:
        raise OSError("the network is gone")

    monkeypatch.setattr(RemoteFolder, "list", gone)
    with open_mirror(run, config.mirror) as mirror:
        assert mirror
        with pytest.raises(IncompleteRun, match=r"cannot look into file:.*: the network is gone: stopped after 0 of 6"):
            run_units(config, plan, run, Console(file=StringIO()), mirror)
        assert mirror.broken
        with pytest.raises(StorageError):
            mirror.join()
    monkeypatch.undo()
    (tmp_path / "there").mkdir(exist_ok=True)
    (tmp_path / "there" / run.name).write_text("a file where the folder should be")
    with open_mirror(run, config.mirror) as mirror, pytest.raises(IncompleteRun, match="stopped after 0 of 6 batches"):
        run_units(config, plan, run, Console(file=StringIO()), mirror)


@pytest.mark.slow
def test_a_path_as_a_mirror_is_stored_as_an_absolute_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_paths(small(tmp_path, mirror="a folder")).mirror == f"file://{tmp_path}/a%20folder"
    code, run = begin(small(tmp_path, mirror="a folder"))
    assert code == 0
    assert files(tmp_path / "a folder" / run.name) == files(run)


def test_the_same_run_or_a_sentence(tmp_path: Path) -> None:
    config = resolve_paths(small(tmp_path))
    run = create_run(config, "a command", "")
    with open_mirror(run, config.mirror) as mirror:
        assert mirror
        mirror.join()
        (tmp_path / "there" / run.name / "environment.json").write_text("{}")
        with pytest.raises(UserError, match=r"holds another run than .*: its environment.json differs"):
            mirror.join()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_driver_that_is_killed_with_its_disk_is_replaced_on_another_machine(tmp_path: Path, expected: str) -> None:
    """SIGKILL at several moments; each time only the copy is left."""
    (tmp_path / "slow.py").write_text(SLOW)
    field = {"agents": [{"agent": "cash"}, {"agent": f"{tmp_path}/slow.py:Slow", "copies": 2}]}
    (tmp_path / "calm").mkdir()
    calm = digest_of(begin(small(tmp_path / "calm", mirror=None, **field))[1])
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(small(tmp_path, **field)))
    what = ["--config", str(path)]
    for kill in range(3):
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "scripts" / "tournament.py"), *what],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
        )
        deadline = time.monotonic() + 120
        while len(list(tmp_path.glob("there/*/units/*.parquet"))) <= 2 * kill and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1 * kill)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        (copy,) = (tmp_path / "there").iterdir()
        assert len(list((copy / "units").glob("*.parquet"))) > 2 * kill
        shutil.rmtree(tmp_path / "here")
        what = ["--resume", copy.as_uri()]
    assert tournament(what) == 0
    assert digest_of(tmp_path / "here" / copy.name) == calm != expected
