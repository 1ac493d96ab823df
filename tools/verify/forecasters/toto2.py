"""Toto 2.0 against what its upstream gave.

B batch   V variates   T context steps   H horizon   P patch
"""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from arena.forecast.models.toto import patch_scaler
from tools.verify.forecasters.arrays import ArrayCheck, Route, error_within, judge, skip
from tools.verify.forecasters.cases import Case

ENTRY_POINTS = ("forecast", "trace")
INPUTS = ("target", "target_mask", "series_ids")
KNOWN = ("known_dynamic", "known_dynamic_mask", "known_dynamic_series_ids")
FORECAST_ATOL, FORECAST_RTOL = 5e-4, 4e-7  # in units of the last patch's scale, and of the value: float32 in any order
SCALER_RTOL = 1e-6  # float64, rounded once
TRACE_ATOL = 2e-4
UNKNOWN = "an array that the model is not known to give"
ONE_PASS = "intermediates are known of a single pass over the targets alone"


def check_case(model: Any, case: Case, route: Route) -> Iterator[ArrayCheck]:
    """Every array of a case but its inputs."""
    horizon = int(case.fact("horizon"))
    options = {name: value for name, value in case.facts.get("kwargs", {}).items() if value is not None}
    if "quantile_real_cap_k" in options:
        options["quantile_real_cap_k"] = float(options["quantile_real_cap_k"])
    inputs = [case.array(name) for name in INPUTS]
    known = {name: case.arrays[name] for name in KNOWN if name in case.arrays}
    quantiles = model.forecast(*inputs, horizon, **options, **known)
    scale = last_scale(inputs[0], inputs[1], model.patch_size, options.get("scaler_fallback_min_obs", 0))
    error = error_within(quantiles, case.array("quantiles"), case.tolerance(FORECAST_ATOL) * scale, FORECAST_RTOL)
    yield judge(f"{case.name}.quantiles", route, error)

    block = options.pop("decode_block_size", 0)
    options.pop("quantile_real_cap_k", None)
    single = not known and not 0 < block < horizon
    errors = _trace(model.trace(*inputs, horizon, **options), case) if single else {}
    for name in case.arrays:
        if name in errors:
            yield judge(f"{case.name}.{name}", route, errors[name])
        elif name not in ("quantiles", *INPUTS, *KNOWN):
            yield skip(f"{case.name}.{name}", route, UNKNOWN if single else ONE_PASS)


def last_scale(target: Tensor, observed: Tensor, patch_size: int, min_observed: int) -> Tensor:
    """Of the last context patch, which counts as observed: [B, V, T] twice -> [B, V, 1]."""
    forced = observed.clone()
    forced[..., -patch_size:] = True
    return patch_scaler(target, forced, patch_size, min_observed)[1][..., -1:]


def _trace(trace: Any, case: Case) -> dict[str, float]:
    found = {"embed": trace.embed, "out_norm": trace.out_norm, "head_raw": trace.head}
    found |= {f"layer{i}": output for i, output in enumerate(trace.layers)}
    named = {f"trace_{name}": (value, TRACE_ATOL, 0.0) for name, value in found.items()}
    named["trace_scaler_loc"] = (trace.loc, 0.0, SCALER_RTOL)
    named["trace_scaler_scale"] = (trace.scale, 0.0, SCALER_RTOL)
    return {
        name: error_within(value, case.arrays[name], atol, rtol)
        for name, (value, atol, rtol) in named.items()
        if name in case.arrays
    }
