"""Counts and times the calls of a forecaster."""

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from arena.forecast.types import ForecasterStats

WINDOW = 1024  # latencies of so many latest calls are kept

_listeners: set[Callable[[str, int, float], None]] = set()


def listen(hear: Callable[[str, int, float], None]) -> None:
    """From now on `hear` is told of every call of a model in this process: its name, series, seconds.

    What a cache answers from memory is no call, and an ensemble's calls are those of its members.
    """
    _listeners.add(hear)


class Recorder:
    """Behind `Forecaster.stats`; threads may share it."""

    def __init__(self, model: str | None = None) -> None:
        """model  whose calls they are, for those who `listen`; None: of what asks models in turn"""
        self._model = model
        self._lock = threading.Lock()
        self._latencies: deque[float] = deque(maxlen=WINDOW)  # seconds
        self._predictions = 0
        self._calls = 0
        self._seconds = 0.0

    @contextmanager
    def record(self, num_series: int) -> Iterator[None]:
        """Around one call; a call that raises does not count."""
        start = time.perf_counter()
        yield
        elapsed = time.perf_counter() - start
        with self._lock:
            self._latencies.append(elapsed)
            self._predictions += num_series
            self._calls += 1
            self._seconds += elapsed
        if self._model is not None:
            for hear in _listeners:
                hear(self._model, num_series, elapsed)

    def stats(self) -> ForecasterStats:
        """Totals since the start, latencies of the last `WINDOW` calls."""
        with self._lock:
            latencies, seconds = list(self._latencies), self._seconds
            predictions, calls = self._predictions, self._calls
        if calls == 0:
            return ForecasterStats(0, 0, float("nan"), float("nan"), 0.0)
        # One call is its own distribution.
        cuts = statistics.quantiles(latencies * 2 if calls == 1 else latencies, n=20, method="inclusive")
        return ForecasterStats(predictions, calls, cuts[9] * 1e3, cuts[18] * 1e3, predictions / max(seconds, 1e-9))
