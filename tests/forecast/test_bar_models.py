"""Networks behind one call on raw bars: missing values, padding and odd series, on tiny weights."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from arena.data.types import CHANNELS, CLOSE
from arena.forecast.export.exporter import script_module
from arena.forecast.export.parity import channel_unit, sample_cases
from arena.forecast.models.bar_models import (
    KronosOnBars,
    Toto1OnBars,
    TotoOnBars,
    fill_forward,
    sample_quantiles,
    variates,
)
from arena.forecast.models.kronos import load_kronos
from arena.forecast.models.toto import load_toto2
from arena.forecast.models.toto1 import load_toto1
from arena.forecast.types import QUANTILE_LEVELS

GOLDEN = Path(__file__).parent.parent / "golden"
CONTEXT, HORIZON, PATHS = 48, 12, 3
VOLUME, AMOUNT = CHANNELS.index("volume"), CHANNELS.index("amount")
KINDS = ("toto2", "toto1", "kronos")
# float32 sums in another order, after the longest of the tiny networks; in standard deviations of a channel
ROUNDING = 2e-4


def make(kind, **settings):
    if kind == "toto2":
        return TotoOnBars(load_toto2(GOLDEN / "toto2_tiny"), **settings).eval()
    if kind == "toto1":
        return Toto1OnBars(load_toto1(GOLDEN / "toto1_tiny"), **settings).eval()
    kronos = GOLDEN / "kronos_tiny"
    return KronosOnBars(load_kronos(kronos / "tokenizer", kronos / "predictor", 64), **settings).eval()


MODELS = {kind: make(kind) for kind in KINDS}


def bars(num_series=2, length=CONTEXT):
    """Random-walk bars without gaps, and their stamps."""
    context, stamps, *_ = sample_cases(length, HORIZON, PATHS, "cpu")[0]
    rows = [context[0].roll(17 * i, 0) * (1 + i) for i in range(num_series)]
    return torch.stack(rows), stamps.repeat(num_series, 1)


def forecast(model, context, stamps, seed=0, num_samples=PATHS):
    with torch.no_grad():
        return model(context, stamps, HORIZON, num_samples, seed)


def distance(found, expected, context):
    """Largest distance of quantiles [B, H, 6, Q] in standard deviations of their channel."""
    return float(((found - expected).abs() / channel_unit(context)[:, None, :, None]).max())


@pytest.mark.parametrize("kind", KINDS)
def test_quantiles_ascend_and_paths_have_their_shape(kind):
    context, stamps = bars(3)
    quantiles, samples = forecast(MODELS[kind], context, stamps)
    assert quantiles.shape == (3, HORIZON, 6, len(QUANTILE_LEVELS))
    assert samples.shape == (3, 0 if kind == "toto2" else PATHS, HORIZON, 6)
    assert quantiles.dtype == samples.dtype == torch.float32
    assert quantiles.isfinite().all()
    assert samples.isfinite().all()
    assert (quantiles.diff(dim=-1) >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_seed_decides_what_is_drawn(kind):
    context, stamps = bars()
    torch.manual_seed(1)
    first = forecast(MODELS[kind], context, stamps, seed=5)
    torch.manual_seed(2)
    again = forecast(MODELS[kind], context, stamps, seed=5)
    other = forecast(MODELS[kind], context, stamps, seed=6)
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert torch.equal(first[0], other[0]) == (kind == "toto2"), "Toto 2.0 draws nothing"


@pytest.mark.parametrize(("kind", "late"), [("toto2", 5), ("toto2", 20), ("toto1", 5), ("kronos", 5), ("kronos", 20)])
def test_bars_missing_in_front_are_a_shorter_context(kind, late):
    """Of Toto 1.0 within one patch only: it sees whole patches of padding."""
    context, stamps = bars()
    context[:, :late] = torch.nan
    padded, _ = forecast(MODELS[kind], context, stamps)
    short, _ = forecast(MODELS[kind], context[:, late:], stamps[:, late:])
    assert distance(padded, short, context) < ROUNDING


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1, 2, 7, 17])
def test_any_length_of_context_gives_a_forecast(kind, length):
    context, stamps = bars(2, length)
    quantiles, _ = forecast(MODELS[kind], context, stamps)
    assert quantiles.isfinite().all()


def test_kronos_takes_a_missing_price_for_one_that_stood_still():
    context, stamps = bars(1)
    still = context.clone()
    for gap in (slice(20, 23), slice(-3, None)):
        still[0, gap, :VOLUME] = context[0, gap.start - 1, :VOLUME]
        context[0, gap, :VOLUME] = torch.nan
    assert torch.equal(forecast(MODELS["kronos"], context, stamps)[1], forecast(MODELS["kronos"], still, stamps)[1])


def test_toto_is_never_shown_a_zero_for_a_missing_price():
    """Its last patch counts as observed whatever the mask says, and Toto 1.0 sees padding."""
    context, _ = bars(1, 21)
    context[0, :2] = torch.nan
    context[0, 9:11, CLOSE] = torch.nan
    context[0, -3:] = torch.nan
    values, observed = variates(context, 16)
    assert values.shape == observed.shape == (1, 6, 32)
    assert torch.equal(observed[0, :, -21:], context[0].isfinite().T)
    assert not observed[..., :-21].any()
    assert torch.equal(values[observed], context.transpose(1, 2)[context.isfinite().transpose(1, 2)])
    close = context[0, :, CLOSE]
    assert (values[0, CLOSE, : 11 + 2] == close[2]).all(), "before the first bar: its price"
    assert (values[0, CLOSE, 11 + 9 : 11 + 11] == close[8]).all()
    assert (values[0, CLOSE, -3:] == close[-4]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_infinity_counts_as_missing(kind):
    context, stamps = bars()
    gaps = context.clone()
    gaps[0, 10, CLOSE], context[0, 10, CLOSE] = torch.nan, torch.inf
    assert torch.equal(forecast(MODELS[kind], context, stamps)[0], forecast(MODELS[kind], gaps, stamps)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_a_series_of_which_nothing_is_known_is_nan_and_leaves_the_others_as_they_are(kind):
    context, stamps = bars(3)
    paths = 0 if kind == "toto1" else PATHS  # its draws reject some, so that one series moves the next one's
    whole, _ = forecast(MODELS[kind], context, stamps, num_samples=paths)
    context[1] = torch.nan
    quantiles, samples = forecast(MODELS[kind], context, stamps, num_samples=paths)
    assert quantiles[1].isnan().all()
    assert samples[1].isnan().all()
    assert distance(quantiles[::2], whole[::2], context[::2]) < ROUNDING


@pytest.mark.parametrize("kind", ["toto2", "toto1"])
def test_a_silent_channel_is_nan_and_unheard(kind):
    context, stamps = bars()
    context[:, :, VOLUME:] = torch.nan
    quantiles, _ = forecast(MODELS[kind], context, stamps, num_samples=0)
    assert quantiles[:, :, VOLUME:].isnan().all()
    prices = context[..., :VOLUME].transpose(1, 2)
    seen = torch.ones_like(prices, dtype=torch.bool)
    network = MODELS[kind].model
    if kind == "toto2":
        alone = network.forecast(prices, seen, torch.zeros(2, 4, dtype=torch.long), HORIZON, 0, True, 8, 1e4)
        alone = alone.permute(1, 3, 2, 0)
    else:
        alone = network.forecast(prices, seen, HORIZON).transpose(1, 2).unsqueeze(-1)
    assert distance(quantiles[:, :, :VOLUME], alone.expand(-1, -1, -1, 9), context[..., :VOLUME]) < ROUNDING


def test_kronos_takes_missing_volume_for_none_and_fills_a_missing_amount():
    context, stamps = bars()
    model = MODELS["kronos"]
    no_volume, silent = context.clone(), context.clone()
    no_volume[0, 4:9, VOLUME] = torch.nan
    silent[0, 4:9, VOLUME:] = 0.0
    assert torch.equal(forecast(model, no_volume, stamps)[1], forecast(model, silent, stamps)[1])
    no_amount, filled = context.clone(), context.clone()
    no_amount[1, :, AMOUNT] = torch.nan
    filled[1, :, AMOUNT] = filled[1, :, VOLUME] * filled[1, :, :VOLUME].mean(-1)
    assert torch.equal(forecast(model, no_amount, stamps)[1], forecast(model, filled, stamps)[1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_series_that_never_moves_has_a_finite_forecast(kind):
    context, stamps = bars()
    context[0] = torch.tensor([10.0, 10.0, 10.0, 10.0, 500.0, 5000.0])
    quantiles, _ = forecast(MODELS[kind], context, stamps)
    assert quantiles.isfinite().all()
    if kind != "toto1":  # which adds 0.1 to every variance
        torch.testing.assert_close(quantiles[0, :, CLOSE], torch.full((HORIZON, 9), 10.0), rtol=1e-4, atol=0.0)


@pytest.mark.parametrize("kind", ["toto2", "kronos"])
def test_the_currency_does_not_matter(kind):
    """Prices in units of 1/4 (a power of two rounds nothing) give quantiles in those units. Toto 1.0 has a floor."""
    context, stamps = bars()
    quantiles, _ = forecast(MODELS[kind], context, stamps)
    scaled, _ = forecast(MODELS[kind], 4 * context, stamps)
    assert distance(scaled / 4, quantiles, context) < 100 * ROUNDING  # Kronos adds 1e-5 to the deviation


@pytest.mark.parametrize("settings", [{}, {"decode_block_size": 16}])
def test_a_batch_of_toto_is_its_series(settings):
    model = make("toto2", **settings)
    context, stamps = bars(3)
    context[1, :9] = torch.nan
    together, _ = forecast(model, context, stamps)
    for i in range(3):
        alone, _ = forecast(model, context[i : i + 1], stamps[i : i + 1])
        assert distance(together[i : i + 1], alone, context[i : i + 1]) < ROUNDING


def test_toto1_without_paths_is_its_mean_forecast():
    context, stamps = bars()
    quantiles, samples = forecast(MODELS["toto1"], context, stamps, num_samples=0)
    assert samples.shape == (2, 0, HORIZON, 6)
    assert (quantiles == quantiles[..., :1]).all()


@pytest.mark.parametrize(("num_samples", "together"), [(4, 4), (5, 4), (8, 4)])
def test_toto1_draws_any_number_of_paths(num_samples, together):
    context, stamps = bars()
    _, samples = forecast(make("toto1", samples_per_batch=together), context, stamps, num_samples=num_samples)
    assert samples.shape == (2, num_samples, HORIZON, 6)
    assert len(samples[0, :, 0, CLOSE].unique()) == num_samples


def test_repaired_paths_are_bars_that_a_market_could_print():
    context, stamps = bars()
    _, raw = forecast(make("kronos"), context, stamps)
    _, samples = forecast(make("kronos", repair=True), context, stamps)
    opening, high, low, close = samples[..., :VOLUME].unbind(-1)
    assert (high >= torch.maximum(opening, close)).all()
    assert (low <= torch.minimum(opening, close)).all()
    assert (samples[..., VOLUME:] >= 0).all()
    assert not torch.equal(raw, samples), "the raw paths should have needed it"


def test_settings_reach_the_draws_and_can_be_changed_after_scripting():
    context, stamps = bars()
    scripted = script_module(make("kronos"))
    scripted.top_k = 1
    greedy = forecast(make("kronos", top_k=1), context, stamps)
    assert torch.equal(forecast(scripted, context, stamps)[1], greedy[1])
    assert torch.equal(greedy[1][:, 0], greedy[1][:, 1]), "greedy paths are one path"


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_shapes_are_refused(kind):
    context, stamps = bars()
    with pytest.raises(ValueError, match=r"context has shape .*expected \[B, C, 6\]"):
        forecast(MODELS[kind], context[..., :5], stamps)
    with pytest.raises(ValueError, match=r"stamps have shape .*expected \[B, C \+ H\]"):
        forecast(MODELS[kind], context, stamps[:, 1:])
    with pytest.raises(ValueError, match="horizon is 0"):
        MODELS[kind](context, stamps[:, :CONTEXT], 0, 1, 0)


def test_kronos_needs_a_path():
    context, stamps = bars()
    with pytest.raises(ValueError, match="num_samples is 0"):
        forecast(MODELS["kronos"], context, stamps, num_samples=0)


def filled_one_by_one(values, known):
    """The reference of `fill_forward` for one series."""
    past, first = None, next((value for value, seen in zip(values, known) if seen), 0.0)
    filled = []
    for value, seen in zip(values, known):
        past = value if seen else past
        filled.append(first if past is None else past)
    return filled


@given(st.lists(st.lists(st.one_of(st.none(), st.integers(-9, 9)), min_size=6, max_size=6), min_size=1, max_size=4))
def test_gaps_take_the_value_before_them(rows):
    values = torch.tensor([[torch.nan if value is None else float(value) for value in row] for row in rows])
    expected = [filled_one_by_one(row.tolist(), row.isfinite().tolist()) for row in values]
    assert fill_forward(values, values.isfinite()).tolist() == expected


@given(st.integers(1, 40), st.integers(0, 10_000))
def test_quantiles_of_paths_are_those_of_torch(num_paths, seed):
    samples = torch.randn(2, num_paths, 3, 6, generator=torch.Generator().manual_seed(seed))
    expected = torch.quantile(samples, torch.tensor(QUANTILE_LEVELS), dim=1).permute(1, 2, 3, 0)
    torch.testing.assert_close(sample_quantiles(samples, list(QUANTILE_LEVELS)), expected)
