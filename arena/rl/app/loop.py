"""Trains an algorithm of RLlib: iterations, league, evaluations, checkpoints, until it is time to stop."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import ray
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from rich.console import Console

from arena.cluster.joining import CLIENT, LOCAL, join
from arena.cluster.nodes import check_nodes
from arena.config.tournament import TournamentConfig
from arena.errors import UserError
from arena.monitor import metrics
from arena.monitor.dashboard import dashboard_line
from arena.rl.app import checkpoints
from arena.rl.app.checkpoints import POLICY, TrainingState
from arena.rl.app.config import LeagueConfig, TrainConfig
from arena.rl.app.evaluation import EvaluationResult, evaluate, evaluation_tournament
from arena.rl.app.files import named_files
from arena.rl.app.interruption import stop_requests
from arena.rl.app.league_driver import league_step, push, seat_league, trained_network
from arena.rl.app.record import Record
from arena.rl.league.league import League, LeagueParams
from arena.rl.records import Fields, Row
from arena.rl.rllib.algorithm import TensorPPOConfig
from arena.rl.rllib.config_file import make_rllib_config
from arena.rl.rllib.export import export_policy
from arena.rl.rllib.frozen_module import force_weights
from arena.rl.rllib.registration import STOCK_ENV, WARMUP, policy_manifest
from arena.rl.rllib.rl_module import ArenaRLModule
from arena.tournament.stats.ratings import rate_players

SESSION_SEEDS = 9973  # apart: a session that goes on draws other markets than those it has trained on
MODULE = "shared"  # whose policy is evaluated and exported
LEARNED = {  # numbers of RLlib's learners by the names they are recorded under
    "policy_loss": "policy_loss",
    "vf_loss": "value_loss",
    "entropy": "entropy",
    "vf_explained_var": "explained_variance",
    "default_optimizer_learning_rate": "learning_rate",
}


class Training:
    """One session: from the start, or from the last checkpoint of the run folder.

    Ctrl-C ends it after the iteration under way, if it runs in the main thread; `interrupted` then says so.
    """

    def __init__(self, config: TrainConfig, run: Path, console: Console, command: str, resume: bool) -> None:
        self.config, self.run, self.console, self._command = config, run, console, command
        self.interrupted = False
        self._checkpoint: Path | None = None
        self.state = TrainingState()
        if resume:
            self._checkpoint, self.state = checkpoints.last(run)
        self.last_evaluation: EvaluationResult | None = None

    def train(self) -> TrainingState:
        """Until the end that `run` gives, or Ctrl-C; the state that was saved last."""
        with (
            started_ray(self.config),
            stop_requests(self._stop),
            _num_threads(self.config.run.threads),
            Record(self.run, self.console, self.state.iteration) as log,
        ):
            if self.config.run.dashboard:
                self.console.print(dashboard_line(), markup=False)
            algorithm, league, tournament = self._build()
            try:
                begun, cpu_begun = time.monotonic() - self.state.seconds, time.process_time() - self.state.cpu_seconds
                while not self._has_ended(self.state):
                    start, before = time.monotonic(), self.state.env_steps
                    result = algorithm.train()
                    row = self._row(algorithm, result, league)
                    row["env_steps_per_second"] = (row["env_steps"] - before) / (time.monotonic() - start)
                    self.state = replace(
                        self.state,
                        iteration=self.state.iteration + 1,
                        env_steps=row["env_steps"],
                        seconds=time.monotonic() - begun,
                        cpu_seconds=time.process_time() - cpu_begun,
                    )
                    log.iteration(row)
                    metrics.TRAINED_STEPS.record(row["env_steps"] - before)
                    metrics.EPISODE_RETURN.record(row["episode_return"])
                    self._evaluate_and_save(algorithm, tournament, log)
                    self.state = replace(
                        self.state, seconds=time.monotonic() - begun, cpu_seconds=time.process_time() - cpu_begun
                    )
                    if self.interrupted:
                        break
            finally:
                algorithm.stop()
        return self.state

    def _build(self) -> tuple[Algorithm, League | None, TournamentConfig]:
        """The algorithm where it stood, its league, and the tournament that evaluates it."""
        settings = self.config.run
        torch.manual_seed(settings.seed)
        config = algorithm_config(self.config, self.state.iteration)
        warmup = config.env_config.get("warmup", WARMUP)
        tournament = evaluation_tournament(settings.evaluation, config.env_config, warmup, settings.seed)
        if shortage := resource_shortage(config):
            self.console.print(shortage, style="yellow", markup=False)
        algorithm = config.build_algo()
        if self._checkpoint is not None:
            algorithm.restore_from_path(str(self._checkpoint.resolve()))
            force_weights(algorithm, list(algorithm.config.policies))
        league = open_league(self.config.league, self.run)
        if league is not None:
            push(algorithm, league)
        return algorithm, league, tournament

    def _has_ended(self, state: TrainingState) -> bool:
        run = self.config.run
        return (
            (run.iterations is not None and state.iteration >= run.iterations)
            or (run.env_steps is not None and state.env_steps >= run.env_steps)
            or (run.minutes is not None and state.seconds >= 60 * run.minutes)
            or (run.patience is not None and state.stale_evaluations >= run.patience)
        )

    def _row(self, algorithm: Algorithm, result: Fields, league: League | None) -> Row:
        """Numbers of an iteration."""
        iteration, sampled = self.state.iteration + 1, result.get("env_runners", {})
        row = {
            "iteration": iteration,
            "env_steps": int(sampled.get("num_env_steps_sampled_lifetime", 0)),
            "seconds": round(self.state.seconds, 1),
            "episodes": sampled.get("num_episodes", 0),
            "episode_return": _mean_return(sampled),
        }
        for module_id, found in result.get("learners", {}).items():
            prefix = "" if module_id == MODULE else f"{module_id}/"
            row |= {prefix + name: float(found[key]) for key, name in LEARNED.items() if key in found}
        if league is not None:
            numbers = league_step(algorithm, league, iteration, row["env_steps"], rate_players)
            row |= {f"league/{name}": value for name, value in numbers.items()}
        return row

    def _evaluate_and_save(self, algorithm: Algorithm, tournament: TournamentConfig, log: Record) -> None:
        """Evaluate and save when due; the last time always."""
        run, iteration = self.config.run, self.state.iteration
        ends = self._has_ended(self.state) or self.interrupted
        every = run.evaluation.every
        is_evaluated = ends or (every > 0 and iteration % every == 0)
        if not (is_evaluated or iteration % run.checkpoint_every == 0):
            return
        checkpoint = self._save(algorithm)
        if not is_evaluated:
            return
        found = self.last_evaluation = evaluate(tournament, entrant(checkpoint))
        best = self.state.best_growth
        is_best = best is None or found.growth.value > best
        if is_best:
            growth = found.growth.value
            self.state = replace(self.state, best_growth=growth, best_iteration=iteration, stale_evaluations=0)
        else:
            self.state = replace(self.state, stale_evaluations=self.state.stale_evaluations + 1)
        log.evaluation(iteration, self.state.env_steps, found, is_best)
        metrics.GROWTH.record(found.growth.value)
        metrics.LEAD.record(found.lead.value)
        checkpoints.write_state(checkpoint, self.state)
        if is_best:
            checkpoints.keep_as_best(self.run, checkpoint)

    def _save(self, algorithm: Algorithm) -> Path:
        return checkpoints.save(self.run, self.state, partial(write_checkpoint, algorithm, self._command))

    def _stop(self) -> None:
        self.interrupted = True
        self.console.print("stopping after this iteration; Ctrl-C again stops at once", style="yellow")


@contextmanager
def _num_threads(number: int | None) -> Iterator[None]:
    """Of torch in this process inside the block; None: as they are."""
    if number is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def algorithm_config(config: TrainConfig, session: int = 0) -> AlgorithmConfig:
    """RLlib's config with seed and league; ValueError says what cannot be used. session: iterations made before."""
    made = make_rllib_config(config.sections)
    made.debugging(seed=(config.run.seed + SESSION_SEEDS * session) % 2**31)
    if config.league is not None:
        if not isinstance(made, TensorPPOConfig):
            raise ValueError("a league needs algorithm: TensorPPO")
        seat_league(made, league_params(config.league))
    return made


def resource_shortage(config: AlgorithmConfig) -> str:
    """What runners and learners ask for beyond all that Ray has now, for which they would wait in silence."""
    # The first bundle is of the main process, which is this one and asks Ray for nothing.
    bundles = config.algo_class.default_resource_request(config.to_dict()).bundles[1:]
    has = ray.cluster_resources()
    for name in sorted({name for bundle in bundles for name in bundle}):
        asked = sum(bundle.get(name, 0) for bundle in bundles)
        if asked > has.get(name, 0):
            return (
                f"env runners and learners ask for {asked:g} {name} and Ray has {has.get(name, 0):g}: waiting until "
                "nodes are added; ask for fewer, or stop"
            )
    return ""


def league_params(config: LeagueConfig) -> LeagueParams:
    """LeagueParams of what the file says."""
    return LeagueParams(**config.model_dump(exclude_none=True))


def open_league(config: LeagueConfig | None, run: Path) -> League | None:
    """The league of a run, with what it holds already."""
    if config is None:
        return None
    return League.open(league_params(config), run / "league")


def write_checkpoint(algorithm: Algorithm, command: str, folder: Path) -> None:
    """RLlib's checkpoint, and the policy as an entrant's file where its network is ours."""
    algorithm.save_to_path(str(folder.resolve()))
    context, module = algorithm.config.env_config, algorithm.get_module(MODULE)
    if not isinstance(module, ArenaRLModule) or (algorithm.config.env == STOCK_ENV and "reach" not in context):
        return  # RLlib's own networks, or actions that are weights: rllib:CHECKPOINT enters them
    num_assets = module.action_space.shape[0]
    manifest = policy_manifest(context, num_assets, any_assets=bool(module.network.num_asset_features), command=command)
    steps = algorithm.metrics.peek(("env_runners", "num_env_steps_sampled_lifetime"), default=0)
    export_policy(
        trained_network(algorithm), folder / POLICY, manifest, iteration=algorithm.iteration, env_steps=int(steps)
    )


def entrant(checkpoint: Path) -> str:
    """Spec of a checkpoint's policy."""
    policy = checkpoint / POLICY
    return f"policy:{policy.resolve()}" if policy.exists() else f"rllib:{checkpoint.resolve()}"


@contextmanager
def started_ray(config: TrainConfig) -> Iterator[None]:
    """A Ray of our own, or the cluster of `address`; a Ray that runs already in this process is used as it is."""
    settings = config.run
    if ray.is_initialized():
        yield
        return
    if settings.address.startswith(CLIENT):
        raise UserError(
            f"--run.address {settings.address}: the driver of a training belongs into the cluster; submit it with "
            "`ray job submit` and give --run.address auto"
        )
    own = {"num_cpus": settings.num_cpus, "include_dashboard": settings.dashboard}
    join(settings.address, own, flag="--run.address", ship_arena=settings.ship_arena)
    try:
        if settings.address != LOCAL:
            check_nodes(ray, named_files(config), f"--run.address {settings.address}")
        yield
    finally:
        ray.shutdown()


def _mean_return(sampled: Fields) -> float:
    """Of an agent's episode; NaN while none has ended."""
    of_agents = sampled.get("agent_episode_returns_mean", {})
    values = [float(value) for value in of_agents.values()]
    return sum(values) / len(values) if values else float("nan")
