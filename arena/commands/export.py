"""Write published forecasters, or others of their layout, as files that need torch alone, and check them.

    python scripts/export_models.py                         # Toto-2.0-4m and Kronos-mini, from the Hugging Face hub
    python scripts/export_models.py --model toto --toto DIR_OR_ID --dtype bfloat16
    python scripts/export_models.py --random-weights 4m mini          # no connection needed, good for timing only

Each file is run in a fresh process that can import torch but not arena, and compared with the model it came from.
Exit code 0 if all were written, 2 with one sentence if an input was refused, 1 if a file did not pass.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import tyro

from arena.commands.naming import description, program

SCRIPT, COMMAND = "export_models.py", "arena export"
BAD_INPUT, FAILED = 2, 1
SIZES = {"toto": ("4m", "22m"), "kronos": ("mini", "small", "base")}
SHORT = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


def main(arguments: Sequence[str] | None = None) -> int:
    """`arena export` of these arguments, or the script of the command line's."""
    text = description(__doc__, arguments, SCRIPT, COMMAND)
    return tyro.cli(export_models, prog=program(arguments, COMMAND), description=text, args=arguments)


def export_models(
    model: Literal["toto", "kronos", "both"] = "both",
    toto: str = "Datadog/Toto-2.0-4m",
    kronos: str = "NeoQuasar/Kronos-mini",
    tokenizer: str = "",
    context: int = 448,
    horizon: int = 64,
    device: str = "cpu",
    dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    format: Literal["torchscript", "export", "aotinductor"] = "torchscript",
    max_context: int | None = None,
    random_weights: tuple[Literal["4m", "22m", "mini", "small", "base"], ...] = (),
    out: Path = Path("compiled_models"),
) -> int:
    """Export forecasters.

    Args:
        model: which of the two.
        toto: folder or hub id (owner/name, owner/name@revision) of a Toto 2.0 or 1.0.
        kronos: folder or hub id of a Kronos predictor.
        tokenizer: folder or hub id of its tokenizer; of a published predictor it is known.
        context: bars of context that the file is tried on; a .pt2 takes no more.
        horizon: bars ahead, likewise.
        device: cpu, cuda or cuda:N.
        dtype: of the weights; statistics and normalisation stay in float32 and float64.
        format: torchscript writes .pt, the others .pt2, which hold Toto 2.0 only.
        max_context: bars that a Kronos predictor sees at once; of a published predictor it is known.
        random_weights: sizes to make up instead of reading weights.
        out: folder of the files.
    """
    if context < 1 or horizon < 1:
        return refuse(f"--context {context} --horizon {horizon}: expected at least 1 each")
    kinds = ("toto", "kronos") if model == "both" else (model,)
    made_up = {kind: size for kind in kinds for size in random_weights if size in SIZES[kind]}
    if len(made_up) < len(random_weights):
        return refuse(f"--random-weights {' '.join(random_weights)}: expected one size of each model that is exported")
    named = {"toto": toto, "kronos": f"{kronos} with {tokenizer or 'its tokenizer'}"}
    for kind in kinds:
        size = made_up.get(kind)
        print(f"{kind:6} {f'random weights of the size {size}' if size else named[kind]}, {dtype}, {format}, {device}")
    print(f"to {out}, tried on {context} bars of context and {horizon} bars ahead", flush=True)

    import torch  # here, so that --help and refusals of flags do not wait for it

    from arena.forecast.export.exporter import SUFFIXES, export
    from arena.forecast.export.sources import open_kronos, open_random, open_toto

    if device.startswith("cuda") and not torch.cuda.is_available():
        return refuse("--device is cuda, but this torch sees no GPU; use --device cpu or install a CUDA build of torch")
    rows = []
    for kind in kinds:
        path = out / f"{kind}_{SHORT[dtype]}{SUFFIXES[format]}"
        try:
            if kind in made_up:
                source = open_random(f"{kind}-{made_up[kind]}")
            elif kind == "toto":
                source = open_toto(toto)
            else:
                source = open_kronos(kronos, tokenizer or None, max_context)
            print("\n".join(source.remarks), flush=True)
            manifest = export(source.module, path, source.manifest, context, horizon, dtype, device, format)
        except ValueError as error:
            return refuse(str(error))
        except RuntimeError as error:
            print(f"error: {error}", file=sys.stderr)
            return FAILED
        rows.append((path, manifest))
    print(f"\n{'file':20} {'MB':>7}  {'dtype':8}  script - eager   error of fp32, bf16, fp16 (median)   forecasts")
    for path, manifest in rows:
        errors = ", ".join(f"{manifest['error_vs_float32'][name]['median']:.1e}" for name in SHORT)
        start = f"{path.name:20} {path.stat().st_size / 1e6:7.1f}  {manifest['dtype']:8}"
        print(f"{start}  {manifest['tolerance']:14.1e}   {errors:35}   finite")
    print("errors in standard deviations of the channel\nwrote " + " ".join(str(path) for path, _ in rows))
    return 0


def refuse(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return BAD_INPUT
