"""Toto 1.0 against what its upstream gave.

B batch   V variates   T context steps   H horizon   P patch   n, m sampled paths of the upstream and of ours
"""

import math
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from arena.forecast.models.toto1_mixture import Mixture
from arena.forecast.types import QUANTILE_LEVELS
from tools.verify.forecasters.arrays import ArrayCheck, Route, error_within, judge, skip
from tools.verify.forecasters.cases import Case

ENTRY_POINTS = ("forward", "states", "steps", "forecast", "sample")
INPUTS = ("series", "padding_mask", "id_mask")
STEP = re.compile(r"kv_step(\d+)_(\w+)")
FORECAST_ATOL, FORECAST_RTOL = 5e-4, 4e-7  # in units of the last patch's scale, and of the value: float32 in any order
PARAMETER_ATOL = {"df": 5e-5, "comp_loc": 5e-5, "comp_scale": 5e-5, "probs": 1e-5}
SCALER_RTOL = 1e-6  # float64, rounded once
TRACE_ATOL = 2e-4
STANDARD_ERRORS = 5.0
# The degrees of freedom reach down to 2, where the variance of a mean is dominated by its rarest draws: of the means,
# that share must lie within the standard errors. Quantiles have no such tails; every one of them must.
MEANS_WITHIN = 0.95
SEED = 1
MOST_PATHS = 256  # drawn side by side


def check_case(model: Any, case: Case, route: Route) -> Iterator[ArrayCheck]:
    """Every array of a case but its inputs."""
    series, valid, ids = (case.array(name) for name in INPUTS)
    horizon = int(case.fact("horizon"))
    steps = model.steps(series, valid, horizon, ids)
    scale = steps[0].patch_scale[..., -1:]  # [B, V, 1] of the last context patch
    answers: dict[str, float] = {}
    for name, cached in (("mean_kv", True), ("mean_nokv", False)):
        if name in case.arrays:
            mean = model.forecast(series, valid, horizon, ids, None, cached)
            atol = case.tolerance(FORECAST_ATOL) * scale
            answers[name] = error_within(mean, case.array(name), atol, FORECAST_RTOL)
    if any(name.startswith(("fwd_", "trace_")) for name in case.arrays):
        answers |= _whole_context(model, case)
    for name in case.arrays:
        match = STEP.fullmatch(name)
        if match and int(match[1]) < len(steps):
            answers |= _step(case, name, match[2], steps[int(match[1])], int(match[1]), scale)
    if "sample_quantiles" in case.arrays or "sample_mean" in case.arrays:
        answers |= _sampled(model, case, horizon)
    for name in case.arrays:
        if name in answers:
            yield judge(f"{case.name}.{name}", route, answers[name])
        elif name not in INPUTS:
            yield skip(f"{case.name}.{name}", route, "an array that the model is not known to give")


def _whole_context(model: Any, case: Case) -> dict[str, float]:
    """One pass over a context of whole patches."""
    inputs = [case.array(name) for name in INPUTS]
    mixture = model(*inputs)
    hidden, loc, scale = model.states(*inputs)
    found = {f"fwd_{name}": getattr(mixture, name) for name in PARAMETER_ATOL}
    errors = {name: (value, PARAMETER_ATOL[name.removeprefix("fwd_")], 0.0) for name, value in found.items()}
    errors |= {"fwd_scaler_loc": (loc, 0.0, SCALER_RTOL), "fwd_scaler_scale": (scale, 0.0, SCALER_RTOL)}
    errors |= {f"trace_layer{i}": (output, TRACE_ATOL, 0.0) for i, output in enumerate(hidden[1:])}
    errors["trace_embed"] = (hidden[0], TRACE_ATOL, 0.0)
    return {
        name: error_within(value, case.arrays[name], atol, rtol)
        for name, (value, atol, rtol) in errors.items()
        if name in case.arrays
    }


def _step(case: Case, name: str, part: str, step: Mixture, index: int, scale: Tensor) -> dict[str, float]:
    """A decoding step. From the second on it follows from forecasts, and shares their noise.

    The noise of a parameter is then as large as that of the forecast, of `probs` a fifth, as in PARAMETER_ATOL.
    """
    expected, of_loc = case.arrays[name], PARAMETER_ATOL["comp_loc"]
    noise = case.tolerance(of_loc) if index else of_loc
    if part in PARAMETER_ATOL:
        return {name: error_within(getattr(step, part), expected, PARAMETER_ATOL[part] / of_loc * noise)}
    if part in ("loc", "scale"):
        atol = noise * scale if index else 0.0
        return {name: error_within(getattr(step, f"patch_{part}"), expected, atol, SCALER_RTOL)}
    return {}


def _sampled(model: Any, case: Case, horizon: int) -> dict[str, float]:
    """As many paths as the upstream drew, with draws of our own: the share of the standard error, n and m paths.

    quantile q of level p: the share of our paths below q is p, with variance p (1 - p) (1 / n + 1 / m)
    mean: our mean is theirs, with variance s^2 (1 / n + 1 / m), s^2 that of our paths
    """
    num_paths = int(case.fact("num_samples"))
    generator = torch.Generator().manual_seed(SEED)
    together = math.gcd(num_paths, MOST_PATHS)
    inputs = (case.array("series"), case.array("padding_mask"), horizon, num_paths, together, case.array("id_mask"))
    paths = model.sample(*inputs, generator=generator).double()  # [B, V, H, m]
    errors = {}
    if "sample_quantiles" in case.arrays:
        quantiles = case.arrays["sample_quantiles"].double()  # [Q, B, V, H]
        below = torch.stack([(paths <= quantile.unsqueeze(-1)).double().mean(-1) for quantile in quantiles])
        level = torch.tensor(QUANTILE_LEVELS, dtype=torch.float64)[:, None, None, None]
        deviation = (level * (1 - level) * 2 / num_paths).sqrt()
        errors["sample_quantiles"] = error_within(below, level.expand_as(below), STANDARD_ERRORS * deviation)
    if "sample_mean" in case.arrays:
        distance = (paths.mean(-1) - case.arrays["sample_mean"]).abs()
        errors_in_units = distance / (paths.std(-1) * (2 / num_paths) ** 0.5)
        errors["sample_mean"] = float(errors_in_units.quantile(MEANS_WITHIN)) / STANDARD_ERRORS
    return errors
