"""Who sits in a match: agents made for it and ended with it, and what makes a seat forfeit."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from arena.agents import faults
from arena.agents.faults import AgentFault, AgentLost, fault
from arena.agents.sandbox.isolation import Isolation, IsolationUnavailable, close_agents, open_agent
from arena.agents.types import Agent
from arena.market.types import Observation
from arena.tournament.types import Unit


@dataclass(frozen=True)
class Entrant:
    """How to make an agent, as text and numbers that travel to any process."""

    agent: str  # spec, see agents.registry.make_agent
    params: Mapping[str, Any] = field(default_factory=dict)
    isolation: Isolation = field(default_factory=Isolation)


class Forfeit(Exception):
    """A seat broke the rules of the match.

    retryable  somebody else may have ended the agent's process; if it happens again, nobody else has
    """

    def __init__(self, seat: int, reason: str, trace: str = "", retryable: bool = False):
        super().__init__(reason)
        self.seat, self.reason, self.trace, self.retryable = seat, reason, trace, retryable


@contextmanager
def seated(entrants: Mapping[str, Entrant], unit: Unit, absent: set[int]) -> Iterator[dict[int, Agent]]:
    """New agents by seat, ready to play, without those of the `absent` seats.

    What an agent remembers of an earlier match cannot reach this one, were it the same match that is played again
    because another seat forfeited: it would know the future.
    """
    agents: dict[int, Agent] = {}
    try:
        # Isolated agents start side by side: making one returns at once, the reset waits.
        for seat, name in enumerate(unit.lineup.agents):
            if seat not in absent:
                agents[seat] = _made(seat, entrants[name])
        for seat, agent in agents.items():
            _reset(seat, agent)
        yield agents
    finally:
        close_agents(agents.values())


def wanted_history(seat: int, agent: Agent, warmup: int) -> int:
    """Bars that the agent asks to be shown, `warmup` at most."""
    length = agent.history_length
    if isinstance(length, bool) or not isinstance(length, int) or length < 0:
        raise Forfeit(seat, faults.one_line(f"history_length is {length!r}, expected a whole number >= 0"))
    if length > warmup:
        raise Forfeit(seat, f"history_length is {length}, and there are {warmup} bars")
    return length


def wanted_forecaster(seat: int, agent: Agent) -> str:
    """Spec of the forecaster that the agent names, "" for none."""
    spec = getattr(agent, "forecaster", "")
    if not isinstance(spec, str):
        raise Forfeit(seat, faults.one_line(f"forecaster is {spec!r}, expected text"))
    return spec


def decide(seat: int, agent: Agent, view: Observation, generator: torch.Generator) -> Tensor:
    """The seat's target weights [B, A], or Forfeit."""
    try:
        return faults.decide(agent, view, generator)
    except AgentFault as found:
        raise _forfeit(seat, found) from found


def forfeit(seat: int, what: str, error: BaseException) -> Forfeit:
    """Of an error that the seat is to blame for."""
    return _forfeit(seat, fault(what, error))


def _made(seat: int, entrant: Entrant) -> Agent:
    try:
        return open_agent(entrant.agent, entrant.params, entrant.isolation)
    except IsolationUnavailable:
        raise
    except (Exception, SystemExit) as error:
        raise forfeit(seat, "could not be made", error) from error


def _reset(seat: int, agent: Agent) -> None:
    try:
        agent.reset()
    except AgentFault as found:
        raise _forfeit(seat, found) from found
    except IsolationUnavailable:
        raise
    except (Exception, SystemExit) as error:
        raise forfeit(seat, "could not be made", error) from error


def _forfeit(seat: int, found: AgentFault) -> Forfeit:
    return Forfeit(seat, found.reason, found.trace, isinstance(found, AgentLost))
