"""export_models.py: files from folders of the published layout, what it says of them, and what it refuses."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file

from arena.forecast.export.artifact import load_artifact
from arena.forecast.export.published import PUBLISHED, Published, write_random_checkpoint
from arena.forecast.export.sources import count_parameters, hashes, open_kronos, open_random, open_toto
from arena.forecast.models.checkpoint import load_checkpoint
from tests.script import run_script

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
TOTO, PREDICTOR, TOKENIZER = GOLDEN / "toto2_tiny", GOLDEN / "kronos_tiny/predictor", GOLDEN / "kronos_tiny/tokenizer"
SMALL = ("--context", "32", "--horizon", "4")


def run(*arguments):
    return run_script(ROOT / "scripts" / "export_models.py", *arguments, cwd=ROOT)


def copy_of(folder, place, **changes):
    """A checkpoint whose config differs from that of `folder`."""
    shutil.copytree(folder, place, ignore=shutil.ignore_patterns("cases"))
    config = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(config | changes))
    return place


@pytest.mark.slow
def test_both_models_from_local_folders(tmp_path):
    sources = ("--toto", TOTO, "--kronos", PREDICTOR, "--tokenizer", TOKENIZER, "--max-context", "64")
    done = run(*sources, *SMALL, "--out", tmp_path / "models")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith(f"toto   {TOTO}, float32, torchscript, cpu")
    files = [tmp_path / "models" / name for name in ("toto_fp32.pt", "kronos_fp32.pt")]
    assert done.stdout.splitlines()[-1] == f"wrote {files[0]} {files[1]}"
    for file, kind, source in zip(files, ("toto2", "kronos"), (TOTO, PREDICTOR)):
        _, manifest = load_artifact(file)
        assert (manifest["kind"], manifest["source"]) == (kind, str(source))
        assert (manifest["context"], manifest["horizon"]) == (32, 4)
        assert file.name in done.stdout
    assert manifest["config"]["max_context"] == 64
    assert manifest["sha256"].keys() == {
        f"{half}/{file}" for half in ("predictor", "tokenizer") for file in ("config.json", "model.safetensors")
    }


def test_toto_1_is_recognised_by_its_config(tmp_path):
    source = open_toto(GOLDEN / "toto1_tiny")
    assert (source.manifest["kind"], source.manifest["training_cutoff"]) == ("toto1", "2025-05-31")


def kronos(*changes):
    return ("--model", "kronos", "--kronos", PREDICTOR, "--tokenizer", TOKENIZER, "--max-context", "64", *changes)


REFUSALS = {
    "missing folder": (("--model", "toto", "--toto", "/no/such/folder"), "neither an existing folder nor a hub id"),
    "hub out of reach": (("--model", "toto", "--toto", "nobody/nothing"), "could not be fetched from the hub"),
    "kronos as toto": (("--model", "toto", "--toto", PREDICTOR), "neither of Toto 2.0 nor of Toto 1.0"),
    "toto as kronos": (kronos("--kronos", TOTO), "it is of another architecture"),
    "tokenizer as predictor": (kronos("--kronos", TOKENIZER), "it is of another architecture"),
    "unknown context length": (kronos()[:-2], "names none of Kronos-mini, Kronos-small, Kronos-base"),
    "unknown tokenizer": (("--model", "kronos", "--kronos", PREDICTOR, "--max-context", "64"), "name the tokenizer"),
    "kronos as pt2": (kronos("--format", "export"), "decodes in a loop"),
    "no context": (("--context", "0"), "--context 0"),
    "no GPU": (("--device", "cuda"), "this torch sees no GPU"),
    "two sizes": (("--random-weights", "4m", "22m"), "one size of each model"),
    "a size of another model": (("--model", "toto", "--random-weights", "mini"), "one size of each model"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_bad_input_is_one_sentence(name, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    if name == "no GPU" and torch.cuda.is_available():
        pytest.skip("there is one")
    arguments, expected = REFUSALS[name]
    done = run(*arguments, *(() if name == "no context" else SMALL), "--out", tmp_path / "models")
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert expected in done.stderr
    assert not (tmp_path / "models").exists()


def test_damaged_weights_are_refused(tmp_path):
    truncated, pickled = copy_of(TOTO, tmp_path / "truncated"), copy_of(TOTO, tmp_path / "pickled")
    weights = (truncated / "model.safetensors").read_bytes()
    (truncated / "model.safetensors").write_bytes(weights[:-100])
    with pytest.raises(ValueError, match="is truncated"):
        open_toto(truncated)
    torch.save(load_file(TOTO / "model.safetensors"), pickled / "model.safetensors")
    with pytest.raises(ValueError, match="is a pickle"):
        open_toto(pickled)


def test_halves_that_do_not_pair_are_refused(tmp_path):
    config, tensors = load_checkpoint(TOKENIZER)
    bits = config["s1_bits"] - 1
    smaller = copy_of(TOKENIZER, tmp_path / "tokenizer", s1_bits=bits, s2_bits=bits)
    for name in ("quant_embed.weight", "quant_embed.bias", "tokenizer.bsq.basis"):
        if name in tensors:
            tensors[name] = tensors[name][-2 * bits :].contiguous()
    tensors["post_quant_embed.weight"] = tensors["post_quant_embed.weight"][:, : 2 * bits].contiguous()
    tensors["post_quant_embed_pre.weight"] = tensors["post_quant_embed_pre.weight"][:, :bits].contiguous()
    save_file(tensors, smaller / "model.safetensors")
    with pytest.raises(ValueError, match="they do not pair"):
        open_kronos(PREDICTOR, smaller, 64)


def test_weights_are_compared_with_what_is_published(tmp_path, monkeypatch):
    config, tensors = load_checkpoint(TOTO)
    snapshot = tmp_path / ("ab" * 20)  # the hub names a snapshot by its revision
    shutil.copytree(TOTO, snapshot)

    def remarks(**known):
        facts = {"parameters": count_parameters(tensors), "revision": "seen", "sha256": hashes(TOTO)} | known
        monkeypatch.setitem(PUBLISHED, "tiny", Published("owner/tiny", config, **facts))
        return open_toto(snapshot).remarks

    assert not any("warning" in remark for remark in remarks())
    assert "parameters, as owner/tiny" in remarks()[0]
    assert sum("has the SHA-256 of owner/tiny at revision seen" in remark for remark in remarks()) == 2
    changed = remarks(sha256={"model.safetensors": "0" * 64})
    assert changed[1].startswith(f"warning: model.safetensors of revision {'ab' * 20} has SHA-256 ")
    assert remarks(parameters=1)[0].startswith("warning: ")


@pytest.mark.parametrize("key", ["toto-4m", "toto-22m", "kronos-tokenizer-2k", "kronos-tokenizer-base", "kronos-mini"])
def test_published_sizes_have_their_number_of_parameters(tmp_path, key):
    write_random_checkpoint(key, tmp_path)
    config, tensors = load_checkpoint(tmp_path)
    assert count_parameters(tensors) == PUBLISHED[key].parameters
    assert config == PUBLISHED[key].config
    if key.startswith("toto"):
        assert hashes(tmp_path)["config.json"] == PUBLISHED[key].sha256["config.json"], (
            "byte for byte the published one"
        )


def test_a_published_predictor_refuses_the_other_tokenizer(tmp_path):
    for key in ("kronos-mini", "kronos-tokenizer-2k", "kronos-tokenizer-base"):
        write_random_checkpoint(key, tmp_path / key)
    source = open_kronos(tmp_path / "kronos-mini", tmp_path / "kronos-tokenizer-2k")
    assert source.manifest["max_horizon"] == 2048
    with pytest.raises(ValueError, match=r"trained with another one"):
        open_kronos(tmp_path / "kronos-mini", tmp_path / "kronos-tokenizer-base")


def test_random_weights_are_named_so(tmp_path):
    source = open_random("toto-4m")
    assert source.manifest["source"] == "random weights"
    assert source.manifest["sha256"] == {}
    assert source.manifest["training_cutoff"] is None
    with pytest.raises(ValueError, match="expected one of toto-4m, toto-22m, kronos-mini, kronos-small, kronos-base"):
        open_random("kronos-tokenizer-2k")


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [("4m", "mini"), ("22m", "small"), ("base",)])
def test_published_sizes_through_the_command(tmp_path, sizes):
    model = ("--model", "kronos") if sizes == ("base",) else ()
    done = run(*model, "--random-weights", *sizes, "--context", "128", "--horizon", "16", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    for file in tmp_path.iterdir():
        manifest = load_artifact(file)[1]
        assert manifest["tolerance"] <= 1e-5
        assert manifest["source"] == "random weights"
