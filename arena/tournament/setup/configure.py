"""The config of a tournament from what a caller or a command line gives beside it, and of one that is continued."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from arena.config.files import read_config, validated, with_agents, with_followers, with_saved_agents
from arena.config.names import config_path
from arena.config.tournament import TournamentConfig
from arena.errors import UserError

ONLY_WHERE = (
    "--resume: a run is finished with the config it began with; only --ray.*, --mirror and, of a URI, --out "
    "may be given"
)


def as_config(given: TournamentConfig | Mapping[str, Any] | str | Path | None) -> TournamentConfig:
    """The config that is given as such, as sections and fields, as a file or name of a shipped one, or the default."""
    if given is None:
        return TournamentConfig()
    if isinstance(given, TournamentConfig):
        return given
    if isinstance(given, Mapping):
        return validated(TournamentConfig, dict(given), "config")
    return read_config(config_path("tournament", given))


def changed(config: TournamentConfig, fields: Mapping[str, Any], origin: str) -> TournamentConfig:
    """The config with fields replaced, by "section.field"; None leaves a field as it is."""
    content: dict[str, Any] = config.model_dump()
    for place, value in fields.items():
        section, _, field = place.rpartition(".")
        if value is not None:
            (content[section] if section else content)[field] = value
    return validated(TournamentConfig, content, origin)


def with_options(
    config: TournamentConfig,
    *,
    agents: Sequence[str] = (),
    forecasters: Sequence[str] = (),
    control: Literal["null", "positive", "costs"] | None = None,
) -> TournamentConfig:
    """The config with further entrants, and as a control if one is asked for; UserError if the bars are missing.

    agents       specs, an entrant each
    forecasters  specs, two entrants each that follow the forecaster
    control      null, positive or costs, see arena.tournament.setup.controls
    """
    config = with_followers(with_agents(config, agents), forecasters)
    if config.data.source == "bars":
        if config.data.dir is None:
            raise UserError("the config asks for bars: say where they are with --data DIR (data=DIR in Python)")
        if not config.data.dir.exists():
            raise UserError(f"--data {config.data.dir}: no such file or folder")
    if control:
        from arena.tournament.setup.controls import control as as_control

        config = as_control(config, control)
    return config


def resumed_run(
    run: str | Path, change: Callable[[TournamentConfig], TournamentConfig]
) -> tuple[TournamentConfig, Path]:
    """The config that a run began with, and its folder. A run behind a URI is fetched first.

    change  where the work is done and kept: sections ray and mirror, and out for a URI; UserError if it changes more
    """
    from arena.tournament.store.run_folder import AGENTS

    if remote := "://" in str(run):
        from arena.tournament.store.mirror import fetch_run, read_remote_config

        saved = read_remote_config(str(run))
    else:
        from arena.tournament.store.run_folder import open_run

        saved = open_run(Path(run))
    config = change(saved)
    free = {"ray": saved.ray, "mirror": saved.mirror} | ({"out": saved.out} if remote else {})
    if config.model_copy(update=free) != saved:
        raise UserError(ONLY_WHERE)
    folder = fetch_run(str(run), config.out) if remote else Path(run)
    kept = folder.resolve() / AGENTS
    return with_saved_agents(config, lambda file: str(kept / Path(file).name)), folder
