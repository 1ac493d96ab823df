"""What every agent must keep, checked on made-up observations before it may enter a match.

The clauses, by the names that a violation quotes:

    history_length   a whole number >= 0
    forecaster       text, if there is one
    runs             act raises on no valid observation: flat or wild prices, dead seats, any leverage, any step
    shape            act returns a tensor [B, A] ...
    dtype            ... of the observation's dtype and device ...
    finite           ... without NaN or infinity
    no mutation      the observation is left as it was
    randomness       numbers are drawn from the generator given, never from a global one
    reset            after reset() and with the same generator, the same observations give the same weights
    batch            an agent that draws no numbers decides in a batch as it does in each market alone
"""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arena.agents.fake_observation import fake_observation, one_market
from arena.agents.faults import AgentFault
from arena.agents.types import Agent
from arena.market.types import Observation

NUM_STEPS = 3  # bars played in a row: enough for a memory to show

# Weights of a batch and of its singles may differ by the rounding of differently shaped matrix products; a network of
# some layers loses a few digits more than one product.
BATCH_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}


class ContractViolation(ValueError):
    """An agent broke a clause."""

    def __init__(self, name: str, clause: str, detail: str):
        super().__init__(f"agent {name!r} breaks the clause {clause!r}: {detail}")
        self.clause, self.detail = clause, detail


class ContractChecker:
    """Plays as the agent does; AgentFault for what whoever gets no more than its weights cannot see."""

    def __init__(self, agent: Agent):
        self._agent = agent

    def __getattr__(self, name: str) -> Any:
        """What the agent says of itself."""
        return getattr(self._agent, name)

    def act(self, observation: Observation, generator: torch.Generator) -> Any:
        """Its answer."""
        kept, global_state = _copy(observation), _global_random_state()
        weight = self._agent.act(observation, generator)
        if _global_random_state() != global_state:
            raise AgentFault("drew from a global random generator", clause="randomness")
        for field in _changed(kept, observation):
            raise AgentFault(f"changed observation.{field}", clause="no mutation")
        if isinstance(weight, Tensor) and weight.dtype != observation.weight.dtype:
            raise AgentFault(f"returned {weight.dtype}, expected {observation.weight.dtype}", clause="dtype")
        return weight


def check_agent(
    agent: Agent,
    name: str | None = None,
    num_markets: Sequence[int] = (1, 3),
    num_assets: Sequence[int] | None = None,
    dtypes: Sequence[torch.dtype] = (torch.float32, torch.float64),
    num_modes: int | None = None,
) -> None:
    """Raises ContractViolation, naming agent and clause, unless the agent keeps all clauses.

    num_markets, num_assets  the B and A tried; an agent that plays only some A says so in `asset_counts`
    num_modes                impact modes M of the markets it is meant for; left out: its own `num_modes`, else 3
    """
    num_assets = getattr(agent, "asset_counts", (1, 4, 50)) if num_assets is None else num_assets
    num_modes = getattr(agent, "num_modes", 3) if num_modes is None else num_modes
    name = name or type(agent).__name__
    length = getattr(agent, "history_length", None)
    if not isinstance(length, int) or isinstance(length, bool) or length < 0:
        raise ContractViolation(name, "history_length", f"found {length!r}, expected a whole number >= 0")
    forecaster = getattr(agent, "forecaster", "")
    if not isinstance(forecaster, str):
        raise ContractViolation(name, "forecaster", f"found {forecaster!r}, expected text")
    for dtype in dtypes:
        for count in num_markets:
            for assets in num_assets:
                for scene in ("ordinary", "flat", "extreme"):
                    episode = [
                        fake_observation(count, assets, length, dtype, scene, num_modes, step=step)
                        for step in range(NUM_STEPS)
                    ]
                    where = f"B={count}, A={assets}, {dtype}, {scene} observation"
                    _check_episode(agent, name, where, episode)


def _check_episode(agent: Agent, name: str, where: str, episode: list[Observation]) -> None:
    first, drew = _play(agent, name, where, episode)
    again, _ = _play(agent, name, where, episode)
    if not torch.equal(first, again):
        raise ContractViolation(name, "reset", f"two plays from the same generator state differ ({where})")
    if drew:
        return
    tolerance = max(BATCH_TOLERANCE[first.dtype], BATCH_TOLERANCE.get(getattr(agent, "precision", first.dtype), 0.0))
    for market in range(first.shape[1]):
        alone, _ = _play(agent, name, where, [one_market(observation, market) for observation in episode])
        if not torch.allclose(alone[:, 0], first[:, market], rtol=tolerance, atol=tolerance):
            gap = (alone[:, 0] - first[:, market]).abs().max()
            detail = f"market {market} alone differs from the batch by {gap:.2g} ({where})"
            raise ContractViolation(name, "batch", detail)


def _play(agent: Agent, name: str, where: str, episode: list[Observation]) -> tuple[Tensor, bool]:
    """Weights [steps, B, A] of one episode, each checked, and whether numbers were drawn."""
    generator = torch.Generator().manual_seed(7)
    before = generator.get_state()
    weights = []
    agent.reset()
    for observation in episode:
        kept = _copy(observation)
        global_state = _global_random_state()
        try:
            weight = agent.act(observation, generator)
        except AgentFault as error:  # of an isolated agent, which puts its own fault into words
            raise ContractViolation(name, error.clause, f"{error.reason} ({where})") from error
        except Exception as error:
            raise ContractViolation(name, "runs", f"act raised {type(error).__name__}: {error} ({where})") from error
        if _global_random_state() != global_state:
            raise ContractViolation(name, "randomness", f"act drew from a global random generator ({where})")
        _check_weight(name, where, observation, weight)
        for field in _changed(kept, observation):
            raise ContractViolation(name, "no mutation", f"act changed observation.{field} ({where})")
        weights.append(weight.detach().clone())
    return torch.stack(weights), not torch.equal(before, generator.get_state())


def _check_weight(name: str, where: str, observation: Observation, weight: Tensor) -> None:
    expected = observation.weight
    if not isinstance(weight, Tensor):
        raise ContractViolation(name, "shape", f"found {type(weight).__name__}, expected a tensor [B, A] ({where})")
    if weight.shape != expected.shape:
        detail = f"found {tuple(weight.shape)}, expected {tuple(expected.shape)} ({where})"
        raise ContractViolation(name, "shape", detail)
    if weight.dtype != expected.dtype or weight.device != expected.device:
        found, wanted = f"{weight.dtype} on {weight.device}", f"{expected.dtype} on {expected.device}"
        raise ContractViolation(name, "dtype", f"found {found}, expected {wanted} ({where})")
    if not weight.isfinite().all():
        num_bad = int((~weight.isfinite()).sum())
        raise ContractViolation(name, "finite", f"found {num_bad} NaN or infinite weights ({where})")


def _copy(observation: Observation) -> Observation:
    return Observation._make(value.clone() if isinstance(value, Tensor) else value for value in observation)


def _changed(before: Observation, after: Observation) -> list[str]:
    """Names of the fields that differ."""
    return [
        field
        for field, old, new in zip(after._fields, before, after)
        if isinstance(old, Tensor) and isinstance(new, Tensor) and not torch.equal(old, new)
    ]


def _global_random_state() -> tuple[bytes, bytes, int]:
    numpy_state = np.random.get_state()  # noqa: NPY002 - the global state is what is being watched
    return torch.get_rng_state().numpy().tobytes(), repr(numpy_state).encode(), hash(random.getstate())
