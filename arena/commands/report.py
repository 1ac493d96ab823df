"""`arena report RUN [RUN...]`: writes the report of a finished run again, or a page that compares several."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from arena.config_file import read_config
from arena.errors import UserError

BAD_INPUT = 2  # exit code
DESCRIPTION = """\
Writes RUN/report.html again from what the run has stored; of several runs, a page that compares them. A run that lies
behind a URI, such as s3://bucket/runs/0001-default-1a2b3c4d, is copied to runs/ first."""
OUT = Path("runs")  # parent of copies


def report(arguments: Sequence[str]) -> int:
    """Says what was written; returns the exit code."""
    parser = argparse.ArgumentParser("arena report", description=DESCRIPTION)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a finished run, or its URI")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="of a comparison; default: comparison.html beside the first run"
    )
    options = parser.parse_args(arguments)
    try:
        runs = [local_run(run) for run in options.runs]
        first = runs[0]
        if len(runs) > 1:
            written = write_comparison(runs, options.out or first.absolute().parent / "comparison.html")
        elif options.out:
            raise UserError("--out: only of a comparison; the report of one run lies in its folder")
        else:
            written = rewrite(first)
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return BAD_INPUT
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    print(written)
    return 0


def local_run(run: str) -> Path:
    """The folder of a run; of one behind a URI, a copy of what a report is made from."""
    if "://" not in run:
        return Path(run)
    from arena.tournament.mirror import fetch_run

    return fetch_run(run, OUT, left_out=("units/",))


def write_comparison(runs: Sequence[Path], path: Path) -> Path:
    """One page about several runs."""
    from arena.tournament import comparison_page
    from arena.tournament.run_comparison import compare

    return comparison_page.write_comparison(path, compare(runs))


def rewrite(run: Path) -> Path:
    """report.html of a run, and of its final if it had one; nothing else in the folder changes."""
    import numpy as np
    import pyarrow.parquet as pq

    from arena.tournament import exhibits
    from arena.tournament.outcome import write_page
    from arena.tournament.run_comparison import read_board

    board = read_board(run)
    config, results = read_config(run / "config.yaml"), pq.read_table(run / "results.parquet")
    title = f"{config.name}, seed {config.seed}"
    folders = [(run, board, title)]
    if board["final"]:
        folders.append((run / "final", board["final"], f"{title}: final"))
    lineup, agents = results["lineup"].to_numpy(), np.asarray(results["agent"].to_pylist(), dtype=str)
    for folder, shown, its_title in folders:
        first, last = shown["lineups"]
        ranked = np.isin(agents, [entry["agent"] for entry in shown["agents"]]) & (first <= lineup) & (lineup <= last)
        rows = results.filter(ranked)
        write_page(run, folder, shown, exhibits.collect(run, rows, shown), its_title)
    return run / "report.html"
