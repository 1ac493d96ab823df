"""Measure latency and predictions per second of a forecaster, beside how fast this machine multiplies matrices.

    python scripts/benchmark_forecaster.py --model toto-22m --batch-size 16
    python scripts/benchmark_forecaster.py --model kronos-mini --batch-size 1 --num-samples 32 --context 448
    python scripts/benchmark_forecaster.py --model compiled_models/toto_fp32.pt --json toto.json

Published sizes get random weights. One prediction is one asset: six channels over the whole horizon.
"""

import argparse
from collections.abc import Sequence

from arena.commands.bench.record import benchmark_parser, write_record
from arena.commands.script_parser import ScriptParser
from arena.errors import UserError
from arena.exit_codes import with_exit_code

POSITIVE = ("batch_size", "num_iterations", "threads", "context", "horizon", "num_samples")


@with_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """`arena bench forecaster` of these arguments, or the script of the command line's."""
    parser = benchmark_parser("forecaster", __doc__, arguments)
    _add_options(parser)
    options = parser.parse_args(arguments)
    parser.require_positive(options, *POSITIVE)
    print(
        f"{options.num_iterations} calls of {options.model} on {options.device}, {options.threads} thread(s): "
        f"{options.batch_size} series of {options.context} bars, {options.horizon} ahead, {options.num_samples} "
        "path(s) if it draws any",
        flush=True,
    )
    parser.require_device(options.device)
    if options.capture and not options.device.startswith("cuda"):
        parser.error("--capture makes a CUDA graph; give --device cuda too, or leave it out")
    result = _measure(options)
    for key, value in result.items():
        if key == "dtypes" and len(options.dtypes) == 1:
            continue
        print(f"{key:40} {value:,.4g}" if isinstance(value, float) else f"{key:40} {value}")
    write_record(options.json, result)
    return 0


def _add_options(parser: ScriptParser) -> None:
    parser.add_argument(
        "--model",
        default="toto-4m",
        help="an exported .pt or .pt2 file, or toto-4m, toto-22m, kronos-mini, kronos-small, kronos-base",
    )
    parser.add_argument("--batch-size", type=int, default=16, help="series forecast together (default 16)")
    parser.add_argument("--num-iterations", type=int, default=20, help="measured calls (default 20)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=1, help="of the processor")
    parser.add_argument("--context", type=int, default=512, help="bars (default 512)")
    parser.add_argument("--horizon", type=int, default=64, help="bars (default 64)")
    parser.add_argument(
        "--num-samples", type=int, default=1, help="paths of each series, from a model that draws any (default 1)"
    )
    parser.add_argument(
        "--dtypes",
        nargs="+",
        choices=("float32", "bfloat16", "float16"),
        default=["float32"],
        help="of a published size, compared with each other; a file has its own",
    )
    parser.add_argument(
        "--tf32",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="let a GPU's matrix units take float32 products, rounding their factors to 10 bits",
    )
    parser.add_argument(
        "--capture",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="on a GPU, replay calls as a CUDA graph; of a model that draws nothing",
    )


def _measure(options: argparse.Namespace) -> dict[str, object]:
    from arena.bench.forecaster import ForecasterBenchmark, benchmark_forecaster

    size = {key: value for key, value in vars(options).items() if key not in ("json", "dtypes")}
    try:
        return benchmark_forecaster(ForecasterBenchmark(**size, dtypes=tuple(options.dtypes)))
    except ValueError as error:
        raise UserError(str(error)) from error
