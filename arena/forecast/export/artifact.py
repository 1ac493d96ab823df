"""Loads what `arena.forecast.export.exporter` wrote: one file with a network, everything around it, and a manifest.

Needs torch and the standard library only. `.pt` is TorchScript; `.pt2` is a program of torch.export, or one that
AOTInductor has compiled. Both are zip archives with the manifest at the same place.
"""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

MANIFEST = "manifest.json"  # stored under extra/ of the archive
PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
ZIP_START = b"PK\x03\x04"


def load_artifact(path: str | Path, device: str = "cpu") -> tuple[nn.Module, dict[str, Any]]:
    """The module, to be called as `arena.forecast.models.bar_models` says, and its manifest. Refuses anything else."""
    path = Path(path)
    manifest = read_manifest(path)
    torch.device(device)  # refuses a device that does not exist in any build of torch
    kind = manifest.get("format")
    if kind == "torchscript" and path.suffix == ".pt":
        module = torch.jit.load(str(path), map_location=device)
    elif kind == "export" and path.suffix == ".pt2":
        module = FixedShapeModel(_exported(path, device), manifest)
    elif kind == "aotinductor" and path.suffix == ".pt2":
        if torch.device(device).type != torch.device(manifest["device"]).type:
            raise ValueError(
                f"{path} was compiled for {manifest['device']}, not for {device}; export it again for that"
            )
        module = FixedShapeModel(torch._inductor.aoti_load_package(str(path)), manifest)
    else:
        raise ValueError(f"{path} says it is of format {kind!r}, which does not belong in a {path.suffix} file")
    return module, manifest


def read_manifest(path: str | Path, writer: str = "scripts/export_models.py") -> dict[str, Any]:
    """The manifest of a whole, undamaged artefact, without running anything of it; `writer` makes such files."""
    path = Path(path)
    if path.suffix not in (".pt", ".pt2"):
        raise ValueError(f"{path} is no .pt or .pt2 file; {writer} writes them")
    if not path.is_file():
        raise ValueError(f"{path} does not exist; {writer} writes such files")
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith(PICKLE_STARTS):
        raise ValueError(f"{path} is a pickle, which could run code; expected a file of {writer}")
    if start != ZIP_START:
        raise ValueError(f"{path} is no TorchScript or torch.export archive")
    try:
        with zipfile.ZipFile(path) as archive:
            return _manifest(path, archive, writer)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is truncated or damaged: {error}") from error


class FixedShapeModel(nn.Module):
    """A program made for one context length and one horizon, called with either up to that.

    Missing bars in front of a shorter context change nothing, as the models ignore them, and neither do the last steps
    of a longer horizon, as no step looks at a later one.
    """

    def __init__(self, program: Callable[..., tuple[Tensor, Tensor]], manifest: dict[str, Any]) -> None:
        super().__init__()
        self.program = program
        self.context_length = int(manifest["context"])
        self.horizon = int(manifest["max_horizon"])

    def forward(
        self, context: Tensor, stamps: Tensor, horizon: int, num_samples: int, seed: int
    ) -> tuple[Tensor, Tensor]:
        """See `arena.forecast.models.bar_models`; no paths are drawn, whatever `num_samples` and `seed`."""
        lacking, surplus = self.context_length - context.size(1), self.horizon - horizon
        if lacking < 0 or surplus < 0 or horizon < 1:
            raise ValueError(
                f"context has {context.size(1)} bars and horizon is {horizon}, expected at most "
                f"{self.context_length} and {self.horizon}: this .pt2 file was exported for them; a .pt file takes any"
            )
        context = nn.functional.pad(context, (0, 0, lacking, 0), value=float("nan"))
        stamps = nn.functional.pad(stamps, (lacking, surplus))
        quantiles, samples = self.program(context, stamps, self.horizon, 0, 0)
        return quantiles[:, :horizon], samples[:, :, :horizon]


def _manifest(path: Path, archive: zipfile.ZipFile, writer: str) -> dict[str, Any]:
    names = archive.namelist()
    if any(name.endswith("/data.pkl") for name in names) and not any(name.endswith("/constants.pkl") for name in names):
        raise ValueError(f"{path} was written by torch.save: it is a pickle, expected a file of {writer}")
    entry = next((name for name in names if name.endswith(f"extra/{MANIFEST}")), None)
    if entry is None:
        raise ValueError(f"{path} has no manifest; only files of {writer} are taken")
    damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"{path} is damaged: the checksum of {damaged} is wrong")
    try:
        manifest = json.loads(archive.read(entry))
    except ValueError as error:
        raise ValueError(f"{path} has a manifest that is not JSON: {error}") from error
    if not isinstance(manifest, dict):
        raise ValueError(f"{path} has a manifest of type {type(manifest).__name__}, expected an object")
    return manifest


def _exported(path: Path, device: str) -> nn.Module:
    program = torch.export.load(str(path))
    if device != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    return program.module()
