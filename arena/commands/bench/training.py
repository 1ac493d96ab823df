"""Measures how fast agents are trained: RLlib's stock path beside the tensor path, with a table of where time goes.

python scripts/benchmark_training.py --json benchmarks/training_cpu.json
python scripts/benchmark_training.py --resident --device cuda --num-agents 10 --num-assets 4 --json gpu.json
"""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

from arena.commands.bench.record import benchmark_parser, write_record
from arena.errors import UserError
from arena.exit_codes import with_exit_code


@with_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """`arena bench training` of these arguments, or the script of the command line's."""
    parser = benchmark_parser("training", __doc__, arguments)
    parser.add_argument("--config", type=Path, default=Path("configs/train/benchmark.yaml"), help="the workload")
    parser.add_argument("--rounds", type=int, default=3, help="measured iterations, of which the median counts")
    parser.add_argument("--threads", type=int, default=1)
    resident = parser.add_argument_group("rollouts inside the learner, tensor path alone: for a GPU")
    resident.add_argument("--resident", action="store_true")
    resident.add_argument("--device", default="cuda", help="cuda or cpu")
    resident.add_argument("--num-envs", type=int, default=4096, help="parallel markets")
    resident.add_argument("--num-agents", type=int, default=10)
    resident.add_argument("--num-assets", type=int, default=4)
    resident.add_argument("--rollout-length", type=int, default=32)
    resident.add_argument("--minibatch-size", type=int, default=65536, help="rows of agents")
    options = parser.parse_args(arguments)

    sizes = [name for name, value in vars(options).items() if isinstance(value, int) and name != "resident"]
    parser.require_positive(options, *sizes)
    if options.resident:
        parser.require_device(options.device)
    print(f"workload of {options.config}, {options.rounds} rounds, {options.threads} thread(s)", flush=True)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    from arena.bench.training import ResidentBenchmark, TrainingBenchmark, benchmark_resident, benchmark_training

    settings = {key: value for key, value in vars(options).items() if key not in ("json", "resident")}
    try:
        if options.resident:
            result = benchmark_resident(ResidentBenchmark(**settings))
        else:
            run = TrainingBenchmark(**{key: settings[key] for key in ("config", "rounds", "threads")})
            result = benchmark_training(run)
    except ValueError as error:
        raise UserError(str(error)) from error
    report(result)
    write_record(options.json, result)
    return 0


def report(result: dict) -> None:
    from arena.bench.training import table

    for network, found in result["networks"].items():
        print(f"\nnetwork {network}")
        if "stock" not in found:
            print(f"  {found['env_steps_per_second']:,.0f} market steps trained per second")
            continue
        print(f"  {'market steps':34} {'stock':>10} {'tensor':>10} {'ratio':>7}")
        for label, key, ratio in (
            ("trained per second", "env_steps_per_second", "ratio_end_to_end"),
            ("trained per CPU-second", "env_steps_per_cpu_second", "ratio_end_to_end_cpu"),
            ("sampled per CPU-second", "sample_env_steps_per_cpu_second", "ratio_sampling"),
        ):
            print(f"  {label:34} {found['stock'][key]:10,.0f} {found['tensor'][key]:10,.0f} {found[ratio]:7.1f}")
        print(f"  {'CPU microseconds per market step':44} {'stock':>9} {'tensor':>9}")
        for part, stock, tensor in table(found):
            print(f"  {part:44} {stock:9.1f} {tensor:9.1f}")
