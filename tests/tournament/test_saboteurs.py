"""A field of saboteurs: each is named with its reason, and the honest play on as if cash sat in its seat."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from arena.agents.sandbox import launch
from arena.agents.sandbox.isolation import Isolation
from arena.data.synthetic.market import SyntheticParams, generate
from arena.market.presets import preset
from arena.tournament.play.match import Entrant, MatchRules, play_match
from arena.tournament.store.units import table_from_columns
from arena.tournament.types import FORFEIT, NOT_IN_DIGEST, OK, Lineup, Unit
from tests import needs
from tests.tournament.saboteurs import SOURCE

SEEDS, WARMUP, STEPS = (101, 102, 103), 60, 4
RULES = MatchRules(preset("sqrt"), seed=5)
HONEST = {"momentum": Entrant("momentum"), "random": Entrant("random"), "mean_reversion": Entrant("mean_reversion")}
BRIEF = 2.0  # seconds that are given to those who would take for ever
TIMED = {
    "Hangs": {"decision_seconds": BRIEF},
    "Spins": {"decision_seconds": BRIEF},
    "NeverStarts": {"startup_seconds": BRIEF},
}
SLOW = f"took longer than {BRIEF:g} s"

# Who forfeits, and with which reason; the two levels differ in one.
OFFENDERS = {
    "Raises": "raised RuntimeError: broken at <object object at 0x>",
    "Hangs": f"{SLOW} for a decision",
    "Spins": f"{SLOW} for a decision",
    "NeverStarts": f"{SLOW} to start",
    "Exits": "ended its process with exit code 3",
    "Crashes": "its process was killed (SIGSEGV)",
    "Allocates": "raised MemoryError:",
    "AllocatesTensors": "raised RuntimeError: [enforce fail at alloc_cpu.cpp",
    "Prints": "printed more than 16 MB",
    "Peeks": "raised RuntimeError: found [] and []",
    "WrongShape": "returned weights of shape (3, 1), expected (3, 2)",
    "Mutates": "wrote into the shared price history",
    "Forks": "raised RuntimeError: has left children behind",
    "KillsParent": "its process was killed (SIGKILL)",
    "StopsParent": "raised RuntimeError: has stopped its parent",
    "Lies": "sent something that is no message",
    "Greedy": "history_length is 1000000000000000, and there are 60 bars",
    "Follower": "follows a forecaster that is neither the package's nor named in its params",
    "Fills": "raised OSError: [Errno 27] File too large",
}
HARMLESS = ("Nan", "Chats", "Scribbles")  # they break no rule, and hold cash
IN_A_SANDBOX = {
    "KillsParent": "raised RuntimeError: its parent lives",
    "CallsOut": "raised ConnectionRefusedError: [Errno 111] Connection refused",
    "Writes": "raised FileNotFoundError: [Errno 2] No such file or directory:",
    "Reads": "raised RuntimeError: sees ['saboteurs.py'] and []",
    "FillsScratch": "raised OSError: [Errno 28] No space left on device",
}
WRITTEN = Path(__file__).with_name("written")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of the saboteurs' file. It stands in the environment of every process started for an agent, to tell them by."""
    folder = tmp_path_factory.mktemp("saboteurs")
    (folder / "saboteurs.py").write_text(SOURCE)
    (folder / "future_bars.csv").write_text("what nobody may see")
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(folder)
    launch._forkservers.clear()  # a new one, with this environment
    yield folder
    launch._forkservers.clear()
    os.environ.pop("TMPDIR")
    if before is not None:
        os.environ["TMPDIR"] = before


@pytest.fixture(scope="module")
def scenarios():
    return generate(SyntheticParams(num_assets=2, num_bars=WARMUP + STEPS), SEEDS, warmup=WARMUP)


def saboteur(folder, name, level, **params):
    return Entrant(f"{folder}/saboteurs.py:{name}", params, Isolation(level, **TIMED.get(name, {})))


def played(scenarios, entrants):
    """Result rows as a data frame without what the digest leaves out."""
    unit = Unit("unit", Lineup(0, tuple(entrants)), SEEDS)
    frame = table_from_columns(play_match(RULES, entrants, unit, scenarios).results).to_pandas()
    return frame.drop(columns=list(NOT_IN_DIGEST)), dict(zip(frame["agent"], frame["traceback"]))


def of_the_honest(frame):
    # A rank says who is better than whom, the offenders included.
    return frame[frame["agent"].isin(HONEST)].drop(columns="rank").reset_index(drop=True)


def processes_of(folder):
    """Process id -> command of all whose environment names the folder, but for the forkserver."""
    found = {}
    forkserver = launch._forkservers[0]._process.pid if launch._forkservers else None
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"TMPDIR={folder}".encode() in (path / "environ").read_bytes() and int(path.name) not in (
                forkserver,
                os.getpid(),
            ):
                found[int(path.name)] = (path / "cmdline").read_bytes()
    return found


def test_a_field_of_saboteurs_harms_nobody(folder, scenarios, monkeypatch):
    monkeypatch.setenv("ARENA_TEST_KEY", "secret")
    rogues = {
        name: saboteur(folder, name, "process", **({"place": f"{folder}/filler"} if name == "Fills" else {}))
        for name in (*OFFENDERS, *HARMLESS)
    }
    field = list({**HONEST, **rogues}.items())
    field = dict(field[::2] + field[1::2])  # the honest sit among them
    with_them, traces = played(scenarios, field)
    without, _ = played(scenarios, {name: HONEST.get(name, Entrant("cash")) for name in field})
    assert of_the_honest(with_them).equals(of_the_honest(without))

    rows = with_them.drop_duplicates("agent").set_index("agent")
    assert {name: rows.loc[name, "status"] for name in rogues} == {
        **dict.fromkeys(OFFENDERS, FORFEIT),
        **dict.fromkeys(HARMLESS, OK),
    }
    for name, reason in OFFENDERS.items():
        said = rows.loc[name, "reason"]
        assert said.startswith(reason), f"{name}: {said}"
    assert (rows.loc[list(HARMLESS), "final_nav"] == 1).all()
    assert rows.loc["Nan", "rejected"] == 2 * STEPS
    assert 'raise RuntimeError(f"broken at {object()}")' in traces["Raises"]
    assert len(traces["Prints"]) < 2**15
    assert processes_of(folder) == {}


def test_the_frames_of_a_match_show_the_market_to_an_agent_that_is_not_isolated(folder, scenarios):
    """The control of Peeks: there is something to find where nothing keeps it away."""
    frame, _ = played(scenarios, {**HONEST, "Peeks": saboteur(folder, "Peeks", "none")})
    assert "'VectorMarket'" in frame.set_index("agent").loc["Peeks", "reason"].iloc[0]


@pytest.mark.parametrize("name", IN_A_SANDBOX)
def test_a_sandbox_keeps_from_network_and_disk(folder, scenarios, name, monkeypatch):
    needs.bubblewrap()
    monkeypatch.setenv("ARENA_TEST_KEY", "secret")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.0)
        params = {
            "CallsOut": {"port": server.getsockname()[1]},
            "Writes": {"place": str(WRITTEN)},
            "FillsScratch": {"place": "/tmp/filler"},
        }
        frame, _ = played(scenarios, {**HONEST, name: saboteur(folder, name, "sandbox", **params.get(name, {}))})
        with pytest.raises(BlockingIOError):
            server.accept()
    rows = frame.set_index("agent")
    assert rows.loc[name, "reason"].iloc[0].startswith(IN_A_SANDBOX[name])
    without, _ = played(scenarios, {**HONEST, name: Entrant("cash")})
    assert of_the_honest(frame).equals(of_the_honest(without))
    assert not WRITTEN.exists()
    assert processes_of(folder) == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*OFFENDERS, *HARMLESS} - {*IN_A_SANDBOX, "Fills"}))
def test_a_sandbox_keeps_from_all_the_rest_too(folder, scenarios, name):
    needs.bubblewrap()
    frame, _ = played(scenarios, {**HONEST, name: saboteur(folder, name, "sandbox")})
    row = frame.set_index("agent").loc[name].iloc[0]
    assert row["status"] == (FORFEIT if name in OFFENDERS else OK)
    assert row["reason"].startswith(OFFENDERS.get(name, ""))
    without, _ = played(scenarios, {**HONEST, name: Entrant("cash")})
    assert of_the_honest(frame).equals(of_the_honest(without))
    assert processes_of(folder) == {}


def test_the_processes_of_agents_go_with_a_worker_that_is_killed(folder):
    program = f"""
import sys, time
from arena.agents.sandbox.isolation import Isolation, open_agent
sys.path.insert(0, "")
agents = [open_agent("{folder}/saboteurs.py:" + name, {{}}, Isolation("process")) for name in ("Good", "Hangs")]
for agent in agents:
    agent.reset()
print("ready", flush=True)
time.sleep(1000)
"""
    launch._forkservers.clear()
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
        assert len(processes_of(folder)) == 6, "the worker, its forkserver, and two each for the agents"
        os.kill(worker.pid, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while processes_of(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_of(folder) == {}
