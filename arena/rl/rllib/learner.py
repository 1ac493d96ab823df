"""PPO learners of RLlib: one that keeps the moments of observations, and the tensor path's, fed with rollouts.

Axes: T time, B markets, N agents, F features, R rows.
"""

from collections.abc import Iterator

import torch
from ray.rllib.core.columns import Columns
from torch import Tensor

from arena.rl.ppo.batch import Batch, make_batch, standardize
from arena.rl.ppo.normalize import Moments, batch_moments, merge, pool_assets
from arena.rl.rllib.compat import MultiAgentBatch, PPOTorchLearner, TrainingData
from arena.rl.rllib.experience import Experience, columns, minibatch
from arena.rl.rllib.rl_module import Network

Seen = dict[str, tuple[Tensor, Tensor]]  # by module id: obs [R, F] and which rows count [R] bool


class NormalizingPPOLearner(PPOTorchLearner):
    """PPOTorchLearner of ArenaRLModules: their normalisers learn from what is trained on.

    The first batch is taken in before it is trained on, every later one after it, so that the policy that is updated
    sees what the policy saw that acted. All learners take in the batches of all.
    """

    def build(self) -> None:
        """Also forget what was seen."""
        super().build()
        self._seen: Seen = {}

    def after_gradient_based_update(self, *, timesteps: dict[str, int]) -> None:
        """Take in the batch that was trained on."""
        super().after_gradient_based_update(timesteps=timesteps)
        for module_id, (obs, valid) in self._seen.items():
            self._take_in(module_id, obs, valid)
        self._seen = {}

    def _make_batch_if_necessary(self, training_data: TrainingData) -> MultiAgentBatch:
        batch = super()._make_batch_if_necessary(training_data)
        for module_id, rows in batch.policy_batches.items():
            if self.should_module_be_updated(module_id, batch):
                obs = rows[Columns.OBS]
                self._see(module_id, obs, rows.get(Columns.LOSS_MASK, torch.ones_like(obs[:, 0], dtype=torch.bool)))
        return batch

    def _network(self, module_id: str) -> Network:
        return self.module[module_id].unwrapped().network

    def _see(self, module_id: str, obs: Tensor, valid: Tensor) -> None:
        """Take it in at once if it is the first, remember it for later if not."""
        if self._network(module_id).normaliser.count == 0:
            self._take_in(module_id, obs, valid)
        else:
            self._seen[module_id] = (obs, valid)

    @torch.no_grad()
    def _take_in(self, module_id: str, obs: Tensor, valid: Tensor) -> None:
        network = self._network(module_id)
        normaliser, num_pooled = network.normaliser, network.num_asset_features
        fresh = batch_moments(obs, valid)
        if num_pooled:
            fresh = pool_assets(fresh, num_pooled, len(normaliser.mean) - num_pooled)
        moments = Moments(normaliser.count, normaliser.mean, normaliser.var)
        for part in self._of_all_learners(fresh):
            moments = merge(moments, part)
        normaliser.count.copy_(moments.num_rows)
        normaliser.mean.copy_(moments.mean)
        normaliser.var.copy_(moments.var)

    def _of_all_learners(self, moments: Moments) -> list[Moments]:
        """In one order everywhere, so that the sums are the same bits."""
        if self.config.num_learners < 2:
            return [moments]
        own = torch.cat([moments.num_rows.reshape(1), moments.mean, moments.var])
        all_of_them = [torch.empty_like(own) for _ in range(self.config.num_learners)]
        torch.distributed.all_gather(all_of_them, own)
        return [Moments(part[0], *part[1:].chunk(2)) for part in all_of_them]


NormalisingPPOLearner = NormalizingPPOLearner  # as checkpoints of version 0.1 name it


class TensorPPOLearner(NormalizingPPOLearner):
    """Takes Experience: values, advantages and shuffled minibatches are made on the learner's device.

    The loss is that of PPOTorchLearner. minibatch_size counts rows, at most; every row is used once an epoch.
    """

    def build(self) -> None:
        """Also seed the order of rows."""
        super().build()
        self._generator = torch.Generator(device=self._device)
        self._generator.manual_seed((self.config.seed or 0) + 1_000_003 * (self._learner_index or 0))

    def _create_iterator_if_necessary(
        self,
        *,
        training_data: TrainingData,
        num_total_minibatches: int = 0,
        num_epochs: int = 1,
        minibatch_size: int | None = None,
        shuffle_batch_per_epoch: bool = False,
        **kwargs: object,
    ) -> Iterator[MultiAgentBatch]:
        experience = training_data.batch
        assert isinstance(experience, Experience)
        rows = self._rows(experience.to(self._device))
        sizes = {module_id: len(named[Columns.ACTION_LOGP]) for module_id, named in rows.items()}
        # Learners have as many markets each, hence as many minibatches: they wait for each other in every one.
        num_minibatches = -(-max(sizes.values()) // (minibatch_size or max(sizes.values())))
        env_steps = max(1, experience.num_env_steps // num_minibatches)
        for _ in range(num_epochs):
            order = {
                module_id: torch.randperm(size, generator=self._generator, device=self._device).tensor_split(
                    num_minibatches
                )
                for module_id, size in sizes.items()
            }
            for i in range(num_minibatches):
                yield minibatch(rows, {module_id: parts[i] for module_id, parts in order.items()}, env_steps)

    def _rows(self, experience: Experience) -> dict[str, dict[str, Tensor]]:
        """By module id: columns of rows, with advantages standardized over all of them."""
        rows = {}
        for module_id, rollouts in experience.rollouts.items():
            if not self.should_module_be_updated(module_id):
                continue
            for_moments = [(rollout.obs.flatten(0, 2), rollout.valid.flatten()) for rollout in rollouts]
            self._see(module_id, *(torch.cat(field) for field in zip(*for_moments)))
            config = self.config.get_config_for_module(module_id)
            network = self._network(module_id)
            parts = [make_batch(network, rollout, config.gamma, config.lambda_) for rollout in rollouts]
            batch = Batch(*(torch.cat(field) for field in zip(*parts))) if len(parts) > 1 else parts[0]
            batch = batch._replace(advantage=standardize(batch.advantage, batch.valid))
            rows[module_id] = columns(batch)
        if not rows:
            raise ValueError("there is nothing to train: policies_to_train names no module that plays a seat")
        return rows
