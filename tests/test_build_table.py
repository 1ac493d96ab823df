"""Tables made ahead are those that a tournament asks for."""

import json
from pathlib import Path

from arena.forecast.baselines import Drift
from tests.script import run_script

ROOT = Path(__file__).parent.parent
TINY = ["--data.scenarios", "3", "--data.num-assets", "2", "--data.episode-length", "5"]


def run(*arguments):
    return run_script(ROOT / "scripts" / "build_table.py", *arguments)


def test_a_tournament_finds_what_was_made_ahead(tmp_path, monkeypatch):
    from arena.cli import tournament

    done = run("--forecaster", "drift", "--out", tmp_path / "tables", *TINY)
    assert done.returncode == 0, done.stderr
    assert "drift over 3 windows, 64 bars of context each" in done.stdout
    assert f"wrote {tmp_path}/tables" in done.stdout
    made = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "tables").iterdir()}
    assert len(made) == 3

    def unasked(*question):
        raise AssertionError("the tables were to answer")

    monkeypatch.setattr(Drift, "predict", unasked)
    (tmp_path / "config.yaml").write_text("agents: [{agent: cash}]\nray: {workers: 0}\n")
    arguments = ["--config", tmp_path / "config.yaml", "--out", tmp_path / "runs", *TINY]
    arguments += ["--forecaster", "drift", "--forecast.tables", tmp_path / "tables"]
    assert tournament([str(argument) for argument in arguments]) == 0
    board = json.loads((tmp_path / "runs" / "0001-default" / "leaderboard.json").read_text())
    assert {entry["agent"]: entry["forfeits"] for entry in board["agents"]} == {"cash": 0, "drift": 0, "drift_rank": 0}
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "tables").iterdir()} == made


def test_bad_input_is_one_sentence(tmp_path):
    done = run("--forecaster", "drifft", "--out", tmp_path, *TINY)
    assert done.returncode == 2
    assert done.stderr.startswith("error: forecaster 'drifft' is unknown")
    assert done.stderr.count("\n") == 1
