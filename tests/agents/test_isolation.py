"""An isolated agent plays as the same agent would here, and what its process sends is read as numbers only."""

import gc
import os
import statistics
import time

import pytest
import torch

from arena.agents.fake_observation import fake_observation
from arena.agents.faults import AgentFault, fault, one_line
from arena.agents.registry import make_agent
from arena.agents.sandbox import wire
from arena.agents.sandbox.arrays import Reader, Writer
from arena.agents.sandbox.bubblewrap import agent_paths, checked_program
from arena.agents.sandbox.description import checked
from arena.agents.sandbox.isolation import (
    Isolation,
    IsolationUnavailable,
    close_agents,
    open_agent,
    opened,
    runs_foreign_code,
)
from arena.agents.sandbox.reaper import children_of
from arena.data.synthetic.market import SyntheticParams, generate
from arena.market.observation import seat_view
from arena.market.presets import preset
from arena.market.vector import VectorMarket
from tests import needs

SOURCE = '''
import numpy as np

class Dice:
    """Remembers, looks at its history, draws numbers, and writes into what is its own."""
    history_length = 7
    asset_counts = (3,)

    def __init__(self, size: float = 1.0):
        self.size, self.sum = size, 0.0

    def act(self, obs):
        self.sum += obs.close[:, -1] / obs.close[:, 0]
        return self.size * obs.rng.dirichlet(np.ones(obs.num_assets)) * np.tanh(self.sum - self.sum.mean())
'''
WARMUP, STEPS = 60, 4


@pytest.fixture(scope="module")
def dice(tmp_path_factory):
    path = tmp_path_factory.mktemp("agents") / "dice.py"
    path.write_text(SOURCE)
    return f"{path}:Dice"


def weights_in_a_market(agent):
    """[T, B, A] of one seat in real observations, whose memory is laid out as a match lays it out."""
    scenarios = generate(SyntheticParams(num_assets=3, num_bars=WARMUP + STEPS), (1, 2, 3), warmup=WARMUP)
    market = VectorMarket(preset("sqrt"), scenarios, 2, history_length=WARMUP, dtype=torch.float64)
    generator, seen = torch.Generator().manual_seed(3), []
    agent.reset()
    for _ in range(STEPS):
        view = seat_view(market.observe(), 1)
        length = agent.history_length
        view = view._replace(history=view.history[..., -length:, :] if length else None)
        seen.append(agent.act(view, generator))
        market.step(torch.stack([0.5 * torch.ones_like(seen[-1]), seen[-1]], 1))
    return torch.stack(seen)


@pytest.mark.parametrize("name", ["random", "momentum", "minimum_variance", "trained", "dice"])
def test_an_isolated_agent_gives_the_same_bits(name, dice):
    spec, params = (dice, {"size": 0.7}) if name == "dice" else (name, {})
    with opened(spec, params, Isolation("process")) as agent:
        isolated = weights_in_a_market(agent)
        again = weights_in_a_market(agent)
    here = weights_in_a_market(make_agent(spec, params))
    assert torch.equal(isolated, here)
    assert torch.equal(again, here), "a reset forgets the past and hands the generator over again"
    assert here.abs().sum() > 0.1


def test_a_sandboxed_agent_gives_the_same_bits(dice):
    needs.bubblewrap()
    with opened(dice, {}, Isolation("sandbox")) as agent:
        assert torch.equal(weights_in_a_market(agent), weights_in_a_market(make_agent(dice)))


def test_what_an_agent_says_of_itself_arrives(dice):
    with opened(dice, {}, Isolation("process")) as agent:
        assert (agent.history_length, agent.forecaster, agent.is_cheat) == (7, "", False)
        assert not hasattr(agent, "asset_counts"), "the adapter for one market has none"
    with opened("trained", {}, Isolation("process")) as agent:
        here = make_agent("trained")
        assert (agent.asset_counts, agent.num_modes) == (here.asset_counts, here.num_modes)
        assert agent.precision is here.precision
    with opened("mean_variance", {"forecaster": "drift"}, Isolation("process")) as agent:
        assert agent.forecaster == "drift"


def test_what_cannot_be_made_is_said_in_the_words_of_the_registry():
    with (
        opened("momentum", {"lookbak": 3}, Isolation("process")) as agent,
        pytest.raises(AgentFault, match="could not be made ValueError: agent 'momentum' has no parameter 'lookbak'"),
    ):
        agent.reset()


def test_a_dropped_agent_leaves_no_process():
    agent = open_agent("cash", {}, Isolation("process"))
    agent.reset()
    from arena.agents.sandbox import launch

    forkserver = launch._forkservers[0]._process.pid
    assert len(children_of(forkserver)) == 1
    del agent
    gc.collect()
    assert children_of(forkserver) == []


def test_a_dead_forkserver_is_replaced():
    from arena.agents.sandbox import launch

    close_agents([open_agent("cash", {}, Isolation("process"))])
    launch._forkservers[0]._process.kill()
    launch._forkservers[0]._process.wait()
    with opened("cash", {}, Isolation("process")) as agent:
        agent.reset()


def test_a_missing_bubblewrap_is_said_in_a_sentence(monkeypatch):
    monkeypatch.setenv("PATH", "")
    checked_program.cache_clear()
    with pytest.raises(IsolationUnavailable, match="needs the program bwrap, which is not here; install bubblewrap"):
        open_agent("cash", {}, Isolation("sandbox"))
    checked_program.cache_clear()


def test_a_sandbox_shows_the_agent_s_own_files_only(tmp_path, dice, monkeypatch):
    weights = tmp_path / "weights.npz"
    weights.write_bytes(b"")
    shown = agent_paths(dice, {"weights": str(weights), "other": "relative.npz", "size": 1.0})
    assert [str(path) for path in shown] == [dice.rpartition(":")[0], str(weights)]
    assert agent_paths("cash", {}) == []
    assert [path.name for path in agent_paths("pytest:Mark", {})] == ["pytest"]
    policy = str(tmp_path / "weights.npz")
    assert [str(path) for path in agent_paths(f"policy:{policy}", {})] == [policy]
    (tmp_path / "policy.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert [str(path) for path in agent_paths(f"policy:{policy}", {})] == [policy], "a module of that name is not its"
    assert [str(path) for path in agent_paths(f"rllib:{tmp_path}@trader", {})] == [str(tmp_path)]


def test_memory_order_and_values_survive_the_shared_memory():
    observation = fake_observation(3, 2, 5)
    history = observation.history.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)
    observation = observation._replace(history=history, forecast_spread=torch.ones(1, 1).double().expand(3, 2))
    writer, reader, state = Writer(), Reader(), torch.Generator().manual_seed(4).get_state()
    written = writer.write(observation, state)
    assert written.descriptor is not None
    reader.open(os.dup(written.descriptor))
    back, got = reader.read(written.layout, observation.dt)
    assert torch.equal(got, state)
    assert back.signal is None, "what only an oracle sees is never sent"
    for name, value in observation._replace(signal=None)._asdict().items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(getattr(back, name), value), name
            assert getattr(back, name).dtype == value.dtype, name
    assert back.history.stride() == history.stride()

    kept = back.weight.clone()
    assert writer.write(observation._replace(weight=observation.weight + 1), None).descriptor is None
    assert torch.equal(back.weight, kept), "an agent may keep what it was shown"
    with pytest.raises(PermissionError):
        os.ftruncate(written.descriptor, 0)  # which would kill the match at its next write
    assert writer.write(fake_observation(30, 20, 5), None).descriptor is not None
    writer.close()


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"cos\nsyste", "no message"),
        (wire.HEADER.pack(wire.MAGIC, 99, 0), "no message"),
        (wire.HEADER.pack(wire.MAGIC, wire.Kind.WEIGHTS, 2**31), "too long"),
    ],
)
def test_strange_headers_are_refused(header, said):
    with pytest.raises(wire.WireError, match=said):
        wire.unpack_header(header, 2**16)


@pytest.mark.parametrize("payload", [b"\x80\x04K\x01.", b"[1]", b"[" * 30_000, b"\xff"])
def test_strange_text_is_refused(payload):
    with pytest.raises(wire.WireError, match="cannot be read"):
        wire.unpack_json(payload)


def test_what_a_process_claims_of_its_agent_is_made_sure_of():
    claims = {"history_length": "x", "is_cheat": 1, "asset_counts": [[]], "num_modes": 10**9, "precision": "os.system"}
    assert checked(claims, {}) == {"history_length": "x", "is_cheat": False}
    assert checked({"asset_counts": [2, 10**9]}, {}) == {"is_cheat": False}
    assert checked({"num_modes": 3, "asset_counts": [1]}, {})["asset_counts"] == (1,)
    assert checked({"forecaster": "drift + embedded"}, {})["forecaster"] == "drift + embedded"
    assert checked({"forecaster": "/x.pt"}, {"forecaster": "/x.pt"})["forecaster"] == "/x.pt"
    with pytest.raises(AgentFault, match="neither the package's nor named in its params"):
        checked({"forecaster": "drift+/x.pt"}, {})


def test_reasons_are_one_printable_line():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("nothing to say")

    assert fault("raised", Mute()).reason == "raised Mute: (its message cannot be read)"
    assert one_line("a\x1b[31mred\n\ud800" + "b" * 999) == "a?[31mred ?" + "b" * 189


def test_who_runs_code_that_did_not_come_with_the_package():
    assert not any(runs_foreign_code(spec) for spec in ("momentum", "trained"))
    files = ("a.py:Mine", "policy:a.pt", "policy:a.pt2", "onnx:a.onnx", "rllib:x", "sb3:x.zip")
    assert all(runs_foreign_code(spec) for spec in (*files, "package.module:Mine", "plug"))


def test_a_decision_for_many_markets_costs_little():
    """128 markets x 8 assets x 60 bars: 3 MB a call. Around 1.5 ms; the bound leaves room for a busy machine."""
    observation, generator = fake_observation(128, 8, 60), torch.Generator()
    with opened("cash", {}, Isolation("process")) as agent:
        agent.reset()
        seconds = []
        for _ in range(30):
            start = time.perf_counter()
            agent.act(observation, generator)
            seconds.append(time.perf_counter() - start)
    assert statistics.median(seconds) < 0.1
