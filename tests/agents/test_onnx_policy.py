"""ONNX files of any library play what onnxruntime computes."""

import sys

import numpy as np
import pytest
import torch

from arena.agents.contracts import check_agent
from arena.agents.fake_observation import fake_observation
from arena.agents.policies.policy import policy_layout, policy_obs, target_weights
from arena.agents.registry import make_agent
from arena.cli import check
from arena.tournament.types import OK

ort = pytest.importorskip("onnxruntime", reason="needs onnxruntime, the extra onnx")
onnx = pytest.importorskip("onnx", reason="needs onnx, to write files")

ASSETS, P, S = 3, 13, 8
OBS_DIM = P * ASSETS + S
TOLERANCE = 1e-6  # of weights computed in float32


def write(path, *, obs_dim=OBS_DIM, rows="B", double=False, num_outputs=ASSETS, inputs=1, **properties):
    """tanh(obs @ weight), or for obs_dim "F" the same numbers for every asset: tanh of its own returns."""
    helper = onnx.helper
    kind = onnx.TensorProto.DOUBLE if double else onnx.TensorProto.FLOAT
    dtype = np.float64 if double else np.float32
    given = [helper.make_tensor_value_info("obs", kind, [rows, obs_dim])]
    given += [helper.make_tensor_value_info(f"more_{k}", kind, [rows, 1]) for k in range(inputs - 1)]
    action = helper.make_tensor_value_info("action", kind, [rows, None])
    if obs_dim == "F":  # the first ASSETS numbers of 13 ASSETS + 8, whatever ASSETS is
        constants = {"seat": np.array(S), "features": np.array(P), "zero": np.array([0]), "one": np.array([1])}
        nodes = [
            helper.make_node("Shape", ["obs"], ["shape"], start=1),
            helper.make_node("Sub", ["shape", "seat"], ["own"]),
            helper.make_node("Div", ["own", "features"], ["assets"]),
            helper.make_node("Slice", ["obs", "zero", "assets", "one"], ["returns"]),
            helper.make_node("Tanh", ["returns"], ["action"]),
        ]
    else:
        weight = 0.1 * np.random.default_rng(0).standard_normal((obs_dim, num_outputs))
        constants = {"weight": weight.astype(dtype)}
        nodes = [
            helper.make_node("MatMul", ["obs", "weight"], ["sum"]),
            helper.make_node("Tanh", ["sum"], ["action"]),
        ]
    initial = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "policy", given, [action], initial)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {name: str(value) for name, value in properties.items()})
    onnx.save(model, str(path))
    return path


def source(path):
    """What onnxruntime itself answers to one observation [F]."""
    session = ort.InferenceSession(str(path))
    return lambda obs: session.run(None, {"obs": obs[None]})[0][0]


def test_outputs_are_target_weights(tmp_path, compare_in_market):
    path = write(tmp_path / "plain.onnx")
    answer = source(path)
    compare_in_market(make_agent(f"onnx:{path}"), lambda obs, weight: answer(obs), ASSETS, tolerance=TOLERANCE)


def test_the_file_may_say_that_they_are_unbounded_actions(tmp_path, compare_in_market):
    path = write(tmp_path / "told.onnx", kind="policy", reach=2.0, speed=0.25, layout=policy_layout(3), num_modes=3)
    answer = source(path)

    def expected(obs, weight):
        return target_weights(torch.from_numpy(answer(obs)), torch.from_numpy(weight), 2.0, 0.25).numpy()

    compare_in_market(make_agent(f"onnx:{path}"), expected, ASSETS, tolerance=TOLERANCE)


def test_history_and_forecaster_are_honoured(tmp_path):
    size = (P + 5) * ASSETS + S
    path = write(tmp_path / "long.onnx", obs_dim=size, double=True, kind="policy", history_length=5, forecaster="drift")
    agent = make_agent(f"onnx:{path}")
    assert (agent.forecaster, agent.history_length) == ("drift", 6)
    observation = fake_observation(4, ASSETS, 6)
    obs = policy_obs(observation, 5)
    expected = np.stack([source(path)(row) for row in obs.numpy()])
    np.testing.assert_allclose(agent.act(observation, torch.Generator()).numpy(), expected, rtol=1e-9, atol=1e-12)
    check_agent(agent)
    assert make_agent(f"onnx:{path}", {"forecaster": "persistence"}).forecaster == "persistence"


@pytest.mark.parametrize("double", [False, True])
def test_it_keeps_the_contract(tmp_path, capsys, double):
    path = write(tmp_path / "plain.onnx", double=double)
    assert check([f"onnx:{path}"]) == 0
    assert "keeps the contract" in capsys.readouterr().out


def test_a_graph_of_any_size_plays_any_number_of_assets(tmp_path):
    path = write(tmp_path / "any.onnx", obs_dim="F", kind="policy", any_assets=True, num_assets=ASSETS, num_modes=3)
    agent = make_agent(f"onnx:{path}")
    check_agent(agent, num_assets=(1, 4, 50))
    observation = fake_observation(2, 7)
    expected = torch.tanh(observation.returns[..., 0])
    torch.testing.assert_close(agent.act(observation, torch.Generator()), expected, rtol=1e-6, atol=1e-6)


def test_it_enters_a_match(tmp_path, play_match):
    rows = play_match(f"onnx:{write(tmp_path / 'plain.onnx')}", ASSETS)
    assert set(rows["status"]) == {OK}
    assert (rows.loc["mine", "turnover"] > 0).all()


def test_another_market_is_refused(tmp_path):
    agent = make_agent(f"onnx:{write(tmp_path / 'plain.onnx')}")
    with pytest.raises(ValueError, match="trained for 3 impact modes and 3 assets, and this market has 3 and 5"):
        agent.act(fake_observation(2, 5), torch.Generator())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rows": 1}, "reads exactly 1 observations at once; export it with a dynamic first axis"),
        ({"obs_dim": OBS_DIM + 1}, "reads 48 numbers and answers 3; a market of 3 assets shows"),
        ({"inputs": 2}, "has 2 inputs and 1 outputs, expected one of each"),
        ({"obs_dim": "F"}, "does not say of which market.*kind=policy and num_assets and num_modes"),
        ({"kind": "forecaster"}, "holds a forecaster, expected a policy"),
        ({"kind": "policy", "reach": "far"}, "says reach=far, expected a value for"),
        ({"kind": "policy", "any_assets": "perhaps"}, "says any_assets=perhaps, expected a value for"),
        ({"kind": "policy", "num_assets": 4}, "says num_assets=4, and its shapes say 3"),
        ({"kind": "policy", "num_modes": 2}, "says num_modes=2, and its shapes say 3"),
        ({"kind": "policy", "layout": "0" * 16}, "observation layout 0000000000000000, and this version's is"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path, settings, message):
    path = write(tmp_path / "bad.onnx", **settings)
    with pytest.raises(ValueError, match=message) as error:
        make_agent(f"onnx:{path}")
    assert "\n" not in str(error.value)


def test_what_is_no_file_is_said(tmp_path):
    with pytest.raises(ValueError, match="does not exist, expected an ONNX file"):
        make_agent(f"onnx:{tmp_path / 'none.onnx'}")
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(ValueError, match=r"text\.onnx cannot be loaded: InvalidProtobuf"):
        make_agent(f"onnx:{tmp_path / 'text.onnx'}")


def test_a_missing_library_is_said(tmp_path, monkeypatch):
    path = write(tmp_path / "plain.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r'needs onnxruntime: pip install "market-arena\[onnx\]"'):
        make_agent(f"onnx:{path}")
