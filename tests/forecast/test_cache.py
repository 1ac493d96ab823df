"""What comes from memory is what the forecaster said, and nothing is computed twice."""

import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from arena.forecast.baselines import Persistence
from arena.forecast.serving.cache import CachedForecaster
from arena.forecast.serving.lru import ENTRY_BYTES
from arena.forecast.stamps import DAY, business_day_stamps
from arena.forecast.types import Forecast, ForecasterInfo, ForecasterStats

HORIZON = 4
RECORD = HORIZON * 9 * 4 + ENTRY_BYTES  # bytes of a forecast without samples, float32


class Counting:
    """Every series gets numbers of its own, from context and stamps; calls are counted, and can be held up or fail."""

    info = ForecasterInfo("counting", "counting 1", min_context=2, max_horizon=100, training_cutoff="2024-01-01")

    def __init__(self, num_samples=0):
        self.num_samples = num_samples
        self.calls = []  # series of each
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.fail = False

    def predict(self, context, stamps, horizon):
        self.entered.set()
        assert self.gate.wait(30)
        self.calls.append(context.shape[:-2].numel())
        if self.fail:
            raise RuntimeError("the forecaster broke")
        own = context.double().nan_to_num(7.0).flatten(-2).cumsum(-1).mean(-1)
        if stamps is not None:
            own = own + stamps.double().mean(-1) / DAY
        own = own.to(context.dtype)[..., None, None]
        steps = torch.arange(horizon, dtype=context.dtype)[:, None]
        quantiles = own + steps + torch.arange(9) / 10
        samples = own * 2 + steps + torch.arange(self.num_samples)
        return Forecast(
            quantiles, samples if self.num_samples else None, quantiles.unsqueeze(-2).repeat_interleave(6, -2)
        )

    def stats(self):
        return ForecasterStats(0, 0, math.nan, math.nan, 0.0)


def context_of(*leading, length=6, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return (1.0 + torch.rand(*leading, length, 6, generator=generator)).to(dtype)


def test_answers_are_the_forecasters_bits():
    context = context_of(3, 2)
    stamps = business_day_stamps(6, HORIZON)
    cached = CachedForecaster(Counting(num_samples=3), 10**6)
    fresh = Counting(num_samples=3).predict(context, stamps.expand(3, 2, -1), HORIZON)
    for _ in range(2):
        forecast = cached.predict(context, stamps, HORIZON)
        assert torch.equal(forecast.quantiles, fresh.quantiles)
        assert torch.equal(forecast.samples, fresh.samples)
        assert forecast.channels is None
    assert cached.cache_stats().hit_rate == 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_real_forecaster_in_its_dtype(dtype):
    context = context_of(20, dtype=dtype)
    context[3] = math.nan
    cached = CachedForecaster(Persistence(), 10**6)
    fresh = Persistence().predict(context, None, HORIZON).quantiles
    for _ in range(2):
        found = cached.predict(context, None, HORIZON)
        assert found.quantiles.dtype == dtype
        torch.testing.assert_close(found.quantiles, fresh, rtol=0, atol=0, equal_nan=True)
        assert found.samples is None


def test_only_what_is_new_reaches_the_forecaster_and_in_one_call():
    inner = Counting()
    cached = CachedForecaster(inner, 10**6)
    context = context_of(10)
    cached.predict(context[:6], None, HORIZON)
    found = cached.predict(context.flip(0), None, HORIZON).quantiles
    assert inner.calls == [6, 4]
    assert torch.equal(found, Counting().predict(context.flip(0), None, HORIZON).quantiles)
    stats = cached.cache_stats()
    assert (stats.hits, stats.misses, stats.waits, stats.entries) == (6, 10, 0, 10)
    assert cached.stats().predictions == 16


def test_the_key_is_content():
    """Whatever the forecast depends on makes another key; nothing else does."""
    inner = Counting()
    cached = CachedForecaster(inner, 10**6)
    context = context_of(1)
    stamps = business_day_stamps(6, HORIZON)

    def asked(context, stamps, horizon=HORIZON):
        before = sum(inner.calls)
        cached.predict(context, stamps, horizon)
        return sum(inner.calls) > before

    assert asked(context, None)
    assert asked(context, stamps)
    assert asked(context, stamps + 1)
    assert asked(context, None, HORIZON + 1)
    assert asked(context.double(), None)
    assert asked(context[:, 1:], None)
    nudged = context.clone()
    nudged[0, 2, 5] = torch.nextafter(nudged[0, 2, 5], torch.tensor(9.0))
    assert asked(nudged, None)
    swapped = context.clone()
    swapped[0, [1, 2]] = context[0, [2, 1]]
    assert asked(swapped, None)

    assert not asked(context.clone(), None)
    assert not asked(context.expand(3, 2, -1, -1), None)
    assert not asked(context, stamps.clone().expand(1, -1))
    window = torch.cat([context_of(1, length=3, seed=5), context], 1).unfold(1, 6, 1)[:, -1].transpose(-1, -2)
    assert not asked(window, None)


def test_stamps_of_their_own_for_every_series():
    stamps = business_day_stamps(6, HORIZON) + torch.arange(3)[:, None, None] * DAY  # [3, 1, C + H]
    context = context_of(3, 2)
    cached = CachedForecaster(Counting(), 10**6)
    fresh = Counting().predict(context, stamps.expand(3, 2, -1), HORIZON).quantiles
    for _ in range(2):
        assert torch.equal(cached.predict(context, stamps, HORIZON).quantiles, fresh)
    assert torch.equal(cached.predict(context[2, 1], stamps[2, 0], HORIZON).quantiles, fresh[2, 1])


def test_a_series_twice_in_a_batch_is_computed_once():
    inner = Counting()
    cached = CachedForecaster(inner, 10**6)
    context = context_of(3)[[0, 1, 0, 2, 1]]
    assert torch.equal(
        cached.predict(context, None, HORIZON).quantiles, Counting().predict(context, None, HORIZON).quantiles
    )
    assert inner.calls == [3]


def test_the_budget_holds_and_the_oldest_use_goes_first():
    inner = Counting()
    cached = CachedForecaster(inner, 3 * RECORD)
    series = context_of(5)
    for index in (0, 1, 2, 0, 3):  # 1 is forgotten for 3
        cached.predict(series[index], None, HORIZON)
        assert cached.cache_stats().bytes_used <= 3 * RECORD
    assert cached.cache_stats().evictions == 1
    inner.calls.clear()
    for index in (0, 2, 3):
        cached.predict(series[index], None, HORIZON)
    assert inner.calls == []
    cached.predict(series[1], None, HORIZON)
    assert inner.calls == [1]


@pytest.mark.parametrize("max_bytes", [0, RECORD])
def test_a_batch_larger_than_the_memory_is_answered_all_the_same(max_bytes):
    cached = CachedForecaster(Counting(), max_bytes)
    context = context_of(8)
    fresh = Counting().predict(context, None, HORIZON).quantiles
    for _ in range(2):
        assert torch.equal(cached.predict(context, None, HORIZON).quantiles, fresh)
    assert cached.cache_stats().bytes_used <= max_bytes


def test_answers_may_be_written_to():
    cached = CachedForecaster(Counting(num_samples=2), 10**6)
    context = context_of(2)
    first = cached.predict(context, None, HORIZON)
    expected = first.quantiles.clone()
    first.quantiles.zero_()
    first.samples.zero_()
    assert torch.equal(cached.predict(context, None, HORIZON).quantiles, expected)


def test_what_was_prefetched_is_there_and_a_predict_in_between_waits():
    inner = Counting()
    cached = CachedForecaster(inner, 10**6)
    context = context_of(4)
    inner.gate.clear()
    cached.prefetch(context, None, HORIZON)
    assert inner.entered.wait(30)  # it is at work, and this thread is not held up
    bars = context.clone()
    context.zero_()  # the caller's buffer is his again
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(cached.predict, bars, None, HORIZON)
        inner.gate.set()
        found = asked.result(30).quantiles
    assert torch.equal(found, Counting().predict(bars, None, HORIZON).quantiles)
    assert inner.calls == [4]
    stats = cached.cache_stats()
    assert (stats.prefetched, stats.misses, stats.hits + stats.waits) == (4, 0, 4)
    assert stats.hit_rate == 1.0
    cached.prefetch(bars, None, HORIZON)
    assert inner.calls == [4]


def test_part_of_a_batch_may_be_under_way_elsewhere():
    inner = Counting()
    cached = CachedForecaster(inner, 10**6)
    context = context_of(6)
    cached.predict(context[:2], None, HORIZON)
    inner.gate.clear()
    cached.prefetch(context[1:4], None, HORIZON)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(cached.predict, context, None, HORIZON)
        inner.gate.set()
        found = asked.result(30).quantiles
    assert torch.equal(found, Counting().predict(context, None, HORIZON).quantiles)
    assert sum(inner.calls) == 6


def test_a_prefetch_that_fails_is_asked_again():
    inner = Counting()
    cached = CachedForecaster(inner, 10**6)
    context = context_of(3)
    inner.fail = True
    inner.gate.clear()
    cached.prefetch(context, None, HORIZON)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(cached.predict, context, None, HORIZON)
        inner.gate.set()
        with pytest.raises(RuntimeError, match="the forecaster broke"):
            asked.result(30)
    inner.fail = False
    assert cached.predict(context, None, HORIZON).quantiles.isfinite().all()


def test_a_failure_leaves_nothing_behind():
    inner = Counting()
    cached = CachedForecaster(inner, 10**6)
    inner.fail = True
    for _ in range(2):  # the second would wait for ever for what the first left pending
        with pytest.raises(RuntimeError, match="the forecaster broke"):
            cached.predict(context_of(3), None, HORIZON)
    assert cached.cache_stats().entries == 0


def test_threads_share_the_work():
    """Eight threads ask for overlapping batches with too little memory for all; every answer is right."""
    context = context_of(40)
    fresh = Counting().predict(context, None, HORIZON).quantiles
    inner = Counting()
    cached = CachedForecaster(inner, 25 * RECORD)

    def ask(seed):
        generator = torch.Generator().manual_seed(seed)
        for _ in range(40):
            rows = torch.randperm(40, generator=generator)[:10]
            if seed % 4 == 0:
                cached.prefetch(context[rows.roll(3)], None, HORIZON)
            if not torch.equal(cached.predict(context[rows], None, HORIZON).quantiles, fresh[rows]):
                return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(8)))
    stats = cached.cache_stats()
    assert stats.hits + stats.waits + stats.misses == 8 * 40 * 10
    assert stats.bytes_used <= stats.max_bytes
    assert stats.entries == 25


def test_threads_that_ask_for_the_same_compute_it_once():
    inner = Counting()
    cached = CachedForecaster(inner, 10**6)
    context = context_of(5)
    start = threading.Barrier(6)

    def ask(_):
        start.wait()
        return cached.predict(context, None, HORIZON).quantiles

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, range(6)))
    assert all(torch.equal(answer, answers[0]) for answer in answers)
    assert sum(inner.calls) == 5


def test_it_is_the_forecaster_to_the_outside():
    inner = Counting()
    cached = CachedForecaster(inner, 10**6)
    assert cached.info == inner.info
    assert math.isnan(cached.cache_stats().hit_rate)
    with pytest.raises(ValueError, match="horizon is 101"):
        cached.predict(context_of(2), None, 101)
    with pytest.raises(ValueError, match="horizon is 0"):
        cached.prefetch(context_of(2), None, 0)
    with pytest.raises(ValueError, match="max_bytes is -1"):
        CachedForecaster(inner, -1)


@pytest.mark.gpu
def test_prefetch_on_a_gpu_runs_beside_the_callers_stream():
    context = context_of(64).cuda()
    cached = CachedForecaster(Persistence(), 10**6)
    fresh = Persistence().predict(context, None, HORIZON).quantiles
    cached.prefetch(context, None, HORIZON)
    found = cached.predict(context, None, HORIZON).quantiles
    assert found.is_cuda
    torch.testing.assert_close(found, fresh, rtol=0, atol=0)
    assert cached.cache_stats().misses == 0
