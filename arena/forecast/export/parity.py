"""Is an exported file the model it was made from? Sample bars, a run in a process of its own, and the distance.

One unit of error is the standard deviation of the channel over the known part of its context, so that one number speaks
for prices and volumes alike.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

DAY_NS = 86_400_000_000_000
LEVEL_SHARE = 1e-4  # of the channel's level is added to its unit: a constant channel has no standard deviation
PASSES = 3  # TorchScript rewrites its graph after the first calls; all of them must give the same numbers

Case = tuple[Tensor, Tensor, int, int, int]  # context, stamps, horizon, num_samples, seed
Output = tuple[Tensor, Tensor]  # quantiles, samples
Model = Callable[[Tensor, Tensor, int, int, int], Output]

# Started with -I: no environment, no working directory. The package is blocked, so only torch can help the file.
RUNNER = """
import sys
sys.modules["arena"] = None
import torch
kind, artifact, cases, results, device, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
if kind == "torchscript":
    module = torch.jit.load(artifact, map_location=device)
elif kind == "export":
    module = torch.export.load(artifact).module()
else:
    module = torch._inductor.aoti_load_package(artifact)
with torch.no_grad():
    torch.save([module(*case) for case in torch.load(cases, weights_only=True)], results)
"""


def sample_cases(context: int, horizon: int, num_samples: int, device: str, any_length: bool = True) -> list[Case]:
    """Random-walk bars as a forecaster meets them: one whole series; a batch with a late start, gaps, a gap at the end,
    no volume, and a price that never moves; and, with `any_length`, a context and a horizon of about half."""
    cases = [_case(1, context, horizon, num_samples, device)]
    batch = _case(5, context, horizon, num_samples, device)
    bars = batch[0]
    bars[0, : context // 3] = torch.nan
    bars[1, context // 2 : context // 2 + 3] = torch.nan
    bars[1, -2:, :4] = torch.nan
    bars[2, :, 4:] = torch.nan
    bars[3, :, :] = torch.tensor([10.0, 10.0, 10.0, 10.0, 5.0, 50.0], device=device)
    cases.append(batch)
    if any_length:
        cases.append(_case(2, context // 2 + 1, horizon // 2 + 1, num_samples, device))
    return cases


def run_here(model: Model, cases: Sequence[Case]) -> list[Output]:
    """The module's answers in this process."""
    with torch.no_grad():
        return [model(*case) for case in cases]


def run_alone(kind: str, artifact: Path, cases: Sequence[Case], device: str) -> list[Output]:
    """The file's answers in a fresh process that imports torch and nothing of this package; each case PASSES times."""
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder, "cases.pt"), Path(folder, "outputs.pt")
        torch.save(list(cases) * PASSES, asked)
        paths = (str(artifact), str(asked), str(answered))
        arguments = [sys.executable, "-I", "-c", RUNNER, kind, *paths, device, str(torch.get_num_threads())]
        run = subprocess.run(arguments, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            cause = (run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1]
            raise RuntimeError(f"{artifact} does not run in a process that imports torch only: {cause}")
        return torch.load(answered, weights_only=True, map_location=device)


def errors(found: Sequence[Output], expected: Sequence[Output], cases: Sequence[Case]) -> Tensor:
    """All distances, flat, in units of the channels; NaN must meet NaN, else the distance is infinite."""
    flat = []
    for i, (quantiles, samples) in enumerate(found):
        unit = channel_unit(cases[i % len(cases)][0])  # [B, 6]
        wanted_quantiles, wanted_samples = expected[i % len(cases)]
        flat.append(_distance(quantiles, wanted_quantiles, unit[:, None, :, None]))
        flat.append(_distance(samples, wanted_samples, unit[:, None, None, :]))
    return torch.cat(flat)


def channel_unit(context: Tensor) -> Tensor:
    """[B, C, 6] -> [B, 6]: standard deviation plus a sliver of the level, of what is known; 1 where nothing is."""
    known = torch.isfinite(context)
    count = known.sum(1).clamp(min=1)
    values = context.masked_fill(~known, 0.0).double()
    mean = values.sum(1) / count
    deviation = ((values - mean.unsqueeze(1)) * known).square().sum(1).div(count).sqrt()
    unit = deviation + LEVEL_SHARE * values.abs().amax(1)
    return torch.where(unit > 0, unit, 1.0)


def _distance(found: Tensor, expected: Tensor, unit: Tensor) -> Tensor:
    found, expected = found.double(), expected.double()
    both = found.isnan() & expected.isnan()
    return ((found - expected).abs() / unit).masked_fill(both, 0.0).nan_to_num(nan=torch.inf).flatten()


def _case(batch: int, context: int, horizon: int, num_samples: int, device: str) -> Case:
    generator = torch.Generator().manual_seed(batch)
    returns = 0.01 * torch.randn(batch, context, 4, generator=generator)
    close = 100 * returns[..., 0].cumsum(-1).exp()
    opening, wick = close * returns[..., 1].mul(0.3).exp(), returns[..., 2:].abs().mul(0.5).exp()
    high = torch.maximum(opening, close) * wick[..., 0]
    low = torch.minimum(opening, close) / wick[..., 1]
    volume = 1e6 * torch.randn(batch, context, generator=generator).mul(0.4).exp()
    bars = torch.stack([opening, high, low, close, volume, volume * close], dim=-1)
    stamps = (DAY_NS * (19_700 + torch.arange(context + horizon))).expand(batch, -1).contiguous()
    return bars.to(device), stamps.to(device), horizon, num_samples, 0
