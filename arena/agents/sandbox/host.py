"""What runs in the process of an isolated agent: it makes the agent, hands it observations, returns its weights.

    python -m arena.agents.sandbox.host CHANNEL

CHANNEL is an inherited socket.
"""

import math
import os
import resource
import socket
import sys

import torch

from arena.agents import contracts, faults, registry
from arena.agents.sandbox import wire
from arena.agents.sandbox.arrays import Reader
from arena.agents.sandbox.description import describe
from arena.agents.sandbox.wire import Kind
from arena.agents.types import Agent

MEGABYTE = 2**20
FILE_BYTES = 64 * MEGABYTE  # largest file that the process may write
SPARE_SECONDS = 2  # processor time beyond a decision's wall clock, so that the clock of the match decides first


def main(channel: int) -> None:
    """Serve until the match closes the channel."""
    match = socket.socket(fileno=channel)
    match.sendall(wire.pack(Kind.HELLO))
    kind, payload, _ = wire.receive(match)
    assert kind is Kind.START
    start = wire.unpack_json(payload)
    if start["path"]:
        sys.path[:] = start["path"]
        os.chdir(start["folder"])
    limit_memory(start["memory_mb"])
    limit_processor(start["startup_seconds"])
    torch.set_num_threads(1)  # as a match does, for the order of float sums
    torch.set_grad_enabled(False)
    doing = "could not be made"
    try:
        agent = registry.make_agent(start["spec"], start["params"])
        agent.reset()
        if start["check_contract"]:
            agent = contracts.ContractChecker(agent)
        match.sendall(wire.pack_json(Kind.READY, describe(agent)))
        doing = "raised"
        _serve(match, agent, start["decision_seconds"])
    except EOFError:
        if doing != "raised":
            raise
    except BaseException as error:  # whatever it is, it is the agent's
        clause = "runs" if doing == "raised" else "start"
        _report(match, error if isinstance(error, faults.AgentFault) else faults.fault(doing, error, clause))


def limit_memory(megabytes: int) -> None:
    """Data of the process, and what it may leave on a disk.

    RLIMIT_DATA counts memory that is written to. The address space is no measure: a process that has loaded its
    libraries has reserved many times what it uses.
    """
    for what, most in (
        (resource.RLIMIT_DATA, megabytes * MEGABYTE),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))


def limit_processor(seconds: float) -> None:
    """From now on this many seconds of processor time: threads that run on between decisions eat the next one's."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = math.ceil(used.ru_utime + used.ru_stime + seconds) + SPARE_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _serve(match: socket.socket, agent: Agent, decision_seconds: float) -> None:
    reader, generator = Reader(), torch.Generator()
    while True:
        kind, payload, descriptors = wire.receive(match)
        limit_processor(decision_seconds)
        if kind is Kind.RESET:
            agent.reset()
            match.sendall(wire.pack_json(Kind.READY, describe(agent)))
            continue
        assert kind is Kind.ACT
        for descriptor in descriptors:
            reader.open(descriptor)
        asked = wire.unpack_json(payload)
        observation, state = reader.read(asked["layout"], asked["dt"])
        if state is not None:
            generator.set_state(state)
        before = generator.get_state()
        weights = faults.decide(agent, observation, generator)
        drew = not torch.equal(before, generator.get_state())
        match.sendall(wire.pack(Kind.WEIGHTS, bytes([drew]) + weights.contiguous().numpy().tobytes()))


def _report(match: socket.socket, found: faults.AgentFault) -> None:
    """Tell the match what the agent did, without running anything of the agent's again."""
    content = {"reason": found.reason, "clause": found.clause, "trace": found.trace[-wire.MAX_REPORTED // 2 :]}
    try:
        match.sendall(wire.pack_json(Kind.FAULT, content))
    finally:
        os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]))
