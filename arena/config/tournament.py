"""What a tournament may be told: sections of validated fields with their units. Loading is in `arena.config.files`.

Nothing heavy is imported here, so that a mistake in a config is reported at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from arena.config.fields import Address, Count, IsolationLevel, Name, Number, Section, cross_field_error
from arena.config.schedule import ScheduleConfig
from arena.units import BPS, DAYS_PER_YEAR

if TYPE_CHECKING:
    from arena.market.types import MarketParams


class DataConfig(Section):
    """Where the reference prices come from."""

    source: Literal["synthetic", "bars"] = Field("synthetic", description="generated daily bars, or files of yours")
    mode: Literal["signal", "fair"] = Field(
        "signal", description="synthetic: with a predictable part, so that skill exists, or an exact martingale"
    )
    num_assets: Count = Field(8, ge=1, description="synthetic: assets per market")
    seeds: Literal["ranking", "validation"] = Field(
        "ranking", description="synthetic: those that agents are ranked on, or those kept to choose settings with"
    )
    scenarios: Count = Field(1024, ge=1, description="markets to play; of bars at most, as many windows as fit")
    episode_length: Count = Field(120, ge=1, description="steps of a match [bars]")
    warmup: Count = Field(64, ge=21, description="history before the first decision [bars]")
    drift_per_year: Number = Field(0.06, ge=-1, le=1, description="synthetic: expected return [1/year]")
    signal_ic: Number = Field(0.08, ge=0, lt=1, description="synthetic: correlation of signal and next return [-]")
    signal_half_life: Number = Field(20.0, gt=0, description="synthetic: of the signal [trading days]")
    dir: Path | None = Field(None, description="bars: a folder with one CSV or Parquet file per symbol, or one file")
    part: Literal["whole", "validation", "test"] = Field(
        "whole", description="bars: the whole history, or the part kept from training to choose settings, or to rank"
    )
    fill: Literal["error", "halt", "intersect", "drop_symbols"] = Field(
        "error", description="bars: what to do about bad and missing ones; see arena.data.bars.readers.load_bars"
    )
    symbols: tuple[str, ...] | None = Field(None, description="bars: the ones to trade; all if left out")
    gap: Count = Field(20, ge=0, description="bars: left out between two windows [bars]")


class MarketConfig(Section):
    """The rules. A field left out keeps the value of the preset."""

    preset: str = Field("sqrt", description="sqrt, linear_ow, athl or frictionless")
    fee_bps: Number | None = Field(None, ge=0, description="commission [bps of notional]")
    half_spread_bps: Number = Field(1.5, ge=0, description="half of bid-ask [bps of price]")
    borrow_rate_per_year: Number = Field(0.01, ge=0, description="fee on short notional [1/year]")
    cash_rate_per_year: Number = Field(0.0, ge=-0.1, le=1, description="credit interest [1/year]")
    margin_spread_per_year: Number | None = Field(None, ge=0, description="debit above credit interest [1/year]")
    participation_cap: Number | None = Field(None, gt=0, description="share of the bar's volume that agents may take")
    max_gross_leverage: Number | None = Field(None, gt=0, description="sum of absolute weights")
    max_asset_weight: Number | None = Field(None, gt=0, description="absolute weight in one asset")
    margin: bool = Field(True, description="margin calls")
    ruin: bool = Field(True, description="a seat without wealth is out")
    initial_wealth: Number = Field(0.02, gt=0, description="nav_0 / (assets * typical average daily notional)")
    wind_down: Count = Field(3, ge=0, description="last bars in which positions can only shrink [bars]")

    def departures(self, dt: float) -> dict[str, Any]:
        """Fields of MarketParams that differ from the preset, in its units (fractions, per step of `dt` days)."""
        per_step = dt / DAYS_PER_YEAR
        chosen = {
            "fee_rate": None if self.fee_bps is None else self.fee_bps * BPS,
            "margin_spread": None if self.margin_spread_per_year is None else self.margin_spread_per_year * per_step,
            "cash_rate": self.cash_rate_per_year * per_step,
            "participation_cap": self.participation_cap,
            "max_gross_leverage": self.max_gross_leverage,
            "max_asset_weight": self.max_asset_weight,
            "margin": self.margin,
            "ruin": self.ruin,
        }
        return {name: value for name, value in chosen.items() if value is not None}

    def apply(self, rules: "MarketParams", dt: float) -> "MarketParams":
        """The preset's rules for bars of `dt` trading days with this section's departures."""
        from dataclasses import replace

        return replace(rules, **self.departures(dt))


class AgentConfig(Section):
    """An entrant."""

    agent: str = Field(description='a built-in name, "package.module:Class" or "path/to/file.py:Class"')
    name: Name | None = Field(None, description="in the tables; the agent's own name if left out")
    params: dict[str, bool | int | float | str] = Field({}, description="keyword arguments of the agent")
    copies: Count = Field(1, ge=1, description="entrants made of it, each with its own random numbers")
    isolate: IsolationLevel | None = Field(
        None, description="as tournament.isolate; which decides, for code that is not the package's, if left out"
    )

    @property
    def names(self) -> tuple[str, ...]:
        """Entrant names, one per copy."""
        name = self.name or self.agent.rpartition(":")[2]
        return (name,) if self.copies == 1 else tuple(f"{name}-{copy}" for copy in range(1, self.copies + 1))


class ForecastConfig(Section):
    """How the forecasts of entrants that follow a forecaster are made."""

    mode: Literal["table", "live"] = Field(
        "table", description="of the reference bars, before a match, or of the displayed bars, in every step"
    )
    context_length: Count = Field(64, ge=2, description="history a forecaster looks at [bars]")
    tables: Path | None = Field(None, description="a folder that keeps tables of forecasts from run to run")


class RayConfig(Section):
    """Where the work is done; never changes a result."""

    workers: Count | None = Field(
        None,
        ge=0,
        description="units at a time: processes of a local Ray, one per core if left out, 0 = none but this one; on a "
        "cluster at most so many, as many as it has room for if left out",
    )
    address: Address = Field(
        "local", description="local, or a cluster: auto (of this job or machine), host:port or ray://host:port"
    )
    dashboard: bool = Field(False, description="local: start Ray's dashboard")
    cpus_per_task: Number = Field(1.0, gt=0, description="cluster: processors that Ray sets aside for a unit")
    memory_mb_per_task: Count = Field(0, ge=0, description="cluster: memory that Ray sets aside for a unit [MB]")
    wait_seconds: Number = Field(300.0, ge=0, description="cluster: for a node with room for a unit, if none has [s]")
    ship_arena: bool = Field(False, description="cluster: send this package to the nodes, for those that lack it")

    @model_validator(mode="after")
    def _ray_takes_it(self) -> Self:
        if self.cpus_per_task > 1 and self.cpus_per_task % 1:
            raise cross_field_error(
                "ray.cpus_per_task", "above one, Ray sets aside whole processors only", self.cpus_per_task
            )
        return self


PRICE_RULES = (
    "cash",
    "buy_and_hold",
    "equal_weight",
    "minimum_variance",
    "momentum",
    "cross_momentum",
    "mean_reversion",
    "rsi",
    "macd",
    "fader",
    "random",
)
# One rule on each forecaster, so that what a forecast is worth can be read off; on persistence it holds cash.
FORECASTERS = ("persistence", "embedded", "ensemble")
SCRIPTED_FIELD = (
    *(AgentConfig(agent=name) for name in PRICE_RULES),
    *(AgentConfig(agent="mean_variance", name=spec, params={"forecaster": spec}) for spec in FORECASTERS),
    AgentConfig(agent="rank", name="embedded_rank"),
)
DEFAULT_FIELD = (*SCRIPTED_FIELD, AgentConfig(agent="trained"))


class TournamentConfig(Section):
    """A whole tournament; its results depend on all of this but `name`, `out`, `mirror` and `ray`."""

    name: Name = Field("default", description="of the run folder")
    seed: Count = Field(0, ge=0, lt=2**31, description="of everything random")
    out: Path = Field(Path("runs"), description="parent of the run folders")
    mirror: str | None = Field(
        None, description="parent of a copy of the run that grows with it: s3://bucket/prefix, gs://..., or a folder"
    )
    data: DataConfig = DataConfig()
    market: MarketConfig = MarketConfig()
    agents: tuple[AgentConfig, ...] = Field(DEFAULT_FIELD, min_length=1)
    forecast: ForecastConfig = ForecastConfig()
    tournament: ScheduleConfig = ScheduleConfig()
    ray: RayConfig = RayConfig()

    @property
    def field(self) -> tuple[str, ...]:
        """Names of all entrants."""
        return tuple(name for agent in self.agents for name in agent.names)

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        data, market, schedule = self.data, self.market, self.tournament
        if data.source == "synthetic" and data.mode == "fair" and market.cash_rate_per_year != data.drift_per_year:
            raise cross_field_error(
                "data.drift_per_year",
                "in fair mode it must equal market.cash_rate_per_year, or holding is paid and the market is not fair",
                data.drift_per_year,
            )
        if market.wind_down > data.episode_length:
            raise cross_field_error(
                "market.wind_down", f"longer than the episode of {data.episode_length} bars", market.wind_down
            )
        repeated = sorted({name for name in self.field if self.field.count(name) > 1})
        if repeated:
            raise cross_field_error("agents", "entrants share a name; give each its own `name`", repeated[0])
        if schedule.seats is not None and schedule.seats > len(self.field):
            raise cross_field_error(
                "tournament.seats", f"larger than the field of {len(self.field)} agents", schedule.seats
            )
        if schedule.newcomer is not None and schedule.newcomer not in self.field:
            raise cross_field_error(
                "tournament.newcomer", f"no entrant has this name; there are {', '.join(self.field)}", schedule.newcomer
            )
        if data.source == "bars" and schedule.format == "swiss":
            raise cross_field_error(
                "tournament.format",
                "its final needs scenarios that no round has used, and windows of bars are few",
                schedule.format,
            )
        if data.source == "bars" and schedule.stop.when != "never":
            raise cross_field_error(
                "tournament.stop.when", "windows of bars are too few to stop early; leave it out", schedule.stop.when
            )
        return self
