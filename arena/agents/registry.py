"""From a spec string to an agent, so that a config file or a worker process needs nothing but text."""

import inspect
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, NamedTuple

from arena.agents.loading import load_member
from arena.agents.numpy_agent import DEFAULT_HISTORY, NumpyAgent
from arena.agents.policies.onnx_policy import load_onnx
from arena.agents.policies.policy import load_policy
from arena.agents.policies.saved_object import MEMORY, PICKLE, find_in_memory, load_object, with_copies
from arena.agents.policies.sb3_policy import load_sb3
from arena.agents.rules.baselines import BuyAndHold, Cash, EqualWeight, Random
from arena.agents.rules.fader import Fader
from arena.agents.rules.forecast_agents import MeanVariance, Rank
from arena.agents.rules.minimum_variance import MinimumVariance
from arena.agents.rules.oracle import Oracle
from arena.agents.rules.price_rules import CrossMomentum, Macd, MeanReversion, Momentum, Rsi
from arena.agents.types import Agent

ENTRY_POINT_GROUP = "arena.agents"

BUILT_IN: dict[str, type] = {
    "cash": Cash,
    "buy_and_hold": BuyAndHold,
    "equal_weight": EqualWeight,
    "random": Random,
    "momentum": Momentum,
    "cross_momentum": CrossMomentum,
    "mean_reversion": MeanReversion,
    "rsi": Rsi,
    "macd": Macd,
    "minimum_variance": MinimumVariance,
    "fader": Fader,
    "mean_variance": MeanVariance,
    "rank": Rank,
    "oracle": Oracle,
}


# What makes an agent of FILE in "prefix:FILE", for the prefixes of `loading.FILE_PREFIXES`.
# RLlib lies above this package, so its function is named and not imported.
FROM_FILES: dict[str, Callable[..., Agent] | str] = {
    "policy": load_policy,
    "rllib": "arena.rl.rllib.entrant:load_rllib",
    "sb3": load_sb3,
    "onnx": load_onnx,
}

# What finds the Python object behind "prefix:KEY".
FROM_OBJECTS: dict[str, Callable[[str], Any]] = {PICKLE: load_object, MEMORY: find_in_memory}

# Policies that come with the package, as names; weights/README.md says how each was trained.
SHIPPED: dict[str, str] = {"trained": f"policy:{Path(__file__).parent / 'weights' / 'trained.pt'}"}


class AgentDescription(NamedTuple):
    """One row of the table of agents."""

    name: str
    description: str  # one line, or why it cannot be loaded
    parameters: dict[str, Any]  # name -> default; inspect.Parameter.empty where one must be given
    is_cheat: bool  # uses what no trader can know; a tournament admits it only with allow_cheats


def make_agent(spec: str, params: Mapping[str, Any] | None = None) -> Agent:
    """A new agent from its spec.

    spec    a name ("momentum"; see `describe_agents`), "package.module:Class", "path/to/file.py:Class" or, of a trained
            policy, "policy:FILE", "rllib:CHECKPOINT", "sb3:FILE" or "onnx:FILE". A name or place stands for a class
            after `arena.agents.types.Agent`, or for a class or function for one market (`NumpyAgent`):
            act(observation, generator) with two arguments is the former, act(obs) with one the latter.
            "pickle:FILE" and "memory:KEY" name a Python object, see `arena.agents.policies.saved_object`: a class, an
            instance (each call gives a copy) or a function.
    params  keyword arguments of the class, or of the function after its observation or its FILE
    """
    params = dict(params or {})
    spec = SHIPPED.get(spec, spec)
    prefix, _, file = spec.partition(":")
    load = FROM_FILES.get(prefix)
    if isinstance(load, str):
        load = resolve_name(load)
    found = load or find_agent(spec)
    accepted = agent_parameters(found)
    for name in params:
        if name not in accepted and not _takes_any(found):
            raise ValueError(f"agent {spec!r} has no parameter {name!r}; it accepts: {', '.join(accepted) or 'none'}")
    missing = [name for name, default in accepted.items() if default is inspect.Parameter.empty and name not in params]
    if missing:
        raise ValueError(f"agent {spec!r} needs a value for its parameter {', '.join(missing)}")
    if load is not None:
        return load(file, **params)
    make = with_copies(found) if is_instance(found) else partial(found, **params)
    if not is_instance(found) and not isinstance(found, type):
        return _for_one_market(lambda: make, found)
    agent = make()
    if not callable(getattr(agent, "act", None)):
        raise ValueError(f"agent {spec!r} has no method act(observation, generator), nor act(obs) for one market")
    arguments = _num_required(agent.act)
    if arguments == 1:
        return _for_one_market(make, agent)
    if arguments != 2:
        raise ValueError(
            f"agent {spec!r}: act takes {arguments} arguments, expected act(self, observation, generator) for a batch "
            "of markets or act(self, obs) for one"
        )
    for member in ("history_length", "reset"):
        if not hasattr(agent, member):
            raise ValueError(
                f"agent {spec!r} has no {member}; an agent for a batch of markets needs history_length, "
                "reset() and act(observation, generator)"
            )
    return agent


def describe_agents() -> list[AgentDescription]:
    """The built-in agents and those of installed packages, in this order."""
    rows = [_describe(name, found) for name, found in BUILT_IN.items()]
    rows += [AgentDescription(name, "The trained policy that comes with the package.", {}, False) for name in SHIPPED]
    for name, entry in sorted(_plug_ins().items()):
        try:
            rows.append(_describe(name, entry.load()))
        except Exception as error:  # a broken plug-in must not hide the others
            rows.append(AgentDescription(name, f"cannot be loaded: {type(error).__name__}: {error}", {}, False))
    return rows


def find_agent(spec: str) -> Callable[..., Any]:
    """The class or function that a spec names."""
    plug_ins = _plug_ins()
    prefix, _, key = spec.partition(":")
    if prefix in FROM_OBJECTS:
        found = FROM_OBJECTS[prefix](key)
    elif ":" in spec:
        found = load_member(spec)
    elif spec in BUILT_IN:
        found = BUILT_IN[spec]
    elif spec in plug_ins:
        try:
            found = plug_ins[spec].load()
        except Exception as error:
            place = plug_ins[spec].value
            raise ValueError(
                f"agent {spec!r}: cannot load the plug-in {place}: {type(error).__name__}: {error}"
            ) from error
    elif spec.endswith(".py"):
        raise ValueError(f"agent {spec!r} names a file only, expected file and class: {spec}:MyAgent")
    else:
        known = [*BUILT_IN, *SHIPPED, *plug_ins]
        close = get_close_matches(spec, known, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}."
        raise ValueError(f"unknown agent {spec!r}; {hint} Your own: package.module:Class or path/to/file.py:Class")
    if not callable(found) and not (prefix in FROM_OBJECTS and is_instance(found)):
        raise ValueError(f"agent {spec!r} is a {type(found).__name__}, expected a class or a function")
    return found


def is_instance(found: Any) -> bool:
    """Whether the object is an agent itself, and no class or function that gives or is one."""
    return not isinstance(found, type) and callable(getattr(found, "act", None))


def _for_one_market(make: Callable[[], Any], wants: Any) -> NumpyAgent:
    """`wants` says in attributes what its observation should hold. Messages use its name, which no folder changes."""
    history_length = getattr(wants, "history_length", DEFAULT_HISTORY)
    return NumpyAgent(make, name_of(wants), history_length, getattr(wants, "forecaster", ""))


def name_of(found: Any) -> str:
    """Name of the class or function that an agent was made from."""
    if isinstance(found, partial):
        return name_of(found.func)
    return str(getattr(found, "__name__", type(found).__name__))


def agent_parameters(found: Callable[..., Any]) -> dict[str, Any]:
    """Parameters that a config may set, with their defaults."""
    if is_instance(found):
        return {}  # it has been made
    entries = list(inspect.signature(found).parameters.values())
    if not isinstance(found, type):
        entries = entries[1:]  # the first argument of a function is the observation, or the file
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {entry.name: entry.default for entry in entries if entry.kind in kinds}


def _describe(name: str, found: Callable[..., Any]) -> AgentDescription:
    paragraph = " ".join((inspect.getdoc(found) or "").split("\n\n")[0].split())
    sentence = re.split(r"(?<=[.!?]) (?=[A-Z])", paragraph, maxsplit=1)[0]
    return AgentDescription(name, sentence, agent_parameters(found), bool(getattr(found, "is_cheat", False)))


def _plug_ins() -> dict[str, EntryPoint]:
    taken = {*BUILT_IN, *SHIPPED}
    return {entry.name: entry for entry in entry_points(group=ENTRY_POINT_GROUP) if entry.name not in taken}


def _takes_any(found: Callable[..., Any]) -> bool:
    return not is_instance(found) and any(
        entry.kind is inspect.Parameter.VAR_KEYWORD for entry in inspect.signature(found).parameters.values()
    )


def _num_required(function: Callable[..., Any]) -> int:
    """Number of arguments that must be given by position."""
    entries = inspect.signature(function).parameters.values()
    return sum(
        entry.default is entry.empty and entry.kind in (entry.POSITIONAL_ONLY, entry.POSITIONAL_OR_KEYWORD)
        for entry in entries
    )
