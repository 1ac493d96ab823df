"""The synthetic market: stylised facts, exact means, keyed randomness, invariants of a bar."""

import math
from dataclasses import replace

import pytest
import torch

from arena.data.synthetic.market import CHUNK_CELLS, SyntheticParams, fair, generate
from arena.data.synthetic.stylized import BANDS, autocorrelation, judge, stylized_facts
from arena.data.types import AMOUNT, CLOSE, HIGH, LOW, OPEN, VOLUME

UNIVERSE = fair(SyntheticParams(num_assets=50, num_bars=1260, num_sectors=8))
RANDOM_WALK = replace(UNIVERSE, dof=(math.inf,) * 3, log_volatility_sd=(0.0,) * 3, leverage=(0.0,) * 3)
NUM_UNIVERSES = 9
T_LIMIT = 3.5  # |t| of a mean that is 0: exceeded by chance once in 2000 tests
SEEDS = range(512)


def t_statistic(x: torch.Tensor) -> float:
    """t of the mean over the first axis: scenarios are the independent units."""
    x = x.flatten(1).mean(1)
    return (x.mean() / (x.std() / math.sqrt(len(x)))).item()


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Small tensors on a shared machine: waiting threads cost more than they save."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def fair_scenarios():
    return generate(fair(SyntheticParams()), SEEDS)


@pytest.fixture(scope="module")
def signal_scenarios():
    return generate(SyntheticParams(), SEEDS)


def test_generator_is_inside_every_band():
    verdicts = judge([stylized_facts(generate(UNIVERSE, [seed]).bars[0]) for seed in range(NUM_UNIVERSES)])
    assert [v for v in verdicts if not v.passed] == []
    assert len(verdicts) == len(BANDS)


def test_gaussian_random_walk_fails_ten_bands():
    verdicts = judge([stylized_facts(generate(RANDOM_WALK, [seed]).bars[0]) for seed in range(NUM_UNIVERSES)])
    failed = {v.fact for v in verdicts if not v.passed}
    assert len(failed) >= 10
    assert {"hill_index", "excess_kurtosis", "acf_abs_1", "leverage_index", "volume_abs_return"} <= failed


def test_intraday_profiles_are_u_shaped():
    params = fair(SyntheticParams(num_assets=20, num_bars=13 * 120, bars_per_day=13))
    bars = generate(params, range(4)).bars.unflatten(1, (-1, 13))  # [W, days, 13, A, 6]
    moves = (bars[..., CLOSE] / bars[..., OPEN]).log()
    shape = moves.square().mean(1).sqrt().mean((0, 2))
    volume = bars[..., VOLUME].mean((0, 1, 3))
    shape, volume = shape / shape.mean(), volume / volume.mean()
    assert shape[[0, -1]].tolist() == pytest.approx([1.50, 1.36], abs=0.12)
    assert shape.min().item() == pytest.approx(0.74, abs=0.06)
    assert volume[[0, -1]].tolist() == pytest.approx([1.99, 1.71], abs=0.12)
    assert volume.min().item() == pytest.approx(0.50, abs=0.05)
    size = moves.flatten(1, 2).abs() / shape.repeat(120)[:, None]  # [W, T, A] without the daily shape
    memory = [torch.stack([autocorrelation(x, lag) for x in size]).median().item() for lag in (1, 13, 65)]
    assert 0.02 < memory[2] < memory[1] < memory[0] < 0.30


def test_fair_mode_is_a_martingale(fair_scenarios):
    bars = fair_scenarios.bars
    before = torch.cat([torch.full_like(bars[:, :1, :, CLOSE], 100.0), bars[:, :-1, :, CLOSE]], 1)
    assert torch.equal(fair_scenarios.expected_open, before)
    assert torch.equal(fair_scenarios.expected_close, bars[..., OPEN])
    assert not fair_scenarios.signal.any()
    night = bars[..., OPEN] / before - 1
    day = bars[..., CLOSE] / bars[..., OPEN] - 1
    assert abs(t_statistic(night)) < T_LIMIT
    assert abs(t_statistic(day)) < T_LIMIT
    # Trading on the past earns nothing: momentum, contrarian and volatility timing.
    for past in (day[:, :-1].sign(), day[:, :-1].abs() - 0.01, night[:, 1:].sign()):
        assert abs(t_statistic(past * day[:, 1:])) < T_LIMIT


def test_signal_has_the_promised_strength_and_memory(signal_scenarios):
    bars, params = signal_scenarios.bars, SyntheticParams()
    day = bars[..., CLOSE] / bars[..., OPEN] - 1
    ic = torch.corrcoef(torch.stack([signal_scenarios.signal.flatten(), day.flatten()]))[0, 1].item()
    assert ic == pytest.approx(params.signal_ic, abs=0.01)
    # Correlation over 20 bars is one half, up to the daily changes of the volatility that scales the signal.
    ranks = signal_scenarios.signal.sign()
    kept = (ranks[:, 20:] * ranks[:, :-20]).mean().item()
    assert kept == pytest.approx(2 / math.pi * math.asin(0.5), abs=0.05)  # of the signs of a bivariate normal


def test_expected_prices_are_conditional_means(signal_scenarios):
    s = signal_scenarios
    open_, close = s.bars[..., OPEN], s.bars[..., CLOSE]
    torch.testing.assert_close(s.expected_close, open_ * (1 + s.signal))
    surprise_open = open_ / s.expected_open - 1
    surprise_close = close / s.expected_close - 1
    for surprise in (surprise_open, surprise_close):
        assert abs(t_statistic(surprise)) < T_LIMIT
        assert abs(t_statistic(surprise[:, 1:] * surprise_close[:, :-1].sign())) < T_LIMIT
        assert abs(t_statistic(surprise * s.signal.sign())) < T_LIMIT
    drift = (s.expected_open / torch.cat([torch.full_like(close[:, :1], 100.0), close[:, :-1]], 1) - 1).mean()
    assert drift.item() == pytest.approx(0.33 * 0.06 / 252, rel=1e-9)


def test_killed_assets_keep_the_mean_right():
    params = replace(fair(SyntheticParams()), killed_per_year=0.9)  # a large hazard makes an error visible
    s = generate(params, range(256))
    killed = ~s.tradable
    assert 0.4 < killed[:, -1].double().mean() < 0.8
    assert not killed[:, : s.warmup].any()
    assert torch.equal(killed.cummax(1).values, killed)
    assert not s.bars[..., VOLUME][killed].any()
    night = s.bars[:, 1:, :, OPEN] / s.bars[:, :-1, :, CLOSE] - 1
    died = killed[:, 1:] & ~killed[:, :-1]
    assert night[died].tolist() == pytest.approx([-0.3] * int(died.sum()))
    assert abs(t_statistic(s.bars[..., OPEN] / s.expected_open - 1)) < T_LIMIT
    assert abs(t_statistic(night[:, s.warmup :])) < T_LIMIT


@pytest.mark.parametrize("bars_per_day", [1, 13])
def test_bars_are_consistent(bars_per_day):
    s = generate(SyntheticParams(bars_per_day=bars_per_day, killed_per_year=0.5, price_spread=0.5), range(64))
    open_, high, low, close, volume, amount = s.bars.unbind(-1)
    assert s.bars.isfinite().all()
    assert (high >= torch.maximum(open_, close)).all()
    assert (low <= torch.minimum(open_, close)).all()
    assert (low > 0).all()
    assert ((volume > 0) == s.tradable).all()
    torch.testing.assert_close(amount, volume * s.bars[..., :4].mean(-1))
    assert (s.volatility > 0).all()
    assert (s.adv > 0).all()
    assert s.bar_volume.isfinite().all()
    assert (s.bar_volume[:, 1:] > 0)[s.tradable[:, 1:]].all()
    assert s.dt == 1 / bars_per_day


def test_scenario_depends_on_its_own_seed_only():
    params = SyntheticParams(num_bars=90)
    batch, single = generate(params, [3, 99, 7, 2**32 - 1]), generate(params, [7])
    for name, alone in single._asdict().items():
        if isinstance(alone, torch.Tensor):
            # Equal to rounding: vectorised kernels may differ in the last bit at the end of a row.
            torch.testing.assert_close(getattr(batch, name)[2:3], alone, rtol=1e-12, atol=0)
    assert not torch.equal(batch.bars[0], batch.bars[1])


def test_chunks_do_not_show():
    params = SyntheticParams(num_bars=1000)
    seeds = range(2 * CHUNK_CELLS // (params.num_bars * params.num_assets) + 3)
    last = generate(params, seeds[-4:])
    torch.testing.assert_close(generate(params, seeds).bars[-4:], last.bars, rtol=1e-12, atol=0)


def test_float32_is_the_rounded_float64():
    params = SyntheticParams(num_bars=70)
    torch.testing.assert_close(
        generate(params, [1], dtype=torch.float32).bars, generate(params, [1]).bars.float(), rtol=0, atol=0
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_assets": 0}, "num_assets is 0, expected at least 1"),
        ({"dof": (8.0, 5.0, 4.0)}, "expected even numbers from 4 on or inf"),
        ({"signal_ic": 0.9}, "expected 0 <= signal_ic < 0.5"),
        ({"market_share": 0.8}, "expected at most 0.49"),
    ],
)
def test_wrong_params_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        SyntheticParams(**change)


def test_wrong_seeds_and_warmup_are_refused():
    with pytest.raises(ValueError, match=r"seed -1 at place 1 is outside 0 .. 2\*\*32 - 1"):
        generate(SyntheticParams(), [0, -1])
    with pytest.raises(ValueError, match="got no seeds"):
        generate(SyntheticParams(), [])
    with pytest.raises(ValueError, match="warmup is 180, expected 2 <= warmup < num_bars = 180"):
        generate(SyntheticParams(), [0], warmup=180)


def test_open_high_low_close_order_of_channels():
    assert (OPEN, HIGH, LOW, CLOSE, VOLUME, AMOUNT) == (0, 1, 2, 3, 4, 5)
