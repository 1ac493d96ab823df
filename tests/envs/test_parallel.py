"""ArenaParallelEnv: PettingZoo's own tests, the core bit for bit, and everything a user may hand in."""

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from pettingzoo.test import parallel_api_test, parallel_seed_test, render_test
from pettingzoo.utils import parallel_to_aec

from arena.data.synthetic.market import generate
from arena.data.synthetic.params import SyntheticParams
from arena.data.types import AMOUNT, VOLUME
from arena.envs import render
from arena.envs.parallel import ArenaParallelEnv
from arena.market.presets import linear_ow, sqrt
from arena.market.types import MarketParams
from arena.market.vector import VectorMarket

SMALL = SyntheticParams(num_assets=3, num_bars=72)  # episodes of 12 steps


def small_env(num_agents=3, **arguments):
    return ArenaParallelEnv(num_agents, synthetic=SMALL, **arguments)


def sampled(env):
    return {agent: env.action_space(agent).sample() for agent in env.agents}


def same_actions(env, weight):
    return {agent: np.full(env.action_space(agent).shape, weight, np.float32) for agent in env.agents}


def crash(num_assets=2, episode_length=8, crash_at=2):
    """Own data: two quiet windows; in the second one all prices fall by 90 % in one step of the episode."""
    scenarios = generate(SyntheticParams(num_assets=num_assets, num_bars=30 + episode_length), [5, 6], warmup=30)
    bars = scenarios.bars.clone()
    bars[1, 30 + crash_at :, :, :VOLUME] *= 0.1
    bars[..., AMOUNT] = bars[..., VOLUME] * bars[..., :VOLUME].mean(-1)
    return scenarios._replace(bars=bars, expected_open=None, expected_close=None, signal=None)


# PettingZoo's own tests


@pytest.mark.filterwarnings("error::UserWarning")
def test_api():
    parallel_api_test(small_env(), num_cycles=30)


@pytest.mark.filterwarnings("error::UserWarning")
def test_api_when_agents_are_ruined_on_the_way():
    parallel_api_test(ArenaParallelEnv(4, scenarios=crash()), num_cycles=30)


def test_seeds():
    parallel_seed_test(small_env, num_cycles=30)


@pytest.mark.filterwarnings("error::UserWarning")
def test_render():
    render_test(lambda render_mode: parallel_to_aec(small_env(render_mode=render_mode)))


def test_no_arguments_are_needed():
    env = ArenaParallelEnv()
    observations, _ = env.reset()
    assert list(observations) == env.agents == ["trader_0", "trader_1", "trader_2", "trader_3"]


# The core at B = 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("num_agents", "params"), [(1, sqrt()), (3, sqrt()), (20, linear_ow())])
def test_equals_the_core_bit_for_bit(dtype, num_agents, params):
    env = small_env(num_agents, params=params, dtype=dtype)
    observations, infos = env.reset(seed=1)
    window = infos["trader_0"]["window"]
    market = VectorMarket(params, generate(SMALL, [window]), num_agents, dtype=dtype)
    assert np.array_equal(np.stack(list(observations.values())), market.observe().flat[0].float().numpy())
    for agent in env.agents:
        env.action_space(agent).seed(int(agent[-1]))
    while env.agents:
        actions = sampled(env)
        observations, rewards, terminated, truncated, infos = env.step(actions)
        core = market.step(torch.from_numpy(np.stack(list(actions.values())))[None])
        # No entry of these markets reaches its bound, so nothing is cut.
        assert np.array_equal(np.stack(list(observations.values())), core.obs[0].float().numpy())
        assert list(rewards.values()) == core.reward[0].tolist()
        assert list(terminated.values()) == core.terminated[0].tolist()
        assert list(truncated.values()) == core.truncated[0].tolist()
        for seat, record in enumerate(infos.values()):
            assert record["nav"] == market.state.nav[0, seat].item()
            for name in ("cost", "penalty", "financing", "rejected"):
                assert record[name] == getattr(core.fills, name)[0, seat].item()
            assert np.array_equal(record["fills"]["shares"], core.fills.shares[0, seat].numpy())
            assert np.array_equal(record["fills"]["price"], core.fills.price[0].numpy())
            assert np.array_equal(record["position"], market.state.position[0, seat].numpy())


@pytest.mark.slow
def test_compiled_equals_eager_up_to_rounding():
    """float64; a compiler may fuse and reorder, which moves the last bits: 1e-9 relative after 12 steps."""
    navs = []
    for compile in (False, True):
        env = small_env(dtype=torch.float64, compile=compile)
        env.reset(seed=4)
        while env.agents:
            infos = env.step(same_actions(env, 0.3))[4]
        navs.append([record["nav"] for record in infos.values()])
    assert navs[1] == pytest.approx(navs[0], rel=1e-9)


# Windows and seeds


def test_a_seed_gives_the_same_episodes_again_and_another_seed_others():
    def windows(seed):
        env = small_env()
        first = env.reset(seed=seed)[1]["trader_0"]["window"]
        return first, env.reset()[1]["trader_0"]["window"], env.reset()[1]["trader_0"]["window"]

    assert windows(7) == windows(7)
    assert len(set(windows(7)) | set(windows(8))) == 6
    assert max(windows(7)) < 2**31  # training seeds


def test_a_window_can_be_named():
    env = small_env()
    drawn, infos = env.reset(seed=3)
    env.reset()
    again, _ = env.reset(options={"window": infos["trader_0"]["window"]})
    assert np.array_equal(drawn["trader_1"], again["trader_1"])

    own = ArenaParallelEnv(1, scenarios=crash())
    assert own.reset(options={"window": 1})[1]["trader_0"]["window"] == 1
    with pytest.raises(ValueError, match=r"window is 2, expected 0 \.\. 1"):
        own.reset(options={"window": 2})


def test_own_scenarios_are_played_by_window():
    scenarios = crash()
    env = ArenaParallelEnv(2, scenarios=scenarios)
    played = {env.reset(seed=seed)[1]["trader_0"]["window"] for seed in range(20)}
    assert played == {0, 1}
    env.reset(options={"window": 1})
    infos = env.step(same_actions(env, 0.0))[4]
    assert infos["trader_0"]["fills"]["price"] == pytest.approx(scenarios.bars[1, 30, :, 0].tolist(), rel=1e-6)


def test_a_forecast_of_own_data_is_observed():
    scenarios = crash()
    forecast = torch.zeros(*scenarios.bars.shape[:3], 4)
    forecast[1] = 0.01
    env = ArenaParallelEnv(1, scenarios=scenarios, forecast=forecast)
    for window in (0, 1):
        env.reset(options={"window": window})
        seen = env.observe()
        assert bool((seen.forecast_return > 0).all()) == bool(window)
        assert float(seen.forecast_present) == 1.0
    with pytest.raises(ValueError, match="forecast has shape"):
        ArenaParallelEnv(1, scenarios=scenarios, forecast=forecast[:1])


# The end of an episode


def test_a_live_forecast_needs_no_own_data():
    class AlwaysUp:
        context_length = 30

        def __call__(self, history, timestamps):
            return torch.full((*history.shape[:2], 4), 0.01)

    env = small_env(forecast=AlwaysUp(), history_length=30)
    env.reset(seed=0)
    env.step(same_actions(env, 0.1))
    seen = env.observe()
    assert (seen.forecast_present == 1).all()
    torch.testing.assert_close(seen.forecast_spread, 0.01 / seen.volatility)
    with pytest.raises(ValueError, match="history_length is 0, expected at least 30"):
        small_env(forecast=AlwaysUp())


def test_all_agents_are_truncated_at_the_last_bar():
    env = small_env()
    env.reset(seed=0)
    for step in range(12):
        assert len(env.agents) == 3
        _, _, terminated, truncated, _ = env.step(same_actions(env, 0.1))
        assert set(truncated.values()) == {step == 11}
        assert not any(terminated.values())
    assert env.agents == []
    with pytest.raises(ValueError, match="call reset"):
        env.step({})


def test_a_ruined_agent_leaves_and_its_seat_is_sold():
    env = ArenaParallelEnv(3, scenarios=crash())
    env.reset(options={"window": 1})
    wild, prudent = np.full(2, 50.0, np.float32), np.zeros(2, np.float32)
    actions = {"trader_0": prudent, "trader_1": wild, "trader_2": prudent}
    env.step(actions)
    env.step(actions)
    assert env.observe().weight[0, 1].sum() > 1.5
    observations, rewards, terminated, truncated, infos = env.step(actions)  # prices fall by 90 %
    assert terminated == {"trader_0": False, "trader_1": True, "trader_2": False}
    assert not any(truncated.values())
    assert infos["trader_1"]["nav"] < 0
    assert rewards["trader_1"] < -4
    assert env.observation_space("trader_1").contains(observations["trader_1"])
    assert env.agents == ["trader_0", "trader_2"]

    assert env.observe().cash_weight.shape == (1, 3)  # its seat stays in the market, reduce-only
    observations, _, _, _, infos = env.step(actions)  # an action of an agent that has left is ignored
    assert set(observations) == set(infos) == {"trader_0", "trader_2"}
    env.step(dict.fromkeys(env.agents, prudent))
    assert float(env._market.state.position[0, 1].abs().sum()) == 0.0
    while env.agents:
        _, _, terminated, truncated, infos = env.step(dict.fromkeys(env.agents, prudent))
    assert set(truncated) == {"trader_0", "trader_2"}
    assert [record["nav"] for record in infos.values()] == pytest.approx([env._market.initial_nav.item()] * 2)


def test_the_episode_ends_when_all_are_ruined():
    env = ArenaParallelEnv(2, scenarios=crash())
    env.reset(options={"window": 1})
    steps = 0
    while env.agents:
        _, _, terminated, truncated, _ = env.step(same_actions(env, 1.0))
        steps += 1
    assert steps == 3
    assert all(terminated.values())
    assert not any(truncated.values())


# Spaces


@pytest.mark.parametrize("window", [0, 1])
def test_observations_lie_in_their_space(window):
    """Also with a collapse, wild leverage and an asset whose volatility is next to nothing."""
    scenarios = crash(crash_at=1)
    volatility = scenarios.volatility.clone()
    volatility[:, 0] = 1e-5
    env = ArenaParallelEnv(3, scenarios=scenarios._replace(volatility=volatility), params=replace(sqrt(), ruin=False))
    rng = np.random.default_rng(0)
    observations, _ = env.reset(options={"window": window})
    while env.agents:
        for agent, obs in observations.items():
            assert env.observation_space(agent).contains(obs)
        observations = env.step({agent: rng.normal(size=2).astype(np.float32) * 5 for agent in env.agents})[0]


def test_spaces_are_finite_and_stay_the_same_objects():
    env = small_env()
    for agent in env.possible_agents:
        space = env.observation_space(agent)
        assert space is env.observation_space(agent)
        assert np.isfinite(space.low).all()
        assert np.isfinite(space.high).all()
        assert space.shape == (13 * 3 + 8,)
        assert env.action_space(agent) is env.action_space(agent)
        assert env.action_space(agent).high.tolist() == [2.0] * 3
    narrow = small_env(params=MarketParams(max_asset_weight=0.5))
    assert narrow.action_space("trader_0").high.tolist() == [0.5] * 3
    unlimited = small_env(params=MarketParams(max_gross_leverage=math.inf))
    assert np.isfinite(unlimited.action_space("trader_0").high).all()


@pytest.mark.parametrize(("num_agents", "num_assets"), [(1, 1), (1, 5), (4, 1), (3, 200)])
def test_sizes(num_agents, num_assets):
    env = ArenaParallelEnv(num_agents, synthetic=replace(SMALL, num_assets=num_assets))
    observations, _ = env.reset(seed=0)
    steps = 0
    while env.agents:
        observations, _, _, _, infos = env.step(sampled(env))
        steps += 1
    assert steps == 12
    assert observations["trader_0"].shape == (13 * num_assets + 8,)
    assert infos["trader_0"]["position"].shape == (num_assets,)


def test_what_is_handed_out_cannot_reach_the_market():
    """Overwriting all that a step returned changes nothing that comes after."""
    navs = []
    for vandal in (False, True):
        env = small_env()
        env.reset(seed=0)
        while env.agents:
            actions = same_actions(env, 0.3)
            observations, _, _, _, infos = env.step(actions)
            navs.append([record["nav"] for record in infos.values()])
            if vandal:
                for agent, obs in observations.items():
                    obs[:] = 7.0
                    actions[agent][:] = 7.0
                    infos[agent]["position"][:] = 7.0
                    infos[agent]["fills"]["shares"][:] = 7.0
                    infos[agent]["fills"]["price"][:] = 7.0
    assert navs[:12] == navs[12:]


# Bad actions


@pytest.mark.parametrize(
    ("action", "found"),
    [
        (np.zeros(2, np.float32), r"\(2,\)"),
        (np.zeros((1, 3), np.float32), r"\(1, 3\)"),
        (0.5, r"\(\)"),
        (None, "object"),
        (np.array(["a", "b", "c"]), "<U1"),
        ([[1.0], [1.0, 2.0], 3.0], "object"),
        (np.zeros(3, np.complex64), "complex64"),
    ],
)
def test_an_action_of_wrong_shape_or_type_is_one_sentence(action, found):
    env = small_env()
    env.reset(seed=0)
    actions = same_actions(env, 0.0) | {"trader_1": action}
    with pytest.raises(ValueError, match=rf"action of trader_1 has .*{found}.* \(num_assets,\) = \(3,\)"):
        env.step(actions)


def test_a_missing_or_unknown_agent_is_named():
    env = small_env()
    env.reset(seed=0)
    actions = same_actions(env, 0.0)
    del actions["trader_1"]
    with pytest.raises(
        ValueError, match=r"actions lack trader_1 .* expected one action for each of trader_0, trader_1"
    ):
        env.step(actions)
    with pytest.raises(ValueError, match="name trader_9 that is no agent"):
        env.step(same_actions(env, 0.0) | {"trader_9": np.zeros(3, np.float32)})


def test_stepping_before_a_reset_is_an_error():
    with pytest.raises(ValueError, match="call reset"):
        small_env().step({})


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_no_number_keeps_the_position(bad):
    env = small_env()
    env.reset(seed=0)
    before = env.step(same_actions(env, 0.3))[4]["trader_0"]["position"]
    action = np.array([bad, 0.1, 0.1], np.float32)
    infos = env.step(same_actions(env, 0.3) | {"trader_0": action})[4]
    assert infos["trader_0"]["position"][0] == before[0]
    assert infos["trader_0"]["position"][1] != before[1]
    assert [record["rejected"] for record in infos.values()] == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("huge", [np.array([3e38, 0, 0], np.float32), np.array([1e300, 0, 0]), [1e30, 0, 0]])
def test_a_huge_weight_is_scaled_to_the_gross_cap(huge):
    env = small_env(1)
    env.reset(seed=0)
    for _ in range(3):
        infos = env.step({"trader_0": huge})[4]
    weight = env.observe().weight[0, 0]
    assert 1.5 < float(weight[0]) < 2.5  # 2 when sized, then prices move
    assert weight[1:].tolist() == [0.0, 0.0]
    assert infos["trader_0"]["rejected"] == 0


def test_lists_integers_and_float64_are_numbers_too():
    navs = []
    for action in (np.ones(3, np.float32), [1.0, 1.0, 1.0], np.ones(3, int), np.ones(3)):
        env = small_env(1)
        env.reset(seed=0)
        env.step({"trader_0": action})
        navs.append(env.step({"trader_0": action})[4]["trader_0"]["nav"])
    assert len(set(navs)) == 1


# Bad arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"render_mode": "rgb"}, "render_mode is 'rgb', expected None or one of"),
        ({"num_agents": 0}, "num_agents is 0, expected at least 1"),
        ({"params": sqrt(1 / 13)}, "params.dt is .* but the bars last 1.0 trading days"),
        ({"scenarios": crash(), "synthetic": SMALL}, "expected one of them"),
        ({"forecast": torch.zeros(1)}, "table of forecasts without scenarios"),
    ],
)
def test_bad_arguments_are_one_sentence(arguments, message):
    with pytest.raises(ValueError, match=message):
        ArenaParallelEnv(**arguments)


def test_default_rules_follow_the_length_of_the_bars():
    env = ArenaParallelEnv(1, synthetic=replace(SMALL, bars_per_day=13))
    assert env.params == sqrt(1 / 13)


# Rendering


def test_ansi_shows_prices_positions_and_navs():
    env = small_env(render_mode="ansi")
    env.reset(seed=0)
    for _ in range(2):
        infos = env.step(same_actions(env, 0.3))[4]
    text = env.render()
    rows = {line.split()[0]: line for line in text.splitlines()}
    for agent, record in infos.items():
        assert f"{record['nav']:.2f}" in rows[agent]
        assert f"{record['position'][0]:.0f}" in rows[agent]
    for asset, price in enumerate(env._market.mid()[0].tolist()):
        assert f"{price:.4f}" in rows[str(asset)]
    assert "step 2 of 12" in text


def test_ansi_names_a_ruined_seat_and_counts_assets_beyond_the_first():
    env = ArenaParallelEnv(1, scenarios=crash(num_assets=12), render_mode="ansi")
    env.reset(options={"window": 1})
    while env.agents:
        env.step(same_actions(env, 1.0))
    text = env.render()
    assert "ruined" in text
    assert "4 more" in text


@pytest.mark.parametrize("num_agents", [1, 30])
def test_rgb_array_is_a_picture(num_agents):
    env = small_env(num_agents, render_mode="rgb_array")
    env.reset(seed=0)
    first = env.render()
    env.step(sampled(env))
    second = env.render()
    assert first.dtype == second.dtype == np.uint8
    assert first.shape == second.shape == (700, 900, 3)
    assert not np.array_equal(first, second)


def test_human_prints_the_text_without_a_display(capsys, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    env = small_env(render_mode="human")
    env.reset(seed=0)
    assert env.render() is None
    assert "trader_2" in capsys.readouterr().out
    env.close()


def test_human_follows_the_market_in_a_window(monkeypatch):
    """With Agg in the role of an interactive backend: figures are drawn, but nobody sees them."""
    from matplotlib import pyplot
    from matplotlib.backends import backend_registry

    pyplot.switch_backend("agg")
    monkeypatch.setattr(type(backend_registry), "list_builtin", lambda *_: ["agg"])
    monkeypatch.setattr("matplotlib.figure.Figure.show", lambda _: None)
    titles = []
    monkeypatch.setattr(render, "draw", lambda figure, agents, frames, title: titles.append(title))
    env = small_env(render_mode="human")
    env.reset(seed=0, options={"window": 3})
    env.step(sampled(env))
    assert titles == ["window 3, step 0 of 12", "window 3, step 1 of 12"]
    assert pyplot.get_fignums()
    env.close()
    assert not pyplot.get_fignums()
    env.close()


def test_without_a_render_mode_nothing_is_shown_and_a_warning_says_why():
    env = small_env()
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="render_mode"):
        assert env.render() is None


def test_rendering_before_a_reset_is_an_error():
    with pytest.raises(ValueError, match="call reset"):
        small_env(render_mode="ansi").render()


def test_matplotlib_is_loaded_only_to_render():
    program = (
        "import sys; from arena.envs.parallel import ArenaParallelEnv; e = ArenaParallelEnv(); e.reset(seed=0);"
        "print('matplotlib' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


def test_own_data_is_not_written_to():
    scenarios = crash()
    tensors = [x for x in scenarios if isinstance(x, torch.Tensor)]
    before = [x.clone() for x in tensors]
    env = ArenaParallelEnv(2, scenarios=scenarios)
    env.reset(options={"window": 0})
    while env.agents:
        env.step(sampled(env))
    assert all(torch.equal(x, y) for x, y in zip(tensors, before))
