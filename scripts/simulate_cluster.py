"""Puts measured costs into a model of a cluster: how far one driver reaches, faults, a day at internet scale.

python scripts/simulate_cluster.py --json benchmarks/cluster_scale.json
"""

import argparse
import json
import sys
from pathlib import Path

from arena.bench.cluster_scale import cluster_scale, merged

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cluster",
        type=Path,
        nargs="+",
        default=[BENCHMARKS / f"cluster{part}_cpu.json" for part in ("", "_smallest", "_sessions")],
        help="of benchmark_cluster.py; several, if its parts were measured one by one",
    )
    parser.add_argument("--ranking", type=Path, default=BENCHMARKS / "ranking_cpu.json", help="of benchmark_ranking.py")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="write the numbers there")
    options = parser.parse_args()
    paths = [*options.cluster, options.ranking]
    print(f"a model of a cluster with the costs in {', '.join(map(str, paths))}", flush=True)
    try:
        *parts, ranking = (json.loads(path.read_text()) for path in paths)
        found = cluster_scale(merged(parts), ranking)
    except (OSError, ValueError, KeyError) as error:
        print(f"error: {type(error).__name__}: {error}; give records of those benchmarks", file=sys.stderr)
        return 2
    for run in found["validation"]:
        print(
            f"{run['workers']} workers: {run['measured_seconds']:.1f} s measured, {run['predicted_seconds']:.1f} "
            f"by the model with the same plays, {run['ratio_from_one_worker']:.2f} of it with plays of one worker"
        )
    for reach in found["reach"]:
        print(
            f"{reach['workers']:>5} workers: {reach['units_per_second']:8.2f} units/s, {reach['efficiency']:.0%} of "
            f"their time played, driver busy {reach['driver_share']:.0%}"
        )
    for case in found["faults"]:
        print(f"{case['case']}: {case['seconds']:.0f} s, {case['lost_plays']:.0f} plays lost, {case['efficiency']:.0%}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(found, indent=2) + "\n")
        print(f"wrote {options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
