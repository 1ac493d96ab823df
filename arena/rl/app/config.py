"""What a training may be told: sections `run` and `league`, and those of RLlib.

Nothing heavy is imported here, so that a mistake is reported at once.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from types import MappingProxyType
from typing import Self

import yaml
from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticSerializationError

from arena.config.fields import Address, Count, Name, Number, Section, cross_field_error
from arena.config.files import read_sections, read_value, validated
from arena.config.names import config_path
from arena.errors import UserError
from arena.rl.records import Fields

Change = tuple[list[str], object]  # keys and value of a field to set
ENDS = ("iterations", "env_steps", "minutes")  # of a training; what comes first ends it


class EvaluationConfig(Section):
    """A tournament against the field on scenarios that are neither trained nor ranked on."""

    every: Count = Field(20, ge=0, description="iterations between two evaluations; 0 = only at the end")
    scenarios: Count = Field(64, ge=2, description="markets to play")
    tournament: Path | None = Field(
        None,
        description="config of a tournament, file or shipped name; the scripted agents in the training's market",
    )


class RunConfig(Section):
    """How long, how often looked at, and where it goes."""

    name: Name = Field("train", description="of the run folder")
    seed: Count = Field(0, ge=0, lt=2**31, description="of weights, markets and actions")
    out: Path = Field(Path("runs"), description="parent of the run folders")
    iterations: Count | None = Field(None, ge=1, description="stop after so many")
    env_steps: Count | None = Field(None, ge=1, description="stop after so many [market steps]")
    minutes: Number | None = Field(None, gt=0, description="stop after so long, evaluations included [min]")
    patience: Count | None = Field(None, ge=1, description="stop after so many evaluations without a better one")
    checkpoint_every: Count = Field(20, ge=1, description="iterations between two checkpoints")
    threads: Count | None = Field(None, ge=1, description="of torch in this process; left to torch if not given")
    address: Address = Field("local", description="local, or a cluster: auto (of this job or machine) or host:port")
    ship_arena: bool = Field(False, description="cluster: send this package to the nodes, for those that lack it")
    num_cpus: Count | None = Field(None, ge=1, description="of the local Ray; those of the machine if not given")
    dashboard: bool = Field(False, description="start Ray's dashboard")
    evaluation: EvaluationConfig = EvaluationConfig()


class LeagueConfig(Section):
    """Fields of arena.rl.league.league.LeagueParams, where their meaning is; left out: no league."""

    scripted: tuple[str, ...] | None = Field(None, description="specs of agents that are always in the pool")
    snapshot_every: Count | None = Field(None, description="iterations between two snapshots")
    max_snapshots: Count | None = Field(None, description="of the learner, and of each exploiter")
    sampling: str | None = Field(None, description="uniform or prioritised")
    hardness: Number | None = Field(None, description="of prioritised sampling [-]")
    floor: Number | None = Field(None, description="share of the seats that is drawn evenly [-]")
    half_life: Number | None = Field(None, description="after which results fade [iterations]")
    num_exploiters: Count | None = Field(None, description="learners that are paid for beating the others")
    exploiter_threshold: Number | None = Field(None, description="share of wins beyond which they start anew [-]")
    rate_every: Count | None = Field(None, description="iterations between two ratings")


class TrainConfig(Section):
    """The whole file."""

    model_config = ConfigDict(extra="allow", frozen=True)  # sections of arena.rl.rllib.config_file

    run: RunConfig = RunConfig()
    league: LeagueConfig | None = None

    @model_validator(mode="after")
    def _ends(self) -> Self:
        run = self.run
        if "tune" not in self.sections and run.iterations is None and run.env_steps is None and run.minutes is None:
            raise cross_field_error("run", "expected iterations, env_steps or minutes: a training needs an end", {})
        return self

    @property
    def sections(self) -> Fields:
        """What make_rllib_config reads, and `tune`."""
        return dict(self.model_extra or {})


def load_train_config(name_or_path: str | Path, flags: Sequence[str]) -> TrainConfig:
    """A file, or the shipped config of a name, changed by flags `--section.field value` with values as in the file."""
    path = config_path("train", name_or_path)
    content, root = read_sections(path)
    changes = parse_flags(flags)
    origin = (f"{path} and the command line", None) if flags else (str(path), root)
    return _made(content, changes, *origin)


def make_train_config(config: str | Path | Fields | TrainConfig, changes: Fields = MappingProxyType({})) -> TrainConfig:
    """The config that a caller means; UserError names the file or the field that cannot be used.

    config   name of a shipped config, path of a file, the sections as nested mappings, or a finished config
    changes  {"training.lr": 1e-3} replaces a field, {"training": {"lr": 1e-3}} the given fields of a section
    """
    root, origin = None, "config"
    if isinstance(config, str | Path):
        path = config_path("train", config)
        (content, root), origin = read_sections(path), str(path)
    elif isinstance(config, TrainConfig):
        content = config.model_dump(exclude_unset=True)
    elif isinstance(config, Mapping):
        content = deepcopy(dict(config))
    else:
        raise UserError(f"config is a {type(config).__name__}, expected a name, a path, a mapping or a TrainConfig")
    if not changes:
        return _made(content, [], origin, root)
    return _made(content, _places(changes), f"{origin} with the arguments of the call")


def _places(changes: Fields) -> list[Change]:
    """(keys, value) of each field to set."""
    found: list[Change] = []
    for name, value in changes.items():
        if "." not in name and isinstance(value, Mapping):
            found += [([name, field], deepcopy(inner)) for field, inner in value.items()]
        else:
            found.append((name.split("."), deepcopy(value)))
    return found


def _made(
    content: dict[str, object], changes: Sequence[Change], origin: str, root: yaml.Node | None = None
) -> TrainConfig:
    """The config of these sections with the changes. An end that is asked for takes the place of the file's ends."""
    ends = [["run", name] for name in ENDS]
    run = content.get("run")
    if any(place in ends for place, _ in changes) and isinstance(run, dict):
        content["run"] = {name: value for name, value in run.items() if name not in ENDS}
    for place, value in changes:
        _put(content, place, value)
    config = validated(TrainConfig, content, origin, root)
    tournament = config.run.evaluation.tournament
    if tournament is None:
        return config
    # Absolute, so that the run can be continued from another directory.
    evaluation = config.run.evaluation.model_copy(
        update={"tournament": config_path("tournament", tournament).resolve()}
    )
    return config.model_copy(update={"run": config.run.model_copy(update={"evaluation": evaluation})})


def parse_flags(flags: Sequence[str]) -> list[Change]:
    """(keys, value) of each `--a.b value` or `--a.b=value`."""
    found, rest = [], list(flags)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if not name.startswith("--") or "." not in name:
            raise UserError(f"command line: {name!r} is not understood, expected --section.field value")
        if not equals:
            if not rest:
                raise UserError(f"command line: {name} lacks a value")
            value = rest.pop(0)
        try:
            found.append((name[2:].replace("-", "_").split("."), read_value(value)))
        except ValueError as error:
            raise UserError(f"command line: {name}: {error}") from error
    return found


def _put(content: dict[str, object], place: list[str], value: object) -> None:
    """Set a value, and make the sections on the way to it."""
    *sections, field = place
    for section in sections:
        inner = content.setdefault(section, {})
        if not isinstance(inner, dict):
            raise UserError(f"{'.'.join(place)}: {section} is {inner!r} and has no fields")
        content = inner
    content[field] = value


def dump_train_config(config: TrainConfig) -> str:
    """YAML that `load_train_config` reads back."""
    try:
        content = config.model_dump(mode="json", exclude_none=True)
    except PydanticSerializationError as error:
        raise UserError(
            f"the config cannot be stored as YAML ({error}); use numbers, text, true or false, lists and mappings only"
        ) from error
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
