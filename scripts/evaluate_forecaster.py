"""Scores forecasters against what came, and against persistence: CRPS, coverage, rank IC, per horizon, with intervals.

python scripts/evaluate_forecaster.py --forecaster embedded --forecaster drift --mode signal
python scripts/evaluate_forecaster.py --forecaster compiled_models/toto_fp32.pt --data DIR --context 512 --out scores
"""

import argparse
import sys
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--forecaster", action="append", nargs="+", default=[], metavar="SPEC", help="a name, an artefact, or a+b")
    add("--data", default="synthetic", help="synthetic (default), or a file or folder of OHLCV bars")
    add("--mode", choices=("signal", "fair"), default="signal", help="synthetic: with a signal, or a martingale")
    add("--scenarios", type=int, default=256, help="synthetic: scenarios, the unit of every interval (default 256)")
    add("--seeds", choices=("ranking", "validation"), default="ranking", help="synthetic: which range of seeds")
    add("--first-seed", type=int, default=0, help="synthetic: place of the first seed in that range")
    add("--fill", choices=("error", "halt", "intersect", "drop_symbols"), default="halt", help="bars: of bad rows")
    add("--horizons", type=int, nargs="+", default=[1, 5, 20], help="bars ahead to score (default 1 5 20)")
    add("--context", type=int, default=64, help="bars each forecast sees (default 64)")
    add("--stride", type=int, default=1, help="bars between two forecasts (default 1)")
    add("--device", default="cpu", help="cpu, cuda or cuda:N")
    add("--out", type=Path, default=None, metavar="DIR", help="write evaluation.json, evaluation.csv and plots there")
    options = vars(parser.parse_args())
    out = options.pop("out")
    specs = tuple(spec for group in options.pop("forecaster") for spec in group)

    from rich.console import Console

    from arena.bench.evaluation import Request, run
    from arena.bench.evaluation_plots import write_plots
    from arena.bench.evaluation_report import tables, write_files

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    request = Request(**options | {"forecasters": specs, "horizons": tuple(sorted(options["horizons"]))})
    try:
        finished = run(request, console)
    except (ValueError, OSError) as error:
        print(f"evaluate_forecaster: {error}", file=sys.stderr)
        return 2
    for table in tables(finished.scores):
        console.print("\n", table)
    if out:
        write_files(out, finished)
        write_plots(out, finished)
        console.print(f"\nwrote {out}", markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
