"""A run that is killed, fills its disk or loses its workers is finished by a resume, with the digest of a quiet run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from arena.cli import tournament
from arena.config.files import dump_config
from arena.config.tournament import TournamentConfig
from arena.errors import IncompleteRun
from arena.tournament.results.outcome import rank
from arena.tournament.run import workers
from arena.tournament.run.run_units import run_units
from arena.tournament.schedule.finished_units import run_state
from arena.tournament.setup.plan import make_plan
from arena.tournament.store.run_folder import create_run, open_run

ROOT = Path(__file__).parents[2]
AGENTS = """
import os
import signal
import time
import torch

class Slow:
    history_length = 0
    def reset(self): pass
    def act(self, observation, generator):
        time.sleep(0.02)
        return torch.randn(observation.weight.shape, generator=generator, dtype=torch.float64) * 0.2

class Dies(Slow):
    def act(self, observation, generator):
        os.kill(os.getpid(), signal.SIGKILL)  # what the system does where memory runs out
"""


def swiss(folder: Path, slow: bool = False, **changes: object) -> TournamentConfig:
    """Three rounds and a final of a field of six: 9 + 3 units."""
    (folder / "agents.py").write_text(AGENTS)
    content = {
        "name": "swiss",
        "out": folder / "runs",
        "data": {"num_assets": 2, "scenarios": 6, "episode_length": 6},
        "agents": [{"agent": "cash"}, {"agent": f"{folder}/agents.py:Slow" if slow else "random", "copies": 5}],
        "tournament": {"format": "swiss", "seats": 2, "rounds": 3, "finalists": 3, "paths_mb": 0.1},
        "ray": {"workers": 0},
    }
    return TournamentConfig.model_validate(content | changes)


def fresh(config: TournamentConfig) -> Path:
    plan = make_plan(config)
    return create_run(config, "a command", plan.data_digest)


def play(run: Path) -> str:
    """Go on with a run folder until it is finished; the digest."""
    config = open_run(run)
    plan = make_plan(config)
    run_units(config, plan, run, Console(file=StringIO()))
    return rank(run, plan, config.seed).digest


def test_a_full_disk_costs_nothing_that_was_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is full after some bytes of the fifth file, then of the next, and so on, until there is room."""
    expected = play(fresh(swiss(tmp_path)))
    run = fresh(swiss(tmp_path))
    real, room = pq.write_table, [5]

    def write_table(table: object, where: str, **options: object) -> None:
        room[0] -= 1
        if room[0] < 0:
            Path(where).write_bytes(b"PAR1 and half of the rest")
            raise OSError(28, "No space left on device")
        real(table, where, **options)

    monkeypatch.setattr(pq, "write_table", write_table)
    kept: set[str] = set()
    for _ in range(3):
        with pytest.raises(
            IncompleteRun, match=r"cannot store unit round-\S+ in .*: No space left on device: stopped after"
        ):
            play(run)
        present = {unit.name for unit in run_state(run, make_plan(open_run(run)).schedule).present}
        assert kept < present, "what was finished stays, and some more is"
        kept, room[0] = present, 5
        assert not list(run.rglob("*.tmp"))
    assert tournament(["--resume", str(run)]) == 1
    room[0] = 1000
    assert play(run) == expected


def test_a_full_disk_is_one_sentence_and_the_command_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fresh(swiss(tmp_path))
    if Path("/dev/full").exists():  # not on every system
        (run / "log.jsonl").symlink_to("/dev/full")

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    assert tournament(["--resume", str(run)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: cannot store unit round-001-batch-00000-lineup-00000 in ")
    assert "No space left on device: stopped after 0 of 12 batches; go on with" in said
    assert f"--resume {run}" in said
    assert "Traceback" not in said, "the log, which cannot be written either, says nothing"


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(1200)
def test_five_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    """SIGKILL of the process that drives, under 0, 1, 2 and 4 workers in turn, each time somewhere on the way."""
    config = swiss(tmp_path, slow=True)
    expected = play(fresh(config))
    moments = random.Random(5)
    path = tmp_path / "swiss.yaml"
    path.write_text(dump_config(config))
    units = tmp_path / "runs" / "0002-swiss" / "units"
    killed = 0
    for kill, count in enumerate((0, 1, 2, 4, 0)):
        what = ["--resume", str(units.parent)] if kill else ["--config", str(path)]
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "scripts" / "tournament.py"), *what, "--ray.workers", str(count)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
        )
        target, deadline = 2 * kill + 1, time.monotonic() + 200
        while len(list(units.glob("*.parquet"))) < target and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        time.sleep(moments.random() * 0.5)  # a unit takes 0.24 s and its files some more
        os.kill(process.pid, signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        present = len(list(units.glob("*.parquet")))
        assert present >= target
    assert killed >= 4, "one may have been quicker than its killer"
    assert play(units.parent) == expected


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("cause", ["WorkerCrashedError", "OutOfMemoryError"])
def test_a_unit_that_always_loses_its_process_ends_the_run_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    """It can be resumed where there is more memory, or with the agent in a process of its own."""
    monkeypatch.setattr(workers, "NUM_RETRIES", 1)
    field = [
        {"agent": "cash"},
        {"agent": f"{tmp_path}/agents.py:{'Dies' if cause == 'WorkerCrashedError' else 'Slow'}"},
    ]
    config = swiss(tmp_path, ray={"workers": 1}, agents=field, tournament={})
    run = fresh(config)
    with monkeypatch.context() as patch:
        if cause == "OutOfMemoryError":  # any use of memory is too much
            patch.setenv("RAY_memory_usage_threshold", "0.0001")
            patch.setenv("RAY_memory_monitor_refresh_ms", "100")
        with pytest.raises(IncompleteRun, match=rf"lost its process 2 times \({cause}\); one of cash, \w+ may end"):
            play(run)
    events = [json.loads(line)["event"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert events == ["begin", "failed"]
    if cause == "OutOfMemoryError":
        assert play(run) == play(fresh(swiss(tmp_path, agents=field, tournament={})))
