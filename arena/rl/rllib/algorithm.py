"""PPO of RLlib over tensor environments: TensorEnvRunners sample, TensorPPOLearners learn, the rest is stock."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import ray
from ray.exceptions import RayError
from ray.rllib.algorithms.ppo import PPO, PPOConfig
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from arena.rl.league.opponents import Opponent
from arena.rl.league.outcomes import Wins, add_up
from arena.rl.rllib.compat import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
    CallResult,
    EnvRunnerGroup,
    NotProvided,
    synchronous_parallel_sample,
)
from arena.rl.rllib.experience import join
from arena.rl.rllib.frozen_module import force_weights
from arena.rl.rllib.learner import TensorPPOLearner
from arena.rl.rllib.rl_module import module_spec
from arena.rl.rllib.tensor_runner import TensorEnvRunner, is_trained

GO_ON = "RLlib starts no other: go on from the last checkpoint"
Value = TypeVar("Value")
RolledOut = tuple[dict[str, object], Wins, dict[str, object]]  # metrics of the runner, wins, metrics of the learner


def shared_policy(agent_id: str, episode: object, **kwargs: object) -> str:
    """The mapping in which one module plays every seat."""
    return "shared"


class TensorPPOConfig(PPOConfig):
    """PPOConfig whose environment is a TensorEnv.

    environment(name)        of a registered creator of a TensorEnv, see TensorEnvRunner
    env_runners(...)         num_envs_per_env_runner = B markets, rollout_fragment_length = T steps; an iteration
                             samples T * B market steps in each runner, and no train_batch_size is needed
    training(resident=True)  rollouts are made inside the learners, on their device, with their own weights: nothing is
                             copied. T * B market steps for each learner; env runners are left for evaluation alone
    """

    def __init__(self, algo_class: type | None = None) -> None:
        super().__init__(algo_class=algo_class or TensorPPO)
        self.env_runners(
            env_runner_cls=TensorEnvRunner, num_env_runners=0, num_envs_per_env_runner=256, rollout_fragment_length=32
        )
        self.training(
            lr=3e-4,
            lambda_=0.95,
            clip_param=0.2,
            vf_clip_param=float("inf"),
            vf_loss_coeff=0.5,
            use_kl_loss=False,
            grad_clip=0.5,
            num_epochs=2,
            minibatch_size=4096,
        )
        self.multi_agent(policies={"shared"}, policy_mapping_fn=shared_policy)
        self.add_default_connectors_to_env_to_module_pipeline = False
        self.add_default_connectors_to_module_to_env_pipeline = False
        self.add_default_connectors_to_learner_pipeline = False
        self.resident = False

    def training(self, *, resident: bool = NotProvided, **kwargs: object) -> "TensorPPOConfig":
        """As PPOConfig.training; `resident` see the class."""
        super().training(**kwargs)
        if resident is not NotProvided:
            self.resident = resident
        return self

    @property
    def train_batch_size_per_learner(self) -> int:
        """Market steps of an iteration for each learner."""
        steps = self.num_envs_per_env_runner * self.rollout_fragment_length
        return steps if self.resident else steps * max(1, self.num_env_runners) // max(1, self.num_learners)

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """ArenaRLModule; model_config says which network."""
        return RLModuleSpec(module_class=module_spec().module_class)

    def get_default_learner_class(self) -> type[Learner]:
        """Of the variant."""
        return ResidentPPOLearner if self.resident else TensorPPOLearner

    def validate(self) -> None:
        """Refuse what the tensor path cannot do."""
        if not isinstance(self.rollout_fragment_length, int):
            self._value_error("rollout_fragment_length is 'auto', expected the number of steps T of a rollout")
        if self._train_batch_size_per_learner is not None:
            self._value_error(
                "train_batch_size_per_learner is given, but follows from num_envs_per_env_runner * "
                "rollout_fragment_length; leave it out"
            )
        # PPOConfig compares minibatch_size, which counts rows of agents, with a number of market steps.
        rows = self["minibatch_size"]
        self.update_from_dict({"minibatch_size": None})
        super().validate()
        self.update_from_dict({"minibatch_size": rows})
        if not self.resident and self.num_envs_per_env_runner % max(1, self.num_learners):
            self._value_error(
                f"num_envs_per_env_runner is {self.num_envs_per_env_runner}, expected a multiple of num_learners = "
                f"{self.num_learners}: every learner gets as many markets"
            )


class ResidentPPOLearner(TensorPPOLearner):
    """Also makes its rollouts: it owns a runner that acts with the modules that are trained."""

    def build(self) -> None:
        """Also build the runner, with a seed of its own for every learner."""
        super().build()
        config = self.config.copy(copy_frozen=False).training(resident=False).env_runners(num_env_runners=0)
        if config.seed is not None:
            config.debugging(seed=config.seed + 1_000_003 * (self._learner_index or 0))
        self.runner = TensorEnvRunner(config=config, device=self._device)

    def roll_out_and_update(self, **settings: object) -> RolledOut:
        """Metrics of the runner, who won, and metrics of the learner; settings as in `update`."""
        self.runner.config.policy_mapping_fn = self.config.policy_mapping_fn
        self.runner.module = {module_id: module.unwrapped() for module_id, module in self.module.items()}
        (experience,) = self.runner.sample()
        return self.runner.get_metrics(), experience.outcomes, self.update(batch=experience, **settings)


class TensorPPO(PPO):
    """PPO whose iterations pass rollouts of tensors.

    Opponents that are set here play where training samples; evaluation keeps those of the env_config, a fixed measure.
    A checkpoint does not hold them: set them again after a restore.
    """

    _pool: tuple[Opponent, ...] = ()
    _wins: Wins = {}  # noqa: RUF012 - replaced, never written into

    @classmethod
    def get_default_config(cls) -> TensorPPOConfig:
        """TensorPPOConfig()."""
        return TensorPPOConfig()

    def set_opponents(self, pool: Sequence[Opponent]) -> None:
        """Who plays from each market's next episode on."""
        self._pool = tuple(pool)
        self._send_pool(self.env_runner_group)

    def weigh_opponents(self, weights: Mapping[str, float]) -> None:
        """How often each of those that are set is drawn."""
        self._pool = tuple(opponent._replace(weight=weights[opponent.name]) for opponent in self._pool)
        weigh = partial(_weigh_opponents, weights=dict(weights))
        if not all(self._on_samplers(weigh, self.env_runner_group)):
            self._send_pool(self.env_runner_group)  # a runner was started anew, unnoticed

    def drain_outcomes(self) -> Wins:
        """Who finished ahead of whom in the training episodes that ended since the last call."""
        wins, self._wins = self._wins, {}
        return wins

    def restore_from_path(self, path: str | Path, *args: object, **kwargs: object) -> None:
        """Also makes sure that all runners have the weights, see `force_weights`."""
        super().restore_from_path(path, *args, **kwargs)
        force_weights(self, list(self.config.policies))

    def restore_env_runners(self, env_runner_group: EnvRunnerGroup) -> list[int]:
        """Also gives the pool to runners that were started anew."""
        restored = super().restore_env_runners(env_runner_group)
        if restored and self._pool and env_runner_group is self.env_runner_group:
            self._send_pool(env_runner_group, remote_worker_ids=restored, local_env_runner=False)
        return restored

    def _send_pool(self, group: EnvRunnerGroup, **chosen: object) -> None:
        self._on_samplers(partial(_set_opponents, pool=ray.put(self._pool)), group, **chosen)

    def _on_samplers(
        self, function: Callable[[TensorEnvRunner], Value], group: EnvRunnerGroup, **chosen: object
    ) -> list[Value]:
        """function(runner) of every runner that samples for training, wherever it is."""
        if not self.config.resident:
            return group.foreach_env_runner(function, **chosen)
        return self._ask_learners(
            lambda: _values(self.learner_group.foreach_learner(partial(_on_own_runner, function=function)))
        )

    def training_step(self) -> None:
        """Sample, update, hand out the weights."""
        settings = {"num_epochs": self.config.num_epochs, "minibatch_size": self.config.minibatch_size}
        if self.config.resident:
            self._step_resident(settings)
        else:
            self._step(settings)

    def _step(self, settings: dict[str, object]) -> None:
        with self.metrics.log_time((TIMERS, ENV_RUNNER_SAMPLING_TIMER)):
            experiences, results = synchronous_parallel_sample(
                worker_set=self.env_runner_group,
                max_env_steps=self.config.total_train_batch_size,
                sample_timeout_s=self.config.sample_timeout_s,
                _uses_new_env_runners=True,
                _return_metrics=True,
            )
            if not experiences:
                return  # all runners have failed; they are being restarted
            self.metrics.aggregate(results, key=ENV_RUNNER_RESULTS)
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            experience = join(experiences)
            self._wins = add_up([self._wins, experience.outcomes])
            parts = experience.split(self.config.num_learners) if self.config.num_learners > 1 else [experience]
            handed = {"batches": parts} if self.config.num_learners else {"batch": experience}
            update = partial(self.learner_group.update, **handed, timesteps=self._timesteps(), **settings)
            learned = self._ask_learners(update)
            self.metrics.aggregate(learned, key=LEARNER_RESULTS)
        with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            self._hand_out(list(experience.rollouts))

    def _step_resident(self, settings: dict[str, object]) -> None:
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER)):
            roll = partial(_roll_out_and_update, timesteps=self._timesteps(), **settings)
            results = self._ask_learners(lambda: _values(self.learner_group.foreach_learner(roll)))
            sampled, wins, learned = zip(*results)
            self.metrics.aggregate(list(sampled), key=ENV_RUNNER_RESULTS)
            self.metrics.aggregate(list(learned), key=LEARNER_RESULTS)
            self._wins = add_up([self._wins, *wins])
        if self.eval_env_runner_group is None:
            return  # evaluation hands out the weights to its own runners
        with self.metrics.log_time((TIMERS, SYNCH_WORKER_WEIGHTS_TIMER)):
            self._hand_out([module_id for module_id in self.config.policies if is_trained(self.config, module_id)])

    def _ask_learners(self, ask: Callable[[], list[Value]]) -> list[Value]:
        """An answer of every learner; RuntimeError if one has failed: RLlib starts no other and goes on without it."""
        with _naming_a_lost_learner():
            answers = ask()
        if len(answers) < max(1, self.config.num_learners):
            raise RuntimeError(f"only {len(answers)} of {self.config.num_learners} learners are left; {GO_ON}")
        return answers

    def _hand_out(self, module_ids: list[str]) -> None:
        """Those weights that have changed; frozen modules stay where they are."""
        with _naming_a_lost_learner():
            self.env_runner_group.sync_weights(
                from_worker_or_learner_group=self.learner_group, policies=module_ids, inference_only=True
            )

    def _timesteps(self) -> dict[str, int]:
        """What the schedules of learners go by."""
        steps = self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0)
        return {NUM_ENV_STEPS_SAMPLED_LIFETIME: steps}


@contextmanager
def _naming_a_lost_learner() -> Iterator[None]:
    """RuntimeError in one sentence in place of Ray's; RLlib itself deals with lost runners."""
    try:
        yield
    except RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise RuntimeError(f"a learner has failed ({reason}); {GO_ON}") from error


def _values(results: Iterable[CallResult[Value]]) -> list[Value]:
    """Of RLlib's results of a call in every learner, which hold errors too: the first of these is raised."""
    results = list(results)
    for result in results:
        if not result.ok:
            error = result.get()
            assert isinstance(error, BaseException)
            raise error
    return [result.get() for result in results]


def _roll_out_and_update(learner: ResidentPPOLearner, /, **settings: object) -> RolledOut:
    return learner.roll_out_and_update(**settings)


def _on_own_runner(learner: ResidentPPOLearner, function: Callable[[TensorEnvRunner], Value]) -> Value:
    return function(learner.runner)


def _set_opponents(runner: TensorEnvRunner, pool: ray.ObjectRef) -> None:
    runner.set_opponents(ray.get(pool))


def _weigh_opponents(runner: TensorEnvRunner, weights: dict[str, float]) -> bool:
    return runner.weigh_opponents(weights)
