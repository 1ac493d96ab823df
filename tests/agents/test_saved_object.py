"""Python objects as agents: they come back from a file as they were, with what the files beside them define."""

import pickle
import subprocess
import sys
import threading

import pytest
import torch

from arena.agents.policies import saved_object
from arena.agents.policies.saved_object import CannotBeSaved, keep_in_memory, load_object, save_object, spec_of
from arena.agents.registry import make_agent
from arena.agents.rules.baselines import Cash
from arena.errors import UserError


class Counter:
    """Remembers how often it has decided."""

    history_length = 2

    def __init__(self, start=0):
        self.num_decisions = start

    def act(self, obs):
        self.num_decisions += 1
        return obs.weight


class Batch:
    history_length = 0

    def reset(self):
        pass

    def act(self, observation, generator):
        return torch.zeros_like(observation.weight)


def hold(obs, scale=1.0):
    return obs.weight * scale


def saved(found, tmp_path):
    path = tmp_path / "agent.pkl"
    save_object(found, path)
    return f"pickle:{path}"


def test_a_class_an_instance_and_a_function_are_agents(tmp_path):
    assert make_agent(saved(Counter, tmp_path), {"start": 3}).make().num_decisions == 3
    assert make_agent(saved(Counter(start=5), tmp_path)).make().num_decisions == 5
    assert make_agent(saved(hold, tmp_path), {"scale": 0.5}).history_length == 60
    assert type(make_agent(saved(Batch, tmp_path))).__name__ == "Batch"
    assert type(make_agent(saved(Batch(), tmp_path))).__name__ == "Batch"


def test_each_market_and_each_batch_gets_a_copy_of_an_instance(tmp_path):
    given = Counter()
    for spec in (saved(given, tmp_path), keep_in_memory(given, "counter")):
        first, second = make_agent(spec), make_agent(spec)
        one, other = first.make(), second.make()
        one.act(type("Obs", (), {"weight": 0})())
        assert (one.num_decisions, other.num_decisions, first.make().num_decisions, given.num_decisions) == (1, 0, 0, 0)


def test_what_has_been_made_takes_no_parameters(tmp_path):
    with pytest.raises(ValueError, match="has no parameter 'start'; it accepts: none"):
        make_agent(saved(Counter(), tmp_path), {"start": 1})


def test_only_what_every_process_can_import_has_a_spec():
    assert spec_of(Cash) == "arena.agents.rules.baselines:Cash"
    assert spec_of(torch.nn.Linear) == "torch.nn.modules.linear:Linear"
    assert spec_of(Counter) is None, "a test module is a loose file"
    assert spec_of(Counter()) is None
    assert spec_of(lambda obs: obs) is None


def test_files_beside_a_script_travel_with_its_agent(tmp_path):
    """The saved class is opened in another process, from another folder, where neither file can be imported."""
    (tmp_path / "rules.py").write_text("def scale(x):\n    return 2 * x\n")
    (tmp_path / "mine.py").write_text(
        "import rules\nclass Mine:\n    def act(self, obs):\n        return rules.scale(obs)\n"
    )
    (tmp_path / "script.py").write_text(
        "from pathlib import Path\nfrom mine import Mine\n"
        "from arena.agents.policies.saved_object import save_object, spec_of\n"
        "assert spec_of(Mine) is None\nsave_object(Mine, Path(__file__).parent / 'agent.pkl')\n"
    )
    subprocess.run([sys.executable, tmp_path / "script.py"], check=True)
    opening = (
        "import sys; from arena.agents.policies.saved_object import load_object\n"
        f"print(load_object({str(tmp_path / 'agent.pkl')!r})().act(21))"
    )
    done = subprocess.run([sys.executable, "-c", opening], capture_output=True, text=True, check=False)
    assert done.stdout == "42\n", done.stderr


def test_what_cannot_be_saved_or_opened_is_said_in_a_sentence(tmp_path, monkeypatch):
    class Locked:
        def __init__(self):
            self.lock = threading.Lock()

        def act(self, obs):
            return obs.weight

    with pytest.raises(CannotBeSaved, match="lock"):
        save_object(Locked(), tmp_path / "agent.pkl")
    with pytest.raises(UserError, match=r"agent Locked cannot be copied .*Give the class in place of the instance"):
        keep_in_memory(Locked(), "locked")
    with pytest.raises(UserError, match=r"'gone' was an object in the memory of another process.*Start a new run\."):
        make_agent("memory:gone")
    with pytest.raises(UserError, match=r"cannot be read: No such file or directory"):
        load_object(str(tmp_path / "nothing.pkl"))
    (tmp_path / "text.pkl").write_text("no pickle")
    with pytest.raises(UserError, match="is not an agent that arena saved"):
        load_object(str(tmp_path / "text.pkl"))
    monkeypatch.setattr(saved_object, "PYTHON", (3, 7))
    save_object(Counter, tmp_path / "old.pkl")
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"saved by Python 3\.7, this is Python 3\.\d+\. Use Python 3\.7\."):
        load_object(str(tmp_path / "old.pkl"))
    content = pickle.dumps({"python": sys.version_info[:2], "object": b"cno_such_module\nName\n."})
    (tmp_path / "lacks.pkl").write_bytes(content)
    with pytest.raises(UserError, match=r"No module named 'no_such_module'\. Install what its code imports\."):
        load_object(str(tmp_path / "lacks.pkl"))
