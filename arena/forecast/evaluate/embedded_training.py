"""How the embedded forecaster is trained: quantiles of what came, and the mean of what was to come.

Realised returns say little about their mean: a predictable part of 1 % of the variance drowns in the rest. A synthetic
market knows the true mean of every return, so the mean of the forecast is fitted to that, and only the shape of the
distribution around it to what came. Every patch of the context is a lesson of its own, as in the training of Toto.

N windows   S patches of context   P bars of a patch, also the longest horizon   Q quantile levels
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from arena.data.types import CLOSE
from arena.forecast.models.checkpoint import CONFIG, WEIGHTS
from arena.forecast.models.embedded import MIN_CONTEXT, EmbeddedModel, bar_series, new_embedded
from arena.forecast.models.toto_layers import UnitLinear
from arena.forecast.returns import MEAN_WEIGHTS
from arena.forecast.types import QUANTILE_LEVELS

LARGEST_MEAN = 3.0  # in units of s sqrt(h): a scale of a few quiet bars must not rule the fit


class LessonsLike(Protocol):
    """Windows of C + P bars, see arena.data.synthetic.training_windows."""

    @property
    def bars(self) -> Tensor:
        """[N, C + P, 6]."""

    @property
    def log_return(self) -> Tensor:
        """[N, C + P] of each bar."""

    @property
    def mean_return(self) -> Tensor:
        """[N, C + P] its true mean, given all that is known one bar before."""


@dataclass(frozen=True)
class TrainingSettings:
    """Of one training; lessons come with it."""

    steps: int = 8000
    learning_rate: float = 0.003  # peak, of weights of variance 1 / inputs; warmed up, then a half cosine to 0
    warmup_steps: int = 100
    mean_weight: float = 5.0  # of the squared error of the mean against the pinball loss
    short_context_share: float = 0.5  # of windows that begin later than C bars back
    no_volume_share: float = 0.05  # of windows
    gap_share: float = 0.05  # of windows with missing bars
    gap_probability: float = 0.1  # of a bar in these
    seed: int = 0  # of weights and of what is hidden
    validate_every: int = 500  # steps


class Losses(NamedTuple):
    """Means over windows, patches and horizons; horizon h weighs 1 / sqrt(h)."""

    pinball: Tensor  # in units of s sqrt(h)
    mean_error: Tensor  # variance of (forecast mean - true mean), same units squared
    mean_variance: Tensor  # of the true mean, what mean_error is without any skill


def train(
    config: Mapping[str, Any],
    settings: TrainingSettings,
    lessons_from: Callable[[int], Iterator[LessonsLike]],
    validation: Mapping[str, LessonsLike],
    checkpoint: Path,
    report: Callable[[dict[str, Any]], None],
) -> tuple[EmbeddedModel, list[dict[str, Any]]]:
    """A trained model and its history, a row for every `validate_every` steps.

    lessons_from  endless lessons from a given step on: a resumed training sees what an unbroken one would
    checkpoint    written with every row; if it exists, training goes on from there
    """
    model = new_embedded(dict(config), torch.Generator().manual_seed(settings.seed))
    optimizer = torch.optim.Adam(parameter_groups(model, settings.learning_rate), betas=(0.9, 0.98))
    peaks = [group["lr"] for group in optimizer.param_groups]
    history: list[dict[str, Any]] = []
    first, spent = 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        first, history = saved["step"], saved["history"]
        spent = history[-1]["cpu_seconds"]
    start = time.process_time()
    if not history:
        history.append({"step": 0, "cpu_seconds": 0.0} | _validated(model, validation))
        report(history[-1])
    sums = torch.zeros(len(Losses._fields))
    for step, lessons in zip(range(first, settings.steps), lessons_from(first)):
        for group, peak in zip(optimizer.param_groups, peaks):
            group["lr"] = peak * learning_rate_factor(step, settings)
        losses = losses_of(model, lessons, hide(lessons, model, settings, step))
        optimizer.zero_grad()
        (losses.pinball + settings.mean_weight * losses.mean_error).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        sums += torch.stack(losses).detach()
        if (step + 1) % settings.validate_every == 0 or step + 1 == settings.steps:
            row = {"step": step + 1, "cpu_seconds": round(spent + time.process_time() - start, 1)}
            row |= _row("train", Losses(*(sums / (step % settings.validate_every + 1))))
            sums = torch.zeros_like(sums)
            row |= _validated(model, validation)
            history.append(row)
            report(row)
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state | {"step": step + 1, "history": history}, checkpoint)
    return model, history


def write_weights(model: EmbeddedModel, config: Mapping[str, Any], folder: Path) -> None:
    """config.json and model.safetensors, as `load_embedded` reads them."""
    from safetensors.torch import save

    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(dict(config), indent=2, sort_keys=True) + "\n")
    (folder / WEIGHTS).write_bytes(
        save({name: tensor.contiguous() for name, tensor in model.model.state_dict().items()})
    )


def losses_of(model: EmbeddedModel, lessons: LessonsLike, context: Tensor, last_only: bool = False) -> Losses:
    """Losses on windows whose first C bars are shown as `context` [N, C, 6], C a multiple of P."""
    P = model.patch_size
    series = bar_series(context, P)
    num_read = 1 if last_only else series.scale.size(1)
    quantiles = model.unit_quantiles(series, num_read)  # [N, S, P, Q]
    scale = series.scale[:, -num_read:]
    ahead = slice(lessons.bars.size(1) - num_read * P, None)
    growth = torch.arange(1, P + 1).sqrt()
    unit = scale.unsqueeze(-1) * growth  # [N, S, P]
    came = lessons.log_return[:, ahead].unflatten(1, [-1, P]).cumsum(-1) / unit
    true_mean = lessons.mean_return[:, ahead].unflatten(1, [-1, P]).cumsum(-1) / unit
    true_mean = true_mean.clamp(-LARGEST_MEAN, LARGEST_MEAN)

    closes = (context[..., CLOSE] > 0).unflatten(1, [-1, P]).sum(-1).cumsum(1)  # [N, S] known so far
    weight = (closes[:, -num_read:] >= MIN_CONTEXT).unsqueeze(-1) / growth  # [N, S, P]

    def average(x: Tensor) -> Tensor:
        return (x * weight).sum() / weight.sum()

    def variance(x: Tensor) -> Tensor:
        """Over the windows. The level, where log and simple returns differ, is left to the pinball loss."""
        centre = (x * weight).sum(0) / weight.sum(0).clamp(min=1e-9)
        return average((x - centre).square())

    level = torch.tensor(QUANTILE_LEVELS)
    above = came.unsqueeze(-1) - quantiles
    pinball = torch.maximum(level * above, (level - 1.0) * above).mean(-1)  # [N, S, P]
    mean = quantiles @ MEAN_WEIGHTS.to(quantiles)
    return Losses(average(pinball), variance(mean - true_mean), variance(true_mean).detach())


def hide(lessons: LessonsLike, model: EmbeddedModel, settings: TrainingSettings, step: int) -> Tensor:
    """The context [N, C, 6] with what real bars lack set to NaN: early bars, volumes, single bars.

    The last bar of a patch stays, because the forecast starts from its close.
    """
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
    context = lessons.bars[:, : model.max_context].clone()
    num_windows, num_bars = context.shape[:2]

    def chosen(share: float) -> Tensor:
        return torch.rand(num_windows, 1, generator=generator) < share

    begin = torch.randint(num_bars - MIN_CONTEXT + 1, (num_windows, 1), generator=generator)
    bar = torch.arange(num_bars)
    gone = chosen(settings.short_context_share) & (bar < begin)
    gap = torch.rand(num_windows, num_bars, generator=generator) < settings.gap_probability
    gone |= chosen(settings.gap_share) & gap & ((bar + 1) % model.patch_size != 0)
    context[gone] = torch.nan
    context[chosen(settings.no_volume_share).squeeze(1), :, CLOSE + 1 :] = torch.nan
    return context


def parameter_groups(model: EmbeddedModel, learning_rate: float) -> list[dict[str, Any]]:
    """One group per layer: a weight that is multiplied by a gain needs steps that are larger by as much."""
    groups: list[dict[str, Any]] = []
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if own:
            gain = module.gain if isinstance(module, UnitLinear) else 1.0
            groups.append({"params": own, "lr": learning_rate / gain})
    return groups


def learning_rate_factor(step: int, settings: TrainingSettings) -> float:
    """Share of the peak: a linear rise, then a half cosine down to 0."""
    rise = min(1.0, (step + 1) / settings.warmup_steps)
    return rise * 0.5 * (1.0 + math.cos(math.pi * step / settings.steps))


@torch.no_grad()
def _validated(model: EmbeddedModel, validation: Mapping[str, LessonsLike]) -> dict[str, float]:
    """Losses on unseen windows, with full contexts."""
    row: dict[str, float] = {}
    for name, unseen in validation.items():
        row |= _row(name, losses_of(model, unseen, unseen.bars[:, : model.max_context], last_only=True))
    return row


def _row(name: str, losses: Losses) -> dict[str, float]:
    """Pinball loss, and correlation of forecast and true mean as far as the error tells; 0 without a signal."""
    error, variance = float(losses.mean_error), float(losses.mean_variance)
    explained = 1.0 - error / variance if variance > 1e-6 else 0.0
    return {f"{name}_pinball": round(float(losses.pinball), 6), f"{name}_mean_explained": round(explained, 5)}
