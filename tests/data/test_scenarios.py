"""Windows of long bars: causal numbers, disjoint starts, symbols that did not trade."""

import warnings

import pytest
import torch

from arena.data.features import volume_forecast_of
from arena.data.scenarios import disjoint_starts, random_starts, scenarios
from arena.data.synthetic.market import SyntheticParams, generate
from arena.data.synthetic.seeds import SEED_RANGES, scenario_seeds
from arena.data.types import CLOSE, VOLUME, Bars

DAY = 86_400_000_000


@pytest.fixture
def bars():
    """300 daily bars of three symbols."""
    market = generate(SyntheticParams(num_assets=3, num_bars=300), [9])
    return Bars(market.bars[0], market.tradable[0], torch.arange(300) * DAY, ("AAA", "BBB", "CCC"), 1.0)


@pytest.mark.parametrize("starts", [[0, 60, 120], [5, 17, 200], [40]])
def test_windows_are_the_bars(bars, starts):
    s = scenarios(bars, warmup=20, episode_length=50, starts=torch.tensor(starts))
    assert s.bars.shape == (len(starts), 70, 3, 6)
    assert (s.warmup, s.dt, s.signal) == (20, 1.0, None)
    for w, start in enumerate(starts):
        window = bars.values[start : start + 70]
        assert torch.equal(s.bars[w], window)
        assert torch.equal(s.bar_volume[w], volume_forecast_of(bars)[start : start + 70])
        torch.testing.assert_close(s.adv[w], window[:20, :, VOLUME].mean(0))
        moves = window[:20, :, CLOSE].log().diff(dim=0)
        torch.testing.assert_close(s.volatility[w], moves.square().mean(0).sqrt())


def test_even_starts_share_the_memory_of_the_bars(bars):
    s = scenarios(bars, warmup=20, episode_length=50, starts=torch.arange(0, 200, 10))
    assert s.bars.untyped_storage().data_ptr() == bars.values.untyped_storage().data_ptr()


def test_the_future_changes_nothing_before_it(bars):
    noisy = bars.values.clone()
    noisy[100:] = noisy[100:].flip(0) * 3
    starts = torch.tensor([60])
    before = scenarios(bars, warmup=40, episode_length=50, starts=starts)
    after = scenarios(bars._replace(values=noisy), warmup=40, episode_length=50, starts=starts)
    assert torch.equal(before.volatility, after.volatility)
    assert torch.equal(before.adv, after.adv)
    assert torch.equal(before.bar_volume[:, :41], after.bar_volume[:, :41])  # bar 40 is forecast at the close of 39
    assert not torch.equal(before.bars, after.bars)


def test_symbol_without_volume_is_reported_and_not_tradable(bars):
    values = bars.values.clone()
    values[:60, 1, 4:] = 0.0
    quiet = bars._replace(values=values, tradable=bars.tradable & (values[..., VOLUME] > 0))
    with pytest.warns(
        UserWarning, match=r"no volume or no price change in the warm-up of BBB in window 0 \(bar 0 on\)"
    ):
        s = scenarios(quiet, warmup=40, episode_length=50, starts=torch.tensor([0, 100]))
    assert not s.tradable[0, :, 1].any()
    assert s.tradable[0, :, [0, 2]].all()
    assert s.tradable[1].all()
    assert s.adv[0, 1] == s.adv[0, [0, 2]].min()  # the lower median of two
    assert s.volatility[0, 1] == s.volatility[0, [0, 2]].min()
    assert all(x.isfinite().all() for x in (s.bars, s.adv, s.volatility, s.bar_volume))


def test_window_without_any_active_symbol_is_refused(bars):
    values = bars.values.clone()
    values[100:140, :, VOLUME] = 0.0
    with pytest.raises(
        ValueError, match=r"window 1 \(bars 100 .. 139 as warm-up\): no symbol has both volume and price"
    ):
        scenarios(bars._replace(values=values), warmup=40, episode_length=50, starts=torch.tensor([0, 100]))


def test_frozen_price_counts_as_inactive(bars):
    values = bars.values.clone()
    values[:60, 2, :4] = 50.0
    with pytest.warns(UserWarning, match="CCC in window 0"):
        s = scenarios(bars._replace(values=values), warmup=40, episode_length=50, starts=torch.tensor([0]))
    assert s.volatility[0, 2] == s.volatility[0, :2].min()
    assert not s.tradable[0, :, 2].any()


def test_halted_bars_inside_an_episode_stay_untradable(bars):
    tradable = bars.tradable.clone()
    tradable[70, 0] = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        s = scenarios(bars._replace(tradable=tradable), warmup=40, episode_length=50, starts=torch.tensor([10]))
    assert not s.tradable[0, 60, 0]
    assert s.tradable.sum() == s.tradable.numel() - 1


def test_disjoint_starts_leave_the_gap():
    starts = disjoint_starts(1259, 60, 120, gap=20)
    assert starts.tolist() == list(range(0, 1080, 140))
    assert disjoint_starts(180, 60, 120).tolist() == [0]
    with pytest.raises(
        ValueError, match="179 bars hold no window of warm-up 60 and episode 120; expected at least 180"
    ):
        disjoint_starts(179, 60, 120)


def test_random_starts_cover_all_places_and_follow_the_generator():
    draw = random_starts(190, 60, 120, 500, torch.Generator().manual_seed(0))
    assert draw.unique().tolist() == list(range(11))
    assert torch.equal(draw, random_starts(190, 60, 120, 500, torch.Generator().manual_seed(0)))


def test_wrong_windows_are_refused(bars):
    with pytest.raises(ValueError, match=r"starts reach from 0 to 250, expected 0 .. 230 for 300 bars"):
        scenarios(bars, warmup=20, episode_length=50, starts=torch.tensor([0, 250]))
    with pytest.raises(ValueError, match="expected int64"):
        scenarios(bars, warmup=20, episode_length=50, starts=torch.tensor([0.0]))
    with pytest.raises(ValueError, match="warmup is 1 and episode_length 50, expected at least 2 and 1"):
        scenarios(bars, warmup=1, episode_length=50, starts=torch.tensor([0]))
    values = bars.values.clone()
    values[7, 1, CLOSE] = float("nan")
    with pytest.raises(ValueError, match=r"bar 7 of symbol BBB holds .* expected finite numbers and positive prices"):
        scenarios(bars._replace(values=values), warmup=20, episode_length=50, starts=torch.tensor([0]))


def test_seed_ranges_are_disjoint_and_complete():
    ranges = sorted(SEED_RANGES.values())
    ends = [first + size for first, size in ranges]
    assert ranges[0][0] == 0
    assert ends[:-1] == [first for first, _ in ranges[1:]]
    assert ends[-1] == 2**32  # the generator behind a seed ignores higher bits
    assert scenario_seeds("train", 2, 5) == (5, 6)
    assert scenario_seeds("ranking", 1)[0] == SEED_RANGES["ranking"][0]
    with pytest.raises(ValueError, match="of role 'validation'; use a smaller offset"):
        scenario_seeds("validation", 2, 2**30 - 1)
