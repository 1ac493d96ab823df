"""Collects T steps of every stream of an environment, without waiting for the device."""

from typing import NamedTuple

import torch
from torch import Tensor

from arena.rl.ppo import gaussian
from arena.rl.types import Policy, Rollout, TensorEnv


class Stream(NamedTuple):
    """Where the next rollout begins."""

    obs: Tensor  # [B, N, F]
    alive: Tensor  # [B, N] bool


def begin(env: TensorEnv) -> Stream:
    """Reset the environment."""
    obs = env.reset()
    return Stream(obs, torch.ones(obs.shape[:2], dtype=torch.bool, device=obs.device))


def allocate(env: TensorEnv, stream: Stream, num_steps: int) -> Rollout:
    """Buffers for rollouts of that many steps."""
    shape = (num_steps, env.num_markets, env.num_agents)

    def buffer(*size: int, dtype: torch.dtype | None = None) -> Tensor:
        return torch.empty(*shape, *size, dtype=dtype or stream.obs.dtype, device=stream.obs.device)

    return Rollout(
        obs=buffer(env.obs_dim),
        action=buffer(env.num_assets),
        mean=buffer(env.num_assets),
        log_std=buffer(env.num_assets),
        log_prob=buffer(),
        reward=buffer(),
        terminated=buffer(dtype=torch.bool),
        truncated=buffer(dtype=torch.bool),
        valid=buffer(dtype=torch.bool),
        last_obs=stream.obs,
        final_obs=stream.obs[:0],
        final_steps=(),
    )


@torch.no_grad()
def collect(
    env: TensorEnv, policy: Policy, stream: Stream, out: Rollout, generator: torch.Generator
) -> tuple[Rollout, Stream]:
    """Fill `out` by acting with draws of the policy; returns it complete, and where the next rollout begins."""
    final_obs, final_steps = [], []
    obs, alive = stream.obs, stream.alive
    for t in range(len(out.reward)):
        seen = out.obs[t].copy_(obs)
        mean, log_std = policy.distribution(seen)
        action = gaussian.sample(mean, log_std, generator)
        step = env.step(action)
        out.action[t], out.mean[t], out.log_std[t] = action, mean, log_std
        out.log_prob[t] = gaussian.log_prob(mean, log_std, action)
        out.reward[t], out.valid[t] = step.reward, alive
        out.terminated[t], out.truncated[t] = step.terminated, step.truncated
        if step.final_obs is not step.obs:
            final_obs.append(step.final_obs.clone())
            final_steps.append(t)
        obs, alive = step.obs, step.alive
    filled = out._replace(
        last_obs=obs,
        final_obs=torch.stack(final_obs) if final_obs else out.obs[:0],
        final_steps=tuple(final_steps),
    )
    return filled, Stream(obs, alive)
