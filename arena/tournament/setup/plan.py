"""From a config to the work: entrants that can be made, scenarios, lineups, units. Plays nothing."""

import hashlib
import warnings
from collections.abc import Sequence
from typing import NamedTuple

from arena.agents.loading import resolve_spec
from arena.config.tournament import AgentConfig, TournamentConfig
from arena.data.bars.align import split
from arena.data.bars.readers import Report, load_bars
from arena.data.scenarios import disjoint_starts, scenarios
from arena.data.synthetic.market import SyntheticParams
from arena.data.synthetic.seeds import SEED_RANGES, scenario_seeds
from arena.data.types import Scenarios
from arena.errors import UserError
from arena.forecast.loading import absolute
from arena.market.presets import preset
from arena.tournament.play.job import Job
from arena.tournament.play.match import MatchRules
from arena.tournament.play.unit_forecasts import ForecastRules
from arena.tournament.schedule.formats import COPIES, Schedule, fixed_schedule
from arena.tournament.schedule.sampling import market_bytes, sampled_markets
from arena.tournament.schedule.swiss import swiss_schedule
from arena.tournament.setup.entrants import check_fit, check_forecasters, file_digests, open_entrants
from arena.tournament.setup.forecast_pairs import followed, forecast_pairs
from arena.tournament.setup.stopping import StopRule, stop_rule
from arena.tournament.stats.growth import ScenarioKind
from arena.tournament.store.remote_folder import absolute_uri
from arena.tournament.types import Unit
from arena.units import BPS, DAYS_PER_YEAR


class Plan(NamedTuple):
    """A tournament that is ready to be played."""

    job: Job
    schedule: Schedule
    units: list[Unit]  # of the first stage, in the order to play them; only swiss has a second
    stop: StopRule | None  # None: all units are played
    num_scenarios: int  # if nothing ends it early
    num_copies: int  # of each entrant of a population in turn; 0 in another format
    kind: ScenarioKind
    periods_per_year: float
    forecast_pairs: list[tuple[str, str]]  # (follower of a forecast, the same rule on a random walk)
    data_digest: str  # of the bars; "" for synthetic scenarios, which their seeds define
    agent_digests: dict[str, str]  # spec -> of the file that it names
    data_report: Report | None  # of the bars
    data_notes: list[str]  # what became of them in the windows, a sentence each


def resolve_paths(config: TournamentConfig) -> TournamentConfig:
    """The config with absolute paths, so that it means the same in another directory."""
    agents = tuple(_resolved(agent) for agent in config.agents)
    folder = config.data.dir.resolve() if config.data.dir else None
    tables = config.forecast.tables.resolve() if config.forecast.tables else None
    # A name that was derived from a path must not change with it.
    named = tuple(
        new if old.name or new.agent == old.agent else new.model_copy(update={"name": _stem(old)})
        for old, new in zip(config.agents, agents)
    )
    changes = {
        "agents": named,
        "data": config.data.model_copy(update={"dir": folder}),
        "forecast": config.forecast.model_copy(update={"tables": tables}),
        "mirror": absolute_uri(config.mirror) if config.mirror else None,
    }
    return config.model_copy(update=changes)


def _resolved(agent: AgentConfig) -> AgentConfig:
    params = {
        name: absolute(value) if name == "forecaster" and isinstance(value, str) else value
        for name, value in agent.params.items()
    }
    return agent.model_copy(update={"agent": resolve_spec(agent.agent), "params": params})


def make_plan(config: TournamentConfig) -> Plan:
    """Check all that can be checked before the first match; UserError says in a sentence what is wrong."""
    try:
        entrants, made_for = open_entrants(config, num_copies(config))
        specs = {name: followed(entrant) for name, entrant in entrants.items()}
        forecasters = check_forecasters(config, specs)
        windows, report = None, None
        notes: list[str] = []
        if config.data.source == "bars":
            windows, report, notes = bar_windows(config)
        dt = 1.0 if windows is None else windows.dt
        ids = synthetic_seeds(config) if windows is None else tuple(range(len(windows.bars)))
        data = config.data
        schedule = make_schedule(config, ids)
        num_assets = data.num_assets if windows is None else windows.bars.shape[2]
        rules = match_rules(config, dt)
        check_fit(made_for, num_assets, len(rules.market.modes))
        paths_bytes = int(config.tournament.paths_mb * 1e6)
        market_size = market_bytes(len(schedule.sampled[0].lineup.agents), data.episode_length, num_assets)
        market_units = sampled_markets(schedule.sampled, market_size, paths_bytes)
        job = Job(
            rules=rules,
            entrants=entrants,
            warmup=data.warmup,
            num_units=schedule.num_units,
            paths_bytes=paths_bytes - len(market_units) * market_size,
            market_units=market_units,
            synthetic=synthetic_params(config) if windows is None else None,
            windows=windows,
            forecasters={spec: forecaster.info.fingerprint for spec, forecaster in forecasters.items()},
        )
    except UserError:
        raise
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from error
    return Plan(
        job=job,
        schedule=schedule,
        units=schedule.stage(0, None),
        stop=stop_rule(config),
        num_scenarios=len(ids),
        num_copies=num_copies(config),
        kind="seed" if windows is None else "window",
        periods_per_year=DAYS_PER_YEAR / dt,
        forecast_pairs=forecast_pairs(entrants, specs),
        data_digest="" if windows is None else scenarios_digest(windows),
        agent_digests=file_digests(entrants),
        data_report=report,
        data_notes=notes,
    )


def make_schedule(config: TournamentConfig, scenarios: Sequence[int]) -> Schedule:
    """Who meets whom over these scenarios."""
    if config.tournament.format == "swiss":
        return swiss_schedule(config.field, config.tournament, config.seed, scenarios)
    return fixed_schedule(config.field, config.tournament, config.seed, scenarios)


def num_copies(config: TournamentConfig) -> int:
    """Of each entrant in the market of its crowd; 0 if the format is not population."""
    return (config.tournament.copies or COPIES) if config.tournament.format == "population" else 0


def match_rules(config: TournamentConfig, dt: float) -> MatchRules:
    """The rules of all matches, for bars of `dt` trading days."""
    market = config.market
    return MatchRules(
        market=market.apply(preset(market.preset, dt), dt),
        seed=config.seed,
        initial_wealth=market.initial_wealth,
        half_spread=market.half_spread_bps * BPS,
        borrow_rate=market.borrow_rate_per_year * dt / DAYS_PER_YEAR,
        wind_down=market.wind_down,
        allow_cheats=config.tournament.allow_cheats,
        forecast=ForecastRules(config.forecast.mode, config.forecast.context_length, config.forecast.tables),
    )


def synthetic_params(config: TournamentConfig) -> SyntheticParams:
    """The synthetic market of the config; fair mode has no signal, and a drift that equals the cash rate."""
    data = config.data
    return SyntheticParams(
        num_assets=data.num_assets,
        num_bars=data.warmup + data.episode_length,
        drift_per_year=data.drift_per_year,
        signal_ic=data.signal_ic if data.mode == "signal" else 0.0,
        signal_half_life=data.signal_half_life,
    )


def synthetic_seeds(config: TournamentConfig) -> tuple[int, ...]:
    """Seeds of the scenarios: a stretch of the range kept for their purpose, placed by the seed of the tournament.

    The final of a swiss tournament has as many of its own as all rounds together.
    """
    count, role = config.data.scenarios * (2 if config.tournament.format == "swiss" else 1), config.data.seeds
    room = SEED_RANGES[role][1] - count
    offset = int.from_bytes(hashlib.sha256(f"scenarios {config.seed}".encode()).digest()[:8], "little") % room
    return scenario_seeds(role, count, offset)


def bar_windows(config: TournamentConfig) -> tuple[Scenarios, Report, list[str]]:
    """Disjoint windows of the user's bars, the report on the bars, and warnings of cutting them."""
    data = config.data
    if data.dir is None:
        raise UserError("the bars need a folder: give --data DIR")
    bars, report = load_bars(data.dir, fill=data.fill, symbols=data.symbols)
    if data.part != "whole":
        bars = split(bars)[("train", "validation", "test").index(data.part)]
    starts = disjoint_starts(len(bars.values), data.warmup, data.episode_length, data.gap)[: data.scenarios]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        windows = scenarios(bars, warmup=data.warmup, episode_length=data.episode_length, starts=starts)
    return windows, report, [str(warning.message) for warning in caught]


def scenarios_digest(windows: Scenarios) -> str:
    """SHA-256 of all prices and volumes, so that a resumed run can tell that its data changed."""
    sha = hashlib.sha256(repr(tuple(windows.bars.shape)).encode())
    for field in (windows.bars, windows.tradable, windows.timestamps):
        for window in [] if field is None else field:
            sha.update(window.contiguous().numpy().tobytes())
    return sha.hexdigest()


def _stem(agent: AgentConfig) -> str:
    return agent.agent.rpartition(":")[2]
