"""Write published forecasters, or others of their layout, as files that need torch alone, and check them.

    python scripts/export_models.py                         # Toto-2.0-4m and Kronos-mini, from the Hugging Face hub
    python scripts/export_models.py --model toto --toto DIR_OR_ID --dtype bfloat16
    python scripts/export_models.py --random-weights 4m mini          # no connection needed, good for timing only

Each file is run in a fresh process that can import torch but not arena, and compared with the model it came from.
Exit code 0 if all were written, 2 with one sentence if an input was refused, 1 if a file did not pass.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arena.commands.script_parser import ScriptParser
from arena.errors import UserError
from arena.exit_codes import FAILED, refuse, with_exit_code

SIZES = {"toto": ("4m", "22m"), "kronos": ("mini", "small", "base")}
SHORT = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


@with_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """`arena export` of these arguments, or the script of the command line's."""
    parser = ScriptParser(__doc__, arguments, "export_models.py", "arena export")
    _add_options(parser)
    options = parser.parse_args(arguments)
    if options.context < 1 or options.horizon < 1:
        parser.error(f"--context {options.context} --horizon {options.horizon}: expected at least 1 each")
    kinds = ("toto", "kronos") if options.model == "both" else (options.model,)
    made_up = {kind: size for kind in kinds for size in options.random_weights if size in SIZES[kind]}
    if len(made_up) < len(options.random_weights):
        sizes = " ".join(options.random_weights)
        parser.error(f"--random-weights {sizes}: expected one size of each model that is exported")
    _announce(options, kinds, made_up)
    parser.require_device(options.device)
    try:
        rows = [_export(options, kind, made_up.get(kind)) for kind in kinds]
    except ValueError as error:
        raise UserError(str(error)) from error
    except RuntimeError as error:
        return refuse(str(error), FAILED)
    _print_table(rows)
    return 0


def _add_options(parser: ScriptParser) -> None:
    parser.add_argument("--model", choices=("toto", "kronos", "both"), default="both", help="which of the two")
    parser.add_argument(
        "--toto",
        default="Datadog/Toto-2.0-4m",
        help="folder or hub id (owner/name, owner/name@revision) of a Toto 2.0 or 1.0",
    )
    parser.add_argument(
        "--kronos", default="NeoQuasar/Kronos-mini", help="folder or hub id of a Kronos predictor (default %(default)s)"
    )
    parser.add_argument(
        "--tokenizer", default="", help="folder or hub id of its tokenizer; of a published predictor it is known"
    )
    parser.add_argument(
        "--context", type=int, default=448, help="bars of context that the file is tried on; a .pt2 takes no more"
    )
    parser.add_argument("--horizon", type=int, default=64, help="bars ahead, likewise (default 64)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N")
    parser.add_argument(
        "--dtype",
        choices=tuple(SHORT),
        default="float32",
        help="of the weights; statistics and normalisation stay in float32 and float64",
    )
    parser.add_argument(
        "--format",
        choices=("torchscript", "export", "aotinductor"),
        default="torchscript",
        help="torchscript writes .pt, the others .pt2, which hold Toto 2.0 only",
    )
    parser.add_argument(
        "--max-context",
        type=int,
        default=None,
        help="bars that a Kronos predictor sees at once; of a published predictor it is known",
    )
    parser.add_argument(
        "--random-weights",
        nargs="+",
        choices=[size for sizes in SIZES.values() for size in sizes],
        default=[],
        help="sizes to make up instead of reading weights",
    )
    parser.add_argument("--out", type=Path, default=Path("compiled_models"), help="folder of the files")


def _announce(options: argparse.Namespace, kinds: Sequence[str], made_up: Mapping[str, str]) -> None:
    named = {"toto": options.toto, "kronos": f"{options.kronos} with {options.tokenizer or 'its tokenizer'}"}
    for kind in kinds:
        weights = f"random weights of the size {made_up[kind]}" if kind in made_up else named[kind]
        print(f"{kind:6} {weights}, {options.dtype}, {options.format}, {options.device}")
    tried = f"{options.context} bars of context and {options.horizon} bars ahead"
    print(f"to {options.out}, tried on {tried}", flush=True)


def _export(options: argparse.Namespace, kind: str, size: str | None) -> tuple[Path, dict[str, Any]]:
    """The file of one model and its manifest; ValueError for a bad input, RuntimeError if the file does not pass."""
    from arena.forecast.export.exporter import SUFFIXES, export
    from arena.forecast.export.sources import open_kronos, open_random, open_toto

    path = options.out / f"{kind}_{SHORT[options.dtype]}{SUFFIXES[options.format]}"
    if size is not None:
        source = open_random(f"{kind}-{size}")
    elif kind == "toto":
        source = open_toto(options.toto)
    else:
        source = open_kronos(options.kronos, options.tokenizer or None, options.max_context)
    print("\n".join(source.remarks), flush=True)
    size_of_case = (options.context, options.horizon)
    manifest = export(
        source.module, path, source.manifest, *size_of_case, options.dtype, options.device, options.format
    )
    return path, manifest


def _print_table(rows: Sequence[tuple[Path, dict[str, Any]]]) -> None:
    print(f"\n{'file':20} {'MB':>7}  {'dtype':8}  script - eager   error of fp32, bf16, fp16 (median)   forecasts")
    for path, manifest in rows:
        errors = ", ".join(f"{manifest['error_vs_float32'][name]['median']:.1e}" for name in SHORT)
        start = f"{path.name:20} {path.stat().st_size / 1e6:7.1f}  {manifest['dtype']:8}"
        print(f"{start}  {manifest['tolerance']:14.1e}   {errors:35}   finite")
    print("errors in standard deviations of the channel\nwrote " + " ".join(str(path) for path, _ in rows))
