"""The loader takes whole files of the exporter, and says in a sentence what anything else is."""

import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from arena.forecast.export.artifact import load_artifact
from arena.forecast.export.exporter import export, script_module
from arena.forecast.export.sources import open_toto

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """An exported file."""
    source = open_toto(GOLDEN / "toto2_tiny")
    path = tmp_path_factory.mktemp("models") / "toto.pt"
    export(source.module, path, source.manifest, context=32, horizon=4)
    return path


def refusal(path):
    with pytest.raises(ValueError, match=str(path)) as caught:
        load_artifact(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def with_manifest(good, path, manifest):
    """A copy of the file with another manifest."""
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w") as new:
        for entry in old.infolist():
            content = old.read(entry)
            new.writestr(entry, manifest if entry.filename.endswith("manifest.json") else content)
    return path


def test_a_good_file_loads(good):
    module, manifest = load_artifact(good)
    assert manifest["name"] == "toto2_tiny"
    assert module.model.patch_size == 16


def test_no_such_file(tmp_path):
    assert "does not exist" in refusal(tmp_path / "nothing.pt")
    assert "does not exist" in refusal(tmp_path / "nothing.pt2")


def test_another_suffix(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"")
    assert "no .pt or .pt2 file" in refusal(path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file(good, tmp_path, share):
    content = good.read_bytes()
    path = tmp_path / "cut.pt"
    path.write_bytes(content[: int(share * len(content))])
    assert "no TorchScript" in refusal(path) if share == 0.0 else "truncated or damaged" in refusal(path)


def test_a_flipped_bit_in_the_weights(good, tmp_path):
    with zipfile.ZipFile(good) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
    content = bytearray(good.read_bytes())
    content[largest.header_offset + 200 + largest.file_size // 2] ^= 1
    path = tmp_path / "flipped.pt"
    path.write_bytes(content)
    assert f"the checksum of {largest.filename} is wrong" in refusal(path)


@pytest.mark.parametrize("content", ["state_dict", "module"])
def test_what_torch_save_wrote(tmp_path, content):
    path, linear = tmp_path / "weights.pt", nn.Linear(2, 2)
    torch.save(linear.state_dict() if content == "state_dict" else linear, path)
    assert "written by torch.save: it is a pickle" in refusal(path)


def test_a_bare_pickle(tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(pickle.dumps({"weight": 1}))
    assert "is a pickle, which could run code" in refusal(path)


def test_text(tmp_path):
    path = tmp_path / "weights.pt"
    path.write_text("not a model")
    assert "no TorchScript or torch.export archive" in refusal(path)


@pytest.mark.parametrize("form", ["torchscript", "export"])
def test_a_model_without_a_manifest(tmp_path, form):
    path = tmp_path / ("model.pt" if form == "torchscript" else "model.pt2")
    if form == "torchscript":
        torch.jit.save(script_module(nn.Linear(2, 2)), str(path))
    else:
        torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),)), str(path))
    assert "has no manifest" in refusal(path)


def test_a_manifest_that_is_none(good, tmp_path):
    assert "not JSON" in refusal(with_manifest(good, tmp_path / "a.pt", "{"))
    assert "of type list" in refusal(with_manifest(good, tmp_path / "b.pt", "[]"))
    assert "of format None" in refusal(with_manifest(good, tmp_path / "c.pt", "{}"))
    assert "of format 'torchscript', which does not belong in a .pt2 file" in refusal(
        with_manifest(good, tmp_path / "d.pt2", '{"format": "torchscript"}')
    )
