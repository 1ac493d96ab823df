"""What an agent did wrong, in one line that is the same in every process, and the one place where it is asked.

A match and the process of an isolated agent ask by the same function, so a fault has the same words at every level.
"""

import re
import traceback

import numpy as np
import torch
from torch import Tensor

from arena.agents.types import Agent
from arena.market.types import Observation

MAX_REASON = 200  # characters


class AgentFault(Exception):
    """The agent broke the rules of a match; `reason` holds no number that a clock made.

    clause  of the contract that this breaks, see arena.agents.contracts and arena.agents.examination
    """

    def __init__(self, reason: str, trace: str = "", clause: str = "runs"):
        super().__init__(reason)
        self.reason, self.trace, self.clause = one_line(reason), trace, clause


class AgentLost(AgentFault):
    """The agent's process was killed, maybe not by itself: by an operator, or by a system that ran out of memory."""


def fault(what: str, error: BaseException, clause: str = "runs") -> AgentFault:
    """From an error that the agent raised. Memory addresses are left out: they differ from process to process."""
    try:
        said = str(error)
    except Exception:  # an agent's own exception may fail at this too
        said = "(its message cannot be read)"
    return AgentFault(
        re.sub(r"\b0x[0-9a-fA-F]+", "0x", f"{what} {type(error).__name__}: {said}"), _trace(error), clause
    )


def one_line(text: str) -> str:
    """Printable text without line breaks, cut: it goes into tables, terminals and files."""
    line = " ".join(text.split())
    return "".join(sign if sign.isprintable() else "?" for sign in line)[:MAX_REASON]


def decide(agent: Agent, view: Observation, generator: torch.Generator) -> Tensor:
    """The agent's target weights [B, A] in the dtype of the observation, or AgentFault."""
    version = 0 if view.history is None else view.history._version
    shape, dtype = view.weight.shape, view.weight.dtype
    try:
        answer = agent.act(view, generator)
    except AgentFault:
        raise
    except (Exception, SystemExit) as error:  # an agent that calls sys.exit() must not end the tournament
        raise fault("raised", error) from error
    if view.history is not None and view.history._version != version:
        raise AgentFault("wrote into the shared price history", clause="no mutation")
    if isinstance(answer, np.ndarray) and answer.dtype.kind in "fiub":
        answer = torch.from_numpy(answer.copy())
    if not isinstance(answer, Tensor) or answer.is_complex():
        kind = answer.dtype if isinstance(answer, Tensor | np.ndarray) else type(answer).__name__
        raise AgentFault(f"returned {kind}, expected a tensor of real weights", clause="shape")
    if answer.shape != shape:
        raise AgentFault(f"returned weights of shape {tuple(answer.shape)}, expected {tuple(shape)}", clause="shape")
    try:
        return answer.detach().to("cpu", dtype)
    except (RuntimeError, TypeError, NotImplementedError) as error:  # a meta or quantised tensor holds no weights
        raise fault("returned weights that cannot be read", error, "dtype") from error


def _trace(error: BaseException) -> str:
    try:
        trace = "".join(traceback.format_exception(error))
    except Exception:
        return ""
    return trace.encode("utf-8", "replace").decode()  # lone surrogates could not be stored
