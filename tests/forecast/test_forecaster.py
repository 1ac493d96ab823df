"""ModelForecaster: batches, memory, missing data and refusals, around modules that say what they were given."""

import logging
import math

import pytest
import torch
from torch import nn

from arena.data.types import CHANNELS, CLOSE
from arena.forecast.baselines import Persistence
from arena.forecast.forecaster import ModelForecaster
from arena.forecast.stamps import business_day_stamps

MANIFEST = {"name": "fake", "min_context": 3, "max_horizon": 10, "training_cutoff": "2024-05-01", "num_samples": 2}


class Fake(nn.Module):
    """Quantile q of channel c at step h is last[c] * (1 + q / 10) + h; path s of all channels is last + s."""

    def __init__(self, capacity=10**9, error=torch.OutOfMemoryError, message="CUDA out of memory"):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.capacity, self.error, self.message = capacity, error, message
        self.calls = []

    def forward(self, context, stamps, horizon, num_samples, seed):
        if len(context) > self.capacity:
            raise self.error(self.message)
        assert stamps.shape == (len(context), context.size(1) + horizon)
        self.calls.append((len(context), seed))
        steps = torch.arange(horizon, dtype=torch.float32)[:, None, None]
        quantiles = context[:, -1, None, :, None] * (1 + torch.arange(9) / 10) + steps
        paths = torch.arange(num_samples)[:, None, None]
        return quantiles, (context[:, -1, None, None] + paths).expand(-1, -1, horizon, -1)


def context_of(*leading, length=5):
    generator = torch.Generator().manual_seed(0)
    return 1.0 + torch.rand(*leading, length, 6, generator=generator)


def test_leading_axes_come_back():
    context = context_of(3, 2)
    forecast = ModelForecaster(Fake(), MANIFEST, batch_size=4).predict(context, None, 7)
    assert forecast.quantiles.shape == (3, 2, 7, 9)
    assert forecast.samples.shape == (3, 2, 7, 2)
    assert forecast.channels.shape == (3, 2, 7, 6, 9)
    assert torch.equal(forecast.channels[..., CLOSE, :], forecast.quantiles)
    assert torch.equal(forecast.quantiles[..., 0, 0], context[..., -1, CLOSE])
    assert torch.equal(forecast.samples[..., 3, 1], context[..., -1, CLOSE] + 1)


def test_one_series_needs_no_axis():
    forecast = ModelForecaster(Fake(), MANIFEST).predict(context_of(), None, 4)
    assert forecast.quantiles.shape == (4, 9)
    assert forecast.samples.shape == (4, 2)


def test_batches_have_the_size_that_was_asked_for():
    module = Fake()
    ModelForecaster(module, MANIFEST, batch_size=4, seed=50).predict(context_of(10), None, 2)
    assert module.calls == [(4, 50), (4, 54), (2, 58)]


def test_the_answer_does_not_depend_on_the_batches():
    context = context_of(11)
    whole = ModelForecaster(Fake(), MANIFEST, batch_size=11).predict(context, None, 2)
    for size in (1, 3, 64):
        forecast = ModelForecaster(Fake(), MANIFEST, batch_size=size).predict(context, None, 2)
        assert all(torch.equal(a, b) for a, b in zip(forecast, whole))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError, "CUDA out of memory. Tried to allocate 2 GiB"),
        (RuntimeError, "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory: you tried to allocate"),
        (RuntimeError, "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        (MemoryError, ""),
    ],
)
def test_a_batch_too_large_for_the_memory_is_split_for_good(error, message, caplog):
    context = context_of(20)
    module = Fake(capacity=3, error=error, message=message)
    forecaster = ModelForecaster(module, MANIFEST, batch_size=16)
    with caplog.at_level(logging.WARNING):
        forecast = forecaster.predict(context, None, 2)
    assert torch.equal(forecast.quantiles, ModelForecaster(Fake(), MANIFEST).predict(context, None, 2).quantiles)
    assert [record.message for record in caplog.records] == [
        f"fake ran out of memory at {size} series; going on with {size // 2}" for size in (16, 8, 4)
    ]
    assert module.calls == [(2, first) for first in range(0, 20, 2)]
    forecaster.predict(context, None, 2)
    assert len(caplog.records) == 3  # it stays small


def test_a_single_series_too_large_is_an_error():
    with pytest.raises(torch.OutOfMemoryError):
        ModelForecaster(Fake(capacity=0), MANIFEST).predict(context_of(4), None, 2)


def test_other_errors_are_not_mistaken_for_memory():
    module = Fake(capacity=0, error=RuntimeError, message="mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError, match="mat1"):
        ModelForecaster(module, MANIFEST).predict(context_of(4), None, 2)


def test_the_allocator_of_the_cpu_is_understood():
    """What torch really raises for an absurd size; it never gets as far as asking for it."""

    class Greedy(Fake):
        def forward(self, context, stamps, horizon, num_samples, seed):
            if len(context) > 1:
                torch.empty(len(context) * 2**56, dtype=torch.uint8)
            return super().forward(context, stamps, horizon, num_samples, seed)

    forecaster = ModelForecaster(Greedy(), MANIFEST, batch_size=4)
    assert forecaster.predict(context_of(4), None, 2).quantiles.isfinite().all()
    assert forecaster.batch_size == 1


def test_a_series_without_a_return_is_nan_and_moves_no_other():
    context = context_of(6)
    expected = ModelForecaster(Fake(), MANIFEST).predict(context, None, 2)
    context[1] = math.nan
    context[4, 1:, CLOSE] = math.nan
    forecast = ModelForecaster(Fake(), MANIFEST).predict(context, None, 2)
    for found, whole in zip(forecast, expected):
        assert found[[1, 4]].isnan().all()
        assert torch.equal(found[[0, 2, 3, 5]], whole[[0, 2, 3, 5]])


def test_missing_values_of_other_series_reach_the_model_as_they_are():
    seen = []

    class Spy(Fake):
        def forward(self, context, *rest):
            seen.append(context.clone())
            return super().forward(context, *rest)

    context = context_of(2)
    context[0, 1] = math.nan  # a missing bar
    context[1, :, 4:] = math.nan  # no volume
    ModelForecaster(Spy(), MANIFEST).predict(context, None, 2)
    torch.testing.assert_close(seen[0], context, rtol=0, atol=0, equal_nan=True)


def test_a_model_of_the_close_alone_gives_no_channels():
    manifest = MANIFEST | {"channels": ["close"], "num_samples": 0}
    forecast = ModelForecaster(Fake(), manifest).predict(context_of(2), None, 2)
    assert forecast.channels is None
    assert forecast.samples is None


def test_the_manifest_speaks_for_the_model():
    forecaster = ModelForecaster(Fake(), MANIFEST)
    assert (forecaster.info.name, forecaster.info.min_context, forecaster.info.max_horizon) == ("fake", 3, 10)
    assert forecaster.info.training_cutoff == "2024-05-01"


def test_the_fingerprint_is_of_weights_and_settings():
    other = Fake()
    with torch.no_grad():
        other.weight[1] = 2.0
    fingerprints = [
        ModelForecaster(Fake(), MANIFEST).info.fingerprint,
        ModelForecaster(other, MANIFEST).info.fingerprint,
        ModelForecaster(Fake(), MANIFEST, batch_size=7).info.fingerprint,
        ModelForecaster(Fake(), MANIFEST, seed=7).info.fingerprint,
        ModelForecaster(Fake(), MANIFEST, num_samples=7).info.fingerprint,
        ModelForecaster(Fake(), MANIFEST, content_hash="abc").info.fingerprint,
        ModelForecaster(Fake(), MANIFEST | {"config": {"max_context": 512}}).info.fingerprint,
    ]
    assert len(set(fingerprints)) == len(fingerprints)
    assert ModelForecaster(Fake(), MANIFEST).info.fingerprint == fingerprints[0]


def test_stats_count_series_and_calls():
    forecaster = ModelForecaster(Fake(), MANIFEST)
    assert forecaster.stats().predictions == 0
    assert math.isnan(forecaster.stats().latency_ms_p50)
    forecaster.predict(context_of(3, 2), None, 2)
    assert forecaster.stats().latency_ms_p50 == forecaster.stats().latency_ms_p95
    forecaster.predict(context_of(), None, 2)
    stats = forecaster.stats()
    assert (stats.predictions, stats.calls) == (7, 2)
    assert 0 < stats.latency_ms_p50 <= stats.latency_ms_p95
    assert stats.predictions_per_second > 0


@pytest.mark.parametrize("make", [Persistence, lambda: ModelForecaster(Fake(), MANIFEST)], ids=["baseline", "model"])
class TestRefusals:
    """The same requests are refused by whatever is asked, in one sentence."""

    @staticmethod
    def refused(make, message, context=None, stamps=None, horizon=4):
        with pytest.raises(ValueError, match=message):
            make().predict(context_of(2) if context is None else context, stamps, horizon)

    def test_channels(self, make):
        self.refused(make, r"shape \(2, 5, 4\), expected floats .* channels open, high", context_of(2)[..., :4])
        self.refused(make, "context is torch.int64", context_of(2).long())
        self.refused(make, r"shape \(6,\)", torch.ones(6))

    def test_no_series(self, make):
        self.refused(make, "at least one series", context_of(0))

    def test_context_too_short(self, make):
        self.refused(make, "context has 1 bars, .* needs at least [23]", context_of(2, length=1))

    def test_horizon(self, make):
        self.refused(make, "horizon is 0", horizon=0)

    @pytest.mark.parametrize("value", [0.0, -1.0, math.inf, -math.inf])
    @pytest.mark.parametrize("channel", range(4))
    def test_prices_that_are_none(self, make, value, channel):
        context = context_of(2)
        context[1, 3, channel] = value
        self.refused(
            make, rf"1 impossible values, the first {value} as {CHANNELS[channel]} of bar 3 of .*\[1\]", context
        )

    @pytest.mark.parametrize("value", [-1.0, math.inf])
    def test_volumes_that_are_none(self, make, value):
        context = context_of()
        context[2, 4] = value
        self.refused(make, f"the first {value} as volume of bar 2; expected", context)

    def test_stamps(self, make):
        stamps = business_day_stamps(5, 4)
        self.refused(make, r"stamps have shape \(5,\), expected \(2, 9\)", stamps=stamps[:5])
        self.refused(make, r"stamps have shape \(3, 9\)", stamps=stamps.expand(3, 9))
        self.refused(make, r"stamps have shape \(1, 2, 9\)", stamps=stamps.expand(1, 2, 9))
        self.refused(make, "stamps are torch.float32", stamps=stamps.float())

    def test_stamps_may_be_shared(self, make):
        stamps = business_day_stamps(5, 4)
        forecasts = [
            make().predict(context_of(3, 2), given, 4).quantiles
            for given in (None, stamps, stamps.expand(2, 9), stamps.expand(3, 1, 9), stamps.expand(3, 2, 9))
        ]
        assert all(torch.equal(forecast, forecasts[0]) for forecast in forecasts)

    def test_no_volume_at_all_is_fine(self, make):
        context = context_of(2)
        context[..., 4:] = 0.0
        assert make().predict(context, None, 4).quantiles.isfinite().all()


def test_a_horizon_beyond_the_models_is_refused():
    with pytest.raises(ValueError, match="horizon is 11, fake forecasts 1 to 10 bars"):
        ModelForecaster(Fake(), MANIFEST).predict(context_of(2), None, 11)


def test_an_empty_batch_size_is_refused():
    with pytest.raises(ValueError, match="batch_size is 0"):
        ModelForecaster(Fake(), MANIFEST, batch_size=0)
