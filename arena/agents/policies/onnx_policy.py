"""Policies of any library as entrants: `onnx:FILE`, one input obs [B, F] and one output [B, A], float32 or float64.

Metadata properties of the file may say what it is, by the names of arena.agents.policies.policy.PolicyManifest:

    kind=policy  reach=2.0  speed=1.0  history_length=0  forecaster=embedded  any_assets=true  num_assets=4  num_modes=3

With `reach`, the outputs are unbounded actions u, as in a policy file; without it they are target weights.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from arena.agents.policies.policy import (
    NUM_SEAT_FEATURES,
    PolicyAgent,
    PolicyManifest,
    check_layout,
    manifest_of_shape,
    num_asset_features,
    one_line,
)

PRECISIONS = {"tensor(float)": torch.float32, "tensor(double)": torch.float64}
TRIED_ROWS = 2
ERRORS_ONLY = 3  # a level of onnxruntime's log


def load_onnx(path: str | Path, forecaster: str = "") -> PolicyAgent:
    """The agent of a file; ValueError says in one sentence what cannot be used.

    forecaster  spec of the one in its observation in training, where the file does not say
    """
    path = Path(path)
    session = _session(path)
    name, obs_dim, precision = _input(path, session)
    dtype = np.float32 if precision == torch.float32 else np.float64

    def network(obs: Tensor) -> Tensor:
        (action,) = session.run(None, {name: obs.numpy().astype(dtype, copy=False)})
        return torch.from_numpy(action)

    told = _told(path, session.get_modelmeta().custom_metadata_map)
    if forecaster:
        told["forecaster"] = forecaster
    # Whatever the network was, a file with a fixed F plays one number of assets.
    told["any_assets"] = obs_dim is None
    if obs_dim is None:
        obs_dim = _told_size(path, told)
    manifest = manifest_of_shape(str(path), obs_dim, _num_outputs(path, network, obs_dim), told)
    check_layout(str(path), manifest)
    return PolicyAgent(network, manifest, path.name, precision=precision)


def _session(path: Path) -> Any:
    """Computes on one thread: results then depend on nothing else, and small graphs are fastest so."""
    if not path.is_file():
        raise ValueError(f"{path} does not exist, expected an ONNX file")
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(f'{path} needs onnxruntime: pip install "market-arena[onnx]"') from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own have no common ancestor
        raise ValueError(f"{path} cannot be loaded: {one_line(error)}") from error


def _input(path: Path, session: Any) -> tuple[str, int | None, torch.dtype]:
    """Name, size F (None: any) and precision of the one input."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(f"{path} has {len(inputs)} inputs and {len(outputs)} outputs, expected one of each")
    (read,) = inputs
    if read.type not in PRECISIONS or len(read.shape) != 2:
        raise ValueError(f"{path} reads {read.type} of shape {read.shape}, expected float or double of shape [B, F]")
    rows, obs_dim = read.shape
    if isinstance(rows, int):
        raise ValueError(f"{path} reads exactly {rows} observations at once; export it with a dynamic first axis")
    return read.name, obs_dim if isinstance(obs_dim, int) else None, PRECISIONS[read.type]


def _told_size(path: Path, told: Mapping[str, Any]) -> int:
    """F of the market that a graph for any F was trained on."""
    lacking = [entry for entry in ("num_assets", "num_modes") if entry not in told]
    if lacking:
        raise ValueError(
            f"{path} reads any number of observations and does not say of which market: give it the metadata "
            f"properties kind=policy and {' and '.join(lacking)}, or export it with a fixed number"
        )
    of_asset = num_asset_features(told["num_modes"], told.get("history_length", 0))
    return of_asset * told["num_assets"] + NUM_SEAT_FEATURES


def _num_outputs(path: Path, network: Callable[[Tensor], Tensor], obs_dim: int) -> int:
    """A, seen by trying: shapes in the file may be unknown or wrong."""
    try:
        shape = tuple(network(torch.zeros(TRIED_ROWS, obs_dim, dtype=torch.float64)).shape)
    except Exception as error:  # as in _session
        raise ValueError(f"{path} cannot read {obs_dim} numbers: {one_line(error)}") from error
    if len(shape) != 2 or shape[0] != TRIED_ROWS or not shape[1]:
        raise ValueError(f"{path} answers {TRIED_ROWS} observations with shape {shape}, expected [{TRIED_ROWS}, A]")
    return shape[1]


def _told(path: Path, properties: Mapping[str, str]) -> dict[str, Any]:
    """What the file says of itself, empty if it does not say that it is a policy."""
    kind = properties.get("kind")
    if kind is None:
        return {}
    if kind != "policy":
        raise ValueError(f"{path} holds a {kind}, expected a policy")
    told: dict[str, Any] = {}
    for entry in fields(PolicyManifest):
        text = properties.get(entry.name)
        if text is None or (entry.name == "reach" and text == "None"):
            continue
        try:
            told[entry.name] = _READERS[entry.type](text)
        except (KeyError, ValueError) as error:
            raise ValueError(f"{path} says {entry.name}={text}, expected a value for {entry.type}") from error
    return told


# By the types of PolicyManifest.
_READERS: dict[Any, Callable[[str], Any]] = {
    str: str,
    int: int,
    float: float,
    float | None: float,
    bool: lambda text: {"true": True, "false": False}[text.lower()],
}
