"""What env runners hand to learners, and the rows that learners descend on.

Axes: T time, B markets, N agents, R rows.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from torch import Tensor

from arena.rl.league.outcomes import Wins, add_up
from arena.rl.ppo.batch import Batch
from arena.rl.rllib.compat import MultiAgentBatch, Postprocessing, SampleBatch
from arena.rl.types import Rollout


class Experience:
    """Rollouts by module id, one of each runner; their N are the seats that the module plays.

    Tensors stay where they are within a process, and travel between processes as NumPy arrays, which Ray copies least.
    num_env_steps  market steps, those of all runners
    outcomes       who finished ahead of whom in the episodes that ended; they share the fate of the rollouts, so that
                   what is counted is what was trained on: neither games of a runner that died, nor of evaluation
    """

    def __init__(self, rollouts: dict[str, list[Rollout]], num_env_steps: int, outcomes: Wins | None = None) -> None:
        self.rollouts, self.num_env_steps, self.outcomes = rollouts, num_env_steps, outcomes or {}

    def env_steps(self) -> int:
        """As RLlib counts them."""
        return self.num_env_steps

    def agent_steps(self) -> int:
        """Rows."""
        return sum(rollout.reward.numel() for parts in self.rollouts.values() for rollout in parts)

    def to(self, device: torch.device | str) -> "Experience":
        """On a device."""
        return self._map(lambda x, axis: x.to(device))

    def split(self, num_parts: int) -> list["Experience"]:
        """Parts with equally many markets of every rollout; views, without outcomes."""

        def part(number: int) -> "Experience":
            piece = self._map(lambda x, axis: x.tensor_split(num_parts, axis)[number])
            return Experience(piece.rollouts, self.num_env_steps // num_parts)

        return [part(number) for number in range(num_parts)]

    def __getstate__(self) -> dict[str, object]:
        return self._map(lambda x, axis: x.cpu().numpy()).__dict__

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__ = state
        self.__dict__ = self._map(lambda x, axis: torch.tensor(x)).__dict__  # a copy: arrays of Ray are read-only

    def _map(self, function: Callable[[Any, int], Any]) -> "Experience":
        """function(field, axis of its markets) of every tensor."""

        def mapped(rollout: Rollout) -> Rollout:
            fields = {name: x for name, x in rollout._asdict().items() if name != "final_steps"}
            return rollout._replace(**{name: function(x, 0 if name == "last_obs" else 1) for name, x in fields.items()})

        rollouts = {module_id: [mapped(rollout) for rollout in parts] for module_id, parts in self.rollouts.items()}
        return Experience(rollouts, self.num_env_steps, self.outcomes)


def join(experiences: list[Experience]) -> Experience:
    """All of them as one."""
    module_ids = dict.fromkeys(module_id for experience in experiences for module_id in experience.rollouts)
    rollouts = {
        module_id: [rollout for experience in experiences for rollout in experience.rollouts.get(module_id, [])]
        for module_id in module_ids
    }
    return Experience(
        rollouts,
        sum(experience.num_env_steps for experience in experiences),
        add_up(experience.outcomes for experience in experiences),
    )


def of_seats(rollout: Rollout, seats: list[int]) -> Rollout:
    """The rollout of these of its agents alone."""
    if seats == list(range(rollout.reward.shape[2])):
        return rollout
    axes = {name: 1 if name == "last_obs" else 2 for name in rollout._fields if name != "final_steps"}
    index = torch.tensor(seats, device=rollout.reward.device)
    return rollout._replace(**{name: getattr(rollout, name).index_select(axis, index) for name, axis in axes.items()})


def columns(batch: Batch) -> dict[str, Tensor]:
    """Rows under RLlib's names: what PPOTorchLearner's loss reads. The mask only where rows do not count."""
    named = {
        Columns.OBS: batch.obs,
        Columns.ACTIONS: batch.action,
        Columns.ACTION_DIST_INPUTS: torch.cat([batch.mean, batch.log_std], -1),
        Columns.ACTION_LOGP: batch.log_prob,
        Postprocessing.ADVANTAGES: batch.advantage,
        Postprocessing.VALUE_TARGETS: batch.value_target,
    }
    return named if bool(batch.valid.all()) else {**named, Columns.LOSS_MASK: batch.valid}


def minibatch(rows: Mapping[str, Mapping[str, Tensor]], index: Mapping[str, Tensor], env_steps: int) -> MultiAgentBatch:
    """The rows `index` of every module's columns."""
    picked = {
        module_id: SampleBatch({name: x.index_select(0, index[module_id]) for name, x in named.items()})
        for module_id, named in rows.items()
    }
    return MultiAgentBatch(picked, env_steps)
