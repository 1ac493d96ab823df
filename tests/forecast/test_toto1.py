"""Toto 1.0: upstream's numbers, and laws that hold for any weights."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy import stats

from arena.forecast.models.toto1 import Toto1, load_toto1
from arena.forecast.models.toto1_mixture import mixture_mean
from tools.verify.forecasters.folder import open_golden, through_file, verify_golden

GOLDEN = Path(__file__).parent.parent / "golden" / "toto1_tiny"
PATCH = 4
# float32 sums in another order, of values and activations of unit size
TOL = {"atol": 2e-5, "rtol": 1e-5}

VARIANTS = {
    "as published": {"spacewise_every": 3},
    "variates first": {"spacewise_every": 2, "spacewise_first": True},
    "variates only": {"spacewise_every": 1},
    "time only": {"spacewise_every": 9},
    "scale unbounded": {"spacewise_every": 3, "stabilize_exponent": None},
    "with labels": {"spacewise_every": 3, "labelled": True},
}


def model_of(**changes):
    """Random weights, drawn with a seed of their own, large enough that attention is not uniform."""
    arguments = {"spacewise_every": 3} | changes
    model = Toto1(patch_size=PATCH, width=16, num_layers=3, num_heads=2, hidden_width=24, num_components=3, **arguments)
    generator = torch.Generator().manual_seed(5)
    for parameter in model.parameters():
        fan_in = parameter.size(-1) if parameter.dim() == 2 else 4
        torch.nn.init.normal_(parameter, std=fan_in**-0.5, generator=generator)
    return model.requires_grad_(False).eval()


def random_series(num_series=2, num_variates=3, length=6 * PATCH, seed=1):
    """Random walks [B, V, T], all of whose steps are valid."""
    generator = torch.Generator().manual_seed(seed)
    series = torch.randn(num_series, num_variates, length, generator=generator).cumsum(-1)
    return series, torch.ones_like(series, dtype=torch.bool)


def decoded_anew(model, series, valid, horizon, ids, future):
    """The mean forecast without a cache: every step runs `forward` over all that is known by then."""
    length, num_known = series.size(2), future.size(1) if future is not None else 0
    for step in range(-(-horizon // PATCH)):
        mixture = model(series, valid, ids, num_known)
        patch = mixture_mean(mixture)[..., -PATCH:]
        if future is not None:
            known = future[..., step * PATCH : (step + 1) * PATCH]
            patch[:, -num_known:, : known.size(2)] = known
        series, valid = torch.cat([series, patch], -1), torch.cat([valid, torch.ones_like(patch).bool()], -1)
        ids = torch.cat([ids, ids[..., -1:].expand_as(patch)], -1) if ids is not None else None
    return series[:, : series.size(1) - num_known, length : length + horizon]


def test_every_array_of_the_upstream_is_reproduced_eager_and_from_a_file():
    checks = list(verify_golden(open_golden(GOLDEN)))
    assert [check.line for check in checks if check.status != "PASS"] == []
    assert {check.route for check in checks} == {"eager", "script"}
    names = {check.name for check in checks}
    assert {"leftpad.mean_kv", "leftpad.mean_nokv", "multi6.sample_quantiles", "uni.trace_layer3"} <= names


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_cache_changes_nothing_once_its_centre_is_fixed(variant):
    model = model_of(**VARIANTS[variant])
    series, valid = random_series()
    valid[0, 1, :5] = False
    ids = torch.tensor([0, 1, 0])[:, None].expand_as(series)
    expected = decoded_anew(model, series, valid, 4 * PATCH - 1, ids, None)
    torch.testing.assert_close(model.forecast(series, valid, 4 * PATCH - 1, ids, None, False), expected, **TOL)


def test_the_published_cache_moves_its_centre_and_with_it_the_later_patches():
    model = model_of()
    moved, fixed = (model.forecast(*random_series(), 3 * PATCH, cached=cached) for cached in (True, False))
    assert torch.equal(moved[..., :PATCH], fixed[..., :PATCH])
    assert not torch.allclose(moved[..., PATCH:], fixed[..., PATCH:], **TOL)


@pytest.mark.parametrize("labelled", [False, True])
def test_known_variates_are_decoded_with_their_future(labelled):
    model = model_of(labelled=labelled)
    series, valid = random_series()
    future = random_series(2, 1, 3 * PATCH, seed=7)[0]
    expected = decoded_anew(model, series, valid, 3 * PATCH, None, future)
    found = model.forecast(series, valid, 3 * PATCH, None, future, False)
    assert found.shape == (2, 2, 3 * PATCH)
    torch.testing.assert_close(found, expected, **TOL)
    other = model.forecast(series, valid, 3 * PATCH, None, future + 3.0, False)
    assert torch.equal(found[..., :PATCH], other[..., :PATCH])  # the first patch is read before any of the future
    assert not torch.allclose(found[..., PATCH:], other[..., PATCH:], **TOL)


def test_labels_tell_known_variates_from_those_to_forecast():
    model = model_of(labelled=True)
    series, valid = random_series()
    none, one = (model(series, valid, None, num_known) for num_known in (0, 1))
    assert not torch.allclose(none.comp_loc[:, 2], one.comp_loc[:, 2], **TOL)
    assert len(model.states(series, valid)[0][-1][0, 0]) == series.size(2) // PATCH  # and are cut off again


def test_no_step_sees_a_later_one():
    model = model_of()
    series, valid = random_series()
    before = model(series, valid)
    changed = series.clone()
    changed[..., 3 * PATCH :] += 5.0
    after = model(changed, valid)
    for name in ("df", "comp_loc", "comp_scale", "probs", "patch_loc", "patch_scale"):
        past, new = getattr(before, name), getattr(after, name)
        torch.testing.assert_close(new[:, :, : 3 * PATCH], past[:, :, : 3 * PATCH], **TOL)
        assert not torch.allclose(new[:, :, 3 * PATCH :], past[:, :, 3 * PATCH :], **TOL)


def test_series_of_a_batch_do_not_know_of_each_other():
    model = model_of()
    series, valid = random_series(3)
    together = model.forecast(series, valid, 2 * PATCH)
    alone = torch.cat([model.forecast(series[i : i + 1], valid[i : i + 1], 2 * PATCH) for i in range(3)])
    torch.testing.assert_close(together, alone, **TOL)


def test_variates_see_their_own_group_only():
    model = model_of()
    series, valid = random_series()
    ids = torch.tensor([7.0, 3.0, 7.0])[:, None].expand_as(series)
    changed = series.clone()
    changed[:, 0] += torch.arange(series.size(2)).sin()
    before, after = (model.forecast(x, valid, 2 * PATCH, ids) for x in (series, changed))
    assert torch.equal(before[:, 1], after[:, 1])
    assert not torch.allclose(before[:, 2], after[:, 2], **TOL)
    torch.testing.assert_close(before[:, 1:2], model.forecast(series[:, 1:2], valid[:, 1:2], 2 * PATCH), **TOL)


def test_the_order_of_variates_does_not_matter():
    model = model_of()
    series, valid = random_series()
    order = [2, 0, 1]
    permuted = model.forecast(series[:, order], valid[:, order], 2 * PATCH)
    torch.testing.assert_close(permuted, model.forecast(series, valid, 2 * PATCH)[:, order], **TOL)


def test_a_shifted_series_has_the_shifted_forecast():
    model = model_of()
    series, valid = random_series()
    shifted = model.forecast(series + 8.0, valid, 2 * PATCH)
    torch.testing.assert_close(shifted, model.forecast(series, valid, 2 * PATCH) + 8.0, atol=1e-4, rtol=0)


def test_a_shorter_horizon_is_the_start_of_a_longer_one():
    model = model_of()
    long = model.forecast(*random_series(), 4 * PATCH)
    for horizon in (1, PATCH, PATCH + 1):
        torch.testing.assert_close(model.forecast(*random_series(), horizon), long[..., :horizon], **TOL)


def test_an_unaligned_context_is_padded_on_the_left_with_invalid_zeros():
    model = model_of()
    series, valid = random_series(length=4 * PATCH - 1)
    padded = torch.nn.functional.pad(series, [1, 0]), torch.nn.functional.pad(valid, [1, 0])
    assert torch.equal(model.forecast(series, valid, PATCH), model.forecast(*padded, PATCH))


def test_invalid_steps_change_the_scaler_and_are_seen_all_the_same():
    model = model_of()
    series, valid = random_series()
    valid[..., :PATCH] = False
    loc = model(series, valid).patch_loc[..., -1]
    torch.testing.assert_close(loc, series[..., PATCH:].mean(-1), **TOL)
    changed = series.clone()
    changed[..., :PATCH] += 1.0
    assert torch.equal(model(changed, valid).patch_loc, model(series, valid).patch_loc)
    assert not torch.allclose(model.forecast(changed, valid, PATCH), model.forecast(series, valid, PATCH), **TOL)


def uniform_distance(mixture, values):
    """Kolmogorov-Smirnov distance between the mixtures' distribution functions at `values` [B, V, T] and the uniform
    law, times the root of their number: above 1.95 once in a thousand seeds if `values` were drawn from them."""
    z = (values - mixture.patch_loc) / mixture.patch_scale
    df, loc, scale, probs = (tensor.double().numpy() for tensor in mixture[:4])
    below = (stats.t.cdf(z.double().unsqueeze(-1).numpy(), df, loc, scale) * probs).sum(-1)
    return stats.kstest(below.ravel(), "uniform").statistic * below.size**0.5


def test_paths_are_drawn_from_the_mixtures_that_their_own_past_gives():
    model = model_of()
    series, valid = random_series(1, 2)
    num_paths = 1000
    paths = model.sample(
        series, valid, 2 * PATCH, num_paths, 250, cached=False, generator=torch.Generator().manual_seed(2)
    )
    paths = paths[0].permute(2, 0, 1)  # [S, V, H]
    first, second = paths[..., :PATCH], paths[..., PATCH:]
    assert uniform_distance(model.steps(series, valid, PATCH)[0], first) < 1.95
    extended = torch.cat([series.expand(num_paths, -1, -1), first], dim=-1)
    mixture = model.steps(extended, torch.ones_like(extended, dtype=torch.bool), PATCH)[0]
    assert uniform_distance(mixture, second) < 1.95
    assert uniform_distance(mixture, second.roll(1, 0)) > 3  # the pasts of other paths do not fit


def test_the_same_seed_draws_the_same_paths_whatever_was_drawn_before():
    model = model_of()

    def paths(seed):
        return model.sample(*random_series(), 2 * PATCH, 6, 3, generator=torch.Generator().manual_seed(seed))

    first = paths(1)
    assert first.shape == (2, 3, 2 * PATCH, 6)
    assert not torch.equal(paths(2), first)
    assert torch.equal(paths(1), first)
    assert not torch.equal(first[..., :3], first[..., 3:])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_reloaded_file_gives_the_same_numbers(variant):
    class Holder(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, series: torch.Tensor, valid: torch.Tensor, horizon: int) -> torch.Tensor:
            return self.model.forecast(series, valid, horizon)

    model = model_of(**VARIANTS[variant])
    loaded = through_file(Holder(model)).model
    series, valid = random_series()
    future = random_series(2, 1, 9, seed=7)[0]
    expected, found = (each.forecast(series, valid, 9, None, future) for each in (model, loaded))
    torch.testing.assert_close(found, expected, **TOL)
    expected, found = (
        each.sample(series, valid, 9, 4, 2, None, future, True, torch.Generator().manual_seed(1))
        for each in (model, loaded)
    )
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)  # draws fed back amplify rounding


def test_half_precision_stays_near():
    exact = model_of().forecast(*random_series(), 2 * PATCH)
    half = model_of().to(torch.bfloat16).forecast(*random_series(), 2 * PATCH)
    assert half.dtype == torch.float32
    assert (half - exact).abs().max() < 0.3 * random_series()[0].std()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"valid_mask": torch.ones(1, 2, 3, dtype=torch.bool)}, r"series has shape .* and valid_mask"),
        ({"horizon": 0}, "horizon is 0, expected at least 1"),
        ({"id_mask": torch.arange(24.0).expand(2, 3, 24)}, "id_mask changes within a patch"),
        ({"id_mask": torch.zeros(2, 3, 5)}, "id_mask has shape"),
        ({"future": torch.zeros(2, 3, PATCH)}, r"future has shape .* with E < V"),
        ({"future": torch.zeros(2, 1, PATCH - 1)}, "future has shape"),
    ],
)
def test_arguments_that_do_not_belong_together_are_refused(arguments, message):
    series, valid = random_series()
    with pytest.raises(ValueError, match=message):
        model_of().forecast(**({"series": series, "valid_mask": valid, "horizon": PATCH} | arguments))


def test_paths_must_fill_their_batches_and_forward_needs_whole_patches():
    with pytest.raises(ValueError, match="num_samples is 5 and samples_per_batch 2"):
        model_of().sample(*random_series(), PATCH, 5, 2)
    with pytest.raises(ValueError, match="series has 23 steps, expected a multiple of patch_size 4"):
        model_of()(*random_series(length=23))


@pytest.fixture
def checkpoint(tmp_path):
    """checkpoint(config={}, tensors=lambda t: t): a copy of the tiny checkpoint with changes."""

    def write(config=(), tensors=lambda own: own):
        shutil.copy(GOLDEN / "config.json", tmp_path)
        changed = json.loads((tmp_path / "config.json").read_text()) | dict(config)
        (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in changed.items() if v is not None}))
        save_file(tensors(load_file(GOLDEN / "model.safetensors")), tmp_path / "model.safetensors")
        return tmp_path

    return write


def test_both_namings_of_the_mlp_load_the_same_weights(checkpoint):
    names = {"mlp.0.w12": "mlp.0", "mlp.0.w3": "mlp.2"}

    def unfused(tensors):
        renamed = {}
        for name, tensor in tensors.items():
            for fused, plain in names.items():
                name = name.replace(fused, plain)
            renamed[name] = tensor
        assert renamed.keys() != tensors.keys()
        return renamed

    folder = checkpoint({"pre_xformers_checkpoint": True}, unfused)
    plain, fused = load_toto1(folder).state_dict(), load_toto1(GOLDEN).state_dict()
    assert all(torch.equal(plain[name], fused[name]) for name in fused)


def test_a_checkpoint_with_labels_gets_its_label_token(checkpoint):
    labels = {f"model.{kind}_variate_label": torch.ones(32) for kind in ("target", "exogenous")}
    labelled = load_toto1(checkpoint(tensors=lambda own: own | labels))
    assert labelled.num_labels == 1
    assert load_toto1(GOLDEN).num_labels == 0
    one = {"model.target_variate_label": torch.ones(32)}
    with pytest.raises(ValueError, match="1 missing: exogenous_variate_label"):
        load_toto1(checkpoint(tensors=lambda own: own | one))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"scaler_cls": "<class 'model.scaler.StdMeanScaler'>"}, "scaler_cls .* supported is only"),
        ({"output_distribution_classes": ["<class 'x.StudentTOutput'>"]}, "output_distribution_classes .* only"),
        ({"stride": 8}, "stride 8, supported is only 16"),
        ({"output_distribution_kwargs": {}}, "expected k_components alone"),
        ({"embed_dim": None}, "has no embed_dim: it is of another architecture"),
        ({"embed_dim": 64}, "of another shape: .* expected"),
        ({"num_layers": 5}, "10 missing: transformer.layers.4"),
        ({"num_layers": 3}, "unexpected: transformer.layers.3"),
    ],
)
def test_other_architectures_are_refused_by_name(checkpoint, config, message):
    with pytest.raises(ValueError, match=message):
        load_toto1(checkpoint(config))
