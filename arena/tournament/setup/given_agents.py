"""The entrants that a caller of `arena.run_tournament` gives: names, specs, classes, instances, functions."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arena.agents.policies.saved_object import SUFFIX, CannotBeSaved, keep_in_memory, save_object, spec_of
from arena.agents.registry import name_of
from arena.config.files import spec_name, validated
from arena.config.tournament import AgentConfig
from arena.errors import UserError


def agent_configs(
    agents: Sequence[Any] | Mapping[str, Any], folder: Path, *, in_this_process: bool
) -> tuple[AgentConfig, ...]:
    """One config per entrant.

    agents           a sequence of entrants, or a mapping from name to entrant. An entrant is a name or spec (str), a
                     class, an instance, a function, an AgentConfig, or a mapping with its fields, where `agent` may be
                     any of these
    folder           takes the files of objects that no other process can import
    in_this_process  all matches are played here, so an object that cannot be saved may play

    Entrants made from objects get distinct names: Dip, Dip-2, Dip-3. UserError says what is no entrant.
    """
    if isinstance(agents, str) or not isinstance(agents, Sequence | Mapping):
        raise UserError(
            f"agents: found {agents!r}, expected a list such as ['cash', 'momentum', MyAgent]. Put it into a list."
        )
    pairs = list(agents.items()) if isinstance(agents, Mapping) else [(None, given) for given in agents]
    taken: set[str] = set()
    found = []
    for name, given in pairs:
        config = _as_config(given, name, taken, folder, in_this_process)
        taken.update(config.names)
        found.append(config)
    return tuple(found)


def _as_config(given: Any, name: str | None, taken: set[str], folder: Path, in_this_process: bool) -> AgentConfig:
    if isinstance(given, AgentConfig):
        return given if name is None else given.model_copy(update={"name": name})
    fields = dict(given) if isinstance(given, Mapping) else {"agent": given}
    if name is not None:
        fields["name"] = name
    if "agent" not in fields:
        raise UserError(f"agents: {given!r} has no field 'agent'. Add the name, class or instance that plays.")
    agent = fields["agent"]
    if isinstance(agent, str):
        if ":" in agent and "name" not in fields:
            fields["name"] = spec_name(agent, "agent")
        return validated(AgentConfig, fields, "agents")
    _check_plays(agent)
    fields.setdefault("name", _free(_clean(name_of(agent)), taken))
    # The name is checked before a file is called after it.
    config = validated(AgentConfig, {**fields, "agent": "object"}, "agents")
    spec = spec_of(agent) or _saved(agent, config.names[0], folder, in_this_process)
    return config.model_copy(update={"agent": spec})


def _check_plays(agent: Any) -> None:
    if not callable(agent) and not callable(getattr(agent, "act", None)):
        raise UserError(
            f"agents: found {type(agent).__name__} {agent!r:.60}, expected a name, a class or instance with a method "
            "act, or a function of an observation. Give one of these."
        )


def _saved(agent: Any, name: str, folder: Path, in_this_process: bool) -> str:
    path = folder / f"{name}{SUFFIX}"
    try:
        save_object(agent, path)
    except CannotBeSaved as error:
        if in_this_process:
            return keep_in_memory(agent, name)
        raise UserError(
            f"agent {name} cannot be sent to worker processes: {error}. Create what cannot be pickled inside the "
            "agent's reset() or act(), or play in this process with workers=0."
        ) from error
    return f"pickle:{path}"


def _clean(name: str) -> str:
    """A name as a config takes it."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-_.") or "agent"


def _free(name: str, taken: set[str]) -> str:
    """The name, with the lowest number behind it that makes it distinct."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}-{number}"
    return free
