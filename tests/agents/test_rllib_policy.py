"""Modules of RLlib's checkpoints play in a match what they played in training."""

import pickle
import shutil

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.spaces.space_utils import unsquash_action

from arena.agents.contracts import check_agent
from arena.agents.fake_observation import fake_observation
from arena.agents.loading import resolve_spec
from arena.agents.policies.policy import policy_obs, target_weights
from arena.agents.registry import make_agent
from arena.cli import check
from arena.config.tournament import TournamentConfig
from arena.rl.rllib.config_file import make_rllib_config
from arena.rl.rllib.entrant import CLASS_FILE, MODULES
from arena.rl.rllib.rl_module import module_spec
from arena.tournament.setup.plan import make_plan
from arena.tournament.types import OK

of_algorithms = [pytest.mark.ray]

ASSETS, P, S = 3, 13, 8
OBS_DIM = P * ASSETS + S
REACH, SPEED, HISTORY = 2.0, 0.5, 5
TOLERANCE = 1e-5  # of weights computed in float32 somewhere
SMALL = {"num_agents": 2, "synthetic": {"num_assets": ASSETS, "num_bars": 90}}
STOCK = {
    "env_runners": {"num_env_runners": 0},
    "training": {"train_batch_size_per_learner": 12, "minibatch_size": 12, "num_epochs": 1},
}
TRAININGS = {
    "stock": {"algorithm": "PPO", "environment": {"env": "arena", "env_config": SMALL}, **STOCK},
    "stock_reach": {
        "algorithm": "PPO",
        "environment": {"env": "arena", "env_config": SMALL | {"reach": REACH, "speed": SPEED, "history_length": 9}},
        "network": {"kind": "mlp", "width": 8},
        "policies": "per_agent",
        **STOCK,
    },
    "sac": {
        "algorithm": "SAC",
        "environment": {"env": "arena", "env_config": SMALL},
        "env_runners": {"num_env_runners": 0},
        "training": {"replay_buffer_config": {"type": "MultiAgentEpisodeReplayBuffer", "capacity": 100}},
    },
    "tensor": {
        "algorithm": "TensorPPO",
        "environment": {
            "env": "arena_tensor",
            "env_config": SMALL
            | {"history_length": HISTORY, "forecaster": "drift", "context_length": 32, "num_windows": 4},
        },
        "network": {"kind": "assets", "width": 8, "history_length": HISTORY, "num_asset_features": P + HISTORY},
        "env_runners": {"num_envs_per_env_runner": 2, "rollout_fragment_length": 4},
        "training": {"minibatch_size": 8},
    },
}


def enliven(module):
    """As after some training: means far from 0."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0.0, 0.2, generator=generator)


@pytest.fixture(scope="module")
def checkpoints(local_ray, tmp_path_factory):
    """Checkpoints of algorithms, by name, and their modules."""
    folder = tmp_path_factory.mktemp("rllib")
    modules = {}
    for name, sections in TRAININGS.items():
        algorithm = make_rllib_config(sections).build_algo()
        found = algorithm.learner_group.foreach_learner(lambda learner: learner.module)
        modules[name] = dict(next(iter(found)).get().items())
        for module in modules[name].values():
            enliven(module)
        algorithm.save_to_path(str(folder / name))
        algorithm.stop()
    return folder, modules


def mean(module, obs):
    """Mean of the module's distribution for one observation [F], as RLlib computes it."""
    found = module.forward_inference({"obs": torch.from_numpy(obs)[None]})["action_dist_inputs"]
    distribution = module.get_inference_action_dist_cls().from_logits(found)
    return distribution.to_deterministic().sample()[0].detach().numpy()


class TestCheckpoints:
    """Of algorithms, which need Ray to be made; loading needs none."""

    pytestmark = of_algorithms

    def test_the_stock_ppo_of_rllib_plays_within_the_box(self, checkpoints, compare_in_market):
        folder, modules = checkpoints
        module = modules["stock"]["shared"]
        assert isinstance(module, DefaultPPOTorchRLModule)

        def expected(obs, weight):
            return unsquash_action(mean(module, obs), module.action_space)

        compare_in_market(make_agent(f"rllib:{folder / 'stock'}"), expected, ASSETS, tolerance=TOLERANCE)

    def test_sac_plays_the_squashed_mean(self, checkpoints, compare_in_market):
        folder, modules = checkpoints
        module = modules["sac"]["shared"]

        def expected(obs, weight):
            inputs = module.forward_inference({"obs": torch.from_numpy(obs)[None]})["action_dist_inputs"]
            narrow = module.get_inference_action_dist_cls()(loc=inputs[0, :ASSETS], scale=1e-9)
            return unsquash_action(narrow.sample().detach().numpy(), module.action_space)

        compare_in_market(make_agent(f"rllib:{folder / 'sac'}"), expected, ASSETS, tolerance=TOLERANCE)

    @pytest.mark.parametrize("module_id", ["trader_0", "trader_1"])
    def test_reach_and_speed_of_the_training_are_honoured(self, checkpoints, compare_in_market, module_id):
        folder, modules = checkpoints
        module = modules["stock_reach"][module_id]

        def expected(obs, weight):
            return target_weights(torch.from_numpy(mean(module, obs)), torch.from_numpy(weight), REACH, SPEED).numpy()

        agent = make_agent(f"rllib:{folder / 'stock_reach'}@{module_id}")
        assert agent.history_length == 0  # the stock environment shows none
        compare_in_market(agent, expected, ASSETS, tolerance=TOLERANCE)

    @pytest.mark.parametrize("num_assets", [ASSETS, 7])
    def test_the_tensor_path_with_history_forecaster_and_any_number_of_assets(self, checkpoints, num_assets):
        folder, modules = checkpoints
        agent = make_agent(f"rllib:{folder / 'tensor'}")
        assert (agent.history_length, agent.forecaster) == (HISTORY + 1, "drift")
        observation = fake_observation(4, num_assets, agent.history_length)
        network = modules["tensor"]["shared"].network
        action = network.distribution(policy_obs(observation, HISTORY).float())[0].detach()
        expected = target_weights(action.double(), observation.weight, 4.0, 1.0)
        found = agent.act(observation, torch.Generator())
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert found.std() > 0.01

    @pytest.mark.parametrize(
        "name",
        ["tensor", *(pytest.param(x, marks=pytest.mark.slow) for x in ("stock", "stock_reach@trader_0", "sac"))],
    )
    def test_they_keep_the_contract(self, checkpoints, name, capsys):
        assert check([f"rllib:{checkpoints[0] / name}"]) == 0
        assert "keeps the contract" in capsys.readouterr().out

    @pytest.mark.parametrize("name", ["stock", "stock_reach@trader_1", "sac"])
    def test_they_enter_a_match(self, checkpoints, play_match, name):
        rows = play_match(f"rllib:{checkpoints[0] / name}", ASSETS)
        assert set(rows["status"]) == {OK}
        assert (rows.loc["mine", "turnover"] > 0).all()

    def test_they_enter_a_tournament_by_a_relative_path(self, checkpoints, monkeypatch):
        folder, _ = checkpoints
        monkeypatch.chdir(folder)
        assert resolve_spec("rllib:stock_reach@trader_0") == f"rllib:{folder / 'stock_reach'}@trader_0"
        config = TournamentConfig(
            data={"num_assets": ASSETS},
            agents=(
                {"agent": "rllib:stock_reach@trader_0", "name": "ppo"},
                {"agent": "rllib:tensor", "name": "tensor"},
            ),
        )
        entrants = make_plan(config).job.entrants
        assert entrants["ppo"].agent == f"rllib:{folder / 'stock_reach'}@trader_0"

    def test_a_module_in_a_checkpoint_finds_its_training(self, checkpoints):
        folder, _ = checkpoints
        whole, part = (
            make_agent(f"rllib:{folder / 'tensor'}"),
            make_agent(f"rllib:{folder / 'tensor' / MODULES / 'shared'}"),
        )
        observation = fake_observation(2, 4, whole.history_length)
        assert torch.equal(*(agent.act(observation, torch.Generator()) for agent in (whole, part)))

    def test_several_modules_are_named(self, checkpoints):
        folder, _ = checkpoints
        with pytest.raises(ValueError, match="several modules: say which with @module_id, one of trader_0, trader_1"):
            make_agent(f"rllib:{folder / 'stock_reach'}")
        with pytest.raises(ValueError, match="no module 'trader_7': say which"):
            make_agent(f"rllib:{folder / 'stock_reach'}@trader_7")

    @pytest.mark.parametrize(
        ("name", "fields", "message"),
        [
            (
                "stock",
                {"_env_to_module_connector": len},
                "trained with a connector of its own, env_to_module_connector",
            ),
            ("stock", {"env_config": {"preset": "linear_ow"}}, "another observation layout than this version's"),
            ("stock", {"env_config": {"forecast": object}}, "say whose with the parameter forecaster"),
            ("stock_reach", {"env_config": {}}, "no reach in env_config says which weights"),
        ],
    )
    def test_a_training_that_cannot_be_followed_is_refused(self, checkpoints, tmp_path, name, fields, message):
        place = tmp_path / name
        shutil.copytree(checkpoints[0] / name, place)
        stored = pickle.loads((place / CLASS_FILE).read_bytes())
        stored["ctor_args_and_kwargs"][0][0].update(fields)
        (place / CLASS_FILE).write_bytes(pickle.dumps(stored))
        chosen = "@trader_0" if name == "stock_reach" else ""
        with pytest.raises(ValueError, match=message):
            make_agent(f"rllib:{place}{chosen}")
        if "forecast" in fields.get("env_config", {}):
            assert make_agent(f"rllib:{place}", {"forecaster": "drift"}).forecaster == "drift"

    def test_without_normalising_actions_are_weights(self, checkpoints, tmp_path, compare_in_market):
        folder, modules = checkpoints
        module = modules["stock"]["shared"]
        for clip in (False, True):
            place = tmp_path / str(clip)
            shutil.copytree(folder / "stock", place)
            stored = pickle.loads((place / CLASS_FILE).read_bytes())
            stored["ctor_args_and_kwargs"][0][0].update({"normalize_actions": False, "clip_actions": clip})
            (place / CLASS_FILE).write_bytes(pickle.dumps(stored))
            bound = module.action_space.high[0] if clip else np.inf
            compare_in_market(
                make_agent(f"rllib:{place}"),
                lambda obs, weight, bound=bound: mean(module, obs).clip(-bound, bound),
                ASSETS,
                tolerance=TOLERANCE,
            )


def bare_spec(low=-2.0, high=2.0, obs_dim=OBS_DIM):
    """Of RLlib's default PPO module."""
    from ray.rllib.algorithms.ppo.ppo_catalog import PPOCatalog

    return RLModuleSpec(
        module_class=DefaultPPOTorchRLModule,
        observation_space=Box(-np.inf, np.inf, (obs_dim,)),
        action_space=Box(low, high, (ASSETS,)),
        model_config={"fcnet_hiddens": [8], "vf_share_layers": False},
        catalog_class=PPOCatalog,
    )


def save(spec, folder):
    spec.build().save_to_path(str(folder))
    return folder


def test_a_bare_module_plays_by_the_defaults_of_rllib(tmp_path):
    folder = save(bare_spec(), tmp_path / "module")
    agent = make_agent(f"rllib:{folder}")
    check_agent(agent)
    observation = fake_observation(1, ASSETS, dtype=torch.float32)
    module = DefaultPPOTorchRLModule.from_checkpoint(str(folder))
    expected = unsquash_action(mean(module, observation.flat[0].numpy()), module.action_space)
    found = agent.act(observation, torch.Generator())[0].numpy()
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE)


def test_the_preferred_module_of_several(tmp_path):
    specs = dict.fromkeys(("frozen", "main", "other"), bare_spec())
    folder = save(MultiRLModuleSpec(rl_module_specs=specs), tmp_path / "modules")
    observation = fake_observation(2, ASSETS)
    chosen, named, other = (make_agent(f"rllib:{folder}{which}") for which in ("", "@main", "@other"))
    weights = [agent.act(observation, torch.Generator()) for agent in (chosen, named, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_another_market_is_refused(tmp_path):
    agent = make_agent(f"rllib:{save(bare_spec(), tmp_path / 'module')}")
    with pytest.raises(ValueError, match="trained for 3 impact modes and 3 assets, and this market has 3 and 5"):
        agent.act(fake_observation(2, 5), torch.Generator())


def test_modules_that_no_market_fits_are_refused(tmp_path):
    unbounded = save(bare_spec(-np.inf, np.inf), tmp_path / "unbounded")
    with pytest.raises(ValueError, match="acts without bounds, and no reach in env_config"):
        make_agent(f"rllib:{unbounded}")
    odd = save(bare_spec(obs_dim=OBS_DIM + 1), tmp_path / "odd")
    with pytest.raises(ValueError, match="reads 48 numbers and answers 3; a market of 3 assets shows"):
        make_agent(f"rllib:{odd}")
    spec = bare_spec()
    spec.action_space = Discrete(2)
    with pytest.raises(ValueError, match=r"has the space Discrete\(2\), expected those of a market"):
        make_agent(f"rllib:{save(spec, tmp_path / 'discrete')}")
    spec = module_spec("mlp", width=8)
    spec.observation_space, spec.action_space = bare_spec().observation_space, bare_spec().action_space
    check_agent(make_agent(f"rllib:{save(spec, tmp_path / 'own')}"))


def test_what_is_no_checkpoint_is_said(tmp_path):
    (tmp_path / "trial" / "checkpoint_000003").mkdir(parents=True)
    (tmp_path / "torn").mkdir()
    for name in (CLASS_FILE, "module_state.pkl"):
        (tmp_path / "torn" / name).write_bytes(b"no pickle")
    for name, message in (
        ("none", "none does not exist, expected a checkpoint folder of RLlib"),
        ("none@main", "none does not exist, expected a checkpoint folder of RLlib"),
        ("trial", "is no checkpoint of RLlib's new API stack.*did you mean checkpoint_000003 in it?"),
        ("trial/checkpoint_000003", "is no checkpoint of RLlib's new API stack: it has no learner_group"),
        ("torn", "class_and_ctor_args.pkl cannot be read: UnpicklingError"),
    ):
        with pytest.raises(ValueError, match=message):
            make_agent(f"rllib:{tmp_path / name}")


def test_weights_of_another_network_are_refused_in_one_line(tmp_path):
    folder, other = save(bare_spec(), tmp_path / "module"), save(bare_spec(obs_dim=OBS_DIM + P), tmp_path / "other")
    shutil.copy(other / "module_state.pkl", folder / "module_state.pkl")
    with pytest.raises(ValueError, match=r"cannot be loaded: RuntimeError: .*size mismatch") as error:
        make_agent(f"rllib:{folder}")
    assert "\n" not in str(error.value)
