"""PPO from end to end in one process: collect, estimate advantages, descend. Needs torch alone."""

from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from arena.rl.ppo.gae import gae, next_values
from arena.rl.ppo.loss import Batch, LossParams, LossTerms, ppo_loss, standardise
from arena.rl.ppo.normalize import Buffers, update_moments
from arena.rl.ppo.rollout import allocate, begin, collect, drain
from arena.rl.types import Rollout, TensorEnv


class Network(Protocol):
    """What is trained: arena.agents.policies.network has two."""

    normaliser: Buffers
    num_asset_features: int  # of moments pooled over assets; 0: one per entry of obs

    def __call__(self, obs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """mean, log_std [R, A] and value [R]."""

    def distribution(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """mean and log_std [..., A]."""

    def value(self, obs: Tensor) -> Tensor:
        """[...]."""

    def parameters(self) -> Any:
        """Of torch."""


@dataclass(frozen=True)
class PpoParams:
    """Plain numbers."""

    rollout_length: int = 32  # T
    epochs: int = 2
    minibatch_size: int = 4096  # rows, at most
    learning_rate: float = 3e-4
    final_learning_rate: float = 0.0  # reached in a straight line at the end of `num_iterations`
    num_iterations: int = 100  # that the schedule is laid out for
    discount: float = 0.99
    gae_lambda: float = 0.95
    max_grad_norm: float = 0.5
    target_kl: float = inf  # an update ends after the epoch in which the mean KL passes it
    loss: LossParams = field(default_factory=LossParams)


class Statistics(NamedTuple):
    """Of one iteration."""

    iteration: int  # how many were made
    env_steps: int  # so far: market steps, T * B an iteration
    episodes: int  # that ended in this one
    episode_return: float  # their mean; NaN if none ended
    learning_rate: float
    loss: LossTerms  # mean over the minibatches of the last epoch made; numbers
    explained_variance: float  # 1 - Var(target - V) / Var(target), before the update
    log_std: float  # mean


class PpoTrainer:
    """Trains `network` in `env`; the same arguments give the same parameters, bit for bit on one machine.

    seed  of the actions and of the order of rows; the environment and the network's first weights have their own
    """

    def __init__(self, env: TensorEnv, network: Network, params: PpoParams, seed: int = 0) -> None:
        self.env, self.network, self.params = env, network, params
        self.optimizer = torch.optim.Adam(network.parameters(), lr=params.learning_rate, eps=1e-5)
        self.stream = begin(env)
        self.generator = torch.Generator(device=self.stream.obs.device).manual_seed(seed)
        self._buffers = allocate(env, self.stream, params.rollout_length)
        self.iteration = 0
        # A first rollout for the moments alone: otherwise the first update would change what the network sees.
        rollout, self.stream = self._collect()
        self._update_moments(rollout)

    def iterate(self) -> Statistics:
        """One rollout and the updates it allows."""
        rollout, self.stream = self._collect()
        learning_rate = scheduled(self.params, self.iteration)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        batch = make_batch(self.network, rollout, self.params.discount, self.params.gae_lambda)
        batch = batch._replace(advantage=standardise(batch.advantage, batch.valid))
        spread = (batch.value_target - batch.value)[batch.valid].var() / batch.value_target[batch.valid].var()
        terms = update(self.network, self.optimizer, batch, self.params, self.generator)
        self._update_moments(rollout)
        self.iteration += 1
        episode_return, episodes, self.stream = drain(self.stream)
        return Statistics(
            iteration=self.iteration,
            env_steps=self.iteration * self.params.rollout_length * self.env.num_markets,
            episodes=episodes,
            episode_return=episode_return,
            learning_rate=learning_rate,
            loss=terms,
            explained_variance=1.0 - float(spread),
            log_std=float(rollout.log_std[-1].mean()),
        )

    def _collect(self) -> tuple[Rollout, Any]:
        return collect(self.env, self.network, self.stream, self._buffers, self.generator)

    def _update_moments(self, rollout: Rollout) -> None:
        update_moments(self.network.normaliser, rollout.obs, rollout.valid, self.network.num_asset_features)


def scheduled(params: PpoParams, iteration: int) -> float:
    """Learning rate of an iteration, counted from 0."""
    done = min(iteration / params.num_iterations, 1.0)
    return params.learning_rate + done * (params.final_learning_rate - params.learning_rate)


@torch.no_grad()
def make_batch(network: Network, rollout: Rollout, discount: float, gae_lambda: float) -> Batch:
    """Rows of a rollout with advantages and value targets; R = T * B * N, those not valid included."""
    value = torch.stack([network.value(obs) for obs in rollout.obs])  # step by step: bounds the memory of activations
    next_value = next_values(
        value,
        network.value(rollout.last_obs),
        network.value(rollout.final_obs),
        rollout.final_steps,
        rollout.truncated,
    )
    advantage, value_target = gae(
        rollout.reward,
        value,
        next_value,
        rollout.terminated,
        rollout.truncated,
        rollout.valid,
        discount,
        gae_lambda,
    )
    return Batch(
        obs=rollout.obs.flatten(0, 2),
        action=rollout.action.flatten(0, 2),
        mean=rollout.mean.flatten(0, 2),
        log_std=rollout.log_std.flatten(0, 2),
        log_prob=rollout.log_prob.flatten(),
        value=value.flatten(),
        advantage=advantage.flatten(),
        value_target=value_target.flatten(),
        valid=rollout.valid.flatten(),
    )


def update(
    network: Network,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    params: PpoParams,
    generator: torch.Generator,
) -> LossTerms:
    """Epochs of shuffled minibatches of nearly equal size; returns the mean terms of the last epoch made."""
    num_rows = len(batch.valid)
    num_minibatches = -(-num_rows // params.minibatch_size)
    parameters = list(network.parameters())
    means: list[Tensor] = []  # of LossTerms, per epoch
    for _ in range(params.epochs):
        order = torch.randperm(num_rows, generator=generator, device=generator.device)
        terms = []
        for rows in order.tensor_split(num_minibatches):
            part = Batch(*(field.index_select(0, rows) for field in batch))
            loss = ppo_loss(params.loss, part, *network(part.obs))
            optimizer.zero_grad(set_to_none=True)
            loss.total.backward()
            torch.nn.utils.clip_grad_norm_(parameters, params.max_grad_norm)
            optimizer.step()
            terms.append(torch.stack([term.detach() for term in loss]))
        means.append(torch.stack(terms).mean(0))
        if isfinite(params.target_kl) and LossTerms(*means[-1]).kl > params.target_kl:
            break
    return LossTerms(*means[-1].cpu())
