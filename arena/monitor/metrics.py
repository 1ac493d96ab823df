"""The numbers that a run on Ray exports to Prometheus: declared here once, recorded wherever they come about.

Ray's agent on each node serves them under `ray_` and the name below; a counter ends in `_total`, a histogram in
`_bucket`, `_sum` and `_count`. What never falls is a counter, whose speed is `rate()` of it. Tags are few: who
forfeits, which forecaster, where an answer came from; never a scenario or a unit of work, which the logs name. What
Ray and RLlib export already is not counted again: `ray_tasks` has the units that run and wait, `ray_rllib_*` what
runners sample.

Without Ray, or before it has started, recording does nothing and costs a fraction of a microsecond; with it, 3.
"""

import math
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

PREFIX = "ray_"  # of everything that Ray exports


@dataclass(frozen=True)
class Metric:
    """A number and what it means. Counters are added to, gauges set, histograms shown values."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    meaning: str
    tags: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()  # upper ends, of a histogram

    @property
    def series(self) -> tuple[str, ...]:
        """Its names in Prometheus."""
        ends = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
        return tuple(f"{PREFIX}{self.name}{end}" for end in ends[self.kind])

    def record(self, value: float, **tags: str) -> None:
        """Add, set or show a value; one that is not finite, or no addition, is left out."""
        if not is_recording() or not math.isfinite(value) or (self.kind == "counter" and value <= 0):
            return
        self._instrument(float(value), tags)

    @cached_property
    def _instrument(self) -> Any:
        from ray.util.metrics import Counter, Gauge, Histogram

        if self.kind == "counter":
            return Counter(self.name, self.meaning, self.tags).inc
        if self.kind == "gauge":
            return Gauge(self.name, self.meaning, self.tags).set
        return Histogram(self.name, self.meaning, list(self.buckets), self.tags).observe


def is_recording() -> bool:
    """Whether this process belongs to a Ray; never imports it."""
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized()


SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
FRACTIONS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

MARKET_STEPS = Metric("arena_market_steps", "counter", "steps", "steps of one market, in finished matches")
AGENT_STEPS = Metric(
    "arena_agent_steps", "counter", "steps", "steps of one seat, in finished matches; forfeits have none"
)
NAV_DISPERSION = Metric(
    "arena_nav_dispersion",
    "histogram",
    "fraction of initial NAV",
    "standard deviation over the seats of a match of their final NAV",
    buckets=FRACTIONS,
)
DISPLACEMENT = Metric(
    "arena_displacement",
    "histogram",
    "fraction of the reference price",
    "how far trading had moved prices in a sampled match: mean size over its assets and steps",
    buckets=FRACTIONS,
)

PREDICTIONS = Metric(
    "arena_forecast_predictions",
    "counter",
    "series",
    "series that models have forecast, in any process",
    ("forecaster",),
)
LATENCY = Metric(
    "arena_forecast_latency_seconds", "histogram", "s", "time of one call of a model", ("forecaster",), SECONDS
)
REQUEST = Metric(
    "arena_forecast_request_seconds",
    "histogram",
    "s",
    "time of one request to the forecast server, waiting included",
    ("forecaster",),
    SECONDS,
)
QUEUE = Metric("arena_forecast_queue_length", "gauge", "series", "series that wait in the forecast server")
ANSWERS = Metric(
    "arena_forecast_answers",
    "counter",
    "series",
    "series that the forecast server answered: from memory, or by asking the model",
    ("source",),
)
TABLES = Metric(
    "arena_forecast_tables",
    "counter",
    "tables",
    "tables that units of work took: shared by the server, from memory, from a folder, or made",
    ("source",),
)

UNITS_PLANNED = Metric("arena_units_planned", "gauge", "units", "units of work of the tournament")
UNITS_STORED = Metric("arena_units_stored", "gauge", "units", "units of work whose results are on disk")
MATCHES = Metric("arena_matches", "counter", "matches", "matches finished and stored")
FORFEITS = Metric("arena_forfeits", "counter", "matches", "matches that an entrant forfeited", ("agent",))

TRAINED_STEPS = Metric("arena_training_steps", "counter", "steps", "market steps that a training has learned from")
EPISODE_RETURN = Metric("arena_training_return", "gauge", "reward", "mean return of an agent's latest episodes")
GROWTH = Metric(
    "arena_training_growth", "gauge", "log growth a game", "growth above cash of the policy on validation scenarios"
)
LEAD = Metric(
    "arena_training_lead", "gauge", "log growth a game", "growth of the policy less that of the best opponent there"
)


def count_forecast(forecaster: str, num_series: int, seconds: float) -> None:
    """Of one call of a model; what `arena.forecast.call_stats.listen` may be given."""
    PREDICTIONS.record(num_series, forecaster=forecaster)
    LATENCY.record(seconds, forecaster=forecaster)
