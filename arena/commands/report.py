"""`arena report RUN [RUN...]`: writes the report of a run again, or a page that compares several."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from arena.errors import UserError
from arena.exit_codes import with_exit_code

DESCRIPTION = """\
Writes RUN/report.html again from what the run has stored; of an unfinished run, a report of the batches that are
finished; of several finished runs, a page that compares them. A run that lies
behind a URI, such as s3://bucket/runs/0001-default-1a2b3c4d, is copied to runs/ first."""


@with_exit_code
def report(arguments: Sequence[str]) -> int:
    """Says what was written; returns the exit code."""
    parser = argparse.ArgumentParser("arena report", description=DESCRIPTION)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run, or its URI")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="of a comparison; default: comparison.html beside the first run"
    )
    options = parser.parse_args(arguments)
    from arena.tournament.results.run_result import load_run, local_folder

    runs = [local_folder(run) for run in options.runs]
    first = runs[0]
    if len(runs) > 1:
        written = write_comparison(runs, options.out or first.absolute().parent / "comparison.html")
    elif options.out:
        raise UserError("--out: only of a comparison; the report of one run lies in its folder")
    else:
        written = load_run(first).report()
    print(written)
    return 0


def write_comparison(runs: Sequence[Path], path: Path) -> Path:
    """One page about several runs."""
    from arena.tournament.report import comparison_page
    from arena.tournament.report.run_comparison import compare

    return comparison_page.write_comparison(path, compare(runs))
