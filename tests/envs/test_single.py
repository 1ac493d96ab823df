"""ArenaEnv: gymnasium's own check, the same market as ArenaParallelEnv, and the seats of others."""

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import RescaleAction

from arena.agents.rules.baselines import Cash, EqualWeight, Random
from arena.data.synthetic.market import generate
from arena.data.synthetic.params import SyntheticParams
from arena.data.types import VOLUME
from arena.envs.parallel import ArenaParallelEnv
from arena.envs.single import ArenaEnv
from arena.market.types import MarketParams

SMALL = SyntheticParams(num_assets=3, num_bars=72)  # episodes of 12 steps


class Recorder:
    """Holds cash and remembers what it was shown."""

    def __init__(self, history_length=0):
        self.history_length = history_length
        self.seen, self.num_resets = [], 0

    def reset(self):
        self.num_resets += 1

    def act(self, observation, generator):
        self.seen.append(observation)
        return torch.zeros_like(observation.weight)


def play(env, action, seed):
    """Rewards and navs of one episode with a constant action."""
    env.reset(seed=seed)
    rewards, navs, over = [], [], False
    while not over:
        _, reward, terminated, truncated, record = env.step(action)
        rewards.append(reward)
        navs.append(record["nav"])
        over = terminated or truncated
    return rewards, navs


@pytest.mark.filterwarnings("ignore:.*symmetric and normalized:UserWarning")  # weights reach beyond 1; see below
@pytest.mark.filterwarnings("ignore:.*not having a spec:UserWarning")  # made directly, not by gymnasium.make
@pytest.mark.filterwarnings("error::UserWarning")
def test_gymnasium_accepts_it():
    check_env(ArenaEnv(synthetic=SMALL), skip_render_check=True)
    check_env(ArenaEnv(["cash"], synthetic=SMALL, render_mode="rgb_array"))


@pytest.mark.filterwarnings("ignore:.*not having a spec:UserWarning")
@pytest.mark.filterwarnings("error::UserWarning")
def test_actions_can_be_normalised():
    """Both ways to the box [-1, 1] that Stable-Baselines3 likes."""
    check_env(ArenaEnv(["cash"], synthetic=SMALL, params=MarketParams(max_asset_weight=1.0)), skip_render_check=True)
    rescaled = RescaleAction(ArenaEnv(["cash"], synthetic=SMALL), np.float32(-1), np.float32(1))
    assert rescaled.action_space.high.tolist() == [1.0] * 3
    rescaled.reset(seed=0)
    rescaled.step(rescaled.action_space.sample())


def test_it_is_one_seat_of_the_parallel_env():
    action = np.array([0.5, -0.3, 0.1], np.float32)
    env = ArenaEnv(["cash", EqualWeight(band=0.0)], seat=1, synthetic=SMALL)
    obs, record = env.reset(seed=3)
    whole = ArenaParallelEnv(3, synthetic=SMALL)
    observations, infos = whole.reset(seed=3)
    assert np.array_equal(obs, observations["trader_1"])
    assert record["window"] == infos["trader_1"]["window"]
    while whole.agents:
        actions = {"trader_0": np.zeros(3), "trader_1": action, "trader_2": np.full(3, 1 / 3, np.float32)}
        observations, rewards, terminated, truncated, infos = whole.step(actions)
        obs, reward, is_terminated, is_truncated, record = env.step(action)
        assert np.array_equal(obs, observations["trader_1"])
        assert (reward, is_terminated, is_truncated) == (
            rewards["trader_1"],
            terminated["trader_1"],
            truncated["trader_1"],
        )
        assert record["nav"] == infos["trader_1"]["nav"]


def test_same_seed_same_episode_also_with_agents_that_draw_numbers():
    action = np.full(3, 0.2, np.float32)
    env = ArenaEnv([Random(every=1)] * 2, synthetic=SMALL)
    assert play(env, action, seed=5) == play(env, action, seed=5)
    assert play(env, action, seed=5) != play(env, action, seed=6)
    other = ArenaEnv([Random(every=1)] * 2, synthetic=SMALL)
    assert play(env, action, seed=5) == play(other, action, seed=5)


def test_opponents_are_reset_and_see_the_history_they_ask_for():
    none, short, long = Recorder(0), Recorder(5), Recorder(70)
    env = ArenaEnv([none, short, long], synthetic=SyntheticParams(num_assets=3, num_bars=80))
    for _ in range(2):
        env.reset(seed=0)
        env.step(np.zeros(3, np.float32))
    assert none.num_resets == short.num_resets == 2
    assert none.seen[0].history is None
    assert short.seen[0].history.shape == (1, 3, 5, 6)
    assert long.seen[0].history.shape == (1, 3, 70, 6)
    assert torch.equal(short.seen[0].history, long.seen[0].history[..., -5:, :])
    assert short.seen[0].weight.shape == (1, 3)


def test_one_seat_alone():
    env = ArenaEnv([], synthetic=SyntheticParams(num_assets=1, num_bars=72))
    rewards, _ = play(env, np.zeros(1, np.float32), seed=0)
    assert rewards == [0.0] * 12


def test_the_learner_may_be_ruined_and_opponents_too():
    scenarios = generate(SyntheticParams(num_assets=2, num_bars=40), [5], warmup=30)
    bars = scenarios.bars.clone()
    bars[:, 32:, :, :VOLUME] *= 0.1
    scenarios = scenarios._replace(bars=bars)

    env = ArenaEnv([Cash()], scenarios=scenarios)
    env.reset(seed=0)
    ends = [env.step(np.full(2, 9.0, np.float32))[2:4] for _ in range(3)]
    assert ends == [(False, False), (False, False), (True, False)]
    with pytest.raises(ValueError, match="call reset"):
        env.step(np.zeros(2, np.float32))

    env = ArenaEnv([EqualWeight(gross=9.0)], scenarios=scenarios)
    rewards, navs = play(env, np.zeros(2, np.float32), seed=0)
    assert len(rewards) == 10  # to the end of the window
    assert len(set(navs)) == 1


def test_bad_input_is_one_sentence():
    with pytest.raises(ValueError, match=r"seat is 2, expected 0 \.\. 1"):
        ArenaEnv(["cash"], seat=2)
    with pytest.raises(ValueError, match="unknown agent 'chas'; did you mean 'cash'"):
        ArenaEnv(["chas"])
    env = ArenaEnv(["cash"], synthetic=SMALL)
    with pytest.raises(ValueError, match="call reset"):
        env.step(np.zeros(3, np.float32))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"action of trader_0 has shape \(4,\)"):
        env.step(np.zeros(4, np.float32))


def test_render_shows_all_seats():
    env = ArenaEnv(["cash"], synthetic=SMALL, render_mode="ansi")
    env.reset(seed=0)
    env.step(np.full(3, 0.1, np.float32))
    assert "trader_1" in env.render()
    env.close()


def test_a_live_forecast_reaches_learner_and_opponents():
    class AlwaysUp:
        context_length = 40

        def __call__(self, history, timestamps):
            return torch.full((*history.shape[:2], 4), 0.01)

    opponent = Recorder(history_length=5)
    env = ArenaEnv([opponent], synthetic=SMALL, forecast=AlwaysUp())
    obs, _ = env.reset(seed=0)
    assert obs[-1] == 1, "the last entry says that forecasts are there"
    env.step(env.action_space.sample())
    assert (opponent.seen[0].forecast_return > 0).all()
    assert opponent.seen[0].history.shape[-2] == 5, "what a forecast looks at is not shown to those who asked for less"
