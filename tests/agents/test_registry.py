"""From spec strings to agents, and one clear sentence for every way to get them wrong."""

import os
import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest
import torch

from arena.agents import registry
from arena.agents.contracts import check_agent
from arena.agents.fake_observation import fake_observation
from arena.agents.loading import resolve_spec
from arena.agents.numpy_agent import NumpyAgent
from arena.agents.registry import BUILT_IN, describe_agents, make_agent
from arena.agents.rules.price_rules import Momentum

SOURCE = '''
from dataclasses import dataclass
import numpy as np

@dataclass
class Batched:
    """Scales what it holds."""
    factor: float = 0.5
    history_length = 0
    def reset(self): pass
    def act(self, observation, generator): return self.factor * observation.weight

class Single:
    history_length = 7
    def __init__(self, size=1.0): self.size = size
    def act(self, obs): return np.full(obs.num_assets, self.size * obs.close.shape[1])

def dip(obs, lookback, size=1.0):
    return -size * np.sign(obs.close[:, -1] - obs.close[:, -lookback])

class Actless: pass

class Forgetful:
    history_length = 0
    def act(self, observation, generator): return observation.weight

class Greedy(Batched):
    def act(self, observation, generator, broker): return observation.weight

constant = 3
'''


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return path


def test_a_name_and_its_parameters():
    assert make_agent("momentum") == Momentum()
    assert make_agent("momentum", {"lookback": 10, "gross": 2}) == Momentum(lookback=10, gross=2)


def test_a_class_of_a_module():
    assert make_agent("arena.agents.rules.price_rules:Momentum", {"lookback": 5}) == Momentum(lookback=5)


def test_a_class_of_a_loose_file(file):
    agent = make_agent(f"{file}:Batched", {"factor": 0.25})
    check_agent(agent)
    observation = fake_observation()
    assert torch.equal(agent.act(observation, torch.Generator()), 0.25 * observation.weight)


def test_numpy_agents_are_told_by_their_one_argument(file):
    single = make_agent(f"{file}:Single", {"size": 2})
    assert isinstance(single, NumpyAgent)
    assert single.history_length == 7
    assert single.act(fake_observation(2, 1, 7), torch.Generator()).tolist() == [[14.0]] * 2
    function = make_agent(f"{file}:dip", {"lookback": 3})
    assert function.history_length == 60
    check_agent(function)


def test_an_edited_file_is_read_again(file):
    before = make_agent(f"{file}:Batched")
    file.write_text(SOURCE.replace("factor: float = 0.5", "factor: float = 0.75"))
    assert (before.factor, make_agent(f"{file}:Batched").factor) == (0.5, 0.75)


def test_a_resolved_spec_works_from_another_directory(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    spec = resolve_spec("mine.py:Batched")
    assert spec == f"{file.resolve()}:Batched"
    assert resolve_spec("momentum") == "momentum"
    assert resolve_spec("pkg.mod:Class") == "pkg.mod:Class"
    code = f"from arena.agents.registry import make_agent; print(make_agent({spec!r}).factor)"
    path = os.pathsep.join(entry for entry in sys.path if entry)
    found = subprocess.run(
        [sys.executable, "-c", code], cwd="/", env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )
    assert found.stdout.strip() == "0.5", found.stderr


def test_installed_packages_add_agents(monkeypatch, file):
    entries = [
        EntryPoint("trend", "arena.agents.rules.price_rules:Momentum", registry.ENTRY_POINT_GROUP),
        EntryPoint("cash", "arena.agents.rules.price_rules:Momentum", registry.ENTRY_POINT_GROUP),
        EntryPoint("broken", "no.such.module:Thing", registry.ENTRY_POINT_GROUP),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: entries)
    assert isinstance(make_agent("trend"), Momentum)
    assert not isinstance(make_agent("cash"), Momentum)  # a plug-in cannot replace a built-in agent
    rows = {row.name: row for row in describe_agents()}
    assert rows["trend"].parameters == {"lookback": 40, "gross": 1.0, "band": 0.25}
    assert "cannot be loaded: ModuleNotFoundError" in rows["broken"].description
    with pytest.raises(ValueError, match=r"agent 'broken': cannot load the plug-in no.such.module:Thing"):
        make_agent("broken")


def test_descriptions_are_complete():
    rows = {row.name: row for row in describe_agents()}
    assert set(BUILT_IN) <= set(rows)
    assert [name for name, row in rows.items() if row.is_cheat] == ["oracle"]
    for row in rows.values():
        assert row.description.endswith(".")
        assert "\n" not in row.description


@pytest.mark.parametrize(
    ("spec", "params", "message"),
    [
        ("momentun", None, "unknown agent 'momentun'; did you mean 'momentum'?"),
        ("zzz", None, "unknown agent 'zzz'; known are cash, buy_and_hold,"),
        ("momentum", {"lookbak": 3}, "no parameter 'lookbak'; it accepts: lookback, gross, band"),
        ("cash", {"size": 3}, "no parameter 'size'; it accepts: none"),
        ("momentum", {"lookback": "20"}, "Momentum: lookback is '20', expected a whole number >= 1"),
        ("momentum", {"lookback": 0}, "Momentum: lookback is 0, expected a whole number >= 1"),
        ("momentum", {"gross": float("nan")}, "Momentum: gross is nan, expected a finite number >= 0"),
        ("macd", {"fast": 30}, "Macd: fast is 30, expected less than slow, which is 26"),
        ("rsi", {"oversold": 60}, "oversold in [0, 50]"),
        ("nowhere.py:Agent", None, "agent 'nowhere.py:Agent': no file /"),
        ("{file}", None, "names a file only, expected file and class: "),
        ("{file}:Missing", None, "no 'Missing' in {file}; it defines Batched, Single, dip,"),
        ("{file}:Actless", None, "has no method act(observation, generator), nor act(obs) for one market"),
        ("{file}:Forgetful", None, "has no reset; an agent for a batch of markets needs"),
        ("{file}:Greedy", None, "act takes 3 arguments, expected act(self, observation, generator)"),
        ("{file}:constant", None, "is a int, expected a class or a function"),
        ("{file}:dip", None, "needs a value for its parameter lookback"),
        ("{file}:dip", {"look": 3}, "no parameter 'look'; it accepts: lookback, size"),
        ("no.such.module:Agent", None, "cannot import 'no.such.module': ModuleNotFoundError"),
        ("arena.agents.rules.price_rules:Trend", None, "no 'Trend' in arena.agents.rules.price_rules; it defines"),
    ],
)
def test_every_mistake_has_one_clear_sentence(spec, params, message, file):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared in full text below
        make_agent(spec.replace("{file}", str(file)), params)
    assert message.replace("{file}", str(file)) in str(caught.value)


def test_a_file_with_an_error_says_which(file):
    file.write_text("import numpy as np\ndef act(:\n")
    with pytest.raises(ValueError, match=r"cannot run .*mine.py: SyntaxError"):
        make_agent(f"{file}:act")
