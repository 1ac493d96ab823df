"""How fast agents are trained: RLlib's stock path beside the tensor path, on one workload in one run."""

import statistics
import time
from collections.abc import Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import ray
import torch
import yaml
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.connectors.env_to_module import EnvToModulePipeline
from ray.rllib.connectors.learner import LearnerConnectorPipeline
from ray.rllib.connectors.module_to_env import ModuleToEnvPipeline
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.vector.sync_vector_multi_agent_env import SyncVectorMultiAgentEnv

from arena.bench.machine import peak_memory_bytes, provenance
from arena.bench.stopwatch import Stopwatch, Watched
from arena.rl.market_env import MarketEnv
from arena.rl.rllib import learner
from arena.rl.rllib.config_file import make_rllib_config
from arena.rl.rllib.learner import TensorPPOLearner
from arena.rl.rllib.rl_module import ArenaRLModule
from arena.rl.rllib.tensor_runner import SeatPolicy, TensorEnvRunner

SECTIONS = ("market", "networks", "training", "stock", "tensor")
TARGETS = {"ratio_end_to_end": 10.0, "ratio_sampling": 20.0}  # of the MLP
STEP = "one market step: all its agents act, trade and observe once"

LEARNING: list[Watched] = [
    (ArenaRLModule, "_forward_train", "learner: forward"),
    (PPOTorchLearner, "compute_loss_for_module", "learner: loss"),
    (PPOTorchLearner, "compute_gradients", "learner: backward"),
    (PPOTorchLearner, "postprocess_gradients", "learner: optimiser"),
    (PPOTorchLearner, "apply_gradients", "learner: optimiser"),
    (PPOTorchLearner, "update", "learner: RLlib"),
]
WATCHED: dict[str, list[Watched]] = {
    "stock": [
        (SyncVectorMultiAgentEnv, "step", "sampling: markets"),
        (ArenaRLModule, "_forward", "sampling: policy"),
        (EnvToModulePipeline, "__call__", "sampling: connectors"),
        (ModuleToEnvPipeline, "__call__", "sampling: connectors"),
        (MultiAgentEnvRunner, "_increase_sampled_metrics", "sampling: metrics per agent step"),
        (MultiAgentEpisode, "add_env_step", "sampling: episode records"),
        (MultiAgentEnvRunner, "sample", "sampling: the rest"),
        (LearnerConnectorPipeline, "__call__", "learner: connectors, values and advantages"),
        *LEARNING,
    ],
    "tensor": [
        (MarketEnv, "step", "sampling: markets"),
        (SeatPolicy, "distribution", "sampling: policy"),
        (TensorEnvRunner, "sample", "sampling: the rest"),
        (TensorPPOLearner, "_rows", "learner: values and advantages"),
        (learner, "minibatch", "learner: minibatches"),
        *LEARNING,
    ],
}


@dataclass(frozen=True)
class TrainingBenchmark:
    """Size of a run; the workload is in the config file."""

    config: Path = Path("configs/train/benchmark.yaml")
    rounds: int = 3  # iterations of both paths in turn; the median counts
    threads: int = 1


@dataclass(frozen=True)
class ResidentBenchmark:
    """Size of a run in which rollouts are made inside the learner: for a GPU."""

    config: Path = Path("configs/train/benchmark.yaml")  # networks and training
    num_envs: int = 4096
    num_agents: int = 10
    num_assets: int = 4
    rollout_length: int = 32
    minibatch_size: int = 65536  # rows
    rounds: int = 10
    threads: int = 1
    device: str = "cuda"


def read_workload(path: Path) -> dict[str, Any]:
    """Its sections; ValueError names what is wrong."""
    try:
        workload = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if not isinstance(workload, dict) or tuple(workload) != SECTIONS:
        raise ValueError(f"{path}: expected the sections {', '.join(SECTIONS)}")
    return workload


def benchmark_training(run: TrainingBenchmark) -> dict[str, Any]:
    """Both paths with each network; the first network's numbers also stand at the top."""
    workload = read_workload(run.config)
    torch.set_num_threads(run.threads)
    _start_ray()
    networks = {name: _compare(workload, network, run.rounds) for name, network in workload["networks"].items()}
    first = next(iter(networks.values()))
    return {
        **{key: first[key] for key in ("stock", "tensor", "ratio_end_to_end", "ratio_sampling")},
        "targets": TARGETS,
        "reached": all(first[key] >= target for key, target in TARGETS.items()),
        "networks": networks,
        "workload": workload,
        "rounds": run.rounds,
        "threads": run.threads,
        "step": STEP,
        **_provenance("cpu"),
    }


def benchmark_resident(run: ResidentBenchmark) -> dict[str, Any]:
    """Market steps trained per second, with each network."""
    workload = read_workload(run.config)
    torch.set_num_threads(run.threads)
    _start_ray()
    on_gpu = run.device.startswith("cuda")
    market = workload["market"] | {"num_agents": run.num_agents}
    market["synthetic"] = market["synthetic"] | {"num_assets": run.num_assets}
    networks = {}
    for name, network in workload["networks"].items():
        algorithm = make_rllib_config(
            {
                **_sections("tensor", workload | {"market": market}, network),
                "env_runners": {
                    "num_envs_per_env_runner": run.num_envs,
                    "rollout_fragment_length": run.rollout_length,
                },
                "training": workload["training"] | {"resident": True, "minibatch_size": run.minibatch_size},
                "learners": {"num_gpus_per_learner": int(on_gpu)},
            }
        ).build_algo()
        algorithm.train()  # compiles
        algorithm.train()
        rates = [_iteration(algorithm)["env_steps_per_second"] for _ in range(run.rounds)]
        algorithm.stop()
        networks[name] = {
            "env_steps_per_second": statistics.median(rates),
            "agent_steps_per_second": statistics.median(rates) * run.num_agents,
            "env_steps_per_second_of_rounds": rates,
        }
    return {
        **next(iter(networks.values())),
        "networks": networks,
        **{key: value for key, value in vars(run).items() if key not in ("config", "device")},
        "training": workload["training"] | {"minibatch_size": run.minibatch_size},
        "step": STEP,
        **_provenance(run.device),
    }


def table(comparison: Mapping[str, Any]) -> list[tuple[str, float, float]]:
    """Rows (part, stock, tensor): CPU microseconds per market step, largest of the stock path first."""
    parts = {path: comparison[path]["cpu_us_per_env_step"] for path in ("stock", "tensor")}
    names = sorted(parts["stock"] | parts["tensor"], key=lambda name: (-parts["stock"].get(name, 0.0), name))
    rows = [(name, parts["stock"].get(name, 0.0), parts["tensor"].get(name, 0.0)) for name in names]
    return [*rows, ("all", sum(parts["stock"].values()), sum(parts["tensor"].values()))]


def _compare(workload: Mapping[str, Any], network: Mapping[str, Any], rounds: int) -> dict[str, Any]:
    """Both paths, an iteration of each in turn."""
    algorithms = {
        path: make_rllib_config(_sections(path, workload, network)).build_algo() for path in ("stock", "tensor")
    }
    measured: dict[str, list[dict[str, float]]] = {path: [] for path in algorithms}
    for algorithm in algorithms.values():
        algorithm.train()  # compiles
    for _ in range(rounds):
        for path, algorithm in algorithms.items():
            measured[path].append(_iteration(algorithm) | _sampling(algorithm))
    result: dict[str, Any] = {
        path: {key: statistics.median(round_[key] for round_ in of_rounds) for key in of_rounds[0]}
        for path, of_rounds in measured.items()
    }
    for path, algorithm in algorithms.items():
        result[path]["cpu_us_per_env_step"] = _parts(algorithm, WATCHED[path])
        algorithm.stop()
    for ratio, key in (
        ("ratio_end_to_end", "env_steps_per_second"),
        ("ratio_end_to_end_cpu", "env_steps_per_cpu_second"),
        ("ratio_sampling", "sample_env_steps_per_cpu_second"),
    ):
        result[ratio] = result["tensor"][key] / result["stock"][key]
    return result


def _sections(path: str, workload: Mapping[str, Any], network: Mapping[str, Any]) -> dict[str, Any]:
    """Of make_rllib_config."""
    training, runners = dict(workload["training"]), dict(workload[path])
    if path == "stock":
        training["train_batch_size_per_learner"] = runners.pop("train_batch_size_per_learner")
    return {
        "algorithm": "PPO" if path == "stock" else "TensorPPO",
        "environment": {"env": "arena" if path == "stock" else "arena_tensor", "env_config": workload["market"]},
        "network": network,
        "env_runners": {"num_env_runners": 0, **runners},
        "training": training,
        "debugging": {"seed": 0},
    }


def _iteration(algorithm: Algorithm) -> dict[str, float]:
    """Rates of sampling, learning and handing out weights together."""
    before = _lifetime_steps(algorithm)
    start, cpu_start = time.perf_counter(), time.process_time()
    algorithm.train()
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu_start
    steps = _lifetime_steps(algorithm) - before
    return {"env_steps_per_second": steps / wall, "env_steps_per_cpu_second": steps / cpu}


def _sampling(algorithm: Algorithm) -> dict[str, float]:
    """Rate of sampling as much as an iteration does."""
    runner = algorithm.env_runner
    start = time.process_time()
    steps = sum(piece.env_steps() for piece in runner.sample())
    spent = time.process_time() - start
    runner.get_metrics()
    return {"sample_env_steps_per_cpu_second": steps / spent}


def _parts(algorithm: Algorithm, watched: list[Watched]) -> dict[str, float]:
    """CPU microseconds per market step of one iteration, by part."""
    stopwatch, before = Stopwatch(), _lifetime_steps(algorithm)
    with stopwatch.watching(watched):
        start = time.process_time()
        algorithm.train()
        spent = time.process_time() - start
    seconds = dict(stopwatch.seconds)
    seconds["iteration: RLlib"] = spent - sum(seconds.values())
    steps = _lifetime_steps(algorithm) - before
    return {label: 1e6 * value / steps for label, value in seconds.items()}


def _lifetime_steps(algorithm: Algorithm) -> float:
    return algorithm.metrics.peek(("env_runners", "num_env_steps_sampled_lifetime"), default=0)


def _start_ray() -> None:
    """In this process alone: there are no remote runners."""
    with redirect_stderr(StringIO()):
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)


def _provenance(device: str) -> dict[str, Any]:
    return {
        "peak_memory_bytes": peak_memory_bytes(device),
        **provenance(device),
    }
