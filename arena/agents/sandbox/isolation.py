"""Agents that nobody has to trust: the levels of isolation, and how an agent is opened at one.

    none     in the process that plays the match: for code you wrote or ship
    process  a process of its own with limits of memory, processor and wall clock: a fault costs the agent only
    sandbox  the same under bubblewrap: it reaches no network, writes to no disk and sees none of your files

A match opens new agents every time it is played, so what an agent learnt in one cannot reach another.

Plain processes rather than Ray actors, because they work in every worker and without Ray, the limits are those of the
operating system, a call costs a fraction of an actor's, and an actor may list and end the other actors of its cluster.
What comes back is read as raw numbers: nothing of the agent's is unpickled. `docs/isolation.md` says what each level
protects from, and what it does not.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from arena.agents.registry import BUILT_IN, SHIPPED, make_agent
from arena.agents.sandbox.agent import IsolatedAgent
from arena.agents.sandbox.bubblewrap import IsolationUnavailable
from arena.agents.sandbox.limits import Isolation as Isolation  # the levels and their means are one import
from arena.agents.sandbox.limits import Level as Level
from arena.agents.types import Agent

SUPPORTED = sys.platform == "linux"  # memory limits, sealed memory and the reaper of processes are Linux's


def open_agent(
    spec: str, params: Mapping[str, Any] | None = None, isolation: Isolation | None = None, check_contract: bool = False
) -> Agent:
    """The agent of registry.make_agent, here or in a process of its own; give it to `close_agents` when done.

    check_contract  mutations, global random numbers and other dtypes of an isolated agent are faults too
    """
    if isolation is None or isolation.level == "none":
        return make_agent(spec, params)
    if not SUPPORTED:
        raise IsolationUnavailable(f"isolate: {isolation.level} needs Linux; play with isolate: none whom you trust")
    return IsolatedAgent(spec, params or {}, isolation, check_contract)


def close_agents(agents: Iterable[Agent]) -> None:
    """End the processes of those that have one."""
    for agent in agents:
        if isinstance(agent, IsolatedAgent):
            agent.close()


@contextmanager
def opened(spec: str, params: Mapping[str, Any], isolation: Isolation, check_contract: bool = False) -> Iterator[Agent]:
    """An agent for as long as the block lasts."""
    agent = open_agent(spec, params, isolation, check_contract)
    try:
        yield agent
    finally:
        close_agents([agent])


def runs_foreign_code(spec: str) -> bool:
    """Whether this agent did not come with the package. Every file counts as code.

    A pickle is code, TorchScript can write files, and an ONNX graph can read them.
    """
    return spec not in BUILT_IN and spec not in SHIPPED
