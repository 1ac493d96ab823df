"""Returns and lengths of the episodes that end within rollouts.

Axes: T time, B markets, N agents. An episode is that of a market: it ends when all its agents are done and begin anew.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from arena.rl.types import Rollout


class Running(NamedTuple):
    """Of the episodes that go on."""

    episode_return: Tensor  # [B, N]
    length: Tensor  # [B] steps


class Finished(NamedTuple):
    """E episodes that ended."""

    episode_return: Tensor  # [E, N]
    length: Tensor  # [E] steps


def none_running(num_markets: int, num_agents: int, device: torch.device | str = "cpu") -> Running:
    """All episodes begin."""
    return Running(torch.zeros(num_markets, num_agents, device=device), torch.zeros(num_markets, device=device))


def follow(running: Running, rollout: Rollout, alive: Tensor) -> tuple[Finished, Running]:
    """What ended in a rollout, and what goes on; alive [B, N] after its last step.

    Looks only at the steps in which something was reset: it waits for the device once in each of them.
    """
    reward = torch.where(rollout.valid, rollout.reward, 0.0)  # [T, B, N]
    num_steps = len(reward)
    returns, length = running
    finished: list[Finished] = []
    begin = 0
    for step in rollout.final_steps:
        returns, length = returns + reward[begin : step + 1].sum(0), length + (step + 1 - begin)
        begin = step + 1
        over = rollout.terminated[step] | rollout.truncated[step] | ~rollout.valid[step]
        anew = rollout.valid[step + 1] if step + 1 < num_steps else alive
        ended = (over & anew).all(-1)  # [B]; the dead of a market that goes on are not alive
        finished.append(Finished(returns[ended], length[ended]))
        returns, length = torch.where(ended.unsqueeze(-1), 0.0, returns), torch.where(ended, 0.0, length)
    going_on = Running(returns + reward[begin:].sum(0), length + (num_steps - begin))
    if not finished:
        return Finished(returns[:0], length[:0]), going_on
    return Finished(*(torch.cat(field) for field in zip(*finished))), going_on
