"""How fast a forecaster is, beside how fast this core multiplies matrices."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from arena.bench.machine import peak_memory_bytes, provenance
from arena.forecast.export.artifact import load_artifact
from arena.forecast.export.captured import CapturedModel
from arena.forecast.export.exporter import DTYPES, script_module
from arena.forecast.export.parity import Case, sample_cases
from arena.forecast.export.sources import open_random

WARMUP_CALLS = 3  # TorchScript rewrites its graph during the first ones
MATRIX_SIZE = {"cpu": 2048, "cuda": 8192}
MATRIX_REPEATS = 8
PREDICTION = "one asset: 6 channels over the whole horizon, from raw bars to quantiles in their units"


@dataclass(frozen=True)
class ForecasterBenchmark:
    """What is measured, and on how much."""

    model: str  # an exported file, or the name of a published model, which then has random weights
    batch_size: int = 16
    num_iterations: int = 10
    device: str = "cpu"
    threads: int = 1
    context: int = 512
    horizon: int = 64
    num_samples: int = 1  # paths of each series, of a model that draws any
    dtypes: tuple[str, ...] = ("float32",)  # of a published model; an exported file has its own
    tf32: bool = False  # a GPU's matrix units may round the factors of float32 products to 10 bits
    capture: bool = False  # replay calls as a CUDA graph


def benchmark_forecaster(run: ForecasterBenchmark) -> dict[str, Any]:
    """Rates of the first dtype, and of all under `dtypes`."""
    torch.set_num_threads(run.threads)
    torch.set_float32_matmul_precision("high" if run.tf32 else "highest")
    by_dtype = {dtype: _measure(model, run, DTYPES[dtype]) for dtype, model in _models(run).items()}
    slowest = by_dtype.get("float32")
    for result in by_dtype.values():
        if slowest is not None:
            result["speedup_over_float32"] = result["predictions_per_second"] / slowest["predictions_per_second"]
    first = next(iter(by_dtype))
    return {
        **by_dtype[first],
        "model": run.model,
        "weights": "of the file" if _is_file(run.model) else "random, of the published size",
        "batch_size": run.batch_size,
        "num_iterations": run.num_iterations,
        "context": run.context,
        "horizon": run.horizon,
        "num_samples": run.num_samples,
        "dtype": first,
        "dtypes": by_dtype,
        "threads": run.threads,
        "tf32": run.tf32,
        "cuda_graph": run.capture,
        "prediction": PREDICTION,
        **provenance(run.device),
    }


def _measure(model: nn.Module, run: ForecasterBenchmark, dtype: torch.dtype) -> dict[str, Any]:
    case = _case(run)
    multiply_adds = count_multiply_adds(model, case) / run.batch_size
    called = CapturedModel(model) if run.capture else model
    rates = [_matrix_rates(run.device, dtype)]
    if run.device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(run.device)
    with torch.inference_mode():
        for _ in range(WARMUP_CALLS):
            called(*case)
        timing = _time(lambda: called(*case), run.num_iterations, run.device)
    peak = peak_memory_bytes(run.device)
    rates.append(_matrix_rates(run.device, dtype))
    matrix_rate, own_rate = (max(rate) for rate in zip(*rates))
    busy = timing.cpu if run.device == "cpu" else timing.wall
    best = run.batch_size / min(busy)
    return {
        "predictions_per_second": run.batch_size * len(timing.wall) / sum(timing.wall),
        "predictions_per_cpu_second": run.batch_size * len(timing.cpu) / sum(timing.cpu),
        "predictions_per_cpu_second_best": run.batch_size / min(timing.cpu),
        "latency_ms_p50": 1e3 * statistics.median(timing.wall),
        "latency_ms_p95": 1e3 * _percentile(timing.wall, 0.95),
        "cpu_ms_p50": 1e3 * statistics.median(timing.cpu),
        "multiply_adds_per_prediction": multiply_adds,
        "float32_matrix_multiply_adds_per_second": matrix_rate,
        "share_of_float32_matrix_rate": best * multiply_adds / matrix_rate,
        "matrix_multiply_adds_per_second": own_rate,
        "share_of_matrix_rate": best * multiply_adds / own_rate,
        "peak_memory_bytes": peak,
    }


def _matrix_rates(device: str, dtype: torch.dtype) -> tuple[float, float]:
    """Of float32, as it is set (IEEE or TF32), and of the dtype."""
    rate = matrix_multiply_adds_per_second(device)
    return rate, rate if dtype == torch.float32 else matrix_multiply_adds_per_second(device, dtype)


def count_multiply_adds(model: nn.Module, case: Case) -> float:
    """Multiply-adds in the matrix products and attention of one call, as executed; all else is not counted.

    Attention counts in full where a kernel may skip the masked half.
    """
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    counter = FlopCounterMode(display=False, custom_mapping={attention: _attention_flops})
    with torch.inference_mode(), counter:
        model(*case)
    return counter.get_total_flops() / 2


def matrix_multiply_adds_per_second(device: str, dtype: torch.dtype = torch.float32) -> float:
    """The best rate of a large square product, all threads together, over CPU seconds (GPU: seconds)."""
    size = MATRIX_SIZE[torch.device(device).type]
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    with torch.inference_mode():
        torch.mm(a, b)
        timing = _time(lambda: torch.mm(a, b), MATRIX_REPEATS, device)
    return size**3 / min(timing.cpu if device == "cpu" else timing.wall)


@dataclass(frozen=True)
class _Timing:
    wall: list[float]  # seconds of each call
    cpu: list[float]  # of all threads


def _time(call: Callable[[], object], repeats: int, device: str) -> _Timing:
    sync = torch.cuda.synchronize if device.startswith("cuda") else _nothing
    wall, cpu = [], []
    sync()
    for _ in range(repeats):
        start, cpu_start = time.perf_counter(), time.process_time()
        call()
        sync()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - cpu_start)
    return _Timing(wall, cpu)


def _models(run: ForecasterBenchmark) -> dict[str, nn.Module]:
    """The models to measure, by dtype."""
    if _is_file(run.model):
        module, manifest = load_artifact(run.model, run.device)
        return {manifest["dtype"]: module}
    return {dtype: script_module(open_random(run.model).module.to(run.device, DTYPES[dtype])) for dtype in run.dtypes}


def _case(run: ForecasterBenchmark) -> Case:
    context, stamps, horizon, num_samples, seed = sample_cases(run.context, run.horizon, run.num_samples, run.device)[0]
    size = run.batch_size
    return context.repeat(size, 1, 1), stamps.repeat(size, 1), horizon, num_samples, seed


def _attention_flops(query: Any, key: Any, value: Any, *rest: Any, **more: Any) -> int:
    return sdpa_flop_count(query, key, value)


def _percentile(values: list[float], level: float) -> float:
    return float(torch.tensor(values, dtype=torch.float64).quantile(level))


def _is_file(model: str) -> bool:
    return Path(model).suffix in (".pt", ".pt2")


def _nothing() -> None:
    pass
