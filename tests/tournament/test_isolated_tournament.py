"""A tournament with isolated entrants: the same digest as without, wherever it is played and however it is resumed."""

import json
from io import StringIO

import pytest
from rich.console import Console

from arena.agents.sandbox import isolation as agent_isolation
from arena.agents.sandbox.bubblewrap import checked_program
from arena.config.tournament import TournamentConfig
from arena.errors import UserError
from arena.tournament.results.outcome import write_outcome
from arena.tournament.run.run_units import run_units
from arena.tournament.setup.entrants import isolation
from arena.tournament.setup.plan import make_plan
from arena.tournament.store.run_folder import create_run
from arena.tournament.store.units import compact, digest
from arena.tournament.types import OK

AGENTS = """
import os, signal, time
import numpy as np

class Dice:
    history_length = 20
    def act(self, obs): return obs.rng.dirichlet(np.ones(obs.num_assets)) * (obs.close[:, -1] > obs.close.mean(axis=1))

class Hangs(Dice):
    def act(self, obs): time.sleep(1000)

class Follows(Dice):
    forecaster = "drift"
    def act(self, obs): return 0.1 * obs.forecast_return[:, 0]

class Frail(Dice):
    # Its process is killed once, as by somebody else, while a match goes on.
    def __init__(self, marker: str): self.marker, self.bars = marker, 0
    def act(self, obs):
        self.bars += 1
        if self.bars == 3 and not os.path.exists(self.marker):
            open(self.marker, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().act(obs)

class Quits(Dice):
    def __init__(self): os._exit(1)
"""


def tiny(tmp_path, names=("Dice", "Follows"), level="process", workers=0, **schedule):
    path = tmp_path / "mine.py"
    path.write_text(AGENTS)
    mine = [{"agent": f"{path}:{name}"} for name in names]
    return TournamentConfig.model_validate(
        {
            "out": tmp_path / "runs",
            "data": {"num_assets": 2, "scenarios": 4, "episode_length": 5},
            "agents": [{"agent": "cash"}, {"agent": "random"}, *mine],
            "tournament": {"seats": 3, "batch_size": 2, "lineups": 2, "isolate": level, **schedule},
            "ray": {"workers": workers},
        }
    )


def played(config):
    plan = make_plan(config)
    run = create_run(config, "a command", plan.data_digest, plan.job.forecasters)
    run_units(config, plan, run, Console(file=StringIO()))
    return digest(compact(run, plan.units)), plan, run


def test_isolation_changes_no_result(tmp_path):
    isolated, plan, run = played(tiny(tmp_path))
    here, _, _ = played(tiny(tmp_path, level="none"))
    assert isolated == here
    board = write_outcome(run, plan, 0, "isolated").to_json()
    assert {row["agent"]: row["forfeits"] for row in board["agents"]} == dict.fromkeys(plan.job.entrants, 0)


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_isolated_agents_play_in_the_workers_of_ray(tmp_path):
    on_ray, _, _ = played(tiny(tmp_path, workers=2))
    here, _, _ = played(tiny(tmp_path))
    assert on_ray == here


def test_a_process_that_somebody_kills_changes_no_result(tmp_path):
    content = tiny(tmp_path, seats=None, lineups=None).model_dump()
    marker = tmp_path / "killed"
    frail = {"agent": f"{tmp_path}/mine.py:Frail", "params": {"marker": str(marker)}}
    config = TournamentConfig.model_validate(content | {"agents": [{"agent": "random"}, {"agent": "cash"}, frail]})
    struck, plan, run = played(config)
    assert marker.exists()
    assert set(compact(run, plan.units).to_pandas()["status"]) == {OK}
    assert played(config)[0] == struck


def test_the_verdict_of_a_clock_is_stored(tmp_path):
    config = tiny(tmp_path, names=("Dice", "Hangs"), decision_seconds=1.5)
    before, plan, run = played(config)
    reasons = set(compact(run, plan.units).to_pandas().query("agent == 'Hangs'")["reason"])
    assert reasons == {"took longer than 1.5 s for a decision"}
    events = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert {event["agent"] for event in events if event["event"] == "forfeit"} == {"Hangs"}
    # Whoever finishes the run asks the clock about the missing unit only, whatever he makes of the file of agents.
    (run / "units" / f"{plan.units[0].name}.parquet").unlink()
    kept = [path.stat().st_mtime_ns for path in sorted((run / "units").iterdir())]
    run_units(config, plan, run, Console(file=StringIO()))
    assert [path.stat().st_mtime_ns for path in sorted((run / "units").iterdir())][1:] == kept
    assert digest(compact(run, plan.units)) == before


def test_who_is_isolated(tmp_path):
    config = tiny(tmp_path)
    assert [isolation(agent, config).level for agent in config.agents] == ["none", "none", "process", "process"]
    own = config.agents[2].model_copy(update={"isolate": "sandbox"})
    assert isolation(own, config).level == "sandbox"
    assert isolation(config.agents[1].model_copy(update={"isolate": "process"}), config).level == "process"
    default = TournamentConfig()
    assert {isolation(agent, default).level for agent in default.agents} == {"none"}


def test_a_sandbox_that_cannot_be_had_is_said_before_the_first_match(tmp_path, monkeypatch):
    config = tiny(tmp_path, level="sandbox")
    monkeypatch.setenv("PATH", "")
    checked_program.cache_clear()
    with pytest.raises(UserError, match="needs the program bwrap, which is not here; install bubblewrap"):
        make_plan(config)
    checked_program.cache_clear()
    monkeypatch.setattr(agent_isolation, "SUPPORTED", False)
    with pytest.raises(UserError, match="isolate: sandbox needs Linux"):
        make_plan(config)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"agents": [{"agent": "PATH:Quits"}]}, "agent '.*:Quits' ended its process with exit code 1"),
        ({"agents": [{"agent": "PATH:Nobody"}]}, "agent '.*:Nobody' could not be made ValueError: .* no 'Nobody' in"),
        ({"agents": [{"agent": "oracle", "isolate": "process"}]}, "needs what no isolated agent is shown"),
    ],
)
def test_what_cannot_play_isolated_is_refused_before_the_first_match(tmp_path, changes, said):
    config = tiny(tmp_path, names=(), seats=None, lineups=None, allow_cheats=True)
    agents = [{**agent, "agent": agent["agent"].replace("PATH", f"{tmp_path}/mine.py")} for agent in changes["agents"]]
    content = config.model_dump() | {"agents": agents}
    with pytest.raises(UserError, match=said):
        make_plan(TournamentConfig.model_validate(content))
