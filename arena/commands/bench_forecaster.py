"""Measure latency and predictions per second of a forecaster, beside how fast this machine multiplies matrices.

    python scripts/benchmark_forecaster.py --model toto-22m --batch-size 16
    python scripts/benchmark_forecaster.py --model kronos-mini --batch-size 1 --num-samples 32 --context 448
    python scripts/benchmark_forecaster.py --model compiled_models/toto_fp32.pt --json toto.json

Published sizes get random weights. One prediction is one asset: six channels over the whole horizon.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import tyro

from arena.commands.naming import description, program

SCRIPT, COMMAND = "benchmark_forecaster.py", "arena bench forecaster"
BAD_INPUT = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """`arena bench forecaster` of these arguments, or the script of the command line's."""
    text = description(__doc__, arguments, SCRIPT, COMMAND)
    return tyro.cli(benchmark, prog=program(arguments, COMMAND), description=text, args=arguments)


def benchmark(
    model: str = "toto-4m",
    batch_size: int = 16,
    num_iterations: int = 20,
    device: str = "cpu",
    threads: int = 1,
    context: int = 512,
    horizon: int = 64,
    num_samples: int = 1,
    dtypes: tuple[Literal["float32", "bfloat16", "float16"], ...] = ("float32",),
    tf32: bool = False,
    capture: bool = False,
    json: Path | None = None,
) -> int:
    """Benchmark one forecaster.

    Args:
        model: an exported .pt or .pt2 file, or toto-4m, toto-22m, kronos-mini, kronos-small, kronos-base.
        batch_size: series forecast together.
        num_iterations: measured calls.
        device: cpu, cuda or cuda:N.
        threads: of the processor.
        context: bars.
        horizon: bars.
        num_samples: paths of each series, from a model that draws any.
        dtypes: of a published size, compared with each other; a file has its own.
        tf32: let a GPU's matrix units take float32 products, rounding their factors to 10 bits.
        capture: on a GPU, replay calls as a CUDA graph; of a model that draws nothing.
        json: write the numbers there.
    """
    numbers = {"batch-size": batch_size, "num-iterations": num_iterations, "threads": threads, "context": context}
    for name, value in (numbers | {"horizon": horizon, "num-samples": num_samples, "dtypes": len(dtypes)}).items():
        if value < 1:
            return refuse(f"--{name} is {value}, expected at least 1")
    print(
        f"{num_iterations} calls of {model} on {device}, {threads} thread(s): {batch_size} series of {context} bars, "
        f"{horizon} ahead, {num_samples} path(s) if it draws any",
        flush=True,
    )

    import torch  # here, so that --help and refusals of flags do not wait for it

    from arena.bench.forecaster import ForecasterBenchmark, benchmark_forecaster

    if device.startswith("cuda") and not torch.cuda.is_available():
        return refuse("--device is cuda, but this torch sees no GPU; use --device cpu or install a CUDA build of torch")
    if capture and not device.startswith("cuda"):
        return refuse("--capture makes a CUDA graph; give --device cuda too, or leave it out")
    size = (model, batch_size, num_iterations, device, threads, context, horizon, num_samples)
    try:
        result = benchmark_forecaster(ForecasterBenchmark(*size, dtypes, tf32, capture))
    except ValueError as error:
        return refuse(str(error))
    for key, value in result.items():
        if key == "dtypes" and len(dtypes) == 1:
            continue
        print(f"{key:40} {value:,.4g}" if isinstance(value, float) else f"{key:40} {value}")
    if json is not None:
        write(json, result)
    return 0


def write(path: Path, result: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(f"wrote {path}")


def refuse(sentence: str) -> int:
    print(f"error: {sentence}", file=sys.stderr)
    return BAD_INPUT
