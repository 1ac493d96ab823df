"""YAML file -> validated config; every mistake becomes one sentence with file, line and field."""

import re
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from arena.config.tournament import AgentConfig, TournamentConfig
from arena.errors import UserError

SAVED = "pickle:"  # prefix of the spec of a saved object, see arena.agents.policies.saved_object
Place = tuple[str | int, ...]  # keys from the top of the document down to a value
Model = TypeVar("Model", bound=BaseModel)


def read_config(path: Path) -> TournamentConfig:
    """Defaults changed by the file."""
    content, root = read_sections(path)
    config = validated(TournamentConfig, content, str(path), root)
    return with_saved_agents(config, lambda file: str(path.resolve().parent / file))


def with_saved_agents(config: TournamentConfig, place: Callable[[str], str]) -> TournamentConfig:
    """The config with place(FILE) for the FILE of each agent "pickle:FILE", which a run keeps in its own folder."""
    agents = tuple(
        agent.model_copy(update={"agent": SAVED + place(agent.agent.removeprefix(SAVED))})
        if agent.agent.startswith(SAVED)
        else agent
        for agent in config.agents
    )
    return config.model_copy(update={"agents": agents})


def read_sections(path: Path) -> tuple[dict[str, Any], yaml.Node | None]:
    """What a YAML file says by section, and its nodes, which know their lines."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    try:
        root = yaml.compose(text, _Loader)
        _refuse_repeated_keys(path, root)
        content = {} if root is None else yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path}:{line}: not valid YAML: {error.problem}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}:1: expected sections such as `data:` (got {content!r})")
    return content, root


def read_value(text: str) -> Any:
    """A value as it would stand in a file; ValueError if it is none."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{text!r} is no value as in a YAML file") from error


def validated(model: type[Model], content: dict[str, Any], origin: str, root: yaml.Node | None = None) -> Model:
    """The config that the content describes; origin: file or "command line", said in every complaint."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise UserError(_sentences(model, error, root, origin)) from error


def with_followers(config: TournamentConfig, forecasters: Sequence[str]) -> TournamentConfig:
    """The config with two more entrants for each forecaster (a file, or another spec): by mean-variance and by rank."""
    followers = []
    for spec in forecasters:
        stem = spec_name(spec, "forecaster")
        for agent, name in (("mean_variance", stem), ("rank", f"{stem}_rank")):
            followers.append(AgentConfig(agent=agent, name=name, params={"forecaster": spec}))
    return _with(config, followers, "--forecaster")


def with_agents(config: TournamentConfig, specs: Sequence[str]) -> TournamentConfig:
    """The config with one more entrant for each spec of an agent."""
    return _with(config, [AgentConfig(agent=spec, name=spec_name(spec, "agent")) for spec in specs], "--agent")


def spec_name(spec: str, otherwise: str) -> str:
    """A name for the tables: of "file.py:Class" the class, of a path its last part."""
    last = spec.rpartition(":")[2]
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", Path(last).stem).strip("._-") or otherwise


def _with(config: TournamentConfig, entrants: Sequence[AgentConfig], flag: str) -> TournamentConfig:
    whole = config.model_copy(update={"agents": (*config.agents, *entrants)})
    repeated = [name for name in whole.field if whole.field.count(name) > 1]
    if repeated:
        raise UserError(f"{flag}: two entrants would be named {repeated[0]!r}; rename the file, or list it in a config")
    return whole


def dump_config(config: TournamentConfig) -> str:
    """All fields as YAML that `read_config` reads back to an equal config."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads 1e-3 as a number, as YAML 1.2 and everybody but PyYAML do."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def _sentences(model: type[BaseModel], error: ValidationError, root: yaml.Node | None, origin: str) -> str:
    """All mistakes, one a line, as `file:line: field: what (got value)`."""
    issues: Any = error.errors()
    # A list whose items were refused counts as too short as well: that is no mistake of its own.
    issues = [issue for issue in issues if issue["type"] != "too_short" or not issue["input"]]
    return "\n".join(dict.fromkeys(_sentence(model, issue, root, origin) for issue in issues))


def _sentence(model: type[BaseModel], issue: Any, root: yaml.Node | None, origin: str) -> str:
    context, kind, value = issue.get("ctx", {}), issue["type"], issue["input"]
    place: Place = tuple(issue["loc"])
    message = issue["msg"].removeprefix("Value error, ")
    if kind == "sections":
        place, value = tuple(context["place"].split(".")), context["value"]
    elif _is_parameter(place):
        place, message = place[:4], "expected a number, true, false or text"
    elif kind == "string_type":
        message += "; quote it if it is text: YAML reads ON, NO, 13:30 and 2020-01-01 as other things"
    line = "" if root is None else f":{_line(root, place)}"
    what = _unknown_key(model, place) if kind == "extra_forbidden" else f"{message} (got {_shorten(value)})"
    return f"{origin}{line}: {'.'.join(str(part) for part in place)}: {what}"


def _is_parameter(place: Place) -> bool:
    """A value in the free `params` of an agent: pydantic appends each type that it tried."""
    return len(place) > 4 and place[0] == "agents" and place[2] == "params"


def _line(node: yaml.Node, place: Place) -> int:
    """Line of the deepest key on the way to `place` that the file holds."""
    line = 1
    for part in place:
        if isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == str(part)]
            if not found:
                break
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _unknown_key(model: type[BaseModel], where: Place) -> str:
    names = sorted(_model_at(model, where[:-1]).model_fields)
    close = get_close_matches(str(where[-1]), names, 1, 0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(names)}"
    return f"unknown key {str(where[-1])!r}; {hint}"


def _model_at(model: type[BaseModel], place: Place) -> type[BaseModel]:
    """The section at a place."""
    for part in place:
        if isinstance(part, str):
            model = next(_models_in(model.model_fields[part].annotation))
    return model


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _refuse_repeated_keys(path: Path, node: yaml.Node | None) -> None:
    # YAML keeps the last of two equal keys without a word.
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise UserError(f"{path}:{line}: {key.value}: key given twice, first in line {seen[key.value]}")
            seen[key.value] = line
            _refuse_repeated_keys(path, value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_repeated_keys(path, value)


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
