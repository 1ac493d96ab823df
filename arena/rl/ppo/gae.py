"""Generalized advantage estimation over time-major rollouts, every stream by itself."""

from collections.abc import Sequence

import torch
from torch import Tensor


def next_values(
    value: Tensor, last_value: Tensor, final_value: Tensor, final_steps: Sequence[int], truncated: Tensor
) -> Tensor:
    """V of what followed each step [T, B, N]: of the next row, but of the final observation where one was cut off.

    value        V(obs) [T, B, N]                       last_value  V(last_obs) [B, N]
    final_value  V(final_obs) [K, B, N] of the steps `final_steps`
    """
    following = torch.cat([value[1:], last_value.unsqueeze(0)])
    for row, step in enumerate(final_steps):
        following[step] = torch.where(truncated[step], final_value[row], following[step])
    return following


def gae(
    reward: Tensor,
    value: Tensor,
    next_value: Tensor,
    terminated: Tensor,
    truncated: Tensor,
    valid: Tensor,
    discount: float,
    gae_lambda: float,
) -> tuple[Tensor, Tensor]:
    """Advantages and value targets [T, B, N]; both advantage 0 and target = value in rows that are not valid.

        delta_t = r_t + discount * V'_t * (1 - terminated_t) - V_t
        A_t = delta_t + discount * lambda * (1 - terminated_t) * (1 - truncated_t) * A_{t+1},   target_t = A_t + V_t

    V' is `next_values`: nothing beyond a termination, the final observation's value beyond a truncation.
    Schulman, Moritz, Levine, Jordan, Abbeel (2016), "High-Dimensional Continuous Control Using GAE", ICLR.
    """
    beyond = next_value.masked_fill(terminated, 0.0)
    delta = (reward + discount * beyond - value).masked_fill(~valid, 0.0)
    decay = torch.full_like(delta, discount * gae_lambda).masked_fill(terminated | truncated | ~valid, 0.0)
    advantage = torch.empty_like(delta)
    running = torch.zeros_like(delta[0])
    for t in range(len(delta) - 1, -1, -1):
        running = advantage[t] = delta[t] + decay[t] * running
    return advantage, advantage + value
