"""Command-line flags of a tournament's config: one for each field, such as `--market.fee-bps 1`."""

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NoReturn, get_args, get_origin

from pydantic.fields import FieldInfo

from arena.config.fields import Section
from arena.config.files import read_config, read_value, validated
from arena.config.tournament import AgentConfig, TournamentConfig
from arena.errors import UserError

ORIGIN = "command line"
PREFIX = "field."  # of the argparse destination of a field, before its place in the config
METAVARS = {int: "INT", float: "FLOAT", Path: "PATH"}
Changes = Mapping[str, Any]  # place of a field, such as "market.fee_bps" -> its new value, as text


class FlagParser(argparse.ArgumentParser):
    """A parser of flags for the fields of a TournamentConfig and for options that the caller adds."""

    def __init__(self, program: str, description: str = "") -> None:
        super().__init__(
            program,
            usage="%(prog)s [options]",
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,
        )

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{ORIGIN}: {message}")

    def parse(self, arguments: Sequence[str]) -> tuple[argparse.Namespace, Changes]:
        """The caller's options, and what the flags of fields say; --help ends the program, as usual."""
        words = list(_normal_form(arguments))
        _add_fields(self, self, TournamentConfig, "")
        _add_agents(self, words)
        options, unknown = self.parse_known_args(words)
        changes = {name.removeprefix(PREFIX): value for name, value in vars(options).items() if name.startswith(PREFIX)}
        misspelt = [word.partition("=")[0] for word in unknown if re.match(r"--[\w-]+\.", word)]
        if unknown and not misspelt:
            self.error(f"unknown options: {' '.join(unknown)}")
        changes |= {flag.removeprefix("--").replace("-", "_"): "" for flag in misspelt}
        return options, changes


def load_config(path: Path | None = None, flags: Sequence[str] = ()) -> TournamentConfig:
    """Defaults, changed by a YAML file (departures only), changed by command-line flags (`--market.fee-bps 1`)."""
    config = TournamentConfig() if path is None else read_config(path)
    return override(config, flags)


def override(config: TournamentConfig, flags: Sequence[str]) -> TournamentConfig:
    """The config with fields replaced by flags."""
    return changed(config, FlagParser("arena tournament").parse(flags)[1]) if flags else config


def changed(config: TournamentConfig, changes: Changes) -> TournamentConfig:
    """The config with other values of some fields; UserError names the first mistake of each field."""
    if not changes:
        return config
    content = config.model_dump()
    for place, value in changes.items():
        *sections, field = place.split(".")
        inner: Any = content
        for part in sections:
            inner = _inner(inner, part)
        if not isinstance(inner, dict):
            raise UserError(f"{ORIGIN}: --{place.replace('_', '-')}: no such field; --help lists all of them")
        inner[field] = None if value in ("None", ["None"]) else value
    return validated(TournamentConfig, content, ORIGIN)


def _inner(content: Any, part: str) -> Any:
    """What a section, or the list of agents, holds at one part of a place; None if it holds nothing there."""
    if isinstance(content, dict):
        return content.setdefault(part, {})
    if not isinstance(content, tuple):
        return None
    if not part.isdecimal() or int(part) >= len(content):
        raise UserError(f"{ORIGIN}: agents.{part}: expected a number from 0 to {len(content) - 1}")
    return content[int(part)]


def _normal_form(arguments: Sequence[str]) -> Iterator[str]:
    """Hyphens in the names of flags; a negative number such as -1e-3 tied to its flag, or argparse takes it for one."""
    words = [re.sub(r"^--[\w.-]+", lambda name: name[0].replace("_", "-"), word) for word in arguments]
    for word, following in zip(words, [*words[1:], ""]):
        if re.fullmatch(r"-[\d.]+e-?\d+", word):
            continue
        tied = word.startswith("--") and re.fullmatch(r"-[\d.]+e-?\d+", following)
        yield f"{word}={following}" if tied else word


def _add_fields(parser: argparse.ArgumentParser, group: Any, section: type[Section], place: str) -> None:
    """A flag for each field of the section; those of inner sections in groups of their own."""
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            title = f"{place}{name}"
            _add_fields(parser, parser.add_argument_group(title, kind.__doc__), kind, f"{title}.")
        elif name != "agents":
            _add_field(group, f"{place}{name}", field)


def _add_field(group: Any, place: str, field: FieldInfo) -> None:
    flag, dest = place.replace("_", "-"), PREFIX + place
    default = "" if field.default is None else f" (default: {field.default})"
    text = f"{field.description or ''}{default}".replace("%", "%%")
    if field.annotation is bool:
        opposite = re.sub(r"[^.]+$", lambda name: f"no-{name[0]}", flag)
        group.add_argument(f"--{flag}", dest=dest, action="store_const", const=True, help=text)
        group.add_argument(f"--{opposite}", dest=dest, action="store_const", const=False, help="the opposite")
        return
    kinds = list(_kinds(field.annotation))
    many = {"nargs": "+"} if any(get_origin(kind) is tuple for kind in kinds) else {}
    group.add_argument(f"--{flag}", dest=dest, metavar=_metavar(kinds), help=text, **many)


def _add_agents(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """Flags of the entrants that the command line names by number; --help leaves them out, a config is clearer."""
    numbers = {found[1] for word in words if (found := re.match(r"--agents\.(\d+)\.", word))}
    for number in numbers:
        for name in AgentConfig.model_fields:
            dest = f"agents.{number}.{name}"
            more: dict[str, Any] = {"action": _Parameters, "nargs": "+"} if name == "params" else {}
            parser.add_argument(f"--{dest.replace('_', '-')}", dest=PREFIX + dest, help=argparse.SUPPRESS, **more)


class _Parameters(argparse.Action):
    """Reads `name value name value` as a mapping."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        if len(values) % 2:
            parser.error(f"{option}: expected pairs of a name and a value, found {len(values)} words")
        setattr(namespace, self.dest, {name: _value(text) for name, text in zip(values[::2], values[1::2])})


def _value(text: str) -> Any:
    try:
        return read_value(text)
    except ValueError as error:
        raise UserError(f"{ORIGIN}: {error}") from error


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types that a field may have, without None and without what pydantic is told about them."""
    if get_origin(annotation) in (None, Literal, tuple):
        if annotation is not NoneType:
            yield annotation
        return
    # Of an Annotated the first argument is the type; of a union all are.
    inner = get_args(annotation)[:1] if hasattr(annotation, "__metadata__") else get_args(annotation)
    for part in inner:
        yield from _kinds(part)


def _metavar(kinds: Sequence[Any]) -> str:
    choices = [choice for kind in kinds if get_origin(kind) is Literal for choice in get_args(kind)]
    return "|".join(choices) or next((METAVARS[kind] for kind in kinds if kind in METAVARS), "TEXT")
