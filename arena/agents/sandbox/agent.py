"""An agent of which only its answers are here: it plays in another process."""

import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arena.agents.faults import AgentFault
from arena.agents.sandbox import wire
from arena.agents.sandbox.arrays import Writer
from arena.agents.sandbox.description import checked
from arena.agents.sandbox.limits import Isolation
from arena.agents.sandbox.process import AgentProcess
from arena.agents.sandbox.wire import Kind
from arena.market.types import Observation


class IsolatedAgent:
    """Plays as the agent of `spec` and `params` would, bit for bit if that one draws from its generator only.

    Its process starts when this is made, and what the agent says of itself is asked for when it is first needed, so
    that several start side by side. Raises AgentFault wherever the agent breaks a rule or a limit.

    check_contract  what shows only beside the agent counts as a fault too, see arena.agents.contracts.ContractChecker

    The oracle's signal is never sent, so `is_cheat` only says that the agent would want it.
    """

    def __init__(self, spec: str, params: Mapping[str, Any], isolation: Isolation, check_contract: bool = False):
        self._isolation = isolation
        self._params = dict(params)
        sandbox = isolation.level == "sandbox"
        start = {
            # A sandbox has a folder of its own, and finds its modules by what it was started with.
            "path": [] if sandbox else [os.path.abspath(entry) for entry in sys.path],
            "folder": "" if sandbox else os.getcwd(),
            "spec": spec,
            "params": self._params,
            "memory_mb": isolation.memory_mb,
            "startup_seconds": isolation.startup_seconds,
            "decision_seconds": isolation.decision_seconds,
            "check_contract": check_contract,
        }
        self._process = AgentProcess(spec, params, sandbox)
        self._process.send(wire.pack_json(Kind.START, start))  # read as soon as the host is there
        self._writer = Writer()
        self._told: dict[str, Any] | None = None
        self._played = self._is_new = False

    def __getattr__(self, name: str) -> Any:
        """`history_length`, `forecaster` and whatever else an agent may say of itself; absent where it does not."""
        if name.startswith("_"):
            raise AttributeError(name)
        told = self._described()
        if name not in told:
            raise AttributeError(name)
        return told[name]

    @property
    def history_length(self) -> int:
        """As the agent says."""
        length: int = self._described().get("history_length")  # type: ignore[assignment]  # a match checks it
        return length

    def reset(self) -> None:
        """Forget the past: asked of the agent, and sure only for a new process, which a match takes every time."""
        self._described()
        if self._played:
            self._ask(wire.pack(Kind.RESET), Kind.READY, "to forget the past")
        self._played, self._is_new = False, True

    def act(self, observation: Observation, generator: torch.Generator) -> Tensor:
        """Target weights [B, A] in the observation's dtype.

        The first call after a reset hands over the state of the generator, and the agent draws from there on its own;
        where it drew, the generator here moves on too, so that a watcher can tell.
        """
        self._described()
        state = generator.get_state() if self._is_new or not self._played else None
        self._played, self._is_new = True, False
        written = self._writer.write(observation, state)
        message = wire.pack_json(Kind.ACT, {"layout": written.layout, "dt": observation.dt})
        like = observation.weight
        size = like.numel() * like.element_size()
        payload = self._ask(message, Kind.WEIGHTS, "for a decision", 1 + size, written.descriptor)
        if len(payload) != 1 + size:
            raise self._broken("sent something that is no set of weights")
        if payload[0]:
            torch.rand((), generator=generator)
        kind = torch.empty(0, dtype=like.dtype).numpy().dtype
        return torch.from_numpy(np.frombuffer(payload, kind, offset=1).copy()).reshape(like.shape)

    def close(self) -> None:
        """End the process."""
        self._process.close()
        self._writer.close()

    def _described(self) -> dict[str, Any]:
        if self._told is None:
            self._process.wait_for_host()
            seconds = self._isolation.startup_seconds
            answer = self._process.answer(Kind.READY, seconds, "to start")
            try:
                self._told = checked(wire.unpack_json(answer), self._params)
            except wire.WireError as error:
                raise self._broken(str(error)) from None
            except AgentFault:
                self.close()
                raise
        return self._told

    def _ask(
        self, message: bytes, expected: Kind, doing: str, largest: int = wire.MAX_TEXT, descriptor: int | None = None
    ) -> bytes:
        self._process.send(message, descriptor)
        return self._process.answer(expected, self._isolation.decision_seconds, doing, largest)

    def _broken(self, reason: str) -> AgentFault:
        self.close()
        return AgentFault(reason, clause="limits")
