"""Policies from files obey `tournament.isolate`: nothing of a file runs where the match is played."""

import sys

import pytest
import torch

from arena.agents.sandbox.isolation import SUPPORTED, Isolation
from arena.config.files import read_config
from arena.config.tournament import AgentConfig, TournamentConfig
from arena.data.synthetic.market import SyntheticParams, generate
from arena.errors import UserError
from arena.market.presets import preset
from arena.tournament.play.match import Entrant, MatchRules, play_match
from arena.tournament.setup.entrants import MOST_NAMES, code_note, entrants_with_code, isolation
from arena.tournament.setup.plan import make_plan
from arena.tournament.store.units import digest, table_from_columns
from arena.tournament.types import FORFEIT, OK, Lineup, Unit
from tests import needs
from tests.test_docs import ROOT, blocks
from tests.tournament.canary import write_canary
from tests.tournament.test_entrants import policy
from tests.tournament.test_isolated_tournament import played

pytestmark = pytest.mark.skipif(not SUPPORTED, reason="isolates, for which this system has no means")
ASSETS, LEVELS = 4, ("none", "sandbox")


def config(tmp_path, level, *agents):
    return TournamentConfig.model_validate(
        {
            "out": tmp_path / "runs",
            "data": {"num_assets": ASSETS, "scenarios": 2, "episode_length": 5},
            "agents": [{"agent": "random"}, *agents],
            "tournament": {"isolate": level},
            "ray": {"workers": 0},
        }
    )


def onnx_policy(path):
    """The spec of a graph for markets of ASSETS assets, or None where no such file can be written and read."""
    try:
        from tests.agents.test_onnx_policy import P, S, write
    except pytest.skip.Exception:
        return None
    return f"onnx:{write(path, obs_dim=P * ASSETS + S, num_outputs=ASSETS)}"


def of_match(entrants):
    """The result rows of a short match."""
    seeds = (101, 102)
    scenarios = generate(SyntheticParams(num_assets=ASSETS, num_bars=64), seeds, warmup=60)
    unit = Unit("unit", Lineup(0, tuple(entrants)), seeds)
    return table_from_columns(play_match(MatchRules(preset("sqrt"), seed=5), entrants, unit, scenarios).results)


def test_policies_from_files_play_isolated_with_the_same_digest(tmp_path, monkeypatch):
    specs = [policy(tmp_path / "a.pt"), onnx_policy(tmp_path / "a.onnx")]
    entrants = [{"agent": spec, "name": spec.partition(":")[0]} for spec in specs if spec]
    here, _, _ = played(config(tmp_path, "none", *entrants))

    def opened(*given, **named):
        pytest.fail("a file of an isolated entrant was opened where the match is played")

    for module, name in (("torch.jit", "load"), ("torch.export", "load"), ("onnxruntime", "InferenceSession")):
        if module in sys.modules:
            monkeypatch.setattr(sys.modules[module], name, opened)
    assert played(config(tmp_path, "process", *entrants))[0] == here


def test_policies_from_files_play_in_a_sandbox_with_the_same_digest(tmp_path):
    needs.bubblewrap()
    specs = [spec for spec in (policy(tmp_path / "a.pt"), onnx_policy(tmp_path / "a.onnx")) if spec]
    here, apart = (of_match({spec: Entrant(spec, {}, Isolation(level)) for spec in specs}) for level in LEVELS)
    assert digest(apart) == digest(here)
    assert set(apart["status"].to_pylist()) == {OK}
    assert min(apart["turnover"].to_pylist()) > 0


@pytest.fixture
def canary(tmp_path):
    """A path in a folder that no sandbox shows, so that the file cannot even be made in memory."""
    needs.bubblewrap()
    (tmp_path / "ours").mkdir()
    return tmp_path / "ours" / "canary"


def test_a_policy_that_writes_a_file_when_it_is_loaded_is_refused_by_the_sandbox(tmp_path, canary):
    spec = write_canary(tmp_path / "writes.pt", ASSETS, loaded=canary)
    with pytest.raises(UserError, match=r"writes\.pt' could not be made RuntimeError"):
        make_plan(config(tmp_path, "sandbox", {"agent": spec, "name": "writes"}))
    assert not canary.exists()


def test_a_policy_that_writes_a_file_when_it_plays_forfeits_in_the_sandbox(tmp_path, canary):
    spec = write_canary(tmp_path / "writes.pt", ASSETS, played=canary)
    rows = of_match({"random": Entrant("random"), "writes": Entrant(spec, {}, Isolation("sandbox"))}).to_pandas()
    assert not canary.exists()
    assert dict(zip(rows["agent"], rows["status"])) == {"random": OK, "writes": FORFEIT}


def test_the_canary_writes_where_it_may(tmp_path):
    loaded, moved = tmp_path / "loaded", tmp_path / "moved"
    spec = write_canary(tmp_path / "writes.pt", ASSETS, loaded, moved)
    played(config(tmp_path, "none", {"agent": spec, "name": "writes"}))
    assert (loaded.stat().st_size, moved.stat().st_size) == (16, 16)


def test_nothing_of_a_policy_file_runs_in_the_driver(tmp_path, monkeypatch):
    """At level process as well, where the file may write, but from another process."""
    spec = write_canary(tmp_path / "writes.pt", ASSETS, loaded=tmp_path / "canary")
    monkeypatch.setattr(torch.jit, "load", lambda *given, **named: pytest.fail("loaded in the driver"))
    assert make_plan(config(tmp_path, "process", {"agent": spec, "name": "writes"})).units
    assert (tmp_path / "canary").exists()


def test_who_brings_code_is_said(tmp_path):
    agents = [
        {"agent": "mine.py:Mine"},
        {"agent": "policy:a.pt", "name": "a"},
        {"agent": "onnx:b.onnx", "name": "b", "copies": 2},
        {"agent": "package.module:Safe", "isolate": "sandbox"},
        {"agent": "trained"},
        {"agent": "momentum"},
    ]
    asked = config(tmp_path, "none", *agents)
    assert entrants_with_code(asked) == ["Mine", "a", "b-1", "b-2"]
    assert code_note(asked) == (
        "these entrants run code with your rights: Mine, a, b-1, b-2. "
        "Use --tournament.isolate sandbox for entrants you do not trust."
    )
    isolated = config(tmp_path, "sandbox", *agents)
    assert entrants_with_code(isolated) == []
    assert code_note(isolated) == code_note(TournamentConfig()) == ""
    levels = [isolation(agent, isolated).level for agent in isolated.agents]
    assert levels == ["none", "sandbox", "sandbox", "sandbox", "sandbox", "none", "none"]
    many = asked.model_copy(update={"agents": (AgentConfig(agent="m.py:M", copies=MOST_NAMES + 3),)})
    assert code_note(many).partition(". ")[0].endswith(f"M-{MOST_NAMES} and 3 more")


def test_the_example_of_the_page_means_what_its_comments_say(tmp_path):
    ((_, text),) = [block for block in blocks((ROOT / "docs" / "isolation.md").read_text()) if block[0] == "yaml"]
    (tmp_path / "my.yaml").write_text(text)
    asked = read_config(tmp_path / "my.yaml")
    levels = {agent.names[0]: isolation(agent, asked).level for agent in asked.agents}
    assert levels == {"cash": "none", "theirs.pt": "process", "Stranger": "sandbox"}
