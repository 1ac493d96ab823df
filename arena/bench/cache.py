"""How much faster a replay is that remembers its forecasts."""

import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from arena.bench.machine import peak_memory_bytes, provenance
from arena.data.synthetic.market import generate
from arena.data.synthetic.params import SyntheticParams
from arena.forecast.forecaster import ModelForecaster
from arena.forecast.loading import load_forecaster
from arena.forecast.serving.cache import CachedForecaster
from arena.forecast.types import Forecaster

SHARE = 0.9  # of the speed-up 1 / (1 - h) that a cache without cost would reach
ROUNDS = 5  # each with and without memory in turn, as the speed of a shared machine changes; the median counts
BARS_PER_DAY = 26  # of the synthetic market that is replayed: quarters of an hour
PUBLISHED = ("toto-4m", "toto-22m", "toto1-base", "kronos-mini", "kronos-small", "kronos-base")
REPLAY = (
    "1 / (1 - h) replays of the same rolling windows, as lineups in a tournament ask for them: every bar, one call for "
    "all series; the first replay computes, the others hit"
)


@dataclass(frozen=True)
class CacheBenchmark:
    """Size of a run."""

    model: str = "toto-4m"  # a published model, which then has random weights, or what `load_forecaster` takes
    context: int = 512
    horizon: int = 64
    num_series: int = 128  # asked for in one call
    num_bars: int = 4  # rolled over in one replay
    batch_size: int = 16  # of a published model
    hit_rates: tuple[float, ...] = (0.9, 0.99)
    device: str = "cpu"
    threads: int = 1


def benchmark_cache(run: CacheBenchmark) -> dict[str, Any]:
    """The speed-up at every hit rate, beside the least that it should be."""
    torch.set_num_threads(run.threads)
    forecaster = _forecaster(run)
    windows = rolling_windows(run.num_series, run.context, run.num_bars).to(run.device)
    forecaster.predict(windows[0, : run.batch_size], None, run.horizon)  # warms up
    return {
        "model": run.model,
        "replays": [replay(forecaster, windows, run.horizon, hit_rate) for hit_rate in run.hit_rates],
        "context": run.context,
        "horizon": run.horizon,
        "num_series": run.num_series,
        "num_bars": run.num_bars,
        "batch_size": run.batch_size,
        "threads": run.threads,
        "replay": REPLAY,
        "seconds": "of the processor" if run.device == "cpu" else "by the wall clock",
        "peak_memory_bytes": peak_memory_bytes(run.device),
        **provenance(run.device),
    }


def replay(forecaster: Forecaster, windows: Tensor, horizon: int, hit_rate: float) -> dict[str, Any]:
    """Ask for windows [T, N, C, 6] bar by bar, with and without memory, as often as makes the hit rate."""
    num_replays = round(1.0 / (1.0 - hit_rate))
    without, with_memory, of_hits = [], [], []  # seconds per prediction
    for _ in range(ROUNDS):
        cached = CachedForecaster(forecaster, max_bytes=2**62)
        without.append(_seconds(forecaster, windows, horizon, 1))
        with_memory.append(_seconds(cached, windows, horizon, num_replays))
        stats = cached.cache_stats()
        of_hits.append(_seconds(cached, windows, horizon, num_replays))
    speedups = [before / after for before, after in zip(without, with_memory)]
    speedup, target = statistics.median(speedups), SHARE / (1.0 - stats.hit_rate)
    return {
        "hit_rate": stats.hit_rate,
        "speedup": speedup,
        "speedup_of_rounds": speedups,
        "target": target,
        "reached": speedup >= target,
        "miss_us": statistics.median(without) * 1e6,
        "hit_us": statistics.median(of_hits) * 1e6,
        "cache_bytes": stats.bytes_used,
    }


def rolling_windows(num_series: int, context_length: int, num_bars: int) -> Tensor:
    """Windows that end at `num_bars` bars in a row of intraday bars: float32 [T, N, C, 6], a view."""
    length = context_length + num_bars - 1
    params = SyntheticParams(num_assets=num_series, num_bars=length + BARS_PER_DAY, bars_per_day=BARS_PER_DAY)
    bars = generate(params, [0], warmup=BARS_PER_DAY, dtype=torch.float32).bars[0, -length:]  # [C + T - 1, N, 6]
    series = bars.transpose(0, 1).contiguous()
    return series.unfold(1, context_length, 1).permute(1, 0, 3, 2)


def _forecaster(run: CacheBenchmark) -> Forecaster:
    if run.model not in PUBLISHED:
        return load_forecaster(run.model, run.device)
    from arena.forecast.export.exporter import script_module
    from arena.forecast.export.sources import open_random

    module = script_module(open_random(run.model).module.to(run.device))
    manifest = {"name": run.model, "min_context": 1, "max_horizon": None}
    return ModelForecaster(module, manifest, device=run.device, batch_size=run.batch_size)


def _seconds(forecaster: Forecaster, windows: Tensor, horizon: int, num_replays: int) -> float:
    """Per prediction: of the processor, or by the wall clock if a GPU works."""
    clock = time.perf_counter if windows.is_cuda else time.process_time
    start = clock()
    for _ in range(num_replays):
        for context in windows:
            forecaster.predict(context, None, horizon).quantiles[..., 0, 0].sum().item()  # waits for a GPU
    return (clock() - start) / (num_replays * windows.shape[:2].numel())
