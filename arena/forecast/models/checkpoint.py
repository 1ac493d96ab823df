"""Published checkpoints: config.json beside model.safetensors (or its shards), read strictly.

Nothing is unpickled and nothing is guessed: a file that is not a whole safetensors file, and a checkpoint whose
names or shapes are not the module's, are refused in one sentence that names them.
"""

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")  # owner/name, optionally @revision
PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # torch.save: zip or bare pickle
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
LFS_START = b"version https://git-lfs"
MAX_HEADER = 100_000_000  # bytes; the format's own limit
MAX_NAMED = 8  # keys spelled out in one message, the rest is counted


def load_checkpoint(source: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config and all tensors of a checkpoint, as they are stored.

    source  a local folder, or an id `owner/name` of the Hugging Face hub, pinned by `owner/name@revision`;
            it holds config.json and either model.safetensors or model.safetensors.index.json with its shards
    """
    folder = local_folder(source)
    config = _read_json(folder / CONFIG)
    if (folder / WEIGHTS).is_file():
        return config, read_safetensors(folder / WEIGHTS)
    if (folder / INDEX).is_file():
        return config, _read_shards(folder / INDEX)
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLE_SUFFIXES)
    if pickles:
        raise ValueError(f"{folder} holds {pickles[0]}, a pickle that could run code; expected {WEIGHTS}")
    raise ValueError(f"{folder} holds neither {WEIGHTS} nor {INDEX}")


def load_strict(module: nn.Module, tensors: dict[str, Tensor], source: str | Path) -> None:
    """Copy the tensors into the module's parameters and persistent buffers; names and shapes must be its own."""
    expected = module.state_dict()
    missing = sorted(expected.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - expected.keys())
    mis_shaped = [
        f"{name} has {_shape(tensors[name])}, expected {_shape(expected[name])}"
        for name in sorted(expected.keys() & tensors.keys())
        if tensors[name].shape != expected[name].shape
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("of another shape", mis_shaped))
    faults = [f"{len(names)} {kind}: {_listed(names)}" for kind, names in kinds if names]
    if faults:
        raise ValueError(f"{source} does not fit {type(module).__name__}; tensors {'; '.join(faults)}")
    with torch.no_grad():
        for name, own in expected.items():  # state_dict shares its memory with the module
            own.copy_(tensors[name])


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of one file, after its length was found to be what its header announces."""
    from safetensors import SafetensorError  # here, because only a process that loads upstream files needs the package
    from safetensors.torch import load_file

    _check_whole(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} is not a valid safetensors file: {error}") from error


def local_folder(source: str | Path) -> Path:
    """The folder that holds a source; of a hub id, the downloaded snapshot, whose name is its revision."""
    folder = Path(source)
    if folder.is_dir():
        return folder
    if folder.is_file():
        kind = "a pickle" if _is_pickle(folder) else "a file"
        raise ValueError(f"{source} is {kind}, expected the folder that holds {CONFIG} and {WEIGHTS}")
    if isinstance(source, Path) or not HUB_ID.fullmatch(source):
        raise ValueError(f"{source} is neither an existing folder nor a hub id owner/name")
    from huggingface_hub import snapshot_download  # here, because a local folder does not need the package

    repo, _, revision = source.partition("@")
    patterns = [CONFIG, INDEX, "*.safetensors"]
    try:
        return Path(snapshot_download(repo, revision=revision or None, allow_patterns=patterns))
    except (OSError, ValueError) as error:  # the hub's errors (no such repository, offline, gated) are OSErrors
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{source} is no local folder and could not be fetched from the hub: {cause}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{path.parent} holds no {path.name}") from None
    except ValueError as error:  # not JSON, or not text at all
        raise ValueError(f"{path} is not a JSON file: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a JSON {type(content).__name__}, expected an object")
    return content


def _read_shards(index: Path) -> dict[str, Tensor]:
    """The tensors of all shards; each must lie in the shard that the index names, and no other may be there."""
    places = _read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(file, str) for file in places.values()):
        raise ValueError(f"{index} has no weight_map from tensor to file name")
    tensors: dict[str, Tensor] = {}
    for file in sorted(set(places.values())):
        if Path(file).name != file:
            raise ValueError(f"{index} names the shard {file}, expected a file beside it")
        if not (index.parent / file).is_file():
            raise ValueError(f"{index} names the shard {file}, which is not there")
        shard = read_safetensors(index.parent / file)
        announced = {name for name, place in places.items() if place == file}
        if shard.keys() != announced:
            raise ValueError(
                f"{index.parent / file} and {INDEX} disagree on {_listed(sorted(shard.keys() ^ announced))}"
            )
        tensors |= shard
    return tensors


def _check_whole(path: Path) -> None:
    """Refuse what is not one whole safetensors file: u64 header length, JSON header, then the bytes it announces."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if _is_pickle(path):
            raise ValueError(f"{path} is a pickle, which could run code; expected a safetensors file")
        if LFS_START.startswith(start) and start:
            raise ValueError(f"{path} is a git-lfs pointer, not the weights; fetch them with git lfs pull")
        length = int.from_bytes(start, "little")
        if len(start) < 8 or (length <= MAX_HEADER and 8 + length > size):
            raise ValueError(f"{path} is truncated: {size} bytes end within its header")
        if length > MAX_HEADER:
            raise ValueError(f"{path} is not a safetensors file: its header length would be {length}")
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        except (ValueError, AttributeError, KeyError, IndexError, TypeError) as error:
            raise ValueError(f"{path} is not a safetensors file: its header cannot be read") from error
    expected = 8 + length + max(ends, default=0)
    if size < expected:
        raise ValueError(f"{path} is truncated: {size} bytes, its header announces {expected}")
    if size > expected:
        raise ValueError(f"{path} has {size} bytes, its header announces only {expected}")


def _is_pickle(path: Path) -> bool:
    """Whether the file starts as a pickle does, and not as a safetensors file: u64 header length, then "{".

    Both are read, because a header length of 640 + k * 65,536 bytes starts with the two bytes of a pickle.
    """
    with path.open("rb") as file:
        start = file.read(9)
    is_header = int.from_bytes(start[:8], "little") <= MAX_HEADER and start[8:] == b"{"
    return start.startswith(PICKLE_STARTS) and not is_header


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def _listed(names: list[str]) -> str:
    rest = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {rest} more" if rest > 0 else "")
