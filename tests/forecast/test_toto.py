"""Toto 2.0: upstream's numbers, and laws that hold for any weights, in float64."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from arena.forecast.models.checkpoint import load_strict
from arena.forecast.models.toto import Toto2, load_toto2, patch_scaler, real_quantiles
from arena.forecast.models.toto_config import Toto2Config

GOLDEN = Path(__file__).parent.parent / "golden"
FOLDERS = ("toto2_tiny", "toto2_tiny_p32")
CASES = [(folder, path.stem) for folder in FOLDERS for path in sorted((GOLDEN / folder / "cases").iterdir())]

# The criterion that came with the goldens: float32 in any order of operations keeps it, a wrong formula does not.
QUANTILE_TOL = 5e-4  # in scales of the series
VALUE_TOL = 4e-7  # of the value, where the scale is small against it
SCALER_TOL = 1e-6  # relative
TRACE_TOL = 2e-4  # absolute, of activations of unit size

PUBLISHED = {
    "patch_size": 4,
    "d_model": 16,
    "num_heads": 2,
    "num_layers": 3,
    "layer_group_size": 3,
    "num_variate_layers_per_group": 1,
    "variate_layer_first": False,
    "residual_attn_ratio": 5.0,
    "attn_bias": True,
    "qk_norm": False,
    "per_dim_scale": True,
    "use_xpos": True,
}
VARIANTS = {
    "published switches": {},
    "the other switches": {
        "variate_layer_first": True,
        "num_groups": 1,
        "qk_norm": True,
        "norm_include_weight": True,
        "mlp_bias": True,
        "attn_bias": False,
        "use_xpos": False,
        "v_dim": 4,
    },
    "variates twice": {"num_layers": 4, "layer_group_size": 2, "per_dim_scale": False},
    "variates only": {"num_variate_layers_per_group": 3},
}


def model_of(**changes):
    """A small model with random weights everywhere, float64."""
    generator = torch.Generator().manual_seed(7)
    model = Toto2(Toto2Config.from_json(PUBLISHED | changes)).double()
    model.initialise(generator)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        model.output_head.param_projection.proj.linear2.weight.mul_(8.0)  # quantiles a few scales wide
    return model


def series_of(num_series=2, num_variates=3, num_steps=24, seed=0):
    """Random walks with holes and with empty patches on the left; the last patch is observed. -> target, mask, ids."""
    generator = torch.Generator().manual_seed(seed)
    shape = [num_series, num_variates, num_steps]
    target = 50.0 + torch.randn(shape, generator=generator, dtype=torch.float64).cumsum(-1)
    mask = torch.rand(shape, generator=generator) < 0.8
    mask[0, 0, :9] = False
    mask[..., -PUBLISHED["patch_size"] :] = True
    return target, mask, torch.zeros(num_series, num_variates, dtype=torch.int64)


def scripted(model):
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(model), file)
    file.seek(0)
    return torch.jit.load(file)


@pytest.fixture(scope="module")
def golden_models():
    eager = {folder: load_toto2(GOLDEN / folder) for folder in FOLDERS}
    return {"eager": eager, "scripted": {folder: scripted(model) for folder, model in eager.items()}}


def golden_case(folder, case):
    entry = json.loads((GOLDEN / folder / "manifest.json").read_text())["cases"][case]
    tensors = load_file(GOLDEN / folder / "cases" / f"{case}.safetensors")
    return [tensors[key] for key in ("target", "target_mask", "series_ids")], tensors, entry


@pytest.mark.parametrize("form", ["eager", "scripted"])
@pytest.mark.parametrize(("folder", "case"), CASES)
def test_upstreams_quantiles(golden_models, folder, case, form):
    series, tensors, entry = golden_case(folder, case)
    known = {key: tensor for key, tensor in tensors.items() if key.startswith("known")}
    model = golden_models[form][folder]
    quantiles = model.forecast(*series, entry["horizon"], **entry["kwargs"], **known)
    reference = tensors["quantiles"]
    min_observed = entry["kwargs"].get("scaler_fallback_min_obs", 0)
    scale = golden_models["eager"][folder].trace(*series, 1, scaler_fallback_min_obs=min_observed).scale
    scale = scale[..., series[0].size(-1) - 1, None]
    assert quantiles.shape == reference.shape
    assert ((quantiles - reference).abs() <= QUANTILE_TOL * scale + VALUE_TOL * reference.abs()).all()


@pytest.mark.parametrize(("folder", "case"), [("toto2_tiny", "uni"), ("toto2_tiny", "extremes")])
def test_upstreams_intermediates(golden_models, folder, case):
    series, tensors, entry = golden_case(folder, case)
    trace = golden_models["eager"][folder].trace(*series, entry["horizon"], **entry["kwargs"])
    own = {"embed": trace.embed, "out_norm": trace.out_norm, "head_raw": trace.head}
    own |= {f"layer{i}": output for i, output in enumerate(trace.layers)}
    torch.testing.assert_close(trace.loc, tensors["trace_scaler_loc"], rtol=SCALER_TOL, atol=0)
    torch.testing.assert_close(trace.scale, tensors["trace_scaler_scale"], rtol=SCALER_TOL, atol=0)
    for name in own:
        if f"trace_{name}" in tensors:
            torch.testing.assert_close(own[name], tensors[f"trace_{name}"], rtol=0, atol=TRACE_TOL, msg=name)
    assert case == "extremes" or all(f"trace_{name}" in tensors for name in own)


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize("has_missing_values", [True, False])
def test_what_is_left_out_changes_nothing(changes, has_missing_values):
    model = model_of(**changes)
    series = series_of()
    quantiles = model.forecast(*series, 11, has_missing_values=has_missing_values)  # 3 patches, of which 2 are fed
    trace = model.trace(*series, 11, has_missing_values=has_missing_values)
    loc, scale = trace.loc[:, :, 24::4], trace.scale[:, :, 24::4]
    infinite = torch.full(loc.shape[:2], float("inf"), dtype=loc.dtype)
    head = trace.head.permute(1, 2, 3, 4, 0)
    expected = real_quantiles(head, loc, scale, -infinite, infinite).flatten(2, 3).permute(3, 0, 1, 2)
    torch.testing.assert_close(quantiles, expected[..., :11], rtol=1e-8, atol=1e-6)  # decays are made in float32


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_folding_changes_the_weights_and_not_the_function(changes):
    model = model_of(**changes)
    target, mask, ids = series_of()
    hidden = torch.ones_like(mask)
    before = model(target, mask, hidden, ids)
    names = model.state_dict().keys()
    model.fold()
    for one, other in zip(before, model(target, mask, hidden, ids)):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    assert model.state_dict().keys() < names  # so that it cannot pass for a checkpoint


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_scripted_is_eager(changes):
    model = model_of(**changes).fold()
    series = series_of()
    torch.testing.assert_close(scripted(model).forecast(*series, 11, 4), model.forecast(*series, 11, 4))


@pytest.mark.parametrize("block", [4, 8])
def test_decoding_by_block_is_forecasting_again_with_the_median_observed(block):
    """With the cache, but without decay over positions, whose centre upstream moves between blocks."""
    model = model_of(use_xpos=False)
    target, mask, ids = series_of()
    mask[:] = True
    expected = []
    for _ in range(3):
        quantiles = model.forecast(target, mask, ids, block)
        expected.append(quantiles)
        target = torch.cat([target, quantiles[4]], dim=-1)
        mask = torch.ones_like(target, dtype=torch.bool)
    quantiles = model.forecast(target[..., :24], mask[..., :24], ids, 3 * block, decode_block_size=block)
    torch.testing.assert_close(quantiles, torch.cat(expected, dim=-1), rtol=1e-9, atol=1e-9)


def test_the_first_block_knows_nothing_of_the_others():
    model = model_of()
    series = series_of()
    blocks = model.forecast(*series, 24, decode_block_size=8)
    torch.testing.assert_close(blocks[..., :8], model.forecast(*series, 8), rtol=1e-12, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(1, 5), seed=st.integers(0, 1000))
def test_the_future_changes_nothing_before_it(cut, seed):
    model = model_of()
    target, mask, ids = series_of(seed=seed)
    shown = torch.ones_like(mask)
    before = model(target, mask, shown, ids)
    target[..., 4 * cut :] = target[..., 4 * cut :] * 1.5 + 3.0
    after = model(target, mask, shown, ids)
    torch.testing.assert_close(after[0][:, :, :cut], before[0][:, :, :cut], rtol=1e-9, atol=1e-9)
    for one, other in zip(after[1:], before[1:]):
        assert torch.equal(one[..., : 4 * cut], other[..., : 4 * cut])
    assert not torch.allclose(after[0], before[0])


@settings(max_examples=20, deadline=None)
@given(gain=st.floats(0.01, 100.0), shift=st.floats(-1000.0, 1000.0))
def test_a_forecast_has_the_units_of_its_series(gain, shift):
    model = model_of()
    target, mask, ids = series_of()
    quantiles = model.forecast(target, mask, ids, 10, decode_block_size=4)
    moved = model.forecast(target * gain + shift, mask, ids, 10, decode_block_size=4)
    torch.testing.assert_close(moved, quantiles * gain + shift, rtol=1e-7, atol=1e-7)


def test_the_order_of_variates_and_of_series_is_free():
    model = model_of()
    series = series_of(num_series=3, num_variates=4)
    quantiles = model.forecast(*series, 8)
    variates, rows = torch.tensor([2, 0, 3, 1]), torch.tensor([1, 2, 0])
    by_variate = model.forecast(*(x[:, variates] for x in series), 8)
    by_row = model.forecast(*(x[rows] for x in series), 8)
    torch.testing.assert_close(by_variate, quantiles[:, :, variates], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(by_row, quantiles[:, rows], rtol=1e-9, atol=1e-9)


def test_variates_see_their_own_group_only():
    model = model_of()
    target, mask, _ = series_of(num_series=1, num_variates=4)
    ids = torch.tensor([[5, 9, 5, 9]])
    quantiles = model.forecast(target, mask, ids, 8)
    target[:, 3] += torch.linspace(0.0, 5.0, 24)
    moved = model.forecast(target, mask, ids, 8)
    assert torch.equal(moved[:, :, [0, 2]], quantiles[:, :, [0, 2]])
    assert not torch.allclose(moved[:, :, 1], quantiles[:, :, 1])
    alone = model.forecast(target[:, [0, 2]], mask[:, [0, 2]], ids[:, [0, 2]], 8)
    torch.testing.assert_close(alone, quantiles[:, :, [0, 2]], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("block", [0, 4])
def test_what_is_not_observed_may_hold_anything(block):
    model = model_of()
    target, mask, ids = series_of()
    mask[0, 1, -2:] = False
    quantiles = model.forecast(target, mask, ids, 8, block)
    assert torch.equal(quantiles, model.forecast(target.masked_fill(~mask, float("nan")), mask, ids, 8, block))
    hidden = torch.ones_like(mask)
    hidden[..., 8:12] = False
    head, _, _ = model(target, mask, hidden, ids)
    assert torch.equal(head, model(target.masked_fill(~(mask & hidden), float("nan")), mask, hidden, ids)[0])


def test_padding_on_the_left_moves_positions_only():
    """Without decay a forecast depends on distances, and empty patches are not attended to."""
    model = model_of()
    target, mask, ids = series_of()
    padded = torch.nn.functional.pad(target, [8, 0]), torch.nn.functional.pad(mask, [8, 0]), ids
    torch.testing.assert_close(
        model.forecast(*padded, 8), model.forecast(target, mask, ids, 8), rtol=1e-5, atol=1e-5
    )  # angles are made in float32


@settings(max_examples=20, deadline=None)
@given(horizon=st.integers(1, 20), block=st.sampled_from([0, 4, 8, 40]), seed=st.integers(0, 1000))
def test_quantiles_are_finite_and_ascend(horizon, block, seed):
    target, mask, ids = series_of(seed=seed)
    quantiles = model_of().forecast(target, mask, ids, horizon, block)
    assert quantiles.shape == (9, *target.shape[:2], horizon)
    assert quantiles.isfinite().all()
    assert (quantiles.diff(dim=0) >= 0).all()


def test_a_known_future_matters_to_its_group_and_is_not_forecast():
    model = model_of()
    target, mask, ids = series_of()
    known = torch.randn(2, 1, 24 + 11, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    seen = torch.ones_like(known, dtype=torch.bool)
    plain = model.forecast(target, mask, ids, 11)

    def forecast(known, group, known_mask=seen):
        group = torch.full([2, 1], group)
        return model.forecast(
            target, mask, ids, 11, known_dynamic=known, known_dynamic_mask=known_mask, known_dynamic_series_ids=group
        )

    with_it = forecast(known, 0)
    other_future = torch.cat([known[..., :24], -known[..., 24:]], dim=-1)
    assert with_it.shape == plain.shape
    assert not torch.allclose(forecast(other_future, 0), with_it)
    torch.testing.assert_close(forecast(known, 1), plain, rtol=1e-9, atol=1e-9)
    longer = torch.nn.functional.pad(known, [0, 9]), 0, torch.nn.functional.pad(seen, [0, 9], value=True)
    assert torch.equal(forecast(*longer)[..., :8], with_it[..., :8])  # its third patch knows one step more


def test_a_known_variate_without_a_future_is_one_more_target():
    model = model_of()
    target, mask, ids = series_of()
    future = torch.nn.functional.pad(target[:, 1:], [0, 8]), torch.nn.functional.pad(mask[:, 1:], [0, 8]), ids[:, 1:]
    names = ("known_dynamic", "known_dynamic_mask", "known_dynamic_series_ids")
    quantiles = model.forecast(target[:, :1], mask[:, :1], ids[:, :1], 8, **dict(zip(names, future)))
    torch.testing.assert_close(quantiles, model.forecast(target, mask, ids, 8)[:, :, :1], rtol=1e-9, atol=1e-9)


def test_a_hidden_patch_is_not_taken_for_an_empty_one():
    model = model_of()
    target, mask, ids = series_of()
    shown, hidden, empty = torch.ones_like(mask), torch.ones_like(mask), mask.clone()
    hidden[:, :2, 12:16] = False
    empty[:, :2, 12:16] = False
    head = model(target, mask, hidden, ids)[0]
    assert torch.equal(model(target, empty, hidden, ids)[0], head)
    assert not torch.allclose(model(target, empty, shown, ids)[0], head)


def test_grouped_heads_are_heads_with_equal_keys_and_values():
    grouped = model_of(num_heads=4, num_groups=2)
    full = model_of(num_heads=4)
    state = grouped.state_dict()
    for name, tensor in state.items():
        if "in_proj" in name:
            query, key_value = tensor.split([16, 16])
            repeated = key_value.unflatten(0, (2, 2, 4)).repeat_interleave(2, dim=1).flatten(0, 2)
            state[name] = torch.cat([query, repeated])
    load_strict(full, state, "grouped")
    series = series_of()
    torch.testing.assert_close(full.forecast(*series, 8), grouped.forecast(*series, 8), rtol=1e-9, atol=1e-9)


def test_capped_quantiles_stay_near_the_context():
    model = model_of()
    target, mask, ids = series_of()
    cap = 0.1
    _, scale = patch_scaler(target, mask, 4)
    low = target.masked_fill(~mask, float("inf")).amin(-1) - cap * scale[..., -1]
    high = target.masked_fill(~mask, -float("inf")).amax(-1) + cap * scale[..., -1]
    quantiles = model.forecast(target, mask, ids, 8)
    capped = model.forecast(target, mask, ids, 8, quantile_real_cap_k=cap)
    assert torch.equal(capped, quantiles.clamp(low[..., None], high[..., None]))
    assert not torch.equal(capped, quantiles)


def test_an_overflow_becomes_the_largest_finite_value_of_its_quantile():
    head = torch.zeros(1, 1, 1, 3, 2)
    head[..., 0, 1], head[..., 1, 1], head[..., 2, 1] = 1.0, 1000.0, 2.0
    ones, infinite = torch.ones(1, 1, 1), torch.full([1, 1], float("inf"))
    quantiles = real_quantiles(head, 0 * ones, ones, -infinite, infinite)[0, 0, 0]
    assert quantiles[:, 1].tolist() == pytest.approx([np.sinh(1.0), np.sinh(2.0), np.sinh(2.0)])


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.0, 1.0), min_observed=st.integers(0, 9))
def test_scaler_is_mean_and_deviation_of_what_was_seen(seed, share, min_observed):
    rng = np.random.default_rng(seed)
    x, observed = 100.0 + rng.normal(size=20).cumsum(), rng.random(20) < share
    loc, scale = patch_scaler(torch.tensor(x), torch.tensor(observed), 4, min_observed)
    for patch in range(5):
        seen = x[: 4 * patch + 4][observed[: 4 * patch + 4]]
        if len(seen) < min_observed:
            seen = x[observed][:min_observed]
        assert loc[patch] == pytest.approx(seen.mean() if len(seen) else 0.0, rel=1e-12)
        assert scale[patch] == pytest.approx(seen.std(ddof=1) if len(seen) > 1 else 1e-6, rel=1e-9)


def test_moments_of_a_price_survive_a_high_level():
    """A deviation of 1 on a level of 1e6 keeps seven digits, which float32 sums would not."""
    x = torch.randn(64, generator=torch.Generator().manual_seed(3)).double()
    x = (x - x.mean()) / x.std() + 1e6
    _, scale = patch_scaler(x.float(), torch.ones(64, dtype=torch.bool), 64)
    assert scale.item() == pytest.approx(x.float().double().std().item(), rel=1e-7)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.2), (torch.float16, 0.02)])
def test_weights_of_half_precision(dtype, tolerance):
    """The series stays in float32, on a level that half precision cannot hold; tolerance in scales of the series."""
    model = model_of().fold()
    target, mask, ids = series_of()
    series = (target.float() + 1e3, mask, ids)
    expected = model.float().forecast(*series, 8)
    _, scale = patch_scaler(*series[:2], 4)
    error = (model.to(dtype).forecast(*series, 8) - expected).abs() / scale[..., -1, None]
    assert 0 < error.median() < tolerance


def test_a_new_model_is_of_unit_scale_and_learns():
    model = Toto2(Toto2Config.from_json(PUBLISHED | {"d_model": 64}))
    model.initialise(torch.Generator().manual_seed(0))
    target, mask, ids = series_of(num_series=8)
    target, hidden = target.float(), torch.ones_like(mask)
    trace = model.trace(target, mask, ids, 4)
    assert all(0.5 < x.std() < 2.0 for x in (trace.embed, *trace.layers, trace.out_norm))
    levels = torch.arange(1, 10) / 10
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    losses = []
    for _ in range(10):
        head, loc, scale = model(target, mask, hidden, ids)
        z = ((target[..., 4:] - loc[..., :-4]) / scale[..., :-4]).asinh().unflatten(-1, [-1, 4]).unsqueeze(-1)
        miss = (z - head[:, :, :-1])[:, :, 2:]
        losses.append(torch.maximum(levels * miss, (levels - 1) * miss).mean())
        optimiser.zero_grad()
        losses[-1].backward()
        assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
        optimiser.step()
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("sizes", "num_parameters", "num_tensors", "taus"),
    [
        ({"d_model": 256, "num_heads": 4, "d_ff": 688, "num_layers": 4}, 4_144_448, 48, (0.5205556, 0.0696942)),
        ({"d_model": 512, "num_heads": 8, "d_ff": 1368, "num_layers": 6}, 21_915_584, 66, (0.4250319, 0.0568591)),
    ],
)
def test_published_sizes(sizes, num_parameters, num_tensors, taus):
    config = Toto2Config.from_json(
        PUBLISHED
        | sizes
        | {"patch_size": 32, "qk_dim": 64, "layer_group_size": sizes["num_layers"], "residual_mult": 0.75}
        | {"residual_attn_ratio": 5.136215466577748}
    )
    state = Toto2(config).state_dict()
    assert sum(tensor.numel() for name, tensor in state.items() if "tau" not in name) == num_parameters
    assert len(state) == num_tensors
    assert (config.taus()[0], config.taus()[-1]) == pytest.approx(taus, abs=1e-7)


def test_a_checkpoint_loads_from_its_folder(tmp_path):
    model = model_of().float()
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED | {"unknown_key": 1}))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    target, mask, ids = series_of()
    loaded = load_toto2(tmp_path)
    torch.testing.assert_close(
        loaded.forecast(target.float(), mask, ids, 8), model.forecast(target.float(), mask, ids, 8)
    )
    with pytest.raises(ValueError, match=r"missing: transformer\.layers\.0\.attn\._pds"):
        load_strict(model, loaded.state_dict(), "folded")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_model": None}, "is no Toto 2.0 model that can be built: its config lacks d_model"),
        ({"residual_attn_ratio": None}, "lacks residual_attn_ratio"),
        ({"dropout_p": 0.1}, "dropout_p is 0.1, expected 0.0"),
        ({"num_output_patches": 2}, "num_output_patches is 2, expected 1"),
        ({"d_model": 64.5}, "d_model is 64.5, expected a positive integer"),
        ({"num_heads": 0}, "num_heads is 0, expected a positive integer"),
        ({"use_xpos": 1}, "use_xpos is 1, expected true or false"),
        ({"norm_eps": 0}, "norm_eps is 0, expected a positive number"),
        ({"layer_group_size": 3}, "num_layers 4 is not a multiple of layer_group_size 3"),
        ({"num_heads": 3}, "d_model 32 is not a multiple of num_heads 3"),
        ({"num_groups": 3}, "num_heads 2 is not a multiple of num_groups 3"),
        ({"num_variate_layers_per_group": 5}, "num_variate_layers_per_group 5 exceeds layer_group_size 4"),
        ({"qk_dim": 6}, "qk_dim is 6, expected a multiple of 4"),
        ({"d_ff": 56}, r"8 of another shape: .*fc1.weight has \(96, 32\), expected \(112, 32\)"),
        ({"qk_norm": True, "qk_norm_include_weight": True}, "missing: transformer.layers.0.attn.k_norm.weight"),
    ],
)
def test_another_architecture_is_refused(tmp_path, changes, message):
    shutil.copy(GOLDEN / "toto2_tiny" / "model.safetensors", tmp_path)
    config = json.loads((GOLDEN / "toto2_tiny" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(ValueError, match=message):
        load_toto2(tmp_path)


def test_wrong_arguments_are_refused():
    model = model_of()
    target, mask, ids = series_of()
    with pytest.raises(ValueError, match="target has 23 steps, expected a multiple of 4: pad it on the left"):
        model.forecast(target[..., 1:], mask[..., 1:], ids, 8)
    with pytest.raises(ValueError, match="horizon is 0"):
        model.forecast(target, mask, ids, 0)
    with pytest.raises(ValueError, match="decode_block_size is 6, expected a multiple of 4"):
        model.forecast(target, mask, ids, 8, decode_block_size=6)
    with pytest.raises(ValueError, match="without its mask"):
        model.forecast(target, mask, ids, 8, known_dynamic=target)
    with pytest.raises(ValueError, match="known_dynamic has 24 steps, expected at least 32"):
        model.forecast(
            target, mask, ids, 8, known_dynamic=target, known_dynamic_mask=mask, known_dynamic_series_ids=ids
        )
