"""An env runner of RLlib that steps many markets as tensors, with one call of the policy for all of them.

Axes: T time, B markets, N agents, A assets, F features.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import ray
import torch
from gymnasium.spaces import Box
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.env.env_runner import EnvRunner
from torch import Tensor

from arena.agents.types import Agent
from arena.rl.league.opponents import Opponent, OpponentEnv, load_opponent
from arena.rl.league.outcomes import LEARNER, Wins, against
from arena.rl.ppo.episodes import Finished, follow, none_running
from arena.rl.ppo.rollout import allocate, begin, collect
from arena.rl.rllib.compat import (
    COMPONENT_RL_MODULE,
    EPISODE_AGENT_RETURN_MEAN,
    EPISODE_LEN_MAX,
    EPISODE_LEN_MEAN,
    EPISODE_LEN_MIN,
    EPISODE_MODULE_RETURN_MEAN,
    EPISODE_RETURN_MAX,
    EPISODE_RETURN_MEAN,
    EPISODE_RETURN_MIN,
    INPUT_ENV_SINGLE_SPACES,
    INPUT_ENV_SPACES,
    NUM_AGENT_STEPS_SAMPLED,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
    NUM_EPISODES_LIFETIME,
    NUM_MODULE_STEPS_SAMPLED,
    NUM_MODULE_STEPS_SAMPLED_LIFETIME,
    WEIGHTS_SEQ_NO,
    Checkpointable,
    EnvContext,
    MultiRLModule,
    env_creator,
    get_device,
)
from arena.rl.rllib.experience import Experience, of_seats
from arena.rl.types import Rollout, TensorEnv

Seats = dict[str, list[int]]  # by module id
Spaces = dict[str, tuple[Box, Box]]  # of observations and of actions; RLlib says by which keys
State = dict[str, Any]  # RLlib's, with weights by module id: they are arrays, or a reference to some
WIN_SHARE = "win_share"  # metric, by the name of an opponent: how often the learners finished ahead of it


class SeatPolicy:
    """The modules of all seats as one policy (arena.rl.types.Policy).

    explore  False: the mean is played      random  standard normal draws, whatever is seen
    """

    def __init__(self, modules: MultiRLModule, seats: Seats, explore: bool, random: bool) -> None:
        self._modules, self._seats, self._explore, self._random = modules, seats, explore, random

    def distribution(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log_std [B, N, A] from obs [B, N, F]."""
        if len(self._seats) == 1:
            ((module_id, _),) = self._seats.items()
            mean, log_std = self._modules[module_id].distribution(obs)
        else:
            parts = [self._modules[mid].distribution(obs[:, seats]) for mid, seats in self._seats.items()]
            order = np.argsort([seat for seats in self._seats.values() for seat in seats]).tolist()
            mean, log_std = (torch.cat(part, 1)[:, order] for part in zip(*parts))
        if self._random:
            return torch.zeros_like(mean), torch.zeros_like(log_std)
        # Without spread a draw is the mean; its log-probability then has no meaning, and nothing reads it.
        return mean, log_std if self._explore else torch.full_like(log_std, -math.inf)


class TensorEnvRunner(EnvRunner, Checkpointable):
    """Samples Experience from a TensorEnv of B = num_envs_per_env_runner markets, T = rollout_fragment_length steps.

    The environment comes from the creator registered under `config.env`, which is called with the env_config and
    num_markets, device and seed. Agents are trader_0 ...; policy_mapping_fn is asked once a rollout, with episode None.

    device  None: that of the config. Of a learner that owns this runner: its own
    """

    def __init__(
        self,
        *,
        config: AlgorithmConfig,
        device: torch.device | str | None = None,
        spaces: Spaces | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(config=config, spaces=spaces, **kwargs)
        self.spaces: Spaces = spaces or {}
        gpus = self.config.num_gpus_per_env_runner
        if not self.worker_index:
            gpus = self.config.num_gpus_per_learner if self.config.num_learners == 0 else 0
        self._device = torch.device(get_device(self.config, gpus) if device is None else device)
        self.env: TensorEnv | None = None
        self.module: MultiRLModule | None = None
        self._weights_seq_no = 0
        self._needs_initial_reset = True
        self._buffers: Rollout | None = None
        self._opponents: dict[str, tuple[Opponent, Agent]] = {}  # none: those of the env_config play
        self._generator = torch.Generator(device=self._device)
        if self._seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(self._seed)
        # The local runner beside remote ones (index 0) gets their spaces, and no environment.
        if self.worker_index != 0 or self.config.num_env_runners == 0 or self.config.create_env_on_local_worker:
            self.make_env()
        self.make_module()

    def make_env(self) -> None:
        """Build the environment of the config."""
        creator = env_creator(self.config.env)
        # A runner beside learners that roll out themselves is only asked for its spaces.
        only_spaces = getattr(self.config, "resident", False) and not self.config.in_evaluation
        fewest = self.config.env_config.get("num_groups", 1)  # a market in each group
        settings = {
            **self.config.env_config,
            "num_markets": fewest if only_spaces else self.config.num_envs_per_env_runner,
            "device": str(self._device),
            "seed": int(torch.randint(2**31, (), generator=self._generator, device=self._device)),
        }
        context = EnvContext(settings, worker_index=self.worker_index or 0, num_workers=self.num_workers)
        self.env = creator(context)
        self.agents = [f"trader_{seat}" for seat in range(self.env.num_agents)]
        self._needs_initial_reset, self._buffers = True, None
        self._seat_opponents()

    def make_module(self) -> None:
        """Build the modules that act, without critics."""
        spec = self.config.get_multi_rl_module_spec(spaces=self.get_spaces(), inference_only=True)
        self.module = spec.build()
        self.module.foreach_module(lambda module_id, module: module.to(self._device))

    def get_spaces(self) -> Spaces:
        """Observation and action space of the environment and of every module; unbounded, see ArenaRLModule."""
        if self.env is None:
            return self.spaces
        seen, acted = (Box(-np.inf, np.inf, (size,), np.float32) for size in (self.env.obs_dim, self.env.num_assets))
        spaces = seen, acted
        modules = dict.fromkeys(self.config.policies, spaces)
        return {INPUT_ENV_SPACES: spaces, INPUT_ENV_SINGLE_SPACES: spaces, **modules}

    def sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool | None = None,
        random_actions: bool = False,
        force_reset: bool = False,
    ) -> list[Experience]:
        """One rollout; of num_timesteps market steps over all markets, rounded up, where these are given.

        num_episodes  anew from the start until so many have ended; returns a count of the steps, without rollouts
        """
        assert self.env is not None, "this runner has no environment: it is the local one beside remote ones"
        seats = self._seats()
        policy = SeatPolicy(self.module, seats, self.config.explore if explore is None else explore, random_actions)
        if force_reset or num_episodes is not None or self._needs_initial_reset:
            self._stream = begin(self.env)
            self._running = none_running(self.env.num_markets, self.env.num_agents, self._device)
            self._needs_initial_reset = False
        length = self.config.get_rollout_fragment_length(self.worker_index or 0)
        if num_episodes is not None:
            ended, steps = 0, 0
            while ended < num_episodes:
                _, count, _ = self._roll(policy, length, seats)
                ended += count
                steps += length * self.env.num_markets
            self._needs_initial_reset = True  # training goes on with episodes of its own
            return [Experience({}, steps)]
        if num_timesteps is not None:
            length = -(-num_timesteps // self.env.num_markets)
        rollout, _, wins = self._roll(policy, length, seats)
        rollouts = {mid: [of_seats(rollout, places)] for mid, places in seats.items() if is_trained(self.config, mid)}
        return [Experience(rollouts, length * self.env.num_markets, wins)]

    def set_opponents(self, pool: Sequence[Opponent]) -> None:
        """Who may play from the next episode on, in place of those of the env_config; loads only those that are new."""
        if self.env is None:
            return  # the local runner beside remote ones has no environment
        before = self._opponents
        self._opponents = {}
        for opponent in pool:
            known, agent = before.get(opponent.name, (None, None))
            if agent is None or known is None or known._replace(weight=opponent.weight) != opponent:
                agent = load_opponent(opponent, self._device)
            self._opponents[opponent.name] = (opponent, agent)
        self._seat_opponents()

    def weigh_opponents(self, weights: Mapping[str, float]) -> bool:
        """How often each of them is to play. False: this runner has others, as one has that was started anew."""
        if self.env is None:
            return True
        if weights.keys() != self._opponents.keys():
            return False
        self.set_opponents([known._replace(weight=weights[name]) for name, (known, _) in self._opponents.items()])
        return True

    def get_metrics(self) -> dict[str, object]:
        """What was logged since the last call."""
        return self.metrics.reduce()

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: object,
    ) -> State:
        """Weights and counters; markets under way are not part of it."""
        state: State = {NUM_ENV_STEPS_SAMPLED_LIFETIME: self.num_env_steps_sampled_lifetime}
        if self.module is not None and self._check_component(COMPONENT_RL_MODULE, components, not_components):
            state[COMPONENT_RL_MODULE] = self.module.get_state(
                components=self._get_subcomponents(COMPONENT_RL_MODULE, components),
                not_components=self._get_subcomponents(COMPONENT_RL_MODULE, not_components),
                **kwargs,
            )
            state[WEIGHTS_SEQ_NO] = self._weights_seq_no
        return state

    def set_state(self, state: State) -> None:
        """Weights that are newer than ours, or that have no number, are taken."""
        if COMPONENT_RL_MODULE in state and self.module is not None:
            number = state.get(WEIGHTS_SEQ_NO, 0)
            if number == 0 or self._weights_seq_no < number:
                weights = state[COMPONENT_RL_MODULE]
                self.module.set_state(ray.get(weights) if isinstance(weights, ray.ObjectRef) else weights)
            if number:
                self._weights_seq_no = number
        if NUM_ENV_STEPS_SAMPLED_LIFETIME in state:
            self.num_env_steps_sampled_lifetime = state[NUM_ENV_STEPS_SAMPLED_LIFETIME]

    def get_ctor_args_and_kwargs(self) -> tuple[tuple, dict[str, object]]:
        """How to build it anew."""
        return (), {"config": self.config}

    def get_checkpointable_components(self) -> list[tuple[str, MultiRLModule | None]]:
        """The modules."""
        return [(COMPONENT_RL_MODULE, self.module)]

    def assert_healthy(self) -> None:
        """AssertionError unless it can sample."""
        assert self.env is not None, "no environment"
        assert self.module is not None, "no module"

    def stop(self) -> None:
        """Let go of the environment."""
        self.env, self._buffers = None, None

    def _seats(self) -> Seats:
        """Which seats each module plays: asked anew, because adding a module replaces the mapping."""
        seats: Seats = {}
        for seat, agent in enumerate(self.agents):
            seats.setdefault(self.config.policy_mapping_fn(agent, None), []).append(seat)
        return seats

    def _seat_opponents(self) -> None:
        if not self._opponents:
            return
        assert isinstance(self.env, OpponentEnv), f"{type(self.env).__name__} has no seats for opponents"
        agents = {name: agent for name, (_, agent) in self._opponents.items()}
        self.env.set_opponents(agents, {name: known.weight for name, (known, _) in self._opponents.items()})

    def _roll(self, policy: SeatPolicy, length: int, seats: Seats) -> tuple[Rollout, int, Wins]:
        """A rollout, logged, how many episodes ended in it, and who won them."""
        assert self.env is not None
        if self._buffers is None or len(self._buffers.reward) != length:
            self._buffers = allocate(self.env, self._stream, length)
        rollout, self._stream = collect(self.env, policy, self._stream, self._buffers, self._generator)
        finished, self._running = follow(self._running, rollout, self._stream.alive)
        wins = self.env.outcomes() if rollout.final_steps and isinstance(self.env, OpponentEnv) else {}
        self._log(length, finished, wins, seats)
        return rollout, len(finished.length), wins

    def _log(self, length: int, finished: Finished, wins: Wins, seats: Seats) -> None:
        """One number of each kind for all markets: a call of the logger costs as much as many market steps."""
        assert self.env is not None
        markets, log = self.env.num_markets, self.metrics.log_value
        steps = length * markets
        self.num_env_steps_sampled_lifetime += steps
        self._log_env_steps(self._metrics_num_env_steps_sampled, steps)
        log(NUM_ENV_STEPS_SAMPLED, steps, reduce="sum")
        log(NUM_ENV_STEPS_SAMPLED_LIFETIME, steps, reduce="lifetime_sum", with_throughput=True)
        for agent in self.agents:
            log((NUM_AGENT_STEPS_SAMPLED, agent), steps, reduce="sum")
            log((NUM_AGENT_STEPS_SAMPLED_LIFETIME, agent), steps, reduce="lifetime_sum")
        for module_id, places in seats.items():
            log((NUM_MODULE_STEPS_SAMPLED, module_id), steps * len(places), reduce="sum")
            log((NUM_MODULE_STEPS_SAMPLED_LIFETIME, module_id), steps * len(places), reduce="lifetime_sum")
        log(NUM_EPISODES, len(finished.length), reduce="sum")  # also none: evaluation counts with it
        log(NUM_EPISODES_LIFETIME, len(finished.length), reduce="lifetime_sum")
        if not len(finished.length):
            return
        # Markets mostly end together, so that one entry stands for all of them.
        window = math.ceil(self.config.metrics_num_episodes_for_smoothing / (markets * max(1, self.num_workers)))
        returns, lengths = finished.episode_return.cpu(), finished.length.cpu()  # [E, N], [E]
        whole, of_agents = returns.sum(1), returns.mean(0).tolist()
        log(EPISODE_RETURN_MEAN, float(whole.mean()), window=window)
        log(EPISODE_LEN_MEAN, float(lengths.mean()), window=window)
        for key, value in ((EPISODE_RETURN_MIN, whole.min()), (EPISODE_LEN_MIN, lengths.min())):
            log(key, float(value), reduce="min", window=window)
        for key, value in ((EPISODE_RETURN_MAX, whole.max()), (EPISODE_LEN_MAX, lengths.max())):
            log(key, float(value), reduce="max", window=window)
        for agent, value in zip(self.agents, of_agents):
            log((EPISODE_AGENT_RETURN_MEAN, agent), value, window=window)
        for module_id, places in seats.items():
            log((EPISODE_MODULE_RETURN_MEAN, module_id), sum(of_agents[seat] for seat in places), window=window)
        for name, met in (
            against(wins, LEARNER).items() if not self._opponents else ()
        ):  # those that were set come and go
            log((WIN_SHARE, name), met.wins / met.games, window=window)


def is_trained(config: AlgorithmConfig, module_id: str) -> bool:
    """Whether policies_to_train names the module."""
    chosen = config.policies_to_train
    if chosen is None:
        return True
    return bool(chosen(module_id, None)) if callable(chosen) else module_id in chosen
