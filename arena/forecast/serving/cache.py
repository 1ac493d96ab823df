"""Remembers forecasts by their content, so that a series that was forecast once is not forecast again.

The key of a series is all that its numbers depend on: the bytes of its context, its stamps, the horizon. It is never a
ticker or a place in a file, so other seats, lineups and overlapping windows share what is there. A batch is answered
partly from memory, and only the rest goes to the forecaster, in one call. As kernels may differ in the last bits with
the size of a batch, an answer from memory may differ from a fresh one by as much; sampled paths are those once drawn.

N series of one call, n of them to be computed   C context bars   H horizon   Q levels   S sampled paths
"""

import math
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from arena.forecast.call_stats import Recorder
from arena.forecast.request import check_shapes, flat_stamps
from arena.forecast.serving.lru import ByteLRU
from arena.forecast.types import QUANTILE_LEVELS, Forecast, Forecaster, ForecasterStats

# SipHash and sum of the context's bits, SipHash of the stamps, (horizon, bars, dtype). The first, keyed by process, is
# random: some two of a million series share it with probability 3e-8, and then the sum tells them apart, but for the
# same values in another order. A cryptographic hash of 512 bars would double the time of an answer.
Key = tuple[int, int, int, tuple[int, int, torch.dtype]]
Records = dict[Key, bytes]


class CacheStats(NamedTuple):
    """What a cache has done since it was made; counts of series, not of calls."""

    hits: int  # answered from memory
    waits: int  # answered by a computation that was under way
    misses: int  # computed for the caller
    prefetched: int  # handed to the background thread
    evictions: int
    entries: int
    bytes_used: int
    max_bytes: int

    @property
    def hit_rate(self) -> float:
        """Share of the series asked for that was not computed for the caller; NaN before the first."""
        asked = self.hits + self.waits + self.misses
        return (self.hits + self.waits) / asked if asked else math.nan


class _Request(NamedTuple):
    """Series that somebody asks for."""

    context: Tensor  # [..., C, 6], N series
    stamps: Tensor | None  # [..., C + H], or what broadcasts to it
    horizon: int
    keys: list[Key]  # N


class _Claims(NamedTuple):
    """Rows of a request that are not in memory."""

    own: list[int]  # the claimant's to compute
    done: Future[Records]  # by which he says so
    awaited: dict[Future[Records], list[int]]  # being computed


class CachedForecaster:
    """A Forecaster that answers from memory what it was asked before, and forgets the least recently used first.

    Threads may share it; two that ask for a series at the same time compute it once. It keeps quantiles and samples of
    the close; `Forecast.channels` is None, because six channels would take six times the memory.
    """

    def __init__(self, forecaster: Forecaster, max_bytes: int) -> None:
        """max_bytes  of memory, the overhead of entries included"""
        self._forecaster, self.info = forecaster, forecaster.info
        self._recorder = Recorder()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="prefetch")  # its thread starts with the first job
        self._streams: dict[torch.device, torch.cuda.Stream] = {}
        self._lock = threading.Lock()  # of all below
        self._memory = ByteLRU(max_bytes)
        self._pending: dict[Key, Future[Records]] = {}
        self._dtypes: dict[torch.dtype, torch.dtype] = {}  # of a context -> of its forecast
        self._hits = self._waits = self._misses = self._prefetched = 0

    def stats(self) -> ForecasterStats:
        """Of all that was asked, from memory or not."""
        return self._recorder.stats()

    def cache_stats(self) -> CacheStats:
        """Since it was made."""
        with self._lock:
            memory = self._memory
            counts = (self._hits, self._waits, self._misses, self._prefetched)
            return CacheStats(*counts, memory.evictions, len(memory), memory.bytes_used, memory.max_bytes)

    def predict(self, context: Tensor, stamps: Tensor | None, horizon: int) -> Forecast:
        """See `Forecaster.predict`; on the device of the context."""
        check_shapes(self.info, context, stamps, horizon)
        with self._recorder.record(context.shape[:-2].numel()):
            request = _request(context, stamps, horizon)
            answers: list[bytes | None] = [None] * len(request.keys)
            while missing := [row for row, answer in enumerate(answers) if answer is None]:
                claims = self._claim(request.keys, missing, answers)
                if claims.own:
                    computed = self._compute(_rows(request, claims.own), claims.done)
                    for row in claims.own:
                        answers[row] = computed[request.keys[row]]
                waits = 0
                for future, rows in claims.awaited.items():
                    if future.exception() is None:  # else the next round claims what another thread could not compute
                        computed = future.result()
                        waits += len(rows)
                        for row in rows:
                            answers[row] = computed[request.keys[row]]
                with self._lock:
                    self._hits += len(missing) - len(claims.own) - sum(map(len, claims.awaited.values()))
                    self._misses += len(claims.own)
                    self._waits += waits
            return self._unpack(bytearray().join(filter(None, answers)), context, horizon)

    def prefetch(self, context: Tensor, stamps: Tensor | None, horizon: int) -> None:
        """Start to compute what is not in memory on a background thread, on CUDA in a stream of its own.

        Returns at once. A `predict` of the same series waits for the result; an error shows there.
        """
        check_shapes(self.info, context, stamps, horizon)
        request = _request(context, stamps, horizon)
        claims = self._claim(request.keys, range(len(request.keys)), [None] * len(request.keys))
        with self._lock:
            self._prefetched += len(claims.own)
        if claims.own:
            stream = self._side_stream(context.device)
            self._worker.submit(self._compute_ahead, _rows(request, claims.own), claims.done, stream)

    def _claim(self, keys: list[Key], rows: Iterable[int], answers: list[bytes | None]) -> _Claims:
        """Fill in the answers of those rows that are in memory; say who computes the others."""
        claims = _Claims([], Future(), {})
        with self._lock:
            for row in rows:
                key = keys[row]
                answers[row] = record = self._memory.get(key)
                if record is None:
                    if key in self._pending:  # a series that the request holds twice waits for itself
                        claims.awaited.setdefault(self._pending[key], []).append(row)
                    else:
                        self._pending[key] = claims.done
                        claims.own.append(row)
        return claims

    def _compute(self, claimed: _Request, done: Future[Records]) -> Records:
        """Ask the forecaster, remember the answers and hand them to those who wait."""
        try:
            forecast = self._forecaster.predict(claimed.context, claimed.stamps, claimed.horizon)
            records = dict(zip(claimed.keys, _pack(forecast)))
        except BaseException as error:
            with self._lock:
                for key in claimed.keys:
                    del self._pending[key]
            done.set_exception(error)
            raise
        with self._lock:
            self._dtypes[claimed.context.dtype] = forecast.quantiles.dtype
            for key, record in records.items():
                self._memory.put(key, record)
                del self._pending[key]
        done.set_result(records)
        return records

    def _compute_ahead(self, claimed: _Request, done: Future[Records], stream: torch.cuda.Stream | None) -> None:
        # Packing waits for the stream, so the tensors live until it has read them.
        with torch.cuda.stream(stream) if stream is not None else nullcontext():
            self._compute(claimed, done)

    def _side_stream(self, device: torch.device) -> torch.cuda.Stream | None:
        """The stream of prefetches, which begins after what the caller's has to do for the context."""
        if not torch.cuda.is_initialized():
            return None
        if device.type != "cuda":  # of the context; the model may lie on the current GPU
            device = torch.device("cuda", torch.cuda.current_device())
        if device not in self._streams:
            self._streams[device] = torch.cuda.Stream(device)
        self._streams[device].wait_stream(torch.cuda.current_stream(device))
        return self._streams[device]

    def _unpack(self, records: bytearray, context: Tensor, horizon: int) -> Forecast:
        values = torch.frombuffer(records, dtype=self._dtypes[context.dtype])
        values = values.to(context.device).reshape(*context.shape[:-2], horizon, -1)
        levels = len(QUANTILE_LEVELS)
        samples = values[..., levels:].contiguous() if values.size(-1) > levels else None
        return Forecast(values[..., :levels].contiguous(), samples)


def _request(context: Tensor, stamps: Tensor | None, horizon: int) -> _Request:
    call = (horizon, context.size(-2), context.dtype)
    values = context.detach().reshape(-1, *context.shape[-2:]).cpu()
    if values.element_size() < 4:  # NumPy has no bfloat16, and the sum takes eight bytes at a time
        values = values.float()
    rows = values.numpy()
    sums = rows.view(np.int64).sum((1, 2)).tolist()
    times = _stamp_hashes(context, stamps)
    keys = [(hash(row.tobytes()), total, time, call) for row, total, time in zip(rows, sums, times)]
    return _Request(context, stamps, horizon, keys)


def _stamp_hashes(context: Tensor, stamps: Tensor | None) -> list[int]:
    """N; series that share their stamps share the work."""
    leading = context.shape[:-2]
    if stamps is None:
        return [0] * leading.numel()
    own = [hash(row.tobytes()) for row in stamps.cpu().reshape(-1, stamps.size(-1)).numpy()]
    shared: list[int] = torch.tensor(own).reshape(stamps.shape[:-1]).broadcast_to(leading).flatten().tolist()
    return shared


def _rows(request: _Request, rows: list[int]) -> _Request:
    """Some of the series, copied, so that the caller may write the next bar over the first."""
    context, stamps, horizon, keys = request
    return _Request(
        context.reshape(-1, *context.shape[-2:])[rows],
        None if stamps is None else flat_stamps(context, stamps, horizon)[rows],
        horizon,
        [keys[row] for row in rows],
    )


def _pack(forecast: Forecast) -> list[bytes]:
    """The bytes of every series: [H, Q + S]."""
    fields = [forecast.quantiles] if forecast.samples is None else [forecast.quantiles, forecast.samples]
    values = torch.cat(fields, dim=-1).detach().cpu().contiguous().flatten(1).view(torch.uint8)
    return [row.tobytes() for row in values.numpy()]
