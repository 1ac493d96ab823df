"""RLlib's names that its documentation does not promise, and where we work around RLlib 2.60.

A new version of Ray is checked here first. All other modules of arena.rl import these names from this one; what RLlib
documents (AlgorithmConfig, PPO, RLModuleSpec, TorchRLModule, Columns) they import from RLlib.

Private hooks that are overridden, as there are no public ones:
    TensorPPOLearner._create_iterator_if_necessary     makes the minibatches of an update
    NormalizingPPOLearner._make_batch_if_necessary     sees a batch before it is trained on
Private attributes that are read:
    Learner._device, Learner._learner_index            where a learner is, and which one
    EnvRunner._seed, _log_env_steps, _metrics_num_env_steps_sampled, Checkpointable._check_component
    AlgorithmConfig._value_error, _train_batch_size_per_learner
    synchronous_parallel_sample(_uses_new_env_runners, _return_metrics)
Behavior that is worked around:
    arena.rl.rllib.frozen_module.force_weights         weights that RLlib 2.60 does not hand out
    arena.rl.rllib.entrant._mean_action                a squashed mean that RLlib 2.60 leaves unsquashed
    TensorPPOConfig.validate                           PPOConfig compares rows of agents with market steps
    arena.rl.rllib.tuning                              RAY_AIR_NEW_OUTPUT: only the older output can be silenced
"""

# ruff: noqa: F401 - other modules import these names from here

from collections.abc import Callable
from typing import Protocol, TypeVar

from ray.rllib.algorithms.algorithm_config import NotProvided  # default of an argument of AlgorithmConfig.training
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner  # whose loss is kept
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_RL_MODULE  # keys of states
from ray.rllib.core.distribution.torch.torch_distribution import TorchSquashedGaussian
from ray.rllib.core.learner.training_data import TrainingData  # what a learner's hooks are handed
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModule
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES  # keys of EnvRunner.get_spaces
from ray.rllib.env.env_context import EnvContext  # what a creator of environments is called with
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.evaluation.postprocessing import Postprocessing  # names of the loss's columns
from ray.rllib.execution.rollout_ops import synchronous_parallel_sample  # as PPO's own training_step samples
from ray.rllib.policy.sample_batch import (  # of the old API stack, which learners still take
    MultiAgentBatch,
    SampleBatch,
)
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.framework import get_device
from ray.rllib.utils.metrics import (  # keys of results, which stock callbacks and Tune read
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    EPISODE_AGENT_RETURN_MEAN,
    EPISODE_LEN_MAX,
    EPISODE_LEN_MEAN,
    EPISODE_LEN_MIN,
    EPISODE_MODULE_RETURN_MEAN,
    EPISODE_RETURN_MAX,
    EPISODE_RETURN_MEAN,
    EPISODE_RETURN_MIN,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_AGENT_STEPS_SAMPLED,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
    NUM_EPISODES_LIFETIME,
    NUM_MODULE_STEPS_SAMPLED,
    NUM_MODULE_STEPS_SAMPLED_LIFETIME,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
    WEIGHTS_SEQ_NO,
)
from ray.tune.registry import ENV_CREATOR, _global_registry  # where register_env keeps creators
from ray.tune.search.variant_generator import generate_variants  # the points of a grid, before a Tuner runs them

from arena.rl.types import TensorEnv

Value = TypeVar("Value", covariant=True)


class CallResult(Protocol[Value]):
    """Of a call in one learner or runner: a value, or an error that `get` returns."""

    ok: bool

    def get(self) -> Value:
        """The value, or the error itself."""


def env_creator(name: str) -> Callable[[EnvContext], TensorEnv]:
    """What register_env registered under a name; RLlib's own runners ask the registry in the same way."""
    return _global_registry.get(ENV_CREATOR, name)
