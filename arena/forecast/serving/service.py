"""Serves forecasters to many callers: several versions at once, small calls merged, tables made once.

No Ray here: `arena.forecast.serving.server` puts it into an actor. Methods are coroutines of one event loop; models run
beside it, on threads of their own.

W windows   T bars   A assets   C context bars   H horizon
"""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from arena.data.types import CHANNELS
from arena.forecast.call_stats import Recorder
from arena.forecast.loading import load_forecaster
from arena.forecast.request import check_shapes, flat_stamps
from arena.forecast.serving.batching import Call, MicroBatcher
from arena.forecast.serving.cache import CachedForecaster
from arena.forecast.table import TableRequest, TableStore, build_table, content_hash
from arena.forecast.types import Forecast, Forecaster, ForecasterInfo

MAX_TABLES = 32  # kept at hand; the one not asked for the longest goes first

Shared = TypeVar("Shared")


class UnknownVersion(LookupError):
    """A fingerprint that is not loaded: the service has begun anew since, or never had it."""


class VersionInfo(NamedTuple):
    """What a caller must know of a loaded forecaster."""

    forecaster: ForecasterInfo
    spec: str  # loads the same again, see arena.forecast.loading, on
    device: str

    @property
    def fingerprint(self) -> str:
        """The version."""
        return self.forecaster.fingerprint


class Health(NamedTuple):
    """How the service is doing."""

    versions: tuple[VersionInfo, ...]
    uptime_seconds: float
    queue_length: int  # series that wait
    requests: int  # answered calls to predict
    predictions: int  # series in them
    model_calls: int  # merged calls that answered them
    hit_rate: float  # share of series answered from memory; NaN before the first
    latency_ms_p50: float  # of a request, waiting included
    latency_ms_p95: float
    tables_asked: int
    tables_built: int


class _Version(NamedTuple):
    info: VersionInfo
    forecaster: Forecaster
    cached: CachedForecaster | None  # None: draws paths


class ForecastService(Generic[Shared]):
    """Forecasters by fingerprint.

    A forecaster that draws paths is neither merged with other callers nor remembered: its numbers depend on the place
    of a series in its call. All others give the same numbers in any company, but for the last bits that depend on the
    size of a batch; of those, `Forecast.channels` is not served.
    """

    def __init__(
        self,
        device: str = "cpu",
        *,
        max_batch: int = 256,
        max_delay_ms: float = 2.0,
        cache_mb: float = 64.0,
        table_folder: str | None = None,
        share: Callable[[Tensor], Shared],
    ) -> None:
        """
        max_batch     series that are merged into one call of a model
        max_delay_ms  that a call waits for company
        cache_mb      of memory per forecaster for answers given before
        table_folder  where tables are kept between runs (`TableStore`); None: nowhere
        share         turns a finished table into what `table` gives
        """
        self._device, self._cache_bytes = device, int(cache_mb * 1e6)
        self._start = time.monotonic()
        self._versions: dict[str, _Version] = {}
        self._batcher = MicroBatcher(max_batch, max_delay_ms / 1e3)
        self._recorder = Recorder()
        self._build = build_table if table_folder is None else TableStore(Path(table_folder)).get
        self._share = share
        self._tables: dict[str, asyncio.Task[Shared]] = {}  # by content
        self._tables_asked = self._tables_built = 0

    def load(self, spec: str) -> VersionInfo:
        """Load a forecaster; nothing changes if the service has it. May run on any thread."""
        forecaster = load_forecaster(spec, self._device)
        info = VersionInfo(forecaster.info, spec, self._device)
        if info.fingerprint not in self._versions:
            cached = None if _draws_paths(forecaster) else CachedForecaster(forecaster, self._cache_bytes)
            self._versions[info.fingerprint] = _Version(info, forecaster, cached)
        return info

    def info(self, version: str) -> VersionInfo:
        """Of a loaded forecaster."""
        return self._version(version).info

    async def predict(self, version: str, context: Tensor, stamps: Tensor | None, horizon: int) -> Forecast:
        """See `Forecaster.predict`."""
        chosen, leading = self._version(version), context.shape[:-2]
        # Here, because a call that cannot be answered must not be merged with others.
        check_shapes(chosen.forecaster.info, context, stamps, horizon)
        times = None if stamps is None else flat_stamps(context, stamps, horizon)
        call = Call(context.reshape(-1, *context.shape[-2:]), times, horizon)
        with self._recorder.record(len(call.context)):
            if chosen.cached is None:
                answer = await self._batcher.submit(partial(_ask, chosen.forecaster), None, call)
            else:
                kind = (version, context.dtype, context.shape[-2], horizon, stamps is None)
                answer = await self._batcher.submit(partial(_ask, chosen.cached), kind, call)
        return Forecast(
            answer.quantiles.reshape(*leading, *answer.quantiles.shape[1:]),
            *(None if field is None else field.reshape(*leading, *field.shape[1:]) for field in answer[1:]),
        )

    async def table(self, version: str, request: TableRequest) -> Shared:
        """What `share` made of the table of these bars: once, however many ask for it at the same time or later."""
        chosen = self._version(version)
        self._tables_asked += 1
        settings = f"{version} {request.first} {request.context_length} {request.horizon}"
        key = content_hash(settings, request.bars, request.stamps)
        if key not in self._tables:
            make = partial(self._make_table, chosen.forecaster, request)
            self._tables[key] = asyncio.create_task(asyncio.to_thread(make))
            self._tables_built += 1
        task = self._tables.pop(key)
        self._tables[key] = task  # the latest asked for stands last
        while len(self._tables) > MAX_TABLES:
            del self._tables[next(iter(self._tables))]
        try:
            return await asyncio.shield(task)  # a caller that gives up must not take it from the others
        except Exception:
            self._tables.pop(key, None)
            raise

    def _make_table(self, forecaster: Forecaster, request: TableRequest) -> Shared:
        return self._share(self._build(forecaster, request))

    @property
    def queue_length(self) -> int:
        """Series that wait."""
        return self._batcher.queue_length

    def cache_counts(self) -> tuple[int, int]:
        """Series answered from memory, and by asking a model, since the start; without models that draw paths."""
        caches = [version.cached.cache_stats() for version in self._versions.values() if version.cached]
        return sum(cache.hits + cache.waits for cache in caches), sum(cache.misses for cache in caches)

    def health(self) -> Health:
        """Now, and since the start."""
        done = self._recorder.stats()
        hits, misses = self.cache_counts()
        return Health(
            versions=tuple(version.info for version in self._versions.values()),
            uptime_seconds=time.monotonic() - self._start,
            queue_length=self.queue_length,
            requests=done.calls,
            predictions=done.predictions,
            model_calls=self._batcher.num_model_calls,
            hit_rate=hits / (hits + misses) if hits + misses else float("nan"),
            latency_ms_p50=done.latency_ms_p50,
            latency_ms_p95=done.latency_ms_p95,
            tables_asked=self._tables_asked,
            tables_built=self._tables_built,
        )

    def _version(self, fingerprint: str) -> _Version:
        if fingerprint not in self._versions:
            raise UnknownVersion(f"no forecaster of version {fingerprint} is loaded; load it by its spec")
        return self._versions[fingerprint]


def _ask(forecaster: Forecaster, call: Call) -> Forecast:
    return forecaster.predict(call.context, call.stamps, call.horizon)


def _draws_paths(forecaster: Forecaster) -> bool:
    """Found out on a price that never moved."""
    still = torch.ones(1, forecaster.info.min_context, len(CHANNELS))
    return forecaster.predict(still, None, 1).samples is not None
