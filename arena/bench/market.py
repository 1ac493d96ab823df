"""How fast the market steps."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from arena.bench.machine import peak_memory_bytes, provenance
from arena.data.synthetic.market import generate
from arena.data.synthetic.params import SyntheticParams
from arena.data.types import Scenarios
from arena.market.observation import layout
from arena.market.presets import preset
from arena.market.storage import keep_freed_memory
from arena.market.types import NUM_FORECAST
from arena.market.vector import VectorMarket

WARMUP = 60
WINDOWS = 64  # different windows of bars that the markets share
UNMEASURED_STEPS = 20
STEP = (
    "one market step: sanitise weights, size orders, margin, cross, cap, ration, price, settle, decay and add impact, "
    "mark every seat, reward, and write the observations of all its agents"
)


@dataclass(frozen=True)
class MarketBenchmark:
    """Size of a run."""

    num_envs: int = 4096
    num_agents: int = 10
    num_assets: int = 4
    device: str = "cpu"
    threads: int = 1
    compile: bool = True
    capture: bool = False  # replay the step as a CUDA graph
    num_steps: int = 60  # measured steps
    preset: str = "sqrt"
    forecast: bool = False  # also step the same markets with a table of forecasts, and compare


def benchmark_vector(run: MarketBenchmark) -> dict[str, object]:
    """Step `num_envs` markets together in float32 with full physics and the default observations."""
    torch.set_num_threads(run.threads)
    reuse = run.device == "cpu" and keep_freed_memory()
    if run.device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(run.device)
    scenarios = _scenarios(run.num_assets, WINDOWS)
    tables: list[Tensor | None] = [None]
    if run.forecast:  # any numbers: what is measured is how they get from the table into the observations
        shape = (*scenarios.bars.shape[:3], NUM_FORECAST)
        tables.append(0.01 * torch.randn(shape, generator=torch.Generator().manual_seed(2)))
    markets = [
        VectorMarket(
            preset(run.preset),
            scenarios,
            run.num_agents,
            num_markets=run.num_envs,
            generator=torch.Generator().manual_seed(0),
            forecast=table,
            dtype=torch.float32,
            device=run.device,
            compile=run.compile,
            capture=run.capture,
            auto_reset=True,
        )
        for table in tables
    ]
    market = markets[0]
    # Different targets every step, gross about 1: most seats trade every asset in every step.
    size = (run.num_envs, run.num_agents, run.num_assets)
    generator = torch.Generator().manual_seed(1)
    actions = [market.arrange(torch.randn(size, generator=generator) / run.num_assets) for _ in range(4)]
    sync = torch.cuda.synchronize if run.device.startswith("cuda") else _nothing
    steps = [partial(_step, each, actions) for each in markets]
    timings = _time(steps, run.num_steps, sync)
    return {
        **_rates(timings[0], run.num_envs, run.num_agents),
        **(_without_waiting(steps, run, sync) if run.device.startswith("cuda") else {}),
        **(_table_cost(timings[0], timings[1], run.device) if run.forecast else {}),
        "num_envs": run.num_envs,
        "num_agents": run.num_agents,
        "num_assets": run.num_assets,
        "obs_dim": len(layout(market.params, run.num_assets)),
        "compiled": run.compile,
        "cuda_graph": run.capture,
        "threads": run.threads,
        "dtype": "float32",
        "preset": run.preset,
        "keeps_freed_memory": reuse,
        "step": STEP,
        **_provenance(run.device),
    }


def benchmark_pettingzoo(run: MarketBenchmark) -> dict[str, object]:
    """Step one ArenaParallelEnv with dicts of NumPy arrays, as a PettingZoo user does; resets included."""
    from arena.envs.parallel import ArenaParallelEnv  # the only part that needs pettingzoo

    torch.set_num_threads(run.threads)
    env = ArenaParallelEnv(
        scenarios=_scenarios(run.num_assets, WINDOWS),
        params=preset(run.preset),
        num_agents=run.num_agents,
        compile=run.compile,
    )
    env.reset(seed=0)
    actions = {name: env.action_space(name).sample() / run.num_assets for name in env.possible_agents}

    def step(index: int) -> None:
        env.step({name: actions[name] for name in env.agents})
        if not env.agents:
            env.reset()

    (timing,) = _time([step], run.num_steps, _nothing)
    return {
        **_rates(timing, 1, run.num_agents),
        "num_envs": 1,
        "num_agents": run.num_agents,
        "num_assets": run.num_assets,
        "obs_dim": env.observation_space(env.possible_agents[0]).shape[0],
        "compiled": run.compile,
        "threads": run.threads,
        "preset": run.preset,
        "step": STEP + ", and turn everything into dicts of NumPy arrays",
        **_provenance("cpu"),
    }


def _step(market: VectorMarket, actions: Sequence[Tensor], index: int) -> None:
    market.step(actions[index % len(actions)])


@dataclass(frozen=True)
class _Timing:
    """Seconds of each step."""

    wall: list[float]
    cpu: list[float]  # of all threads


def _time(
    steps: Sequence[Callable[[int], object]], num_steps: int, sync: Callable[[], None], waits: bool = True
) -> list[_Timing]:
    """A timing of each of `steps`, called in turn so that whatever slows the machine slows them all.

    waits  for the device, in every step. False: once, behind all of them; each is then called `num_steps` times in a
           row, and the timing has one entry, their mean
    """
    for step in steps:
        for index in range(UNMEASURED_STEPS):  # compiles
            step(index)
    sync()
    timings = [_Timing([], []) for _ in steps]
    for first in range(num_steps if waits else 1):
        for step, timing in zip(steps, timings):
            start, cpu_start = time.perf_counter(), time.process_time()
            for index in range(first, first + 1 if waits else num_steps):
                step(index)
            sync()
            count = 1 if waits else num_steps
            timing.cpu.append((time.process_time() - cpu_start) / count)
            timing.wall.append((time.perf_counter() - start) / count)
    return timings


def _rates(timing: _Timing, num_envs: int, num_agents: int) -> dict[str, object]:
    steps = num_envs * len(timing.wall)
    per_second = steps / sum(timing.wall)
    return {
        "market_steps_per_second": per_second,
        "market_steps_per_cpu_second": steps / sum(timing.cpu),
        "agent_steps_per_second": per_second * num_agents,
        "step_ms_p50": statistics.median(timing.wall) * 1e3,
    }


def _without_waiting(
    steps: Sequence[Callable[[int], object]], run: MarketBenchmark, sync: Callable[[], None]
) -> dict[str, object]:
    """Rates of a GPU that is given steps as a training gives them: the next one before the last one is done."""
    timings = _time(steps, run.num_steps, sync, waits=False)
    rates = _rates(timings[0], run.num_envs, run.num_agents)
    found: dict[str, object] = {
        "market_steps_per_second": rates["market_steps_per_second"],
        "agent_steps_per_second": rates["agent_steps_per_second"],
        "step_ms": timings[0].wall[0] * 1e3,
    }
    if len(timings) > 1:
        found["step_ms_with_table"] = timings[1].wall[0] * 1e3
    return {"without_waiting": found}


def _table_cost(without: _Timing, with_table: _Timing, device: str) -> dict[str, object]:
    """What the forecasts of a table add to a step: medians, which a pause of the machine does not move."""
    clock = "wall" if device.startswith("cuda") else "cpu"
    plain, more = (statistics.median(getattr(timing, clock)) for timing in (without, with_table))
    return {
        f"{clock}_ms_without_table": plain * 1e3,
        f"{clock}_ms_with_table": more * 1e3,
        "table_share_of_step": more / plain - 1,
    }


def _provenance(device: str) -> dict[str, object]:
    return {
        "peak_memory_bytes": peak_memory_bytes(device),
        **provenance(device),
    }


def _scenarios(num_assets: int, num_windows: int) -> Scenarios:
    return generate(SyntheticParams(num_assets=num_assets, num_bars=180), range(num_windows), warmup=WARMUP)


def _nothing() -> None:
    pass
