"""The tensor path is RLlib: its runner, learner and algorithm keep RLlib's contracts and agree with the stock path."""

from itertools import pairwise

import numpy as np
import pytest
import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.core.columns import Columns
from ray.rllib.env import INPUT_ENV_SPACES
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED, NUM_EPISODES, WEIGHTS_SEQ_NO
from ray.rllib.utils.postprocessing.value_predictions import compute_value_targets
from rllib_setup import (
    AGENTS,
    ASSETS,
    EPISODE,
    MARKETS,
    STEPS,
    SYNTHETIC,
    assert_same,
    stock_config,
    tensor_config,
    weights,
)
from torch.distributions import Independent, Normal

from arena.data.synthetic.market import generate
from arena.data.synthetic.params import SyntheticParams
from arena.envs.parallel import ArenaParallelEnv
from arena.envs.rllib import ArenaRllibEnv
from arena.market.presets import preset
from arena.rl.market_env import EnvParams, MarketEnv
from arena.rl.ppo.batch import make_batch
from arena.rl.ppo.gae import gae
from arena.rl.rewards import RewardParams
from arena.rl.rllib.experience import columns, join
from arena.rl.rllib.tensor_runner import TensorEnvRunner

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


def mean_actions(module):
    obs = torch.randn(16, module.observation_space.shape[0], generator=torch.Generator().manual_seed(0))
    distribution = module.get_inference_action_dist_cls()
    return (
        distribution.from_logits(module.forward_inference({Columns.OBS: obs})[Columns.ACTION_DIST_INPUTS])
        .to_deterministic()
        .sample()
    )


# Both paths are one market, one GAE and one loss.


def test_injected_actions_give_the_same_market_on_both_paths():
    """B = 1, float32, the same window and u: rewards, ends and observations, up to ruin and beyond the last bar."""
    scenarios = generate(SyntheticParams(**SYNTHETIC), [7], warmup=60)
    source = type("One", (), {"draw": staticmethod(lambda count, generator: scenarios)})()
    reward = RewardParams(scale=1.0, without_luck=False)
    tensor = MarketEnv(EnvParams(num_markets=1, num_learners=AGENTS, reward=reward), preset("sqrt"), source)
    stock = ArenaRllibEnv(ArenaParallelEnv(AGENTS, scenarios=scenarios, params=preset("sqrt")), reach=4.0)
    seen, _ = stock.reset(seed=0)
    obs = tensor.reset()
    generator = torch.Generator().manual_seed(1)
    for _ in range(EPISODE):
        np.testing.assert_array_equal(np.stack(list(seen.values())), obs[0].numpy())
        u = torch.randn(1, AGENTS, ASSETS, generator=generator)
        step = tensor.step(u)
        seen, rewards, terminated, truncated, _ = stock.step(dict(zip(stock.agents, u[0].numpy())))
        obs = step.final_obs
        assert list(rewards.values()) == pytest.approx(step.reward[0].tolist(), rel=1e-6, abs=1e-9)
        for agent, seat in zip(stock.agents, range(AGENTS)):
            assert (terminated[agent], truncated[agent]) == (
                bool(step.terminated[0, seat]),
                bool(step.truncated[0, seat]),
            )
    assert truncated["__all__"]


def test_advantages_are_rllibs():
    """RLlib strings all episodes together, each with one more step that carries the value it is cut off with."""
    generator = torch.Generator().manual_seed(0)
    shape = (30, 3, 2)
    reward, value, next_value = torch.randn(3, *shape, generator=generator)
    terminated, truncated = torch.rand(2, *shape, generator=generator) < 0.15
    # Within an episode, what follows a step is the next row.
    next_value[:-1] = torch.where((terminated | truncated)[:-1], next_value[:-1], value[1:])
    advantage, target = gae(
        reward, value, next_value, terminated, truncated, torch.ones(shape, dtype=torch.bool), 0.95, 0.9
    )
    rows, places = [], []  # value, reward, terminated, truncated
    for place in np.ndindex(*shape[1:]):
        for t in range(shape[0]):
            at = (t, *place)
            over = t == shape[0] - 1 or bool(terminated[at] | truncated[at])
            places.append((len(rows), at))
            rows.append((float(value[at]), float(reward[at]), bool(terminated[at]), over))
            if over:
                rows.append((float(next_value[at]), 0.0, True, True))
    expected = compute_value_targets(*(np.array(column, np.float32) for column in zip(*rows)), 0.95, 0.9)
    for row, at in places:
        assert float(target[at]) == pytest.approx(expected[row], abs=2e-6)
        assert float(advantage[at]) == pytest.approx(expected[row] - rows[row][0], abs=4e-6)


@pytest.fixture(scope="module")
def experience():
    """Of a runner, with ends of episodes in it."""
    sizes = {"num_envs_per_env_runner": MARKETS, "rollout_fragment_length": 2 * EPISODE + 1}
    return TensorEnvRunner(config=tensor_config(env_runners=sizes)).sample()[0]


def ppo_loss(rows, mean, log_std, value, clip=0.2, value_coef=0.5, entropy_coef=0.01):
    """The clipped loss of Schulman et al. (2017), arXiv:1707.06347, over the rows that count."""
    new, valid = Independent(Normal(mean, log_std.exp()), 1), rows.valid
    ratio = torch.exp(new.log_prob(rows.action) - rows.log_prob)
    gain = torch.minimum(ratio * rows.advantage, ratio.clamp(1 - clip, 1 + clip) * rows.advantage)
    loss = -gain + value_coef * (value - rows.value_target).square() - entropy_coef * new.entropy()
    return loss[valid].mean()


def test_rllib_descends_the_loss_of_the_paper_on_our_rows(experience, build):
    learner = build(tensor_config(training={"entropy_coeff": 0.01})).learner_group._learner
    rows = make_batch(learner.module["shared"].network, experience.rollouts["shared"][0], 0.99, 0.95)
    with torch.no_grad():  # an older policy, so that ratios are clipped
        rows = rows._replace(log_prob=rows.log_prob + 0.3 * torch.randn_like(rows.log_prob))
    named = columns(rows)
    loss = learner.compute_loss_for_module(
        module_id="shared",
        config=learner.config,
        batch=named,
        fwd_out=learner.module["shared"].forward_train(named),
    )
    plain = ppo_loss(rows, *learner.module["shared"].network(rows.obs))
    assert float(loss.detach()) == pytest.approx(float(plain.detach()), rel=1e-5)


# The runner.


def test_a_runner_keeps_rllibs_contract():
    runner = TensorEnvRunner(config=tensor_config())
    runner.assert_healthy()
    assert set(runner.get_spaces()) >= {INPUT_ENV_SPACES, "shared"}
    (experience,) = runner.sample()
    assert (experience.env_steps(), experience.agent_steps()) == (MARKETS * STEPS, MARKETS * STEPS * AGENTS)
    metrics = runner.get_metrics()
    assert metrics[NUM_ENV_STEPS_SAMPLED].peek() == MARKETS * STEPS
    assert metrics[NUM_EPISODES].peek() == 0, "logged although there is none"
    (longer,) = runner.sample(num_timesteps=MARKETS * 5 - 1)
    assert longer.env_steps() == MARKETS * 5
    (counted,) = runner.sample(num_episodes=MARKETS + 1)
    assert not counted.rollouts
    assert runner.get_metrics()[NUM_EPISODES].peek() >= MARKETS + 1
    runner.stop()


def test_a_runner_takes_newer_and_unnumbered_weights_only():
    runner, other = (TensorEnvRunner(config=tensor_config(debugging={"seed": seed})) for seed in (1, 2))
    fresh = other.get_state(components=COMPONENT_RL_MODULE)[COMPONENT_RL_MODULE]
    before = runner.get_state()[COMPONENT_RL_MODULE]["shared"]
    runner.set_state({COMPONENT_RL_MODULE: fresh, WEIGHTS_SEQ_NO: 5})
    taken = runner.get_state()
    assert_same(taken[COMPONENT_RL_MODULE]["shared"], fresh["shared"])
    assert taken[WEIGHTS_SEQ_NO] == 5
    runner.set_state({COMPONENT_RL_MODULE: {"shared": before}, WEIGHTS_SEQ_NO: 5})
    assert_same(runner.get_state()[COMPONENT_RL_MODULE]["shared"], fresh["shared"])
    runner.set_state({COMPONENT_RL_MODULE: ray.put({"shared": before})})
    assert_same(runner.get_state()[COMPONENT_RL_MODULE]["shared"], before)


def test_what_acts_has_no_critic_and_acts_the_same(build):
    algorithm = build(tensor_config())
    whole, acting = algorithm.learner_group._learner.module["shared"], algorithm.get_module("shared")
    assert not any("critic" in name for name in acting.get_state())
    assert any("critic" in name for name in whole.get_state())
    assert_same(whole.get_state(inference_only=True), acting.get_state())
    torch.testing.assert_close(mean_actions(whole), mean_actions(acting), rtol=0, atol=0)


def test_seats_of_several_modules_are_played_by_their_own():
    """Each seat's distribution and rows are those of its module, in a mapping that does not follow the seats."""
    config = tensor_config().environment(env_config={"num_agents": 3, "synthetic": SYNTHETIC, "num_windows": 4})
    config.multi_agent(
        policies={"odd", "even"}, policy_mapping_fn=lambda agent, episode, **kw: "odd" if int(agent[-1]) % 2 else "even"
    )
    runner = TensorEnvRunner(config=config)
    (experience,) = runner.sample()
    for module_id, num_seats in (("even", 2), ("odd", 1)):
        (rollout,) = experience.rollouts[module_id]
        assert rollout.reward.shape == (STEPS, MARKETS, num_seats)
        mean, _ = runner.module[module_id].distribution(rollout.obs)
        torch.testing.assert_close(mean, rollout.mean)
    config.multi_agent(policies_to_train=["odd"])
    assert set(TensorEnvRunner(config=config).sample()[0].rollouts) == {"odd"}


def test_experience_comes_whole_through_the_object_store_and_in_parts(experience):
    (there,) = ray.get(ray.put(experience)).rollouts["shared"]
    (here,) = experience.rollouts["shared"]
    for name, field in here._asdict().items():
        torch.testing.assert_close(getattr(there, name), field, rtol=0, atol=0)
    first, second = experience.split(2)
    assert first.env_steps() + second.env_steps() == experience.env_steps()
    parts = [part.rollouts["shared"][0] for part in (first, second)]
    for name, axis in (("reward", 1), ("final_obs", 1), ("last_obs", 0)):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts], axis), getattr(here, name))
    assert join([first, second]).agent_steps() == experience.agent_steps()


# The algorithm.


def test_iterations_without_an_end_of_an_episode_are_reported(build):
    algorithm = build(tensor_config())
    results = [algorithm.train()["env_runners"] for _ in range(3)]
    assert [result["num_episodes"] for result in results] == [0, MARKETS, MARKETS]
    assert results[0].get("episode_return_mean") is None
    assert all(np.isfinite(result["episode_return_mean"]) for result in results[1:])


def test_rollouts_inside_the_learner_train_as_those_of_a_runner(build):
    """One seed, one process: the same bits whether weights and rollouts are passed on or shared."""
    first, second = (build(tensor_config(training={"minibatch_size": 32, "resident": x})) for x in (False, True))
    for _ in range(2):
        first.train()
        second.train()
    first, second = (algorithm.learner_group.get_weights()["shared"] for algorithm in (first, second))
    assert_same(first, second)


@pytest.mark.parametrize("resident", [pytest.param(False, marks=pytest.mark.slow), True])
def test_two_learners_have_identical_parameters(build, resident):
    training = {"minibatch_size": 32, "resident": resident}
    algorithm = build(tensor_config(training=training, learners={"num_learners": 2, "num_cpus_per_learner": 1}))
    before = algorithm.learner_group.get_weights()["shared"]
    algorithm.train()
    algorithm.train()
    first, second = algorithm.learner_group.foreach_learner(lambda learner: learner.module["shared"].get_state())
    assert_same(first.get(), second.get())
    assert any(not np.array_equal(value, before[name]) for name, value in first.get().items())
    assert first.get()["network.normaliser.count"] == 2 * MARKETS * STEPS * AGENTS * (1 + resident)


def test_a_checkpoint_of_either_path_goes_on_in_the_other(build, tmp_path):
    component = "learner_group/learner/rl_module/shared"
    for of_source, of_target in ((tensor_config, stock_config), (stock_config, tensor_config)):
        source, target = build(of_source()), build(of_target())
        source.train()
        path = source.save_to_path(str(tmp_path / of_source.__name__))
        target.restore_from_path(f"{path}/{component}", component=component)
        assert_same(*(algorithm.learner_group.get_weights()["shared"] for algorithm in (source, target)))
        torch.testing.assert_close(*(mean_actions(x.get_module("shared")) for x in (source, target)), rtol=0, atol=0)
        assert target.train()["env_runners"]["num_env_steps_sampled_lifetime"] > 0


@pytest.mark.parametrize("runners", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_restored_algorithm_is_where_it_was(build, tmp_path, runners):
    algorithm = build(tensor_config().env_runners(num_env_runners=runners))
    algorithm.train()
    restored = Algorithm.from_checkpoint(algorithm.save_to_path(str(tmp_path / "checkpoint")))
    try:
        assert restored.iteration == 1
        assert_same(*(x.learner_group.get_weights()["shared"] for x in (algorithm, restored)))
        acting = restored.env_runner_group.foreach_env_runner(lambda runner: runner.module["shared"].get_state())
        assert len(acting) == 1 + runners
        for found in acting:
            assert_same(weights(algorithm), found)
        restored.train()
    finally:
        restored.stop()


@pytest.mark.parametrize("runners", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_evaluation_plays_the_mean(build, runners):
    settings = {
        "evaluation_interval": 1,
        "evaluation_num_env_runners": runners,
        "evaluation_duration": MARKETS,
        "evaluation_duration_unit": "episodes",
        "evaluation_config": {"explore": False},
    }
    result = build(tensor_config(evaluation=settings)).train()["evaluation"]["env_runners"]
    assert result["num_episodes"] >= MARKETS
    assert np.isfinite(result["episode_return_mean"])


@pytest.mark.slow
def test_training_goes_on_without_a_killed_runner_and_gets_another(build):
    runners = {"num_env_runners": 2, "num_envs_per_env_runner": MARKETS, "rollout_fragment_length": STEPS}
    tolerance = {"restart_failed_env_runners": True, "env_runner_health_probe_timeout_s": 2.0}
    algorithm = build(tensor_config(env_runners=runners, fault_tolerance=tolerance))
    algorithm.train()
    group = algorithm.env_runner_group
    ray.kill(group._worker_manager.actors()[1], no_restart=False)
    steps, healthy = [], []
    while len(steps) < 60 and (not steps or healthy[-1] < 2):
        steps.append(algorithm.train()["env_runners"]["num_env_steps_sampled_lifetime"])
        healthy.append(group.num_healthy_remote_workers())
    assert healthy[-1] == 2
    per_iteration = 2 * MARKETS * STEPS
    assert all(after - before >= per_iteration for before, after in pairwise(steps))
