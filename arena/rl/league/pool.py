"""The pool that an environment seats its opponents from."""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from arena.agents.types import Agent


class Pool:
    """Copies of agents, because an agent may remember what it saw, drawn in proportion to weights."""

    def __init__(self) -> None:
        self._members: dict[str, tuple[Agent, Agent]] = {}  # by name: the original and our copy
        self._weights: Tensor | None = None

    @property
    def agents(self) -> list[Agent]:
        """Our copies."""
        return [own for _, own in self._members.values()]

    def set(self, agents: Mapping[str, Agent], weights: Mapping[str, float] | None) -> None:
        """Other members and weights; None: all alike. A member that stays keeps its copy."""
        before = self._members
        self._members = {
            name: before[name] if name in before and before[name][0] is agent else (agent, copy.deepcopy(agent))
            for name, agent in agents.items()
        }
        self._weights = None if weights is None else torch.tensor([weights[name] for name in agents]).double()

    def draw(self, count: int, generator: torch.Generator) -> tuple[list[str], list[Agent]]:
        """Names and agents of `count` members, each once while there are enough."""
        names = list(self._members)
        chosen: list[int] = []
        while len(chosen) < count:
            if self._weights is None:
                chosen += torch.randperm(len(names), generator=generator).tolist()
            else:
                most = min(count - len(chosen), len(names))
                chosen += torch.multinomial(self._weights, most, generator=generator).tolist()
        drawn = [names[index] for index in chosen[:count]]
        return drawn, [self._members[name][1] for name in drawn]


def by_name(opponents: Sequence[Agent] | Mapping[str, Agent]) -> Mapping[str, Agent]:
    """Names for agents that have none."""
    if isinstance(opponents, Mapping):
        return opponents
    return {f"opponent_{number}": agent for number, agent in enumerate(opponents)}


def check_weights(agents: Mapping[str, Agent], weights: Mapping[str, float] | None) -> None:
    """ValueError unless every agent has a positive weight."""
    for name in agents if weights is not None else ():
        weight = (weights or {}).get(name)
        if weight is None or not 0 < weight < float("inf"):
            raise ValueError(f"the weight of opponent {name!r} is {weight}, expected a positive number")
