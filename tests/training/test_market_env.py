from dataclasses import replace

import pytest
import torch

from arena.agents.policies.policy import policy_obs, target_weights
from arena.agents.registry import make_agent
from arena.data.synthetic.params import SyntheticParams
from arena.data.synthetic.seeds import SEED_RANGES
from arena.market.observation import layout
from arena.market.presets import preset
from arena.market.vector import VectorMarket
from arena.rl import windows
from arena.rl.league.outcomes import LEARNER, against
from arena.rl.market_env import Domain, EnvParams, MarketEnv
from arena.rl.ppo.rollout import allocate, begin, collect
from arena.rl.rewards import RewardParams
from arena.rl.windows import SyntheticSource

ASSETS, WARMUP, EPISODE = 3, 30, 6
MARKET = preset("sqrt")
SYNTHETIC = SyntheticParams(num_assets=ASSETS, num_bars=WARMUP + EPISODE)
SOURCE = SyntheticSource(SYNTHETIC, WARMUP)
PARAMS = EnvParams(num_markets=4, num_learners=2, num_windows=1, context_length=20, reward=RewardParams(scale=1.0))


class Watcher:
    """Holds the same weight for ever and keeps what it was shown."""

    def __init__(self, weight=0.1, history_length=0, forecaster=""):
        self.weight, self.history_length, self.forecaster = weight, history_length, forecaster
        self.seen, self.resets = [], 0

    def reset(self):
        self.resets += 1

    def act(self, observation, generator):
        self.seen.append(observation)
        return torch.full_like(observation.weight, self.weight)


class Source:
    """Always the same windows."""

    def __init__(self, scenarios):
        self.scenarios = scenarios

    def draw(self, count, generator):
        return self.scenarios


def actions(env, count, seed=0):
    shape = (env.num_markets, env.num_agents, env.num_assets)
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


def a_window():
    return SOURCE.draw(1, torch.Generator().manual_seed(5))


@pytest.mark.parametrize("speed", [1.0, 0.3])
def test_a_step_is_the_markets_with_squashed_weights(speed):
    params = replace(PARAMS, speed=speed, reach=1.5, reward=RewardParams(scale=1.0, without_luck=False))
    scenarios = a_window()
    env = MarketEnv(params, MARKET, Source(scenarios))
    market = VectorMarket(
        MARKET, scenarios, 2, num_markets=4, dtype=torch.float32, generator=torch.Generator()
    )  # one window: whatever is drawn, it is this one
    assert torch.equal(env.reset(), market.observe().flat)
    for u in actions(env, EPISODE):
        held = market.observe().weight
        made = market.step(held + speed * ((1.5 / ASSETS) * torch.tanh(u) - held))
        step = env.step(u)
        torch.testing.assert_close(step.final_obs, made.obs)
        torch.testing.assert_close(step.reward, made.reward)
        assert torch.equal(step.terminated, made.terminated)
        assert torch.equal(step.truncated, made.truncated)


def test_an_episode_ends_for_all_at_once_and_the_next_begins():
    env = MarketEnv(replace(PARAMS, num_groups=2), MARKET, SOURCE)
    env.reset()
    time_left = layout(MARKET, ASSETS).index("time_left")
    for episode in range(2):
        for t, u in enumerate(actions(env, EPISODE, episode)):
            step = env.step(u)
            last = t == EPISODE - 1
            assert (step.final_obs is step.obs) == (not last)
            assert bool(step.truncated.all()) == bool(step.truncated.any()) == last
            shown = step.final_obs[..., time_left]
            torch.testing.assert_close(shown, torch.full_like(shown, 1.0 - (t + 1) / EPISODE))
        assert (step.obs[..., time_left] == 1.0).all()
        assert step.alive.all()


def test_the_ruined_are_no_longer_alive_until_the_next_episode():
    env = MarketEnv(PARAMS, MARKET, SOURCE)
    env.reset()
    (group,) = env._groups
    state = group._market.state
    ruined = torch.zeros_like(state.nav).index_put((torch.tensor(1), torch.tensor(0)), torch.tensor(1.0)).bool()
    group._market.state = state._replace(cash=torch.where(ruined, -1.0, state.cash))
    idle = torch.zeros(4, 2, ASSETS)
    for _ in range(EPISODE - 1):
        step = env.step(idle)
        assert torch.equal(step.terminated, ruined)
        assert torch.equal(step.alive, ~ruined)
    step = env.step(idle)
    assert torch.equal(step.terminated, ruined)
    assert step.alive.all()


def test_only_learners_return_rows_and_opponents_trade_what_they_say():
    opponents = [Watcher(0.05), Watcher(-0.1)]
    env = MarketEnv(replace(PARAMS, num_opponents=2), MARKET, SOURCE, opponents)
    obs = env.reset()
    assert obs.shape == (4, 2, env.obs_dim)
    step = env.step(torch.zeros(4, 2, ASSETS))
    for field in (step.reward, step.terminated, step.truncated, step.alive):
        assert field.shape == (4, 2)
    (group,) = env._groups
    assert (group._market.state.position[:, :2] == 0).all()
    weights = group._market.observe().weight[:, 2:].mean((0, 2))
    expected = torch.tensor([agent.weight for agent in group._opponents])
    torch.testing.assert_close(weights, expected, rtol=0.15, atol=0)
    assert not opponents[0].seen  # it plays copies


def test_a_rollout_holds_no_row_of_an_opponent():
    env = MarketEnv(replace(PARAMS, num_opponents=1), MARKET, SOURCE, [make_agent("random")])

    class Still:
        def distribution(self, obs):
            mean = torch.zeros(*obs.shape[:-1], ASSETS)
            return mean, mean - 6.0

    stream = begin(env)
    rollout, _ = collect(env, Still(), stream, allocate(env, stream, EPISODE), torch.Generator().manual_seed(0))
    weight = layout(MARKET, ASSETS).index("weight[0]")
    assert rollout.obs[..., weight : weight + ASSETS].abs().max() < 0.02  # a random agent holds a third in each
    assert rollout.reward.shape == (EPISODE, 4, 2)


def test_an_opponent_sees_what_a_match_would_show_it():
    """Its own forecaster and history; not the learner's, and not what others ask for."""
    opponents = [Watcher(history_length=4), Watcher(forecaster="drift"), Watcher(forecaster="persistence")]
    params = replace(PARAMS, num_opponents=3, forecaster="drift", num_windows=2)
    env = MarketEnv(params, MARKET, SOURCE, opponents)
    env.reset()
    env.step(torch.zeros(4, 2, ASSETS))
    env.step(torch.zeros(4, 2, ASSETS))
    (group,) = env._groups
    by_need = {(agent.history_length, agent.forecaster): agent.seen[-1] for agent in group._opponents}
    plain, drift, persistence = by_need[4, ""], by_need[0, "drift"], by_need[0, "persistence"]
    assert plain.history.shape == (4, ASSETS, 4, 6)
    assert drift.history is None
    assert (plain.forecast_present == 0).all()
    assert (plain.forecast_return == 0).all()
    assert (drift.forecast_present == 1).all()
    assert (drift.forecast_return != 0).all()
    assert (persistence.forecast_return == 0).all()
    assert (persistence.forecast_spread > 0).all()
    # The learners are shown the drift forecast as well, of the same bar.
    first = layout(MARKET, ASSETS).index("forecast_return_1[0]")
    env_obs = group._market.observe().flat[:, 0, first : first + ASSETS]
    bar = WARMUP + group._market.steps_taken - 1
    table = group._tables["drift"][group._market.windows, bar, :, 0] / group._market.quotes.volatility
    torch.testing.assert_close(env_obs, table)


def test_a_pool_is_drawn_from_without_repetition_and_may_be_changed_between_episodes():
    env = MarketEnv(
        replace(PARAMS, num_opponents=3, num_groups=2), MARKET, SOURCE, [Watcher(0.01 * i) for i in range(5)]
    )
    lineups = set()
    for _ in range(10):
        env.reset()
        for group in env._groups:
            lineup = [agent.weight for agent in group._opponents]
            assert len(set(lineup)) == 3
            lineups.add(tuple(lineup))
    assert len(lineups) > 10
    for u in actions(env, 2):
        env.step(u)
    env.set_opponents([Watcher(0.5)])
    assert all(agent.weight < 0.5 for group in env._groups for agent in group._opponents)
    for u in actions(env, EPISODE - 2):
        env.step(u)
    assert [agent.weight for group in env._groups for agent in group._opponents] == [0.5] * 6
    with pytest.raises(ValueError, match="expected at least one agent"):
        env.set_opponents([])


def test_named_opponents_are_drawn_by_weight():
    """Two seats of five: who has a weight of 100 against 1 sits nearly always, and never twice in a market."""
    names = "abcde"
    env = MarketEnv(replace(PARAMS, num_opponents=2, num_groups=2), MARKET, SOURCE, [Watcher()])
    env.set_opponents({name: Watcher() for name in names}, {name: 100.0 if name == "c" else 1.0 for name in names})
    lineups = []
    for _ in range(100):
        env.reset()
        lineups += [tuple(group._players[2:]) for group in env._groups]
    assert all(len(set(lineup)) == 2 for lineup in lineups)
    assert sum("c" in lineup for lineup in lineups) > 190
    assert {name for lineup in lineups for name in lineup} == set(names)
    for weights in ({"a": 1.0}, {"a": 1.0, "b": 0.0}, {"a": 1.0, "b": float("nan")}):
        with pytest.raises(ValueError, match="the weight of opponent 'b'"):
            env.set_opponents({"a": Watcher(), "b": Watcher()}, weights)


def test_outcomes_count_episodes_times_opponents():
    """Every learner meets every opponent of its market once an episode, and only when it ends."""
    pool = {name: Watcher(weight) for name, weight in (("idle", 0.0), ("heavy", 0.3))}
    env = MarketEnv(replace(PARAMS, num_opponents=2, num_groups=2), MARKET, SOURCE, pool)
    env.reset()
    assert env.outcomes() == {}
    for u in actions(env, 2 * EPISODE + 3):
        env.step(u)
    met = against(env.outcomes(), LEARNER)
    assert {name: outcome.games for name, outcome in met.items()} == {"idle": 2 * 4 * 2, "heavy": 2 * 4 * 2}
    assert env.outcomes() == {}, "read once"


def test_outcomes_are_those_of_the_final_navs():
    env = MarketEnv(replace(PARAMS, num_opponents=1), MARKET, SOURCE, {"idle": Watcher(0.0)})
    env.reset()
    (group,) = env._groups
    final = []
    reset = group.reset
    group.reset = lambda: (final.append(group._market.state.nav.clone()), reset())[1]
    for u in actions(env, EPISODE):
        env.step(u)
    (nav,) = final  # [4, 3]
    wins = (nav[:, :2] > nav[:, 2:]).sum() + 0.5 * (nav[:, :2] == nav[:, 2:]).sum()
    assert against(env.outcomes(), LEARNER)["idle"] == (8.0, float(wins))
    for _ in range(EPISODE):
        env.step(torch.zeros(4, 2, ASSETS))
    assert against(env.outcomes(), LEARNER)["idle"] == (8.0, 4.0), "ties are half won"


def test_who_left_the_pool_is_counted_for_the_episode_that_it_played():
    env = MarketEnv(replace(PARAMS, num_opponents=1), MARKET, SOURCE, {"before": Watcher(0.1)})
    env.reset()
    env.step(actions(env, 1)[0])
    env.set_opponents({"after": Watcher(0.2)}, {"after": 1.0})
    for u in actions(env, 2 * EPISODE - 1):
        env.step(u)
    assert {name: met.games for name, met in against(env.outcomes(), LEARNER).items()} == {"before": 8, "after": 8}


def test_a_member_that_stays_keeps_its_copy():
    stays, env = Watcher(0.1), MarketEnv(replace(PARAMS, num_opponents=1), MARKET, SOURCE, [Watcher()])
    env.set_opponents({"stays": stays, "goes": Watcher()}, {"stays": 1.0, "goes": 1.0})
    (group,) = env._groups
    before = group.pool.agents[0]
    env.set_opponents({"comes": Watcher(), "stays": stays}, {"stays": 0.5, "comes": 0.5})
    assert group.pool.agents[1] is before is not stays
    env.set_opponents({"stays": Watcher(0.1)}, {"stays": 1.0})
    assert group.pool.agents[0] is not before, "another agent under the same name"


def test_an_exploiter_is_paid_what_it_earns_beyond_the_learners_of_its_market():
    scenarios = a_window()
    plain, exploited = (
        MarketEnv(replace(PARAMS, num_learners=4, num_exploiters=count), MARKET, Source(scenarios)) for count in (0, 1)
    )
    plain.reset()
    exploited.reset()
    for u in actions(plain, EPISODE):
        usual, paid = plain.step(u), exploited.step(u)
        assert torch.equal(paid.reward[:, :3], usual.reward[:, :3])
        expected = usual.reward[:, 3] - usual.reward[:, :3].mean(1)
        torch.testing.assert_close(paid.reward[:, 3], expected, rtol=0, atol=1e-7)
        assert torch.equal(paid.final_obs, usual.final_obs)
    assert plain.outcomes() == {}
    assert against(exploited.outcomes(), LEARNER)["exploiter_0"].games == 4 * 3
    for count in (-1, 4):
        with pytest.raises(ValueError, match="expected 0 to 3"):
            replace(PARAMS, num_learners=4, num_exploiters=count)


def test_without_luck_growth_is_the_same_on_average_and_far_less_noisy():
    """Paired over many windows: the difference has mean 0 by four standard errors, the variance falls tenfold."""
    source = SyntheticSource(replace(SYNTHETIC, num_bars=WARMUP + 20), WARMUP)
    totals = {}
    for without_luck in (True, False):
        params = EnvParams(
            num_markets=512,
            num_windows=512,
            reach=2.0,
            reward=RewardParams(scale=1.0, without_luck=without_luck),
        )
        env = MarketEnv(params, MARKET, source, seed=3)
        env.reset()
        buy = torch.full((512, 1, ASSETS), 0.5)
        totals[without_luck] = torch.stack([env.step(buy).reward for _ in range(20)]).sum(0).double()
    difference = totals[True] - totals[False]
    assert difference.mean().abs() < 4 * difference.std() / 512**0.5
    assert totals[True].var() < 0.1 * totals[False].var()


def test_rules_differ_from_group_to_group_within_their_ranges():
    domain = Domain(impact=(0.5, 2.0), cost=(0.25, 4.0), wealth=(0.1, 10.0))
    params = replace(PARAMS, num_groups=4, domain=domain, refresh=1)
    env = MarketEnv(params, MARKET, SOURCE, seed=1)
    impacts = []
    for _ in range(3):
        env.reset()
        for group in env._groups:
            rules, market = group._market.params, group._market
            impact = rules.temporary_coef / MARKET.temporary_coef
            cost = rules.fee_rate / MARKET.fee_rate
            assert 0.5 <= impact <= 2.0
            assert 0.25 <= cost <= 4.0
            assert 0.1 * 0.02 <= market._initial_wealth <= 10.0 * 0.02
            assert float(market._half_spread) == pytest.approx(cost * params.half_spread)
            for mode, original in zip(rules.modes, MARKET.modes):
                assert mode == replace(original, coef=original.coef * impact)
            impacts.append(impact)
    assert len(set(impacts)) == 12
    with pytest.raises(ValueError, match=r"domain\.cost"):
        Domain(cost=(2.0, 1.0))


def test_without_a_range_the_rules_are_the_given_ones():
    env = MarketEnv(PARAMS, MARKET, SOURCE)
    assert env._groups[0]._market.params == MARKET


def test_windows_are_fresh_when_due_and_of_training_seeds_only(monkeypatch):
    drawn = []

    def generate(params, seeds, warmup):
        drawn.append((params.signal_ic, tuple(seeds)))
        return original(params, seeds, warmup=warmup)

    original = windows.generate
    monkeypatch.setattr(windows, "generate", generate)
    source = SyntheticSource(SYNTHETIC, WARMUP, signal_ic=(0.02, 0.1))
    env = MarketEnv(replace(PARAMS, num_windows=3, refresh=2, num_groups=2), MARKET, source)
    for _ in range(4):
        env.reset()
    assert len(drawn) == 4  # two groups, at the start and after two episodes
    first, size = SEED_RANGES["train"]
    assert all(first <= seed < first + size for _, seeds in drawn for seed in seeds)
    assert len({seeds for _, seeds in drawn}) == 4
    strengths = {signal_ic for signal_ic, _ in drawn}
    assert len(strengths) == 4
    assert all(0.02 <= signal_ic <= 0.1 for signal_ic in strengths)


def test_the_same_seed_gives_the_same_episodes():
    params = replace(PARAMS, num_windows=5, num_groups=2, num_opponents=1, refresh=1, domain=Domain(impact=(0.5, 2.0)))
    pool = [make_agent("random"), make_agent("equal_weight")]

    def play(seed):
        env = MarketEnv(params, MARKET, SOURCE, pool, seed=seed)
        env.reset()
        return torch.stack([env.step(u).reward for u in actions(env, 2 * EPISODE)])

    first = play(0)
    assert torch.equal(first, play(0))
    assert not torch.equal(first, play(1))


def test_a_history_joins_the_numbers_per_asset():
    params = replace(PARAMS, history_length=4)
    env = MarketEnv(params, MARKET, SOURCE)
    obs = env.reset()
    for u in actions(env, 2):
        obs = env.step(u).obs
    (group,) = env._groups
    seen = group._market.observe()
    assert obs.shape[-1] == env.obs_dim == 17 * ASSETS + 8
    flat = seen.flat
    torch.testing.assert_close(obs[..., : 13 * ASSETS], flat[..., : 13 * ASSETS])
    torch.testing.assert_close(obs[..., -8:], flat[..., -8:])
    history = obs[..., 13 * ASSETS : -8].unflatten(-1, (4, ASSETS))
    # The newest is the one-bar return that the layout shows anyway; the sum over windows agrees with the close.
    torch.testing.assert_close(history[..., -1, :], seen.returns[..., 0], rtol=1e-4, atol=1e-5)
    closes = seen.history[..., 3]  # [B, N, A, 5]
    total = (closes[..., -1] / closes[..., 0]).log() / seen.volatility
    torch.testing.assert_close(history.sum(-2), total, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(policy_obs(seen, 4), obs)


def test_target_weights_stay_within_reach_and_at_speed():
    u = torch.tensor([[50.0, -50.0, 0.0]])
    assert torch.equal(target_weights(u, u, 1.5, 1.0), torch.tensor([[0.5, -0.5, 0.0]]))
    held = torch.tensor([[0.1, 0.1, 0.1]])
    torch.testing.assert_close(target_weights(u, held, 1.5, 0.5), torch.tensor([[0.3, -0.2, 0.05]]))


def test_groups_must_divide_the_markets():
    with pytest.raises(ValueError, match="multiple of the 3 groups"):
        EnvParams(num_markets=4, num_groups=3)
