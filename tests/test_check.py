"""`arena check` names the fault of every saboteur, and `arena new-agent` writes an agent without one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from arena.agents.examination import CLAUSES, examine
from arena.agents.registry import BUILT_IN, SHIPPED
from arena.agents.sandbox.isolation import Isolation
from arena.cli import main
from tests.tournament.saboteurs import SOURCE

MORE = '''

class Truncates(Good):
    def act(self, observation, generator): return observation.weight.float() * 1

class Clock(Good):
    def act(self, observation, generator): return torch.full_like(observation.weight, float(os.getpid() % 97))

class Foresees(Good):
    """Finds the bars to come in the frames of whoever plays the match."""
    def act(self, observation, generator):
        frame = sys._getframe()
        while frame is not None and "scenarios" not in frame.f_locals: frame = frame.f_back
        if frame is None: return torch.zeros_like(observation.weight)
        return 1e-3 * frame.f_locals["scenarios"].bars[:, -1, :, 3]
'''
BRIEF = 1.5  # seconds for those who would take for ever
FAULTS = {
    "Raises": ("runs", "raised RuntimeError: broken at"),
    "Hangs": ("limits", "took longer than 1.5 s for a decision"),
    "NeverStarts": ("limits", "took longer than 1.5 s to start"),
    "Nan": ("finite", "NaN or infinite weights"),
    "Exits": ("limits", "ended its process with exit code 3"),
    "Allocates": ("runs", "raised MemoryError"),
    "Prints": ("limits", "printed more than 16 MB"),
    "Peeks": ("runs", "raised RuntimeError: found [] and []"),
    "WrongShape": ("shape", "returned weights of shape (1, 0), expected (1, 1)"),
    "Mutates": ("no mutation", "changed observation.history"),
    "Scribbles": ("no mutation", "changed observation.returns"),
    "Forks": ("runs", "raised RuntimeError: has left children behind"),
    "KillsParent": ("limits", "its process was killed (SIGKILL)"),
    "Lies": ("limits", "sent something that is no message"),
    "Greedy": ("history_length", "found 1000000000000000, expected 5000 at most"),
    "Follower": ("forecaster", "follows a forecaster that is neither"),
    "Truncates": ("dtype", "returned torch.float32, expected torch.float64"),
    "Clock": ("deterministic", "the weights of decision 0 differ"),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("agents") / "saboteurs.py"
    path.write_text(SOURCE + MORE)
    return path


def findings(spec, level="process", seconds=10.0, **params):
    found = examine(spec, params, Isolation(level, decision_seconds=seconds, startup_seconds=seconds))
    assert tuple(finding.clause for finding in found) == CLAUSES
    return {finding.clause: finding for finding in found}


@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_of_each_saboteur_is_named(file, name):
    clause, said = FAULTS[name]
    slow = name in ("Hangs", "NeverStarts")
    found = findings(f"{file}:{name}", seconds=BRIEF if slow else 60.0)
    failed = [entry.clause for entry in found.values() if entry.verdict == "FAILS"]
    assert clause in failed
    assert set(failed) <= {clause, "numbers"}
    assert said in found[clause].detail


def test_who_looks_ahead_in_the_memory_of_the_match_is_found(file):
    assert findings(f"{file}:Foresees", "none")["look-ahead"].verdict == "FAILS"
    apart = findings(f"{file}:Foresees")
    assert apart["look-ahead"].verdict == "ok", "in a process of its own there is nothing to find"


@pytest.mark.parametrize("name", [*BUILT_IN, *SHIPPED])
def test_the_shipped_agents_pass(name):
    params = {"forecaster": "drift"} if name in ("mean_variance", "rank") else {}
    assert {entry.verdict for entry in findings(name, "none", **params).values()} <= {"ok", "slow"}


@pytest.mark.parametrize("options", [[], ["--batch"]])
def test_a_new_agent_passes(tmp_path, monkeypatch, capsys, options):
    monkeypatch.chdir(tmp_path)
    assert main(["new-agent", "my_first", *options]) == 0
    assert "arena check my_first.py:MyFirst" in capsys.readouterr().out
    assert main(["check", "my_first.py:MyFirst", "lookback=15"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("checking my_first.py:MyFirst in a process of its own\n")
    assert said.endswith("my_first.py:MyFirst keeps the contract\n")
    assert [line.split()[0] for line in said.splitlines()[1:-1]] == ["ok"] * len(CLAUSES)
    before = (tmp_path / "my_first.py").read_text()
    assert main(["new-agent", "my_first.py"]) == 2
    assert capsys.readouterr().err == "error: my_first.py: cannot be written: File exists\n"
    assert (tmp_path / "my_first.py").read_text() == before


def test_what_cannot_be_checked_is_said_in_a_sentence(file, capsys, monkeypatch):
    assert main(["new-agent", "my-agent"]) == 2
    assert "'my-agent': invalid file name; use letters, digits and underscores" in capsys.readouterr().err
    assert main(["check", f"{file}:Good", "size={"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_the_report_of_a_broken_agent(file):
    """As a user runs it, from another folder and with a relative path."""
    command = [sys.executable, "-c", "import sys; from arena.cli import main; sys.exit(main())", "check"]
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [*command, f"{file.name}:Exits"],
        cwd=file.parent,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "checking saboteurs.py:Exits in a process of its own"
    assert lines[5].split()[:2] == ["FAILS", "limits"]
    assert lines[-1] == "saboteurs.py:Exits breaks the contract: limits"
    assert done.stderr == ""
