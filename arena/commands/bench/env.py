"""Measures market steps per second, wall and CPU, with full physics and the default observations.

python scripts/benchmark_env.py --num-envs 4096 --num-agents 10 --num-assets 4 --threads 1 --compile --json env.json
python scripts/benchmark_env.py --num-agents 4 --num-assets 100 --forecast
python scripts/benchmark_env.py --pettingzoo --num-agents 10 --num-assets 4
"""

import argparse
from collections.abc import Sequence

from arena.commands.bench.record import benchmark_parser, write_record
from arena.exit_codes import with_exit_code


@with_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """`arena bench env` of these arguments, or the script of the command line's."""
    parser = benchmark_parser("env", __doc__, arguments)
    parser.add_argument("--num-envs", type=int, default=4096, help="parallel markets (default 4096)")
    parser.add_argument("--num-agents", type=int, default=10)
    parser.add_argument("--num-assets", type=int, default=4)
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True, help="torch.compile the step")
    parser.add_argument("--capture", action="store_true", help="replay the step as a CUDA graph")
    parser.add_argument("--num-steps", type=int, default=None, help="measured steps (default 60, PettingZoo 2000)")
    parser.add_argument("--preset", default="sqrt", help="market rules: sqrt, linear_ow, athl, frictionless")
    parser.add_argument("--pettingzoo", action="store_true", help="one ArenaParallelEnv instead of a batch")
    parser.add_argument(
        "--forecast", action="store_true", help="also with a table of forecasts: what it adds to a step"
    )
    options = parser.parse_args(arguments)

    parser.require_positive(options, "num_envs", "num_agents", "num_assets", "threads", "num_steps")
    if options.capture and (options.pettingzoo or not options.device.startswith("cuda")):
        parser.error("--capture makes a CUDA graph of a batch's step; give --device cuda, without --pettingzoo")
    if options.forecast and options.pettingzoo:
        parser.error("--forecast measures a batch of markets; leave out --pettingzoo")
    from arena.bench.market import MarketBenchmark, benchmark_pettingzoo, benchmark_vector
    from arena.market.presets import PRESETS

    if options.preset not in PRESETS:
        parser.error(f"--preset is {options.preset!r}, expected one of {', '.join(PRESETS)}")
    parser.require_device(options.device)
    size = {key: value for key, value in vars(options).items() if key not in ("json", "pettingzoo", "num_steps")}
    run = MarketBenchmark(**size, num_steps=options.num_steps or (2000 if options.pettingzoo else 60))
    markets = "one PettingZoo env" if options.pettingzoo else f"{run.num_envs} markets on {run.device}"
    print(
        f"{run.num_steps} steps of {markets}, {run.num_agents} agents x {run.num_assets} assets, "
        f"{run.threads} thread(s), {'compiled' if run.compile else 'eager'}",
        flush=True,
    )
    result = benchmark_pettingzoo(run) if options.pettingzoo else benchmark_vector(run)
    for key, value in result.items():
        print(f"{key:28} {value:,.4g}" if isinstance(value, float) else f"{key:28} {value}")
    write_record(options.json, result)
    return 0
