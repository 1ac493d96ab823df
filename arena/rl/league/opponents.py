"""How a member of the league travels to the environments that seat it."""

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from arena.agents.policies.policy import load_policy
from arena.agents.registry import make_agent
from arena.agents.types import Agent
from arena.rl.league.outcomes import Wins


class Opponent(NamedTuple):
    """All that a process needs to seat a member: no file that only another machine has."""

    name: str
    weight: float  # of being drawn
    spec: str = ""  # of arena.agents.registry.make_agent
    policy: bytes = b""  # a policy file's content, in place of a spec


@runtime_checkable
class OpponentEnv(Protocol):
    """An environment some of whose seats are played by opponents (arena.rl.market_env.MarketEnv)."""

    def set_opponents(self, opponents: Mapping[str, Agent], weights: Mapping[str, float] | None = None) -> None:
        """Who is drawn from the next episode on."""

    def outcomes(self) -> Wins:
        """Who finished ahead of whom since the last call."""


class SinglePrecision(nn.Module):
    """A policy file's float64 network in the float32 of training, in which it was trained."""

    def __init__(self, network: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        assert isinstance(network, nn.Module)
        self.network = network.float()

    def forward(self, obs: Tensor) -> Tensor:
        return self.network(obs.float())


def load_opponent(opponent: Opponent, device: torch.device | str = "cpu") -> Agent:
    """The agent; ValueError says what is wrong with its spec or file."""
    if not opponent.policy:
        return make_agent(opponent.spec)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{opponent.name}.pt")
        path.write_bytes(opponent.policy)
        agent = load_policy(path)
    agent.network = SinglePrecision(agent.network).to(device)
    return agent


def opponent_names(specs: Sequence[str]) -> list[str]:
    """A name for each spec, fit for a file name and for a metric; a repeated one is numbered."""
    names: list[str] = []
    for spec in specs:
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", spec)
        name, number = plain, 1
        while name in names:
            number += 1
            name = f"{plain}_{number}"
        names.append(name)
    return names
