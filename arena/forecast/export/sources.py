"""From a checkpoint to a bar model, with what its manifest says of it and how it compares with what is published."""

import re
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from arena.forecast.export.published import PUBLISHED, identify, write_random_checkpoint
from arena.forecast.fingerprint import file_hash
from arena.forecast.models.bar_models import KronosOnBars, Toto1OnBars, TotoOnBars
from arena.forecast.models.checkpoint import CONFIG, INDEX, load_checkpoint, local_folder
from arena.forecast.models.kronos import load_kronos, published_max_context
from arena.forecast.models.toto import load_toto2
from arena.forecast.models.toto1 import load_toto1

MIN_CONTEXT = 8  # bars: the mean and spread of fewer say little, and Toto 2.0 scales by the first eight
NUM_SAMPLES = {"toto2": 0, "toto1": 256, "kronos": 32}
# Dates after which the weights have seen no market. Kronos: its authors call data from June 2024 on out of sample. Toto
# 2.0 was trained on telemetry and synthetic series; Toto 1.0, of May 2025, on public series too.
TRAINING_CUTOFF = {"toto2": None, "toto1": "2025-05-31", "kronos": "2024-05-31"}
BUFFERS = ("_tau", "inv_freq", "basis", "freqs")  # ends of the names of constants that are stored beside the weights
REVISION = re.compile(r"[0-9a-f]{40}")


class Source(NamedTuple):
    """A model that is ready to be exported."""

    module: nn.Module  # a bar model, float32, on the CPU
    manifest: dict[str, Any]
    remarks: list[str]  # what was checked, a line each; those that start with "warning:" are no match


def open_toto(source: str | Path) -> Source:
    """Toto 2.0 or 1.0, by its config.json; a folder or hub id in the published layout."""
    folder = local_folder(source)
    config, tensors = load_checkpoint(folder)
    module: nn.Module
    if "embed_dim" in config:
        kind, module = "toto1", Toto1OnBars(load_toto1(folder))
    elif "residual_attn_ratio" in config:
        kind, module = "toto2", TotoOnBars(load_toto2(folder))
    else:
        raise ValueError(f"{CONFIG} of {source} is neither of Toto 2.0 nor of Toto 1.0: it is of another architecture")
    sha256 = hashes(folder)
    manifest = _manifest(kind, source, config, sha256, count_parameters(tensors), max_horizon=None)
    return Source(module.eval(), manifest, compare(source, folder, config, tensors, sha256))


def open_kronos(
    source: str | Path, tokenizer_source: str | Path | None = None, max_context: int | None = None
) -> Source:
    """Predictor and tokenizer; what is None is that of the published predictor of this name."""
    if tokenizer_source is None:
        tokenizer_source = _tokenizer_of(source)
    length = published_max_context(source) if max_context is None else max_context
    folders = {"predictor": local_folder(source), "tokenizer": local_folder(tokenizer_source)}
    module = KronosOnBars(load_kronos(folders["tokenizer"], folders["predictor"], length))
    config: dict[str, Any] = {"max_context": length}
    sha256: dict[str, str] = {}
    remarks, parameters = [], 0
    for half, name in (("predictor", source), ("tokenizer", tokenizer_source)):
        config[half], tensors = load_checkpoint(folders[half])
        own = hashes(folders[half])
        sha256 |= {f"{half}/{file}": digest for file, digest in own.items()}
        remarks += compare(name, folders[half], config[half], tensors, own)
        parameters += count_parameters(tensors)
    manifest = _manifest("kronos", source, config, sha256, parameters, max_horizon=length)
    return Source(module.eval(), manifest | {"tokenizer": str(tokenizer_source)}, remarks)


def open_random(key: str) -> Source:
    """A published model with random weights, through the same files and checks."""
    published = PUBLISHED.get(key)
    if published is None or not published.can_stand_alone:
        names = ", ".join(name for name, model in PUBLISHED.items() if model.can_stand_alone)
        raise ValueError(f"{key} is not a published model known here, expected one of {names}")
    with tempfile.TemporaryDirectory() as folder:
        model, tokenizer = Path(folder, "model"), Path(folder, "tokenizer")
        write_random_checkpoint(key, model)
        if published.tokenizer:
            write_random_checkpoint(published.tokenizer, tokenizer)
            module, manifest, _ = open_kronos(model, tokenizer, published.max_context)
        else:
            module, manifest, _ = open_toto(model)
    manifest |= {"name": f"{key}-random", "source": "random weights", "sha256": {}, "training_cutoff": None}
    return Source(module, manifest, [f"{key}: random weights of the published size, good for timing only"])


def count_parameters(tensors: dict[str, Tensor]) -> int:
    """Numbers that were learnt."""
    return sum(tensor.numel() for name, tensor in tensors.items() if not name.endswith(BUFFERS))


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of the files that a checkpoint is made of."""
    files = [folder / CONFIG, folder / INDEX, *sorted(folder.glob("*.safetensors"))]
    return {file.name: file_hash(file) for file in files if file.is_file()}


def compare(
    source: str | Path, folder: Path, config: dict[str, Any], tensors: dict[str, Tensor], sha256: dict[str, str]
) -> list[str]:
    """Parameters and hashes against those of the published model of this configuration."""
    count, key = count_parameters(tensors), identify(config)
    if key is None:
        return [f"{source}: {count:,} parameters, a configuration of no published model known here"]
    published = PUBLISHED[key]
    if count != published.parameters:
        return [f"warning: {source}: {count:,} parameters, {published.repo} has {published.parameters:,}"]
    remarks = [f"{source}: {count:,} parameters, as {published.repo}"]
    where = f"revision {folder.name}" if REVISION.fullmatch(folder.name) else str(folder)
    for file, expected in published.sha256.items():
        if sha256.get(file) == expected:
            remarks.append(f"{source}: {file} has the SHA-256 of {published.repo} at revision {published.revision}")
        else:
            remarks.append(
                f"warning: {file} of {where} has SHA-256 {sha256.get(file, 'none, it is not there')}, that of "
                f"{published.repo} at revision {published.revision} is {expected}"
            )
    return remarks


def _tokenizer_of(source: str | Path) -> str:
    """Hub id of the tokenizer that a published predictor goes with."""
    for published in PUBLISHED.values():
        if published.tokenizer and str(source).partition("@")[0] == published.repo:
            return PUBLISHED[published.tokenizer].repo
    raise ValueError(f"{source} is no published predictor known here: name the tokenizer that it goes with")


def _manifest(
    kind: str,
    source: str | Path,
    config: dict[str, Any],
    sha256: dict[str, str],
    parameters: int,
    max_horizon: int | None,
) -> dict[str, Any]:
    return {
        "name": str(source).partition("@")[0].rstrip("/").rsplit("/", 1)[-1],
        "kind": kind,
        "source": str(source),
        "sha256": sha256,
        "config": config,
        "parameters": parameters,
        "min_context": MIN_CONTEXT,
        "max_horizon": max_horizon,
        "num_samples": NUM_SAMPLES[kind],
        "training_cutoff": TRAINING_CUTOFF[kind],
    }
