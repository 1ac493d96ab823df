"""The entrants of a config, each made once before the first match to see that it can be."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from arena.agents.faults import AgentFault
from arena.agents.loading import resolve_spec, spec_file
from arena.agents.sandbox.isolation import Isolation, IsolationUnavailable, Level, opened, runs_foreign_code
from arena.agents.types import Agent
from arena.cluster.file_bundles import digest
from arena.config.files import SAVED
from arena.config.tournament import AgentConfig, TournamentConfig
from arena.errors import UserError
from arena.forecast.loading import artifact_files
from arena.forecast.types import Forecaster
from arena.market.types import FORECAST_HORIZONS
from arena.tournament.play.seats import Entrant
from arena.tournament.play.unit_forecasts import loaded
from arena.tournament.schedule.formats import copies_of

MOST_NAMES = 40  # of entrants in one note


class MadeFor(NamedTuple):
    """What an agent says of the markets it plays, see arena.agents.types.Agent."""

    asset_counts: tuple[int, ...] | None
    num_modes: int | None


def open_entrants(config: TournamentConfig, num_copies: int) -> tuple[dict[str, Entrant], dict[str, MadeFor]]:
    """Entrant name -> how to make it, and -> which markets it plays.

    num_copies  of each entrant of a population; 0 in another format
    """
    refuse_untrusted_forecasters(config)  # before an agent can name one
    entrants: dict[str, Entrant] = {}
    made_for: dict[str, MadeFor] = {}
    for agent in config.agents:
        entrant, markets = _checked(agent, config)
        names = agent.names
        if num_copies:
            names = tuple(copy for name in names for copy in copies_of(name, num_copies))
        entrants |= dict.fromkeys(names, entrant)
        made_for |= dict.fromkeys(names, markets)
    return entrants, made_for


def check_fit(made_for: Mapping[str, MadeFor], num_assets: int, num_modes: int) -> None:
    """Refuse an entrant that would forfeit every game, as it does not play such a market."""
    for name, (counts, most_modes) in made_for.items():
        if counts and (num_assets != counts[0] if len(set(counts)) == 1 else num_assets < min(counts)):
            played = f"{counts[0]}" if len(set(counts)) == 1 else f"at least {min(counts)}"
            raise UserError(
                f"entrant {name!r} plays markets of {played} assets, this one has {num_assets}; "
                "enter one that was made for it, or change the number of assets"
            )
        if most_modes is not None and num_modes > most_modes:
            raise UserError(
                f"entrant {name!r} was made for {most_modes} impact modes, this market has {num_modes}; "
                "enter one that was made for it, or change market.preset"
            )


def file_digests(entrants: Mapping[str, Entrant]) -> dict[str, str]:
    """Spec -> SHA-256 of the file or folder that it names, of those that name one.

    A saved object is named without its folder: a run keeps it in its own, wherever that is moved.
    """
    files = {entrant.agent: spec_file(entrant.agent) for entrant in entrants.values()}
    return {
        f"{SAVED}{file.name}" if spec.startswith(SAVED) else spec: digest(file)
        for spec, file in files.items()
        if file is not None
    }


def check_forecasters(config: TournamentConfig, specs: Mapping[str, str]) -> dict[str, Forecaster]:
    """Spec -> forecaster of all that entrants follow, each loaded once here to see that it can be used.

    specs  entrant name -> spec of its forecaster, "" for none
    """
    forecasters: dict[str, Forecaster] = {}
    length, warmup = config.forecast.context_length, config.data.warmup
    for name, spec in specs.items():
        if not spec or spec in forecasters:
            continue
        if warmup < length:
            raise UserError(
                f"entrant {name!r} follows a forecaster that looks at {length} bars, data.warmup is {warmup}; "
                "raise data.warmup or lower forecast.context_length"
            )
        try:
            forecaster = forecasters[spec] = loaded(spec)
        except Exception as error:
            raise UserError(f"entrant {name!r}: {_said(error)}") from error
        info = forecaster.info
        longest = info.max_horizon or max(FORECAST_HORIZONS)
        if length < info.min_context or longest < max(FORECAST_HORIZONS):
            raise UserError(
                f"entrant {name!r}: {info.name} needs {info.min_context} bars and forecasts at most "
                f"{longest}, expected to need at most forecast.context_length = {length} and to forecast "
                f"{max(FORECAST_HORIZONS)}"
            )
    return forecasters


def refuse_untrusted_forecasters(config: TournamentConfig) -> None:
    """UserError if only an isolated entrant names a forecaster file; no file is opened to find out.

    A forecaster computes in the driver and the workers, not in the sandbox of who follows it. A .pt2 file holds native
    code or pickles, whatever its manifest says, and TorchScript can write files, so no format is safe to load.
    """
    isolated = [(agent, isolation(agent, config).level) for agent in config.agents]
    trusted = {file for agent, level in isolated if level == "none" for file in _forecaster_files(agent)}
    for agent, level in isolated:
        for file in sorted(_forecaster_files(agent) - trusted) if level != "none" else ():
            raise UserError(
                f"entrant {agent.names[0]!r} is isolated ({level}) and brings the forecaster file {file}, which would "
                "run outside its isolation, with your rights; let it follow a forecaster of the package, or, if you "
                f"trust the file, pass it yourself with --forecaster {file}"
            )


def entrants_with_code(config: TournamentConfig) -> list[str]:
    """Names of the entrants whose code is not the package's and runs with the rights of the user, at isolation none."""
    return [
        name
        for agent in config.agents
        if runs_foreign_code(agent.agent) and isolation(agent, config).level == "none"
        for name in agent.names
    ]


def code_note(config: TournamentConfig) -> str:
    """One sentence that names these entrants, and one that says what to do; "" if there are none."""
    names = entrants_with_code(config)
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    if not names:
        return ""
    return (
        f"these entrants run code with your rights: {', '.join(names[:MOST_NAMES])}{more}. "
        "Use --tournament.isolate sandbox for entrants you do not trust."
    )


def isolation(agent: AgentConfig, whole: TournamentConfig) -> Isolation:
    """How the entrant is kept apart: as it says itself, else by `tournament.isolate` if its code is not the package's.

    A process for a built-in agent would cost time and protect from nobody.
    """
    rules = whole.tournament
    level: Level = agent.isolate or (rules.isolate if runs_foreign_code(agent.agent) else "none")
    return Isolation(level, rules.decision_seconds, rules.startup_seconds, rules.memory_mb)


def _forecaster_files(agent: AgentConfig) -> set[Path]:
    spec = agent.params.get("forecaster")
    return artifact_files(spec) if isinstance(spec, str) else set()


def _checked(config: AgentConfig, whole: TournamentConfig) -> tuple[Entrant, MadeFor]:
    entrant = Entrant(resolve_spec(config.agent), dict(config.params), isolation(config, whole))
    try:
        with opened(entrant.agent, entrant.params, entrant.isolation) as agent:
            _check_needs(config, whole, entrant, agent)
            made_for = _made_for(config, agent)
    except (UserError, IsolationUnavailable) as error:
        raise UserError(str(error)) from error
    except AgentFault as error:
        raise UserError(f"agent {config.agent!r} {error.reason}") from error
    except Exception as error:
        raise UserError(_said(error, f"agent {config.agent!r} cannot be made: ")) from error
    return entrant, made_for


def _made_for(config: AgentConfig, agent: Agent) -> MadeFor:
    counts, modes = getattr(agent, "asset_counts", None), getattr(agent, "num_modes", None)
    if counts is not None and not (isinstance(counts, tuple) and counts and all(type(n) is int for n in counts)):
        raise UserError(f"agent {config.agent!r} has asset_counts {counts!r}, expected a tuple of whole numbers")
    if modes is not None and type(modes) is not int:
        raise UserError(f"agent {config.agent!r} has num_modes {modes!r}, expected a whole number")
    return MadeFor(counts, modes)


def _check_needs(config: AgentConfig, whole: TournamentConfig, entrant: Entrant, agent: Agent) -> None:
    length, warmup = agent.history_length, whole.data.warmup
    if getattr(agent, "is_cheat", False):
        if not whole.tournament.allow_cheats:
            raise UserError(
                f"agent {config.agent!r} sees what no trader can know; set tournament.allow_cheats to admit it"
            )
        if whole.data.source == "bars":
            raise UserError(f"agent {config.agent!r} needs the signal of a synthetic market, the data are bars")
        if entrant.isolation.level != "none":
            raise UserError(f"agent {config.agent!r} needs what no isolated agent is shown; set its isolate to none")
    if not isinstance(length, int) or isinstance(length, bool) or length < 0:
        raise UserError(f"agent {config.agent!r} has history_length {length!r}, expected a whole number >= 0")
    if length > warmup:
        raise UserError(
            f"agent {config.agent!r} wants {length} bars of history, data.warmup is {warmup}; raise data.warmup"
        )


def _said(error: Exception, otherwise: str = "") -> str:
    """The message of an error that is meant for the user; of another one, its kind as well."""
    return str(error) if isinstance(error, ValueError) else f"{otherwise}{type(error).__name__}: {error}"
