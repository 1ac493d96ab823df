"""Bytes that a market takes: what it keeps, by part, and what a step needs at its peak."""

import multiprocessing
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from arena.bench.machine import peak_memory_bytes, provenance
from arena.data.synthetic.market import generate
from arena.data.synthetic.params import SyntheticParams
from arena.market.presets import preset
from arena.market.storage import keep_freed_memory
from arena.market.vector import VectorMarket

WINDOWS, WARMUP, STEPS = 64, 64, 120  # windows of bars that all markets share
FEW = 256  # markets, to see what each keeps
KEPT_BYTES = 128 * 1024**2  # by all markets, and then by twice as many: the peak is a slope between the two
NUM_STEPS = 3
PARTS = {"state": ("state",), "displayed_history": ("_history",), "windows": ("_tape",)}


@dataclass(frozen=True)
class Size:
    """Of a market."""

    num_agents: int
    num_assets: int
    history_length: int = 0  # full displayed bars in an observation; 0: closes alone, for its returns


SIZES = (Size(10, 1), Size(10, 4), Size(10, 4, 64), Size(16, 8), Size(16, 8, 64), Size(4, 100), Size(4, 100, 64))


def benchmark_memory(sizes: tuple[Size, ...] = SIZES) -> dict[str, Any]:
    """Every size in float32 and eager, as in training on a CPU."""
    return {
        "markets": [measure(size) for size in sizes],
        "dtype": "float32",
        "windows": {"count": WINDOWS, "bars": WARMUP + STEPS},
        "measure": "bytes kept are those of the tensors that the market holds; peak_bytes: growth of the process's "
        f"largest resident memory in {NUM_STEPS} steps, between as many markets as keep {KEPT_BYTES} bytes and twice "
        "as many",
        **provenance("cpu"),
    }


def measure(size: Size) -> dict[str, Any]:
    """Bytes a market, by part and at the peak; and bytes a window, which markets share."""
    parts = kept(size)
    per_market = parts["state_bytes"] + parts["displayed_history_bytes"] + parts["observation_bytes"]
    counts = (KEPT_BYTES // per_market, 2 * KEPT_BYTES // per_market)
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        peaks = pool.starmap(peak_of, [(size, count) for count in counts], chunksize=1)
    return {**asdict(size), **parts, "peak_bytes": (peaks[1] - peaks[0]) // (counts[1] - counts[0])}


def kept(size: Size) -> dict[str, int]:
    """What there is of a market between two steps, by part."""
    market = make_market(size, FEW)
    parts = {part: sum(_bytes(getattr(market, name)) for name in names) for part, names in PARTS.items()}
    obs = market.observe().flat
    return {
        "obs_dim": obs.shape[-1],
        "state_bytes": parts["state"] // FEW,
        "displayed_history_bytes": parts["displayed_history"] // FEW,
        "observation_bytes": obs.nbytes // FEW,
        "window_bytes": parts["windows"] // WINDOWS,
    }


def make_market(size: Size, num_markets: int) -> VectorMarket:
    """Markets over synthetic bars."""
    params = SyntheticParams(num_assets=size.num_assets, num_bars=WARMUP + STEPS)
    return VectorMarket(
        preset("sqrt"),
        generate(params, range(WINDOWS), warmup=WARMUP),
        size.num_agents,
        num_markets=num_markets,
        history_length=size.history_length,
        generator=torch.Generator().manual_seed(0),
        dtype=torch.float32,
    )


def peak_of(size: Size, num_markets: int) -> int:
    """Largest resident memory of this process, which should be a fresh one, after a few steps."""
    torch.set_num_threads(1)
    keep_freed_memory()
    market = make_market(size, num_markets)
    shape = (num_markets, size.num_agents, size.num_assets)
    for _ in range(NUM_STEPS):
        market.step(torch.randn(shape, generator=torch.Generator().manual_seed(1)) / size.num_assets)
    return peak_memory_bytes("cpu")


def _bytes(value: Any) -> int:
    """Of all tensors in a value, each storage once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in _tensors(value)}
    return sum(storages.values())


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)
    elif hasattr(value, "__dict__"):
        for item in vars(value).values():
            yield from _tensors(item)
