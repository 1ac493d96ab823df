"""What the forecasters that entrants name say about the scenarios of a unit."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from torch import Tensor

from arena.data.types import Scenarios
from arena.forecast.loading import load_forecaster
from arena.forecast.serving.live import NS_PER_US, LiveFeatures
from arena.forecast.table import Progress, TableRequest, TableStore, build_tables, content_hash
from arena.forecast.types import Forecaster
from arena.monitor import metrics

ForecastMode = Literal["table", "live"]

# Tables kept at hand: lineups that meet on the same scenarios share theirs, and units come batch by batch.
MAX_TABLES = 8


@dataclass(frozen=True)
class ForecastRules:
    """How the forecast slot of an entrant that names a forecaster is filled.

    mode            table: forecasts of the reference bars, made before the match; live: of the displayed bars
    context_length  bars that a forecaster looks at
    folder          keeps tables from run to run; None: they are made anew
    """

    mode: ForecastMode = "table"
    context_length: int = 64
    folder: Path | None = None


class UnitForecasts:
    """Forecasts over the scenarios of one unit, by spec of the forecaster; each is made when first asked for."""

    def __init__(
        self, rules: ForecastRules, scenarios: Scenarios, tables: Mapping[str, Tensor] = MappingProxyType({})
    ) -> None:
        """tables  [W, T, A, 4] by spec, of these scenarios, that were made before"""
        self._rules, self._scenarios = rules, scenarios
        self._tables = dict(tables)
        metrics.TABLES.record(len(tables), source="server")
        self._live: dict[str, tuple[int, Tensor]] = {}

    @property
    def history_length(self) -> int:
        """Displayed bars that the market must keep for it."""
        return self._rules.context_length if self._rules.mode == "live" else 0

    def prepare(self, specs: Sequence[str]) -> None:
        """Make the tables of several forecasters at once: an ensemble and its members then share their work.

        If one breaks, each is made by itself when it is asked for, so that the error meets its followers only.
        """
        missing = [spec for spec in specs if spec not in self._tables]
        if self._rules.mode == "table" and missing:
            with suppress(Exception):
                self._tables |= zip(missing, _tables(self._rules, missing, self._scenarios))

    def at(self, spec: str, bar: int, history: Tensor | None) -> Tensor:
        """[B, A, 4] made at the close of `bar`, as observation.observe takes it.

        history  displayed bars [B, A, C, 6] up to `bar`; read in live mode only
        """
        if self._rules.mode == "table":
            if spec not in self._tables:
                (self._tables[spec],) = _tables(self._rules, [spec], self._scenarios)
            return self._tables[spec][:, bar]
        if self._live.get(spec, (-1,))[0] != bar:
            self._live[spec] = bar, self._ask(spec, bar, history)
        return self._live[spec][1]

    def _ask(self, spec: str, bar: int, history: Tensor | None) -> Tensor:
        assert history is not None
        length, timestamps = self._rules.context_length, self._scenarios.timestamps
        times = None if timestamps is None else timestamps[:, bar - length + 1 : bar + 1]
        return LiveFeatures(loaded(spec), length)(history[..., -length:, :], times)


_loaded: dict[str, Forecaster] = {}


def loaded(spec: str, load: Callable[[str], Forecaster] | None = None) -> Forecaster:
    """The forecaster, loaded once per process.

    load  how, the first time; None: load_forecaster
    """
    if spec not in _loaded:
        _loaded[spec] = (load or load_forecaster)(spec)
    return _loaded[spec]


def check_unchanged(fingerprints: Mapping[str, str]) -> None:
    """ValueError unless the forecasters that this process loads are those that the tournament began with."""
    for spec, fingerprint in fingerprints.items():
        if loaded(spec).info.fingerprint != fingerprint:
            raise ValueError(f"forecaster {spec!r} is not the one that the tournament began with; its file has changed")


def store_tables(
    rules: ForecastRules, forecaster: Forecaster, scenarios: Scenarios, progress: Progress | None = None
) -> Tensor:
    """The tables of these scenarios [W, T, A, 4] from `rules.folder`, made and put there where it lacks them."""
    assert rules.folder is not None
    return TableStore(rules.folder).get(forecaster, table_request(rules, scenarios), progress)


def table_request(rules: ForecastRules, scenarios: Scenarios) -> TableRequest:
    """What arena.forecast.table is asked for, from the close before the first decision on."""
    stamps = None if scenarios.timestamps is None else scenarios.timestamps * NS_PER_US
    return TableRequest(scenarios.bars, scenarios.warmup - 1, rules.context_length, stamps)


_recent: dict[str, Tensor] = {}  # tables by content, oldest first


def _tables(rules: ForecastRules, specs: Sequence[str], scenarios: Scenarios) -> list[Tensor]:
    """[W, T, A, 4] of the reference bars by each forecaster, from the close before the first decision on."""
    forecasters = [loaded(spec) for spec in specs]
    if rules.folder is not None:
        metrics.TABLES.record(len(specs), source="folder")
        return [store_tables(rules, forecaster, scenarios) for forecaster in forecasters]
    asked = table_request(rules, scenarios)
    content = content_hash(f"{asked.first} {asked.context_length}", asked.bars, asked.stamps)
    by_key = {content + forecaster.info.fingerprint: forecaster for forecaster in forecasters}
    found = {key: _recent[key] for key in by_key if key in _recent}
    missing = [key for key in by_key if key not in found]
    metrics.TABLES.record(len(found), source="memory")
    metrics.TABLES.record(len(missing), source="made")
    if missing:
        found |= zip(missing, build_tables([by_key[key] for key in missing], asked))
    for key in missing:
        while len(_recent) >= MAX_TABLES:
            del _recent[next(iter(_recent))]
        _recent[key] = found[key]
    return [found[content + forecaster.info.fingerprint] for forecaster in forecasters]
