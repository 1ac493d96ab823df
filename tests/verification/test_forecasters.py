"""Golden folders of forecasters: every array is compared, a wrong one is found, what is no such folder is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.script import run_script
from tools.verify.forecasters.arrays import GoldenError, error_within
from tools.verify.forecasters.folder import open_golden, verify_golden, verify_route

ROOT = Path(__file__).parent.parent.parent
GOLDEN = ROOT / "tests" / "golden"
INPUTS = {
    "toto1_tiny": {"series", "padding_mask", "id_mask"},
    "toto2_tiny": {"target", "target_mask", "series_ids"}
    | {"known_dynamic", "known_dynamic_mask", "known_dynamic_series_ids"},
    "kronos_tiny": {"ohlcva", "x_time_ns", "y_time_ns", "rnd_s1", "rnd_s2", "stamp", "s1_targets", "logits"}
    | {"cases_T_topk_topp", "rng_seed"},
}


@pytest.fixture
def folder(tmp_path):
    """folder(name): a copy of a golden folder that may be changed."""

    def copy(name):
        return Path(shutil.copytree(GOLDEN / name, tmp_path / name))

    return copy


def edit_case(folder, case, change):
    """Rewrite the arrays of a case, which `change` edits in place."""
    path = folder / "cases" / f"{case}.safetensors"
    arrays = load_file(path)
    change(arrays)
    save_file(arrays, path)


def edit_npz(path, change):
    with np.load(path) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(path, **arrays)


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def keep_cases(folder, names):
    """Drop all other cases of a folder."""
    for path in (folder / "cases").iterdir():
        if path.stem not in names:
            path.unlink()
    edit_json(folder / "manifest.json", lambda content: content.update(cases={k: content["cases"][k] for k in names}))


def eager(folder):
    return {check.name: check for check in verify_route(open_golden(folder), "eager")}


def failed(folder):
    return {name for name, check in eager(folder).items() if check.status == "FAIL"}


def verified(folder):
    return run_script(ROOT / "scripts" / "verify_forecaster.py", "--golden", folder, cwd=ROOT)


def all_arrays(folder):
    for path in folder.rglob("cases/*.safetensors"):
        yield from ((f"{path.stem}.{name}", name) for name in load_file(path))
    for path in folder.glob("*.npz"):
        with np.load(path) as file:
            yield from ((f"{path.stem}.{name}", name) for name in file.files)


@pytest.mark.parametrize("name", ["kronos_tiny", "toto2_tiny"])  # toto1_tiny: tests/forecast/test_toto1.py
def test_every_array_passes_eager_and_those_of_entry_points_from_a_file(name):
    checks = list(verify_golden(open_golden(GOLDEN / name)))
    assert [check.line for check in checks if check.status == "FAIL"] == []
    assert {check.name for check in checks if check.status == "SKIP" and check.route == "eager"} == set()
    compared = {check.name for check in checks if check.route == "eager"}
    not_inputs = {full for full, array in all_arrays(GOLDEN / name) if array not in INPUTS[name]}
    ambiguous = {"tokenizer_golden.x_norm", "predictor_golden.s1", "predictor_golden.s2"}  # went in here, out elsewhere
    assert compared == not_inputs - ambiguous
    assert {check.name for check in checks if check.route == "script"} == compared
    skipped = {check.name.partition(".")[2] for check in checks if check.status == "SKIP"}
    inside = {"x_stamp", "y_stamp", "enc_out", *(f"probs_{i}" for i in range(8))}
    windows = {f"{regime}_{part}" for regime in ("fit", "cross", "trunc") for part in ("max_context", "window_len")}
    assert skipped == (inside | windows if name == "kronos_tiny" else set())


def test_the_script_names_the_array_that_is_wrong(folder):
    copy = folder("toto2_tiny")
    keep_cases(copy, ["uni", "gaps"])
    good = verified(copy)
    assert (good.returncode, good.stderr) == (0, "")
    lines = good.stdout.splitlines()
    assert "toto2" in lines[0]
    assert lines[1].endswith("forecast, trace")
    assert "gaps.quantiles script" in good.stdout
    assert lines[-1] == f"{len(lines) - 3} passed, 0 failed, 0 skipped"
    assert all(line.endswith(" ok") for line in lines[2:-1])

    edit_case(copy, "gaps", lambda arrays: arrays["quantiles"][4, 0, 0, 3].add_(1.0))
    bad = verified(copy)
    assert bad.returncode == 1
    wrong = [line for line in bad.stdout.splitlines() if line.endswith("FAILED")]
    assert [line.split()[:2] for line in wrong] == [["gaps.quantiles", route] for route in ("eager", "script")]
    assert bad.stdout.splitlines()[-1] == f"{len(lines) - 5} passed, 2 failed, 0 skipped"


@pytest.mark.parametrize(
    ("case", "array", "step"),
    [
        ("unaligned", "mean_kv", 0.01),
        ("leftpad", "mean_nokv", 0.01),
        ("leftpad", "kv_step2_probs", 1e-4),
        ("unaligned", "kv_step1_loc", 1e-2),
        ("uni", "fwd_scaler_scale", 1e-4),
        ("uni", "trace_layer1", 1e-3),
        ("multi6", "sample_mean", 30.0),
        ("multi6", "sample_quantiles", 3.0),
    ],
)
def test_a_wrong_array_of_toto1_is_found(folder, case, array, step):
    copy = folder("toto1_tiny")
    keep_cases(copy, [case])
    assert failed(copy) == set()
    edit_case(copy, case, lambda arrays: arrays[array].add_(step))
    assert failed(copy) == {f"{case}.{array}"}


@pytest.mark.parametrize(
    ("name", "case", "array"),
    [
        ("toto1_tiny", "leftpad", "mean_kv"),
        ("toto1_tiny", "leftpad", "kv_step2_df"),
        ("toto2_tiny", "extremes", "quantiles"),
    ],
)
def test_a_stated_noise_floor_widens_the_tolerance_of_a_forecast(folder, name, case, array):
    copy = folder(name)
    keep_cases(copy, [case])
    # In units of the scale, which the forecasts are multiplied by.
    scale = {"mean_kv": ("kv_step0_scale", -1), "quantiles": ("trace_scaler_scale", 127)}.get(array)

    def step(size):
        def change(arrays):
            arrays[array] += size * (arrays[scale[0]][..., scale[1]].unsqueeze(-1) if scale else 1.0)

        edit_case(copy, case, change)

    def floor(value):
        edit_json(copy / "manifest.json", lambda content: content["cases"][case].update(f32_noise_floor=value))

    floor(0.0)
    assert failed(copy) == set()
    step(2e-3)
    assert failed(copy) == {f"{case}.{array}"}
    edit_json(copy / "manifest.json", lambda content: content["cases"][case].pop("f32_noise_floor"))
    assert failed(copy) == {f"{case}.{array}"}, "without a floor the fixed tolerance holds"
    floor(1e-3)
    assert failed(copy) == set(), "two computations may differ by two floors"
    step(8e-3)
    assert failed(copy) == {f"{case}.{array}"}, "ten floors are a mistake"


def test_a_single_pass_is_no_noisier_than_its_fixed_tolerance(folder):
    copy = folder("toto1_tiny")
    keep_cases(copy, ["uni"])
    edit_json(copy / "manifest.json", lambda content: content["cases"]["uni"].update(f32_noise_floor=1e-2))
    wrong = ("fwd_comp_loc", "kv_step0_comp_loc", "kv_step1_comp_loc", "trace_layer1")
    edit_case(copy, "uni", lambda arrays: [arrays[array].add_(1e-3) for array in wrong])
    assert failed(copy) == {"uni.fwd_comp_loc", "uni.kv_step0_comp_loc", "uni.trace_layer1"}


@pytest.mark.parametrize("floor", [-1e-6, float("nan"), float("inf"), 3.0, "1e-5", None, True, [1e-5]])
def test_a_noise_floor_that_cannot_be_one_is_refused(folder, floor):
    copy = folder("toto2_tiny_p32")
    edit_json(copy / "manifest.json", lambda content: content["cases"]["uni_maskpath"].update(f32_noise_floor=floor))
    with pytest.raises(
        GoldenError, match=r"manifest\.json states f32_noise_floor .*uni_maskpath, expected .* remove it$"
    ):
        open_golden(copy)


@pytest.mark.parametrize(
    ("file", "array", "step"),
    [
        ("inputs", "x_stamp", 1),
        ("inputs", "x_norm", 1e-3),
        ("tokenizer_golden", "decoded", 1e-3),
        ("tokenizer_golden", "full", 1),
        ("tokenizer_golden", "enc_out", 1e-3),
        ("predictor_golden", "s2_logits_forward_train", 1e-3),
        ("ar_greedy_golden", "cross_s2", 1),
        ("ar_greedy_golden", "trunc_window_len", 1),
        ("ar_greedy_golden", "novol_pred", 1.0),
        ("sampling_golden", "probs_3", 1e-4),
        ("sampling_golden", "rng_pred_norm", 1e-2),
    ],
)
def test_a_wrong_array_of_kronos_is_found(folder, file, array, step):
    copy = folder("kronos_tiny")

    def shifted(arrays):
        arrays[array] = arrays[array] + arrays[array].dtype.type(step)

    edit_npz(copy / f"{file}.npz", shifted)
    assert failed(copy) == {f"{file}.{array}"}


def test_other_context_lengths_of_kronos_are_read_from_the_folder(folder):
    copy = folder("kronos_tiny")

    def renamed(arrays):
        for name in [name for name in arrays if name.startswith("trunc_")]:
            arrays[name.replace("trunc_", "short_")] = arrays.pop(name)

    edit_npz(copy / "ar_greedy_golden.npz", renamed)
    edit_json(copy / "meta.json", lambda content: content.update(regimes={"short": 32, "cross": 56, "fit": 64}))
    assert failed(copy) == set()
    edit_json(copy / "meta.json", lambda content: content.update(regimes={"short": 33, "cross": 56, "fit": 64}))
    wrong = failed(copy)
    assert {"ar_greedy_golden.short_s1_logits", "ar_greedy_golden.short_max_context"} <= wrong
    assert all(".short_" in name for name in wrong)


def test_an_array_that_nobody_knows_is_named_as_skipped(folder):
    copy = folder("kronos_tiny")
    edit_npz(copy / "inputs.npz", lambda arrays: arrays.update(extra=np.zeros(3)))
    check = eager(copy)["inputs.extra"]
    assert check.line == "inputs.extra eager skipped: an array that the model is not known to give"


def remove(path):
    return lambda folder: (folder / path).unlink()


def rewrite(path, content):
    return lambda folder: (folder / path).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("toto2_tiny", remove("manifest.json"), "holds no manifest.json"),
        ("toto2_tiny", remove("config.json"), "holds neither config.json nor tokenizer/"),
        ("toto2_tiny", remove("model.safetensors"), "holds neither model.safetensors nor"),
        (
            "toto2_tiny",
            remove("cases/uni.safetensors"),
            "holds no cases/uni.safetensors, which",
        ),
        ("toto2_tiny", rewrite("manifest.json", b"{"), "is not a JSON file"),
        ("toto2_tiny", rewrite("manifest.json", b'{"cases": {}}'), "lists no cases"),
        (
            "toto2_tiny",
            rewrite("manifest.json", b'{"cases": {"uni": {}}}'),
            "does not list: block_leftpad",
        ),
        ("toto2_tiny", rewrite("config.json", b'{"layers": 3}'), "neither of Toto 2.0 nor of Toto 1.0"),
        ("toto2_tiny", rewrite("cases/uni.safetensors", b"\x80\x02pickle"), "is a pickle"),
        ("kronos_tiny", remove("meta.json"), "holds no meta.json"),
        ("kronos_tiny", remove("inputs.npz"), "holds no inputs.npz"),
        ("kronos_tiny", remove("predictor/config.json"), "predictor holds no config.json"),
        ("kronos_tiny", rewrite("meta.json", b'{"regimes": {"fit": "long"}}'), "regimes .* expected the max_context"),
        ("kronos_tiny", rewrite("inputs.npz", b"PK"), "is not an npz file of numbers"),
    ],
)
def test_a_folder_with_a_missing_or_broken_part_is_refused(folder, name, change, message):
    copy = folder(name)
    change(copy)
    with pytest.raises(GoldenError, match=message):
        open_golden(copy)


def test_a_case_without_its_inputs_or_of_another_model_is_refused(folder):
    copy = folder("toto1_tiny")
    edit_case(copy, "uni", lambda arrays: arrays.pop("series"))
    with pytest.raises(GoldenError, match=r"cases/uni\.safetensors holds no series"):
        eager(copy)
    edit_case(copy, "uni", lambda arrays: arrays.update(series=torch.zeros(1, 1, 3)))
    with pytest.raises(GoldenError, match=r"do not go through the toto1 model \(eager\): series has shape"):
        eager(copy)
    edit_json(copy / "manifest.json", lambda content: content["cases"]["uni"].update(tensors={"a": []}))
    with pytest.raises(GoldenError, match=r"uni\.safetensors holds no a, which manifest\.json lists"):
        open_golden(copy)


def test_the_script_refuses_in_one_sentence(tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        run = verified(place)
        assert (run.returncode, run.stdout) == (2, "")
        assert len(run.stderr.splitlines()) == 1
        assert run.stderr.startswith("verify_forecaster: ")


def test_errors_are_shares_of_the_tolerance():
    ones = torch.ones(2, 2)
    assert error_within(ones + 0.5, ones, atol=0.5, rtol=0.5) == pytest.approx(0.5)
    assert error_within(ones, ones) == 0
    assert error_within(ones + 1e-6, ones) == torch.inf
    assert error_within(ones[0], ones) == torch.inf
    assert error_within(ones.long(), ones) == torch.inf
    assert error_within(torch.full((2, 2), torch.nan), ones, atol=1.0) == torch.inf
    assert error_within(torch.tensor([1, 2]), torch.tensor([1, 3])) == torch.inf
