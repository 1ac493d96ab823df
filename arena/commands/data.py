"""`arena data`: says what is wrong with files of bars, or makes one file of them that reads back the same."""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from arena.errors import UserError
from arena.exit_codes import with_exit_code

if TYPE_CHECKING:
    from arena.data.types import Bars

SUFFIXES = (".parquet", ".pq")
FILL = (
    "of bad rows and missing bars: error (default) stops at them, halt leaves bad rows out and halts a symbol "
    "without a bar, intersect keeps the times that all symbols have, drop_symbols leaves out symbols with an error"
)


@with_exit_code
def data(arguments: Sequence[str]) -> int:
    """Print what was found, and write it if that was asked for; returns the exit code."""
    options = _parser().parse_args(arguments)
    from arena.data.bars.findings import BarsError
    from arena.data.bars.readers import load_bars

    out: Path | None = options.out
    symbols = None if options.symbols is None else list(dict.fromkeys(options.symbols))
    try:
        if out is not None:
            _check_out(out, options.path)
        bars, report = load_bars(options.path, fill=options.fill, symbols=symbols, adjusted=options.adjusted)
        print(report.text())
        if out is not None:
            write_bars(out, bars)
            print(f"wrote {out}")
    except (ValueError, OSError, EOFError, csv.Error) as error:
        if isinstance(error, BarsError) and out is None:
            print("\n".join(error.report.text().splitlines()[1:]))  # the findings; there are no bars to sum up
        raise UserError(_sentence(error, options.path)) from error
    return 0


def write_bars(path: Path, bars: "Bars") -> None:
    """A long table, one row per symbol and bar, symbol by symbol; `load_bars` reads the same bars from it.

    Halted bars are rows too. Their volume is 0, by which they are known to be halted when they are read.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    bars.to_frame().drop(columns="tradable").to_parquet(path, index=False)


def _check_out(out: Path, source: Path) -> None:
    if out.suffix.lower() not in SUFFIXES:
        raise ValueError(f"--out {out}: expected a name that ends in {' or '.join(SUFFIXES)}")
    if source.resolve() in (out.resolve(), out.resolve().parent):
        raise ValueError(f"--out {out}: lies where the bars are read from; give another folder")


def _sentence(error: Exception, path: Path) -> str:
    """One line that names a file."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    said = " ".join(str(error).split())
    return said if str(path) in said or said.startswith("--") else f"{path}: {said}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("arena data", description="Examines or converts files of OHLCV bars.")
    tasks = parser.add_subparsers(required=True, metavar="check|import")
    for name, does in (
        ("check", "says what was found in the bars"),
        ("import", "writes one Parquet file: symbol, timestamp (UTC), open, high, low, close, volume, amount"),
    ):
        task = tasks.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.")
        task.add_argument("path", type=Path, metavar="PATH", help="a CSV or Parquet file, or a folder of them")
        task.add_argument("--fill", choices=("error", "halt", "intersect", "drop_symbols"), default="error", help=FILL)
        task.add_argument(
            "--adjusted",
            action=argparse.BooleanOptionalAction,
            help="of files with an adjusted close beside another: scale all prices to it, or ignore it",
        )
        if name == "import":
            task.add_argument("--out", type=Path, required=True, metavar="FILE", help="such as bars.parquet")
            task.add_argument("--symbols", nargs="+", metavar="SYMBOL", help="the ones to keep; left out: all")
        else:
            task.set_defaults(out=None, symbols=None)
    return parser
