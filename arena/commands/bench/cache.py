"""Measures how much faster a replay of rolling windows is with a cache of forecasts, at given hit rates.

python scripts/benchmark_cache.py --model toto-4m --json cache.json
"""

from collections.abc import Sequence

from arena.commands.bench.record import benchmark_parser, write_record
from arena.errors import UserError
from arena.exit_codes import with_exit_code


@with_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """`arena bench cache` of these arguments, or the script of the command line's."""
    parser = benchmark_parser("cache", __doc__, arguments)
    parser.add_argument(
        "--model", default="toto-4m", help="a published model with random weights, a forecaster's name, a .pt or .pt2"
    )
    parser.add_argument("--context", type=int, default=512, help="bars (default 512)")
    parser.add_argument("--horizon", type=int, default=64, help="bars (default 64)")
    parser.add_argument("--num-series", type=int, default=128, help="asked for in one call (default 128)")
    parser.add_argument("--num-bars", type=int, default=4, help="rolled over in one replay (default 4)")
    parser.add_argument("--batch-size", type=int, default=16, help="of a published model (default 16)")
    parser.add_argument("--hit-rates", type=float, nargs="+", default=[0.9, 0.99], metavar="H")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)

    parser.require_positive(options, "context", "horizon", "num_series", "num_bars", "batch_size", "threads")
    if not all(0.0 <= rate < 1.0 for rate in options.hit_rates):
        parser.error(f"--hit-rates are {options.hit_rates}, expected 0 <= H < 1")
    from arena.bench.cache import CacheBenchmark, benchmark_cache

    size = {key: value for key, value in vars(options).items() if key not in ("json", "hit_rates")}
    run = CacheBenchmark(**size, hit_rates=tuple(options.hit_rates))
    print(
        f"replays of {run.num_bars} x {run.num_series} windows of {run.context} bars, horizon {run.horizon}, "
        f"by {run.model} on {run.device}, {run.threads} thread(s)",
        flush=True,
    )
    try:
        result = benchmark_cache(run)
    except ValueError as error:
        raise UserError(str(error)) from error
    for measured in result["replays"]:
        print(
            f"hit rate {measured['hit_rate']:.2%}: {measured['speedup']:.2f}x faster, target {measured['target']:.2f}x "
            f"{'reached' if measured['reached'] else 'missed'}; a miss costs {measured['miss_us']:,.0f} us, a hit "
            f"{measured['hit_us']:.1f} us"
        )
    write_record(options.json, result)
    return 0
