"""Models of Stable-Baselines3 play in a match what they play in ArenaEnv."""

import json
import sys
import zipfile

import pytest
import torch

from arena.agents.contracts import check_agent
from arena.agents.fake_observation import fake_observation
from arena.agents.loading import resolve_spec
from arena.agents.registry import make_agent
from arena.cli import check
from arena.config.tournament import TournamentConfig
from arena.data.synthetic.params import SyntheticParams
from arena.envs.single import ArenaEnv
from arena.tournament.setup.plan import make_plan
from arena.tournament.types import OK

sb3 = pytest.importorskip("stable_baselines3", reason="needs Stable-Baselines3, the extra sb3")

ASSETS = 3
ALGORITHMS = ("PPO", "A2C", "SAC", "TD3", "DDPG")
TOLERANCE = 1e-6  # of weights computed in float32


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Models of all algorithms, and the folder of their files."""
    folder = tmp_path_factory.mktemp("sb3")
    env = ArenaEnv(["equal_weight"], synthetic=SyntheticParams(num_assets=ASSETS, num_bars=66))
    models = {}
    for name in ALGORITHMS:
        kwargs = {"buffer_size": 10} if name in ("SAC", "TD3", "DDPG") else {}
        models[name] = getattr(sb3, name)("MlpPolicy", env, policy_kwargs={"net_arch": [8]}, device="cpu", **kwargs)
    models["gSDE"] = sb3.PPO("MlpPolicy", env, use_sde=True, policy_kwargs={"net_arch": [8]}, device="cpu")
    torch.manual_seed(0)
    for name, model in models.items():
        with torch.no_grad():
            for parameter in model.policy.parameters():
                parameter.normal_(0.0, 0.2)  # as after some training: away from 0
        model.save(folder / name)
    return folder, models


ONE_AND_THE_REST = [
    ALGORITHMS[0],
    *(pytest.param(name, marks=pytest.mark.slow) for name in ALGORITHMS[1:]),
]


@pytest.mark.parametrize("name", [*ONE_AND_THE_REST, pytest.param("gSDE", marks=pytest.mark.slow)])
def test_it_plays_the_deterministic_action_of_the_model(models, compare_in_market, name):
    folder, found = models
    agent = make_agent(f"sb3:{folder / name}.zip")
    compare_in_market(
        agent, lambda obs, weight: found[name].predict(obs, deterministic=True)[0], ASSETS, tolerance=TOLERANCE
    )


@pytest.mark.parametrize("name", ONE_AND_THE_REST)
def test_it_keeps_the_contract(models, name, capsys):
    folder, _ = models
    check_agent(make_agent(f"sb3:{folder / name}.zip"))
    assert check([f"sb3:{folder / name}.zip"]) == 0
    assert "keeps the contract" in capsys.readouterr().out


def test_it_enters_a_match_and_a_tournament(models, play_match, monkeypatch):
    folder, _ = models
    rows = play_match(f"sb3:{folder / 'PPO'}.zip", ASSETS)
    assert set(rows["status"]) == {OK}
    assert (rows.loc["mine", "turnover"] > 0).all()
    monkeypatch.chdir(folder)
    assert resolve_spec("sb3:PPO.zip") == f"sb3:{folder / 'PPO.zip'}"
    config = TournamentConfig(
        data={"num_assets": ASSETS}, agents=({"agent": "sb3:PPO.zip", "name": "ppo"}, {"agent": "cash"})
    )
    assert make_plan(config).job.entrants["ppo"].agent == f"sb3:{folder / 'PPO.zip'}"


def test_the_forecaster_of_its_training_is_a_parameter(models):
    folder, _ = models
    assert make_agent(f"sb3:{folder / 'PPO'}.zip").forecaster == ""
    assert make_agent(f"sb3:{folder / 'PPO'}.zip", {"forecaster": "drift"}).forecaster == "drift"
    with pytest.raises(ValueError, match="no parameter 'speed'; it accepts: forecaster"):
        make_agent(f"sb3:{folder / 'PPO'}.zip", {"speed": 0.5})


def test_another_market_is_refused(models):
    agent = make_agent(f"sb3:{models[0] / 'PPO'}.zip")
    with pytest.raises(ValueError, match="trained for 3 impact modes and 3 assets, and this market has 3 and 5"):
        agent.act(fake_observation(2, 5), torch.Generator())


def test_what_cannot_be_used_is_said(models, tmp_path):
    folder, _ = models
    (tmp_path / "text.zip").write_text("no archive")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme", "hello")
    with zipfile.ZipFile(tmp_path / "half.zip", "w") as archive:
        archive.writestr("data", json.dumps({"seed": 0}))
    with zipfile.ZipFile(folder / "PPO.zip") as old, zipfile.ZipFile(tmp_path / "lost.zip", "w") as new:
        for entry in old.infolist():
            if entry.filename != "policy.pth":
                new.writestr(entry, old.read(entry))
    for name, message in (
        ("none.zip", "does not exist"),
        ("text.zip", "is no whole file of Stable-Baselines3"),
        ("other.zip", "is no whole file of Stable-Baselines3"),
        ("half.zip", "lacks policy_class, policy_kwargs"),
        ("lost.zip", "cannot be loaded: KeyError: 'policy'"),
    ):
        with pytest.raises(ValueError, match=message):
            make_agent(f"sb3:{tmp_path / name}")


def test_a_model_of_another_environment_is_refused(tmp_path):
    sb3.PPO("MlpPolicy", "CartPole-v1", device="cpu").save(tmp_path / "cart.zip")
    with pytest.raises(ValueError, match=r"has the space Discrete\(2\), expected those of .*ArenaEnv"):
        make_agent(f"sb3:{tmp_path / 'cart.zip'}")
    sb3.PPO("MlpPolicy", "Pendulum-v1", device="cpu").save(tmp_path / "pendulum.zip")
    with pytest.raises(ValueError, match=r"pendulum.zip reads 3 numbers and answers 1; a market of 1 assets shows"):
        make_agent(f"sb3:{tmp_path / 'pendulum.zip'}")


def test_a_missing_library_is_said(models, monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3.common.save_util", None)
    with pytest.raises(ValueError, match=r'needs Stable-Baselines3: pip install "market-arena\[sb3\]"'):
        make_agent(f"sb3:{models[0] / 'PPO'}.zip")
