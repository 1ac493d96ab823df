import json
import zipfile

import pytest
import torch

from arena.agents.contracts import check_agent
from arena.agents.fake_observation import fake_observation
from arena.agents.loading import resolve_spec
from arena.agents.policies.network import AssetPolicy, MlpPolicy
from arena.agents.policies.policy import PolicyManifest, load_policy, policy_layout, policy_obs, target_weights
from arena.agents.registry import make_agent
from arena.market.observation import layout_hash
from arena.market.presets import preset
from arena.rl.rllib.export import export_policy

P, S, ASSETS = 13, 8, 4
LAYOUT = policy_layout(3)


def manifest(**changes):
    entries = {"layout": LAYOUT, "num_modes": 3, "num_assets": ASSETS, "any_assets": True, "reach": 2.0}
    return PolicyManifest(**(entries | changes))


def lively(network):
    """As after some training: means far from 0."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith(("actor_mean.weight", "actor.4.weight")):
                parameter.normal_(0.0, 0.1)
        network.normaliser.var.uniform_(0.5, 2.0)
    return network


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Policy files by name, and the networks in them."""
    folder = tmp_path_factory.mktemp("policies")
    torch.manual_seed(0)
    networks = {
        "asset": (lively(AssetPolicy(ASSETS)), manifest(speed=0.2, forecaster="drift")),
        "mlp": (lively(MlpPolicy(P * ASSETS + S, ASSETS)), manifest(any_assets=False)),
        "history": (lively(AssetPolicy(ASSETS, P + 5, history_length=5)), manifest(history_length=5)),
    }
    for name, (network, own) in networks.items():
        for suffix in (".pt", ".pt2"):
            export_policy(network, folder / (name + suffix), own, command="train", seed=3)
    return folder, networks


@pytest.mark.parametrize("suffix", [".pt", ".pt2"])
@pytest.mark.parametrize("name", ["asset", "mlp", "history"])
def test_a_file_plays_the_mean_action_of_its_network(files, name, suffix):
    folder, networks = files
    network, own = networks[name]
    agent = make_agent(f"policy:{folder / name}{suffix}")
    observation = fake_observation(5, ASSETS, agent.history_length, torch.float32)
    mean, _ = network.distribution(policy_obs(observation, own.history_length))
    expected = target_weights(mean, observation.weight, own.reach, own.speed)
    found = agent.act(observation, torch.Generator())
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-5)
    assert found.std() > 0.01
    assert agent.forecaster == own.forecaster


@pytest.mark.parametrize(("name", "fewest"), [("asset.pt", 1), ("asset.pt2", 2), ("history.pt", 1)])
def test_it_keeps_the_contract_of_agents_with_any_number_of_assets(files, name, fewest):
    check_agent(load_policy(files[0] / name), num_assets=(fewest, 30))


def test_a_plain_network_keeps_it_with_its_own_number(files):
    check_agent(load_policy(files[0] / "mlp.pt"), num_assets=(ASSETS,))


def test_another_market_than_it_was_trained_for_is_refused(files):
    mlp, asset = load_policy(files[0] / "mlp.pt"), load_policy(files[0] / "asset.pt")
    with pytest.raises(ValueError, match=r"3 impact modes and 4 assets, and this market has 3 and 5"):
        mlp.act(fake_observation(2, 5), torch.Generator())
    with pytest.raises(ValueError, match=r"3 impact modes and any number of assets, and this market has 4 and 5"):
        asset.act(fake_observation(2, 5, num_modes=4), torch.Generator())
    with pytest.raises(ValueError, match=r"plays 2 assets or more, not 1"):
        load_policy(files[0] / "asset.pt2").act(fake_observation(2, 1), torch.Generator())


def test_impact_modes_that_a_market_lacks_are_shown_without_displacement(files):
    agent, seen = load_policy(files[0] / "asset.pt"), fake_observation(2, 5)
    first = seen.mode_displacement[..., :1]
    absent = seen._replace(mode_displacement=torch.cat([first, torch.zeros_like(first)], -1))
    assert torch.equal(
        agent.act(seen._replace(mode_displacement=first), torch.Generator()), agent.act(absent, torch.Generator())
    )


def test_the_layout_is_that_of_the_market():
    assert layout_hash(preset("sqrt"), 1) == LAYOUT
    assert layout_hash(preset("linear_ow"), 1) == policy_layout(2)


@pytest.mark.parametrize("suffix", [".pt", ".pt2"])
def test_the_manifest_says_how_it_was_made(files, suffix):
    with zipfile.ZipFile(files[0] / f"asset{suffix}") as archive:
        (entry,) = [name for name in archive.namelist() if name.endswith("manifest.json")]
        whole = json.loads(archive.read(entry))
    assert whole["kind"] == "policy"
    assert (whole["command"], whole["seed"], whole["layout"]) == ("train", 3, LAYOUT)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layout": "0" * 16}, "observation layout 0000000000000000, and this version's is"),
        ({"kind": "toto2"}, "holds a toto2, expected a policy"),
        ({"reach": None}, "lacks something"),
    ],
)
def test_another_layout_kind_or_half_a_manifest_is_refused(files, tmp_path, changes, message):
    path = tmp_path / "changed.pt"
    with zipfile.ZipFile(files[0] / "asset.pt") as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            if entry.filename.endswith("manifest.json"):
                whole = json.loads(content) | changes
                content = json.dumps({key: value for key, value in whole.items() if value is not None})
            new.writestr(entry, content)
    with pytest.raises(ValueError, match=message):
        load_policy(path)


def test_what_is_no_policy_file_is_refused(tmp_path):
    for name, content, message in (
        ("none.pt", None, "does not exist"),
        ("weights.bin", b"", "no .pt or .pt2 file"),
        ("pickle.pt", b"\x80\x02abc", "pickle"),
    ):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message) as caught:
            make_agent(f"policy:{tmp_path / name}")
        assert "export_models" not in str(caught.value)


def test_a_policy_takes_no_parameters(files):
    with pytest.raises(ValueError, match="has no parameter 'speed'; it accepts: none"):
        make_agent(f"policy:{files[0] / 'asset.pt'}", {"speed": 0.5})


def test_a_spec_names_the_file_for_other_directories(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve_spec("policy:best.pt") == f"policy:{tmp_path / 'best.pt'}"


def test_an_export_that_is_no_policy_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"must end in \.pt or \.pt2"):
        export_policy(AssetPolicy(ASSETS), tmp_path / "policy.onnx", manifest())
    assert not list(tmp_path.iterdir())
