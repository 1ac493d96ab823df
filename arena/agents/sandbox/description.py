"""What an agent says of itself, on its way from its process to the match that acts on it."""

from collections.abc import Mapping
from typing import Any

import torch

from arena.agents.faults import AgentFault
from arena.agents.types import Agent
from arena.forecast.loading import BASELINES, EMBEDDED, ENSEMBLE

TOLD = ("history_length", "forecaster", "is_cheat", "asset_counts", "num_modes")
OWN_FORECASTERS = (*BASELINES, EMBEDDED, ENSEMBLE)
PRECISIONS = {"float16": torch.float16, "float32": torch.float32, "float64": torch.float64}
MAX_COUNTS, MAX_ASSETS, MAX_MODES = 9, 1000, 16  # of what an agent may ask to be tried on


def describe(agent: Agent) -> dict[str, Any]:
    """In its process: as JSON knows it; what is of no such kind is shown as text."""
    told = {name: getattr(agent, name) for name in TOLD if hasattr(agent, name)}
    told = {name: list(value) if isinstance(value, tuple) else value for name, value in told.items()}
    plain = {name: value if isinstance(value, int | str | list) else repr(value) for name, value in told.items()}
    precision = getattr(agent, "precision", None)
    return plain if precision is None else plain | {"precision": str(precision).removeprefix("torch.")}


def checked(told: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """In the match: what it may act on, attributes by name. AgentFault for a forecaster that it must not load.

    `history_length` and a forecaster that is no text stay as they are: a match checks them for every agent.
    """
    kept: dict[str, Any] = {name: told[name] for name in ("history_length", "forecaster") if name in told}
    kept["is_cheat"] = told.get("is_cheat") is True
    counts = told.get("asset_counts")
    if isinstance(counts, list) and 0 < len(counts) <= MAX_COUNTS and all(_whole(n, MAX_ASSETS) for n in counts):
        kept["asset_counts"] = tuple(counts)
    if _whole(told.get("num_modes"), MAX_MODES):
        kept["num_modes"] = told["num_modes"]
    precision = told.get("precision")
    if isinstance(precision, str) and precision in PRECISIONS:
        kept["precision"] = PRECISIONS[precision]
    spec = kept.get("forecaster", "")
    strange = isinstance(spec, str) and any(part.strip() not in OWN_FORECASTERS for part in spec.split("+"))
    # The worker itself loads forecasters, so a file must be named by whoever wrote the config.
    if strange and spec not in ("", params.get("forecaster")):
        reason = "follows a forecaster that is neither the package's nor named in its params"
        raise AgentFault(reason, clause="forecaster")
    return kept


def _whole(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most
