"""Hashes of all that a forecast depends on but its context."""

import hashlib
import json
from pathlib import Path

import torch
from torch import nn

# The version of arena in which the forecasts of a built-in forecaster changed last. A newer version of arena with the
# same numbers continues older runs and finds older tables.
NUMBERS_VERSION = "0.1.0"


def fingerprint(kind: str, **settings: object) -> str:
    """Short hash of settings that JSON can write, and of the version of the numbers."""
    content = json.dumps({"kind": kind, "arena": NUMBERS_VERSION, **settings}, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:32]


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def module_hash(module: nn.Module) -> str:
    """SHA-256 over name, dtype, shape and bytes of every parameter and buffer, wherever they lie."""
    digest = hashlib.sha256(type(module).__name__.encode())
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
