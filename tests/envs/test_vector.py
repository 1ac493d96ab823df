"""VectorMarket: what is shown, when it ends, and that nothing of a later bar can matter."""

import math
from dataclasses import replace

import pytest
import torch

from arena.data.synthetic.market import generate
from arena.data.synthetic.params import SyntheticParams
from arena.data.types import CLOSE, HIGH, LOW, Scenarios
from arena.market.observation import describe, layout, layout_hash, seat_view, with_forecast
from arena.market.presets import PRESETS, preset
from arena.market.vector import VectorMarket

# Rounding of a few hundred float64 operations on numbers of one size; measured differences are below 1e-13.
SAME_FLOAT64 = {"rtol": 1e-10, "atol": 1e-10}


def scenarios(num_windows: int = 4, num_assets: int = 3, num_bars: int = 40, warmup: int = 25) -> Scenarios:
    params = SyntheticParams(num_assets=num_assets, num_bars=num_bars)
    return generate(params, range(num_windows), warmup=warmup)


def random_weights(market: VectorMarket, seed: int, gross: float = 1.0) -> torch.Tensor:
    shape = (market.episode_length, market.num_markets, market.num_agents, market.num_assets)
    draws = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return draws * gross / market.num_assets


def test_without_agents_flow_the_displayed_bars_are_the_reference_bars():
    windows = scenarios()
    market = VectorMarket(preset("sqrt"), windows, 2, history_length=20)
    hold = torch.zeros(4, 2, 3)
    for _ in range(market.episode_length):
        market.step(hold)
    assert torch.equal(market.observe().history[:, 0], windows.bars[:, -20:].transpose(1, 2))


def test_displayed_bars_contain_the_fill_price_and_bracket_open_and_close():
    market = VectorMarket(preset("sqrt"), scenarios(), 3, history_length=1)
    for weights in random_weights(market, 1, gross=3.0):
        fills = market.step(weights).fills
        bar = market.displayed_bar()
        low, high = bar[..., LOW], bar[..., HIGH]
        for inside in (bar[..., 0], bar[..., CLOSE], fills.price):
            assert (low <= inside).all()
            assert (inside <= high).all()


@pytest.mark.parametrize("history_length", [0, 20])
def test_bars_after_t_change_nothing_up_to_t(history_length):
    """Bit for bit: observations and state up to the close of bar t, and so every decision and every fill up to it."""
    windows = scenarios()
    cut = windows.warmup + 6  # bars from here on become noise
    bars = windows.bars.clone()
    noise = torch.rand(bars[:, cut:].shape, generator=torch.Generator().manual_seed(0), dtype=bars.dtype)
    bars[:, cut:] *= 0.5 + noise
    volume = windows.bar_volume.clone()
    volume[:, cut + 1 :] *= 7.0  # the forecast for bar `cut` is known before it
    changed = windows._replace(bars=bars, bar_volume=volume)
    markets = [
        VectorMarket(preset("sqrt"), w, 3, history_length=history_length, wind_down=0) for w in (windows, changed)
    ]
    assert torch.equal(markets[0].observe().flat, markets[1].observe().flat)
    for weights in random_weights(markets[0], 2)[:6]:
        a, b = (market.step(weights) for market in markets)
        assert torch.equal(a.obs, b.obs)
        assert torch.equal(a.fills.shares, b.fills.shares)
        assert torch.equal(markets[0].state.nav, markets[1].state.nav)
    a, b = (market.step(weights) for market in markets)
    assert not torch.equal(a.obs, b.obs)  # the noise is seen once its bar is over


def test_fill_quantities_do_not_depend_on_the_bar_they_fill_in():
    """Decided at close t: how much is filled in bar t+1 may not depend on that bar's prices or volume."""
    windows = scenarios()
    bars = windows.bars.clone()
    bars[:, windows.warmup] *= 1.3
    markets = [VectorMarket(preset("sqrt"), w, 3) for w in (windows, windows._replace(bars=bars))]
    weights = random_weights(markets[0], 3, gross=20.0)[0]  # large enough for the cap to bind
    a, b = (market.step(weights).fills for market in markets)
    assert (a.shares.abs() < a.orders.abs() - 1).any()
    assert torch.equal(a.shares, b.shares)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_batch_equals_its_singles(name):
    windows = scenarios()
    together = VectorMarket(preset(name), windows, 3)
    weights = random_weights(together, 4)
    steps = [together.step(w) for w in weights]
    for index in range(4):
        one = Scenarios(*(f[index : index + 1] if isinstance(f, torch.Tensor) else f for f in windows))
        alone = VectorMarket(preset(name), one, 3)
        for together_step, w in zip(steps, weights):
            step = alone.step(w[index : index + 1])
            torch.testing.assert_close(step.obs[0], together_step.obs[index], **SAME_FLOAT64)
            torch.testing.assert_close(step.reward[0], together_step.reward[index], **SAME_FLOAT64)


def test_storage_order_changes_nothing():
    steps = []
    for batch_last in (False, True):
        market = VectorMarket(preset("sqrt"), scenarios(), 3, batch_last=batch_last)
        steps.append([market.step(w) for w in random_weights(market, 5)])
    for a, b in zip(*steps):
        torch.testing.assert_close(a.obs, b.obs, **SAME_FLOAT64)


def test_float32_stays_close_to_float64():
    navs = []
    for dtype in (torch.float32, torch.float64):
        market = VectorMarket(preset("sqrt"), scenarios(num_bars=85), 3, dtype=dtype)
        for weights in random_weights(market, 6):
            market.step(weights)
        navs.append((market.state.nav / market.initial_nav.unsqueeze(-1)).double())
    # Measured 2e-6; an order that crosses the threshold of no order in one dtype only would add about 1e-6.
    torch.testing.assert_close(navs[0], navs[1], rtol=0, atol=2e-5)


@pytest.mark.slow
def test_compiled_step_equals_the_eager_one():
    steps = []
    for compiled in (False, True):
        market = VectorMarket(preset("sqrt"), scenarios(), 3, compile=compiled)
        steps.append([market.step(w) for w in random_weights(market, 7)])
    for a, b in zip(*steps):
        torch.testing.assert_close(a.obs, b.obs, **SAME_FLOAT64)
        torch.testing.assert_close(a.fills.shares, b.fills.shares, rtol=1e-10, atol=1e-4)


def test_same_actions_same_path_and_rewards_add_up_to_the_score():
    market = VectorMarket(preset("sqrt"), scenarios(), 3)
    weights = random_weights(market, 8)
    paths = []
    for _ in range(2):
        market.reset()
        rewards = [market.step(w).reward for w in weights]
        paths.append(torch.stack(rewards))
    assert torch.equal(paths[0], paths[1])
    score = torch.log(market.state.nav / market.initial_nav.unsqueeze(-1))
    torch.testing.assert_close(paths[0].sum(0), score, **SAME_FLOAT64)


def test_the_episode_ends_once_and_says_so():
    market = VectorMarket(preset("sqrt"), scenarios(), 2)
    hold = torch.zeros(4, 2, 3)
    truncated = [bool(market.step(hold).truncated.all()) for _ in range(market.episode_length)]
    assert truncated == [False] * (market.episode_length - 1) + [True]
    with pytest.raises(ValueError, match=r"ended after 15 steps; call reset"):
        market.step(hold)


def test_auto_reset_keeps_the_final_observation():
    generator = torch.Generator().manual_seed(0)
    market = VectorMarket(preset("sqrt"), scenarios(), 2, num_markets=6, generator=generator, auto_reset=True)
    for weights in random_weights(market, 9):
        step = market.step(weights)
    time_left = layout(market.params, 3).index("time_left")
    assert (step.final_obs[..., time_left] == 0).all()
    assert (step.obs[..., time_left] == 1).all()
    assert market.steps_taken == 0


def test_positions_only_shrink_in_the_wind_down():
    market = VectorMarket(preset("sqrt"), scenarios(), 2, wind_down=4)
    weights = random_weights(market, 10)
    for index, w in enumerate(weights):
        before = market.state.position
        market.step(w)
        if index >= market.episode_length - 4:
            assert (market.state.position.abs() <= before.abs()).all()
            assert (market.state.position * before >= 0).all()


def test_every_entry_of_a_row_has_a_name_and_the_hash_follows_the_layout():
    market = VectorMarket(preset("sqrt"), scenarios(), 2)
    step = market.step(random_weights(market, 11)[0])
    named = describe(market.params, step.obs[0, 1])
    assert tuple(named) == layout(market.params, 3)
    assert len(named) == 13 * 3 + 8
    seen = seat_view(market.observe(), 1)
    assert named["weight[2]"] == seen.weight[0, 2].item() != 0
    assert named["return_5[0]"] == seen.returns[0, 0, 1].item()
    assert named["displacement[1]"] == seen.displacement[0, 1].item() != 0
    assert named["gross_leverage"] == seen.gross_leverage[0].item()
    assert layout_hash(market.params, 3) != layout_hash(market.params, 4)
    with pytest.raises(ValueError, match="expected one row of 13 numbers per asset and 8 per agent"):
        describe(market.params, step.obs[0])


def test_shown_returns_are_those_of_displayed_closes():
    market = VectorMarket(preset("sqrt"), scenarios(), 2, history_length=21)
    for weights in random_weights(market, 12):
        market.step(weights)
        seen = market.observe()
        close = seen.history[..., CLOSE].log()
        for index, window in enumerate((1, 5, 20)):
            expected = (close[..., -1] - close[..., -1 - window]) / (seen.volatility * math.sqrt(window))
            torch.testing.assert_close(seen.returns[..., index], expected, **SAME_FLOAT64)


def test_a_forecast_enters_its_slot_in_units_of_volatility():
    windows = scenarios()
    forecast = torch.randn(4, 40, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    market = VectorMarket(preset("sqrt"), windows, 2, forecast=forecast)
    seen = market.observe()
    expected = forecast[:, windows.warmup - 1] / windows.volatility.unsqueeze(-1)
    torch.testing.assert_close(seen.forecast_return[:, 0], expected[..., :3])
    torch.testing.assert_close(seen.forecast_spread[:, 1], expected[..., 3])
    assert (seen.forecast_present == 1).all()
    market.step(torch.zeros(4, 2, 3))
    expected = forecast[:, windows.warmup] / windows.volatility.unsqueeze(-1)
    torch.testing.assert_close(market.observe().forecast_return[:, 0], expected[..., :3])
    absent = VectorMarket(preset("sqrt"), windows, 2).observe()
    assert (absent.forecast_present == 0).all()
    assert (absent.forecast_return == 0).all()


class LastReturns:
    """A LiveForecast that expects the last returns again; counts how often it is asked."""

    context_length = 22

    def __init__(self):
        self.num_calls = 0

    def __call__(self, history, timestamps):
        self.num_calls += 1
        self.timestamps = timestamps
        assert history.shape[-2:] == (self.context_length, 6)
        close = history[..., CLOSE].log()
        returns = [close[..., -1] - close[..., -1 - bars] for bars in (1, 5, 20)]
        return torch.stack([*returns, history[..., -1, HIGH].log() - history[..., -1, LOW].log()], -1)


def last_returns_table(windows: Scenarios) -> torch.Tensor:
    """The same of the reference bars, [W, T, A, 4]."""
    table = torch.zeros(*windows.bars.shape[:3], 4, dtype=torch.float64)
    for bar in range(windows.warmup - 1, windows.bars.shape[1]):
        table[:, bar] = LastReturns()(windows.bars[:, bar - 21 : bar + 1].transpose(1, 2), None)
    return table


@pytest.mark.parametrize("batch_last", [False, True])
@pytest.mark.parametrize("drawn", [False, True])
def test_a_live_forecast_of_undisturbed_bars_is_the_table(batch_last, drawn):
    windows = scenarios()
    markets = [
        VectorMarket(
            preset("sqrt"),
            windows,
            2,
            forecast=forecast,
            history_length=22,
            batch_last=batch_last,
            num_markets=7 if drawn else None,
            generator=torch.Generator().manual_seed(3) if drawn else None,
            auto_reset=drawn,
        )
        for forecast in (LastReturns(), last_returns_table(windows))
    ]
    shown = [[market.observe().flat] for market in markets]
    for _ in range(markets[0].episode_length):
        for market, seen in zip(markets, shown):
            step = market.step(torch.zeros(market.num_markets, 2, 3))
            seen += [step.final_obs, step.obs, market.observe().flat]
    for live, table in zip(*shown):
        assert torch.equal(live, table)


def test_a_live_forecast_is_of_the_bars_that_agents_moved_and_asked_once_a_step():
    live = LastReturns()
    market = VectorMarket(preset("sqrt"), scenarios(), 2, forecast=live, history_length=25)
    table = last_returns_table(scenarios())
    for taken, weights in enumerate(random_weights(market, 15), start=1):
        obs = market.step(weights).obs
        seen = market.observe()
        assert torch.equal(seen.flat, obs)
        expected = LastReturns()(seen.history[:, 0, :, -22:], None) / seen.volatility[:, 0].unsqueeze(-1)
        torch.testing.assert_close(seen.forecast_return[:, 1], expected[..., :3], **SAME_FLOAT64)
        torch.testing.assert_close(seen.forecast_spread[:, 0], expected[..., 3], **SAME_FLOAT64)
        assert live.num_calls == taken + 1  # and once at the reset
    undisturbed = table[:, -1] / seen.volatility[:, 0].unsqueeze(-1)
    assert (seen.forecast_return[:, 0] - undisturbed[..., :3]).abs().max() > 1e-3


def test_a_live_forecast_is_told_the_time_of_its_bars():
    windows = scenarios()
    stamps = torch.arange(4 * 40).view(4, 40)
    live = LastReturns()
    market = VectorMarket(
        preset("sqrt"),
        windows._replace(timestamps=stamps),
        1,
        forecast=live,
        history_length=25,
        num_markets=6,
        generator=torch.Generator().manual_seed(1),
    )
    for last in (24, 25):  # the end of the warm-up, and a bar later
        assert torch.equal(live.timestamps, stamps[market.windows, last - 21 : last + 1])
        market.step(torch.zeros(6, 1, 3))


def test_a_seat_can_be_given_a_forecast_of_its_own():
    windows = scenarios()
    market = VectorMarket(preset("sqrt"), windows, 2, forecast=last_returns_table(windows))
    expected = seat_view(market.observe(), 1)
    empty = seat_view(VectorMarket(preset("sqrt"), windows, 2).observe(), 1)
    filled = with_forecast(empty, last_returns_table(windows)[:, windows.warmup - 1])
    assert torch.equal(filled.flat, expected.flat)
    assert (empty.forecast_present == 0).all()


def test_a_forecast_that_does_not_fit_is_refused():
    windows = scenarios()
    with pytest.raises(ValueError, match=r"forecast has shape \(4, 40, 3\), expected .* = \(4, 40, 3, 4\)"):
        VectorMarket(preset("sqrt"), windows, 2, forecast=torch.zeros(4, 40, 3))
    with pytest.raises(ValueError, match="history_length is 21, expected at least 22"):
        VectorMarket(preset("sqrt"), windows, 2, forecast=LastReturns(), history_length=21)


@pytest.mark.parametrize(("num_agents", "num_assets"), [(1, 1), (1, 200), (100, 1), (30, 20)])
def test_extreme_sizes(num_agents, num_assets):
    market = VectorMarket(preset("sqrt"), scenarios(num_assets=num_assets), num_agents)
    for weights in random_weights(market, 13)[:3]:
        step = market.step(weights)
        assert torch.isfinite(step.obs).all()


def test_a_market_without_volume_shows_finite_numbers_and_trades_nothing():
    windows = scenarios()
    dead = windows._replace(
        tradable=torch.zeros_like(windows.tradable),
        bar_volume=torch.zeros_like(windows.bar_volume),
        bars=torch.cat([windows.bars[..., :4], torch.zeros_like(windows.bars[..., 4:])], -1),
    )
    market = VectorMarket(preset("sqrt"), dead, 2)
    for weights in random_weights(market, 14):
        step = market.step(weights)
        assert torch.isfinite(step.obs).all()
        assert (step.fills.shares == 0).all()
    assert torch.equal(market.state.nav, market.initial_nav.unsqueeze(-1).expand(-1, 2))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_weights_keep_the_position_and_are_counted(bad):
    market = VectorMarket(preset("frictionless"), scenarios(), 2)
    market.step(torch.full((4, 2, 3), 0.2))
    position = market.state.position
    weights = torch.full((4, 2, 3), 0.1)
    weights[:, 0, 1] = bad
    fills = market.step(weights).fills
    assert torch.equal(market.state.position[:, 0, 1], position[:, 0, 1])
    assert (market.state.position[:, 1, 1] != position[:, 1, 1]).all()
    assert torch.equal(fills.rejected, torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(4, -1))


def test_mistakes_are_one_sentence():
    windows = scenarios()
    with pytest.raises(ValueError, match=r"action has shape \(4, 3\), expected \(num_markets=4, num_agents=2, num_as"):
        VectorMarket(preset("sqrt"), windows, 2).step(torch.zeros(4, 3))
    with pytest.raises(ValueError, match="warm-up is 10 bars, expected at least 21"):
        VectorMarket(preset("sqrt"), windows._replace(warmup=10), 2)
    with pytest.raises(ValueError, match="num_agents is 0"):
        VectorMarket(preset("sqrt"), windows, 0)
    with pytest.raises(ValueError, match="unknown market preset 'sqtr', expected one of sqrt"):
        preset("sqtr")
    bars = windows.bars.clone()
    bars[0, 3, 1, 2] = math.nan
    with pytest.raises(ValueError, match="non-finite or non-positive price"):
        VectorMarket(preset("sqrt"), windows._replace(bars=bars), 2)


def test_ruin_terminates_and_the_negative_wealth_stays():
    """One asset loses 60 % overnight under a seat with leverage 2: it owes money for the rest of the episode."""
    windows = scenarios(num_assets=1)
    bars = windows.bars.clone()
    crash = windows.warmup + 3
    bars[:, crash:] *= 0.4
    params = replace(preset("sqrt"), participation_cap=math.inf)
    market = VectorMarket(params, windows._replace(bars=bars), 2, wind_down=0)
    weights = torch.tensor([[[2.0], [0.0]]], dtype=torch.float64).expand(4, -1, -1)
    terminated = [market.step(weights).terminated[0, 0].item() for _ in range(market.episode_length)]
    assert terminated == [False] * 3 + [True] * (market.episode_length - 3)
    assert (market.state.nav[:, 0] < 0).all()
    assert (market.state.position[:, 0] == 0).all()
    assert market.state.alive[:, 1].all()
    assert (market.observe().growth[:, 0] < math.log(0.25)).all()


class CallsInPlace:
    """arena.cuda_graph.CudaGraph without a GPU: the function reads the memory of its first inputs in every call."""

    def __init__(self, function, inputs):
        self.function, self.inputs = function, [x.clone() for x in inputs]

    def __call__(self, inputs):
        for held, given in zip(self.inputs, inputs, strict=True):
            held.copy_(given)
        return [x.clone() for x in self.function(*self.inputs)]


@pytest.mark.parametrize("settings", [{"history_length": 20}, {"num_markets": 6, "batch_last": True}])
def test_the_step_that_a_cuda_graph_holds_is_the_step(settings, monkeypatch):
    """Bit for bit over three episodes with a table of forecasts: it looks up for itself what depends on the step."""
    monkeypatch.setattr("arena.market.vector.CudaGraph", CallsInPlace)
    windows = scenarios()
    table = 0.01 * torch.randn(*windows.bars.shape[:3], 4, generator=torch.Generator().manual_seed(3))
    markets = [
        VectorMarket(
            preset("sqrt"),
            windows,
            3,
            forecast=table,
            auto_reset=True,
            generator=torch.Generator().manual_seed(1),
            **settings,
        )
        for _ in range(2)
    ]
    markets[1]._capture = True  # which a market on the CPU refuses to be told
    for weights in random_weights(markets[0], 4, gross=3.0).repeat(3, 1, 1, 1):
        a, b = (market.step(weights) for market in markets)
        for name in ("obs", "final_obs", "reward", "terminated", "truncated"):
            assert torch.equal(getattr(a, name), getattr(b, name))
        for ours, theirs in zip((*b.fills, *markets[1].quotes), (*a.fills, *markets[0].quotes), strict=True):
            assert ours is theirs is None or torch.equal(ours, theirs)
        assert torch.equal(markets[0].observe().flat, markets[1].observe().flat)
        assert torch.equal(markets[0].state.cash, markets[1].state.cash)
    assert markets[1]._graph is not None


def test_a_market_on_the_cpu_cannot_be_captured():
    with pytest.raises(ValueError, match="capture is set and device is cpu, expected a CUDA device"):
        VectorMarket(preset("sqrt"), scenarios(), 2, capture=True)
