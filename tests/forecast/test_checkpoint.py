"""A checkpoint is read whole and strictly, or refused in one sentence."""

import json
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from arena.forecast.models.checkpoint import load_checkpoint, load_strict, read_safetensors


@pytest.fixture
def folder(tmp_path):
    """A checkpoint of one linear layer, in the layout of the hub."""
    (tmp_path / "config.json").write_text(json.dumps({"width": 3}))
    save_file({"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)}, tmp_path / "model.safetensors")
    return tmp_path


def shard(folder, places):
    """Split the folder's file into one file per entry of `places`: file -> names; returns the written index."""
    _, tensors = load_checkpoint(folder)
    for file, names in places.items():
        save_file({name: tensors[name] for name in names}, folder / file)
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: file for file, names in places.items() for name in names}}))
    return index


@pytest.mark.parametrize("kind", [str, lambda path: path])
def test_a_local_folder_gives_config_and_tensors(folder, kind):
    config, tensors = load_checkpoint(kind(folder))
    assert config == {"width": 3}
    assert tensors["weight"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert tensors.keys() == {"weight", "bias"}


def test_shards_give_the_tensors_of_the_single_file(folder):
    _, whole = load_checkpoint(folder)
    shard(folder, {"a.safetensors": ["weight"], "b.safetensors": ["bias"]})
    _, parts = load_checkpoint(folder)
    assert parts.keys() == whole.keys()
    assert all(torch.equal(parts[name], whole[name]) for name in whole)


def test_a_missing_shard_is_named(folder):
    shard(folder, {"a.safetensors": ["weight"], "b.safetensors": ["bias"]})
    (folder / "b.safetensors").unlink()
    with pytest.raises(ValueError, match=r"names the shard b\.safetensors, which is not there"):
        load_checkpoint(folder)


def test_a_shard_that_is_not_as_indexed_is_named(folder):
    index = shard(folder, {"a.safetensors": ["weight"], "b.safetensors": ["bias"]})
    index.write_text(index.read_text().replace('"bias"', '"basis"'))
    with pytest.raises(ValueError, match=r"b\.safetensors and model.* disagree on basis, bias"):
        load_checkpoint(folder)


def test_a_shard_outside_the_folder_is_refused(folder):
    index = shard(folder, {"a.safetensors": ["weight", "bias"]})
    index.write_text(index.read_text().replace("a.safetensors", "../a.safetensors"))
    with pytest.raises(ValueError, match="expected a file beside it"):
        load_checkpoint(folder)


@pytest.mark.parametrize("keep", [0, 5, 40, -1])
def test_a_truncated_file_is_refused(folder, keep):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"model\.safetensors is truncated"):
        load_checkpoint(folder)


def test_a_file_with_more_bytes_than_announced_is_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes() + b"rest")
    with pytest.raises(ValueError, match="its header announces only"):
        load_checkpoint(folder)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_pickle_is_refused_unread(folder, save):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was read",))

    save(Trap(), folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors is a pickle"):
        load_checkpoint(folder)
    with pytest.raises(ValueError, match="is a pickle, expected the folder"):
        load_checkpoint(folder / "model.safetensors")


def write_with_header(path, length):
    """A safetensors file of one byte, whose header is padded with spaces to `length` bytes."""
    header = b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}' if length >= 53 else b"{}"
    path.write_bytes(length.to_bytes(8, "little") + header.ljust(length) + b"\x07" * (length >= 53))


def test_a_header_of_any_length_is_read(tmp_path):
    path = tmp_path / "model.safetensors"
    # 640, 896, 1,152 and 1,408 + k * 65,536 start with the bytes of a pickle.
    for length in (*range(8, 4097), 65_536 + 640, 3 * 65_536 + 1_408):
        write_with_header(path, length)
        found = {name: tensor.tolist() for name, tensor in read_safetensors(path).items()}
        assert found == ({"a": [7]} if length >= 53 else {}), length


def test_a_truncated_file_whose_header_length_looks_like_a_pickle_is_called_truncated(folder):
    path = folder / "model.safetensors"
    write_with_header(path, 640)
    whole = path.read_bytes()
    for size in (100, 647, 648):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"model\.safetensors is truncated"):
            load_checkpoint(folder)
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="is a file, expected the folder"):
        load_checkpoint(path)


def test_a_zip_of_something_else_is_refused(folder):
    with zipfile.ZipFile(folder / "model.safetensors", "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(ValueError, match=r"model\.safetensors is a pickle, which could run code"):
        load_checkpoint(folder)


def test_a_folder_with_only_a_pickle_says_so(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"holds pytorch_model\.bin, a pickle"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer"),
        (b"\xff" * 64, "its header length would be"),
        ((8).to_bytes(8, "little") + b"nonsense", "its header cannot be read"),
        ((2).to_bytes(8, "little") + b"[]", "its header cannot be read"),
    ],
)
def test_another_kind_of_file_is_refused(folder, content, message):
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(folder)


def test_a_folder_without_weights_or_config_is_refused(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"holds neither model\.safetensors nor"):
        load_checkpoint(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        load_checkpoint(folder)


@pytest.mark.parametrize(("text", "message"), [("{", "is not a JSON file"), ("[1]", "JSON list, expected an object")])
def test_a_config_that_is_no_json_object_is_refused(folder, text, message):
    (folder / "config.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(folder)


def test_a_hub_id_is_fetched_at_its_revision(folder, monkeypatch):
    calls = []

    def fetch(repo, revision, allow_patterns):
        calls.append((repo, revision, allow_patterns))
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert load_checkpoint("owner/some-model@abc123")[0] == {"width": 3}
    load_checkpoint("owner/some-model")
    assert [call[:2] for call in calls] == [("owner/some-model", "abc123"), ("owner/some-model", None)]
    assert not any("bin" in pattern for pattern in calls[0][2])


def test_a_failed_fetch_is_one_sentence(monkeypatch):
    def fetch(repo, revision, allow_patterns):
        raise OSError("no connection\nand a page of advice")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    with pytest.raises(ValueError, match=r"owner/name is no local folder and could not .*: no connection$"):
        load_checkpoint("owner/name")


@pytest.mark.parametrize("source", ["no-such-folder", "/no/such/folder", "a/b/c"])
def test_a_source_that_is_nothing_is_refused(source):
    with pytest.raises(ValueError, match="neither an existing folder nor a hub id"):
        load_checkpoint(source)


def test_load_strict_copies_every_tensor_in_the_modules_dtype(folder):
    module = nn.Linear(3, 2).to(torch.float64)
    load_strict(module, load_checkpoint(folder)[1], folder)
    assert module.weight.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert module.weight.dtype == torch.float64
    assert module.weight.requires_grad


def test_load_strict_names_missing_unexpected_and_mis_shaped_tensors():
    tensors = {"weight": torch.zeros(3, 2), "extra": torch.zeros(1)}
    with pytest.raises(ValueError, match="some/where does not fit Linear") as refusal:
        load_strict(nn.Linear(3, 2), tensors, "some/where")
    message = str(refusal.value)
    assert "1 missing: bias" in message
    assert "1 unexpected: extra" in message
    assert "1 of another shape: weight has (3, 2), expected (2, 3)" in message


def test_load_strict_counts_what_it_does_not_name():
    module = nn.Sequential(*(nn.Linear(1, 1) for _ in range(10)))
    with pytest.raises(ValueError, match=r"20 missing: 0\.bias, .* and 12 more"):
        load_strict(module, {}, "x")
