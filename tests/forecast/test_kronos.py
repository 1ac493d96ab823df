"""Kronos: the original code's numbers on a tiny checkpoint, eager and as reloaded TorchScript, and laws of what the
original does not do: caches, a prefix shared by the paths of a series, left padding."""

import io
import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from arena.forecast.models.kronos import (
    Kronos,
    calendar_stamps,
    check_pair,
    constants,
    load_kronos,
    load_predictor,
    load_tokenizer,
    published_max_context,
    repair_bars,
)
from arena.forecast.models.kronos_predictor import KronosPredictor, filtered_probabilities
from arena.forecast.models.kronos_tokenizer import KronosTokenizer, pack_bits, unpack_bits

GOLDEN = Path(__file__).parents[1] / "golden" / "kronos_tiny"
CONTEXT, HORIZON = 48, 16
ROUNDING = {
    "atol": 5e-5,
    "rtol": 1e-5,
}  # of float32 through seven layers; no decision of the golden is closer than 7e-4
GREEDY = 1  # top_k
LAWS = settings(deadline=None, derandomize=True)  # the machine is shared; the same examples in every run


def golden(name):
    with np.load(GOLDEN / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays}


def tiny(max_context=64):
    return load_kronos(GOLDEN / "tokenizer", GOLDEN / "predictor", max_context)


def reloaded(model):
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(model), file)
    file.seek(0)
    return torch.jit.load(file)


@pytest.fixture(scope="module", autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module", params=["eager", "torchscript"])
def kronos(request):
    return tiny() if request.param == "eager" else reloaded(tiny())


@pytest.fixture(scope="module")
def inputs():
    return golden("inputs")


@pytest.fixture(scope="module")
def bars(inputs):
    return inputs["ohlcva"][:, :CONTEXT]


@pytest.fixture(scope="module")
def stamps(inputs):
    return calendar_stamps(torch.cat([inputs["x_time_ns"], inputs["y_time_ns"]], dim=1))


def assert_same_bars(found, expected, scale):
    """Bars [.., 6] in the units of the market: rounding is relative to the standard deviation of their channel."""
    error = (found - expected).abs() / ((scale + 1e-5) * 1e-4 + expected.abs() * 1e-5)
    assert error.max() < 1


# ---- the golden ----


def test_calendar_and_normalisation_are_the_upstreams(kronos, inputs, bars, stamps):
    assert torch.equal(stamps.float(), torch.cat([inputs["x_stamp"], inputs["y_stamp"]], dim=1))
    x, loc, scale = kronos.normalise(bars.float())
    assert_close(x, inputs["x_norm"], atol=5e-5, rtol=0)
    assert_close(loc, inputs["x_mean"], atol=0, rtol=5e-7)
    assert_close(scale, inputs["x_std"], atol=0, rtol=3e-6)


def test_the_tokenizer_is_the_upstreams(kronos):
    expected = golden("tokenizer_golden")
    tokenizer = kronos.tokenizer
    z = tokenizer.pre_quant(expected["x_norm"])
    assert_close(z, expected["pre_quant"], **ROUNDING)
    assert torch.equal(z > 0, expected["bits"])
    s1, s2 = tokenizer.encode(expected["x_norm"])
    assert torch.equal(s1, expected["s1"])
    assert torch.equal(s2, expected["s2"])
    assert torch.equal(s1 + (s2 << tokenizer.s1_bits), expected["full"])
    assert_close(tokenizer.code(s1, s2), expected["quantized"], atol=1e-6, rtol=0)
    assert_close(tokenizer.decode(s1, s2), expected["decoded"], **ROUNDING)
    assert_close(tokenizer.decode_coarse(s1), expected["decoded_s1_only"], **ROUNDING)
    assert_close(tokenizer.decode(expected["rnd_s1"], expected["rnd_s2"]), expected["rnd_decoded"], **ROUNDING)


def test_the_logits_are_the_upstreams(kronos):
    expected = golden("predictor_golden")
    predictor = kronos.predictor
    tokens = predictor.embedding(expected["s1"], expected["s2"])
    context = predictor.contexts(tokens + predictor.time_emb(expected["stamp"].long()))
    assert_close(context, expected["context"], **ROUNDING)
    assert_close(predictor.s1_logits(context), expected["s1_logits"], **ROUNDING)
    assert_close(predictor.s1_logits(predictor.contexts(tokens)), expected["s1_logits_nostamp"], **ROUNDING)
    for case, rotary, causal in (("infer", False, True), ("forward_eval", True, False), ("forward_train", True, True)):
        logits = predictor.s2_logits_window(context, expected["s1_targets"], rotary, causal)
        assert_close(logits, expected[f"s2_logits_{case}"], **ROUNDING)


@pytest.mark.parametrize("regime", ["fit", "cross", "trunc"])
def test_greedy_forecasts_are_the_upstreams(kronos, bars, stamps, regime):
    expected = golden("ar_greedy_golden")
    kronos.max_context = int(expected[f"{regime}_max_context"])
    forecast = kronos(bars, stamps, 1, 1.0, GREEDY)
    s1, s2 = golden("predictor_golden")["s1"], golden("predictor_golden")["s2"]
    made = kronos.predictor(s1, s2, stamps, kronos.max_context, top_k=GREEDY, keep_logits=True)
    kronos.max_context = 64
    assert torch.equal(forecast.s1[:, 0], expected[f"{regime}_s1"])
    assert torch.equal(forecast.s2[:, 0], expected[f"{regime}_s2"])
    assert_close(torch.stack(made.s1_logits, dim=1), expected[f"{regime}_s1_logits"], **ROUNDING)
    assert_close(torch.stack(made.s2_logits, dim=1), expected[f"{regime}_s2_logits"], **ROUNDING)
    assert_close(forecast.normalised[:, 0], expected[f"{regime}_pred_norm"], **ROUNDING)
    assert_same_bars(forecast.mean, expected[f"{regime}_pred"], forecast.scale[:, None])


@pytest.mark.parametrize(("channels", "case"), [(4, "novol_pred"), (5, "noamt_pred")])
def test_missing_volume_and_amount_are_filled_in_as_the_upstream_does(kronos, bars, stamps, channels, case):
    forecast = kronos(bars[..., :channels], stamps, 1, 1.0, GREEDY)
    assert_same_bars(forecast.mean, golden("ar_greedy_golden")[case], forecast.scale[:, None])


def test_sampled_paths_are_the_upstreams_draws(kronos, bars, stamps):
    expected = golden("sampling_golden")
    torch.manual_seed(int(expected["rng_seed"]))
    forecast = kronos(bars, stamps, 4, 0.9, 0, 0.9)
    assert_close(forecast.normalised.mean(1), expected["rng_pred_norm"], **ROUNDING)
    assert_same_bars(forecast.mean, expected["rng_pred"], forecast.scale[:, None])


def test_filtered_probabilities_are_the_upstreams():
    expected = golden("sampling_golden")
    for i, (temperature, top_k, top_p) in enumerate(expected["cases_T_topk_topp"].tolist()):
        found = filtered_probabilities(expected["logits"], temperature, int(top_k), top_p)
        assert_close(found, expected[f"probs_{i}"], atol=1e-6, rtol=0)


# ---- caches, shared prefixes, padding ----


def test_cached_logits_are_those_of_the_whole_window(stamps):
    expected, predictor = golden("predictor_golden"), tiny().predictor
    made = predictor(expected["s1"], expected["s2"], stamps, 64, 1, top_k=GREEDY, keep_logits=True)
    s1 = torch.cat([expected["s1"], made.s1[:, 0]], dim=1)
    s2 = torch.cat([expected["s2"], made.s2[:, 0]], dim=1)
    context = predictor.contexts(predictor.embedding(s1, s2) + predictor.time_emb(stamps))[:, CONTEXT - 1 : -1]
    assert_close(torch.stack(made.s1_logits, dim=1), predictor.s1_logits(context), **ROUNDING)
    context = predictor.contexts(predictor.embedding(s1, s2) + predictor.time_emb(stamps))
    fine = predictor.s2_logits_window(context[:, :-1], s1[:, 1:])[:, CONTEXT - 1 :]
    assert_close(torch.stack(made.s2_logits, dim=1), fine, **ROUNDING)


def test_windows_agree_where_nothing_slides(kronos, bars, stamps):
    exact, fit, stream = (kronos(bars, stamps, 1, 1.0, GREEDY, 0.9, window) for window in ("exact", "fit", "stream"))
    assert torch.equal(exact.paths, fit.paths)
    assert torch.equal(exact.paths, stream.paths)


@pytest.mark.parametrize("window", ["exact", "fit", "stream"])
def test_windows_that_slide_give_finite_paths_and_fit_is_a_shorter_context(bars, stamps, window):
    forecast = tiny(40)(bars, stamps, 2, window=window)
    assert torch.isfinite(forecast.paths).all()
    if window == "fit":
        short = tiny(40)(bars[:, -24:], stamps[:, -24 - HORIZON :], 1, top_k=GREEDY)
        assert torch.equal(tiny(40)(bars, stamps, 1, top_k=GREEDY, window="fit").paths, short.paths)


@pytest.mark.parametrize("length", [CONTEXT, 20])  # longer and shorter than max_context
@pytest.mark.parametrize("num_layers", [0, 1])
def test_streaming_forgets_the_bars_that_leave_the_window(stamps, num_layers, length):
    """Only states that looked at such a bar remember it: without layers none, with one those under the fine head."""
    torch.manual_seed(0)
    predictor = KronosPredictor(5, 5, num_layers, 40, 5, 72, True).eval()
    tokens = golden("predictor_golden")
    known = (tokens["s1"][:, :length], tokens["s2"][:, :length], stamps[:, : length + HORIZON], 24)
    exact = predictor(*known, top_k=GREEDY, keep_logits=True)
    stream = predictor(*known, top_k=GREEDY, stream=True, keep_logits=True)
    assert_close(torch.stack(stream.s1_logits), torch.stack(exact.s1_logits), **ROUNDING)
    if num_layers == 0:
        assert_close(torch.stack(stream.s2_logits), torch.stack(exact.s2_logits), **ROUNDING)


@pytest.mark.parametrize(
    ("window", "max_context"),
    [*itertools.product(("exact", "fit", "stream"), (64, 56, 32)), ("exact", HORIZON), ("stream", HORIZON)],
)
def test_paths_that_share_a_prefix_are_those_of_replicated_series(bars, stamps, window, max_context):
    model = tiny(max_context)
    lengths = torch.tensor([48, 40, 20])
    arguments = {"temperature": 1.2, "top_p": 0.95, "window": window}
    seeds = (torch.Generator().manual_seed(5) for _ in range(2))
    shared = model(bars, stamps, 3, num_valid=lengths, generator=next(seeds), **arguments)
    rows = [tensor.repeat_interleave(3, 0) for tensor in (bars, stamps, lengths)]
    replicated = model(*rows[:2], 1, num_valid=rows[2], generator=next(seeds), **arguments)
    assert torch.equal(shared.s1.flatten(0, 1), replicated.s1[:, 0])
    assert torch.equal(shared.s2.flatten(0, 1), replicated.s2[:, 0])
    assert_close(shared.normalised.flatten(0, 1), replicated.normalised[:, 0], **ROUNDING)


@pytest.mark.parametrize("window", ["exact", "fit", "stream"])
@pytest.mark.parametrize("max_context", [64, 32])
def test_a_left_padded_series_is_forecast_as_if_alone(bars, stamps, window, max_context):
    model = tiny(max_context)
    lengths = [48, 31, 9]
    padded = bars.clone()
    for row, length in enumerate(lengths):
        padded[row, : CONTEXT - length] = float("nan")
    together = model(padded, stamps, 1, top_k=GREEDY, window=window, num_valid=torch.tensor(lengths))
    for row, length in enumerate(lengths):
        one = (bars[row : row + 1, -length:], stamps[row : row + 1, -length - HORIZON :])
        alone = model(*one, 1, top_k=GREEDY, window=window)
        assert torch.equal(alone.s1[0], together.s1[row])
        assert torch.equal(alone.s2[0], together.s2[row])
        assert_close(alone.normalised[0], together.normalised[row], **ROUNDING)
        assert_same_bars(alone.mean[0], together.mean[row], alone.scale)


def test_a_series_does_not_depend_on_its_companions(bars, stamps):
    model = tiny()
    together = model(bars, stamps, 1, top_k=GREEDY)
    alone = model(bars[1:2], stamps[1:2], 1, top_k=GREEDY)
    assert torch.equal(alone.s1[0], together.s1[1])
    assert_close(alone.normalised[0], together.normalised[1], **ROUNDING)


def test_the_same_seed_draws_the_same_paths(kronos, bars, stamps):
    first, again, other = (
        kronos(bars, stamps, 3, 1.0, 0, 0.9, "exact", None, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first.paths, again.paths)
    assert not torch.equal(first.paths, other.paths)
    assert not torch.equal(first.paths[:, 0], first.paths[:, 1])


def test_the_mean_is_taken_of_normalised_paths(kronos, bars, stamps):
    forecast = kronos(bars, stamps, 5)
    scale = forecast.scale[:, None]
    assert_same_bars(forecast.mean, forecast.normalised.mean(1) * (scale + 1e-5) + forecast.loc[:, None], scale)
    assert_same_bars(forecast.mean, forecast.paths.mean(1), scale)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_keeps_statistics_and_logits_in_float32(kronos, bars, stamps, dtype):
    half = reloaded(tiny().to(dtype)) if isinstance(kronos, torch.jit.ScriptModule) else tiny().to(dtype)
    forecast = half(bars, stamps, 2, 1.0, 0, 0.9, "exact", torch.tensor([48, 30, 48]))
    assert forecast.paths.dtype == torch.float32
    assert torch.isfinite(forecast.paths).all()
    assert_close(forecast.scale[0], tiny().normalise(bars.float())[2][0])
    expected = golden("predictor_golden")
    tokens = half.predictor.embedding(expected["s1"], expected["s2"])
    context = half.predictor.contexts(tokens + half.predictor.time_emb(expected["stamp"].long()))
    logits = half.predictor.s1_logits(context)
    assert logits.dtype == torch.float32
    roundoff = torch.finfo(dtype).eps
    assert (logits - expected["s1_logits"]).abs().max() < 30 * roundoff * expected["s1_logits"].std()


# ---- tokens, bars, calendar, filter ----


def test_the_tokenizer_does_not_look_ahead():
    tokenizer, x = tiny().tokenizer, golden("inputs")["x_norm"]
    changed = x.clone()
    changed[:, 30:] = -changed[:, 30:]
    for before, after in zip(tokenizer.encode(x), tokenizer.encode(changed)):
        assert torch.equal(before[:, :30], after[:, :30])
        assert not torch.equal(before[:, 30:], after[:, 30:])
    s1, s2 = tokenizer.encode(x)
    other = torch.cat([s1[:, :30], (s1[:, 30:] + 1) % 32], dim=1)
    before, after = tokenizer.decode(s1, s2), tokenizer.decode(other, s2)
    assert_close(before[:, :30], after[:, :30])
    assert not torch.allclose(before[:, 30:], after[:, 30:], atol=1e-2)


def test_decoded_paths_are_the_end_of_the_whole_sequence():
    tokenizer, tokens = tiny().tokenizer, golden("predictor_golden")
    s1, s2 = tokens["s1"], tokens["s2"]
    paths = tokenizer.decode_paths(s1[:, :30], s2[:, :30], s1[:, None, 30:], s2[:, None, 30:])
    assert_close(paths[:, 0], tokenizer.decode(s1, s2)[:, 30:], **ROUNDING)


@LAWS
@given(st.lists(st.integers(0, 1023), min_size=1, max_size=20))
def test_bits_and_numbers_are_each_others_inverse(numbers):
    bits = unpack_bits(torch.tensor(numbers), 10)
    assert pack_bits(bits).tolist() == numbers
    assert bits.long().tolist() == [[int(digit) for digit in reversed(f"{number:010b}")] for number in numbers]


@LAWS
@given(st.integers(-5, 5), st.floats(-1.0, 1.0), st.integers(0, 40))
def test_normalisation_undoes_scale_and_shift(power, shift, padding):
    """Bars of the same shape on another price level: the same numbers go into the tokenizer."""
    model, bars = tiny(), golden("inputs")["ohlcva"][:, :CONTEXT].float()
    start = torch.tensor([0, padding, padding // 2])
    x, loc, scale = model.normalise(bars, start)
    moved = shift * loc
    other, other_loc, other_scale = model.normalise(2.0**power * (bars + moved[:, None]), start)
    real = torch.arange(CONTEXT) >= start[:, None]
    # What is added to the deviation counts 5 times at the clip; the level is rounded before a difference is taken.
    floors, levels = 1e-5 / scale + 1e-5 / other_scale, (bars.abs().amax(1) + moved.abs()) / scale
    assert ((other - x)[real].abs() < 1e-5 + 5 * floors.max() + 5e-7 * levels.max()).all()
    assert_close(other_loc, 2.0**power * (loc + moved), rtol=1e-5, atol=1e-5 * float(loc.abs().max()))
    assert_close(other_scale, 2.0**power * scale, rtol=1e-3, atol=0)
    assert x[real].abs().max() <= 5.0
    assert_close(x[0].mean(0), torch.zeros(6), atol=0.1, rtol=0)  # but for what was clipped


def test_a_constant_series_is_forecast_as_constant(kronos, stamps):
    bars = torch.tensor([10.0, 10.0, 10.0, 10.0, 500.0, 5000.0]).expand(3, CONTEXT, 6)
    paths = kronos(bars, stamps, 2).paths
    assert_close(paths, bars[:, None, :HORIZON].expand_as(paths), atol=1e-4, rtol=1e-6)


NUMBERS = st.floats(-1e6, 1e6, width=32)


@LAWS
@given(st.lists(st.tuples(*[NUMBERS] * 6), min_size=1, max_size=5))
def test_repaired_bars_are_possible_and_valid_ones_stay(rows):
    bars = torch.tensor(rows)
    repaired = repair_bars(bars)
    opening, high, low, close, volume, amount = repaired.unbind(-1)
    assert (high >= torch.maximum(opening, close)).all()
    assert (low <= torch.minimum(opening, close)).all()
    assert (volume >= 0).all()
    assert (amount >= 0).all()
    assert torch.equal(repaired[:, [0, 3]], bars[:, [0, 3]])
    assert torch.equal(repair_bars(repaired), repaired)


def test_repair_is_an_option_of_the_forecast(kronos, bars, stamps):
    plain, repaired = (
        kronos(bars, stamps, 4, 1.0, 0, 0.9, "exact", None, torch.Generator().manual_seed(0), repair)
        for repair in (False, True)
    )
    assert not torch.equal(plain.paths, repaired.paths)  # an untrained network prints impossible bars
    assert torch.equal(repair_bars(plain.paths), repaired.paths)
    assert torch.equal(repair_bars(plain.mean), repaired.mean)
    assert torch.equal(plain.normalised, repaired.normalised)


@LAWS
@given(st.integers(pd.Timestamp.min.value + 1, pd.Timestamp.max.value))
def test_calendar_fields_are_those_of_pandas(time_ns):
    time = pd.Timestamp(time_ns)
    expected = [time.minute, time.hour, time.day_of_week, time.day, time.month]
    assert calendar_stamps(torch.tensor(time_ns)).tolist() == expected


@pytest.mark.parametrize(
    "date", ["1968-02-29", "1969-12-31 23:59:59.999999999", "1970-01-01", "1900-03-01", "2000-02-29"]
)
def test_calendar_fields_around_leap_days_and_the_epoch(date):
    time = pd.Timestamp(date)
    expected = [time.minute, time.hour, time.day_of_week, time.day, time.month]
    assert calendar_stamps(torch.tensor([time.value]))[0].tolist() == expected


@LAWS
@given(
    st.lists(st.floats(-20, 20, width=32), min_size=8, max_size=8),
    st.floats(0.1, 5.0),
    st.integers(0, 10),
    st.floats(0.01, 1.0),
)
def test_the_filter_keeps_the_most_probable_tokens(logits, temperature, top_k, top_p):
    logits = torch.tensor(logits)
    kept = filtered_probabilities(logits, temperature, top_k, top_p)
    assert_close(kept.sum(), torch.tensor(1.0))
    plain = torch.softmax(logits / temperature, dim=-1)
    assert (plain[kept == 0][:, None] <= plain[kept > 0] + 1e-6).all()
    mass = plain[kept > 0].sum()
    assert_close(kept[kept > 0], plain[kept > 0] / mass, atol=1e-6, rtol=1e-4)
    if top_k > 0:
        assert torch.equal(kept > 0, (logits >= logits.sort().values[-min(top_k, 8)]) & (plain > 0))
    elif top_p < 1.0:
        assert mass > top_p - 1e-5  # enough, and not one token more
        assert mass - plain[kept > 0].min() <= top_p + 1e-5


# ---- files and refusals ----


def copy_of(part, folder, config=None, tensors=None, dropped=()):
    """A tiny checkpoint with other entries."""
    stored = load_file(GOLDEN / part / "model.safetensors")
    entries = json.loads((GOLDEN / part / "config.json").read_text()) | (config or {})
    folder.mkdir()
    (folder / "config.json").write_text(
        json.dumps({key: value for key, value in entries.items() if key not in dropped})
    )
    save_file({k: v for k, v in (stored | (tensors or {})).items() if k not in dropped}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    ("num_layers", "width", "num_heads", "ff_width", "parameters", "tensors"),
    [
        (4, 256, 4, 512, 4_108_032, 80),  # mini
        (8, 512, 8, 1024, 24_741_376, 136),  # small
        (12, 832, 16, 2048, 102_310_592, 192),  # base
    ],
)
def test_published_predictors_have_the_published_sizes(num_layers, width, num_heads, ff_width, parameters, tensors):
    with torch.device("meta"):
        predictor = KronosPredictor(10, 10, num_layers, width, num_heads, ff_width, True)
    assert sum(parameter.numel() for parameter in predictor.parameters()) == parameters
    assert len(predictor.state_dict()) + len(constants(predictor)) == tensors


def test_the_published_tokenizers_have_the_published_size():
    with torch.device("meta"):
        tokenizer = KronosTokenizer(6, 256, 4, 512, 4, 4, 10, 10, 4)
    assert sum(parameter.numel() for parameter in tokenizer.parameters()) == 3_958_042
    assert len(tokenizer.state_dict()) + len(constants(tokenizer)) == 96


def test_constant_buffers_may_be_missing(tmp_path, bars, stamps):
    folders = []
    for part in ("tokenizer", "predictor"):
        names = load_file(GOLDEN / part / "model.safetensors")
        buffers = [name for name in names if name.endswith("inv_freq") or ".bsq." in name]
        assert buffers
        folders.append(copy_of(part, tmp_path / part, dropped=buffers))
    assert torch.equal(
        load_kronos(*folders, 64)(bars, stamps, 1, top_k=GREEDY).paths, tiny()(bars, stamps, 1, top_k=GREEDY).paths
    )


def test_calendar_tables_of_either_name_are_read(tmp_path):
    tables = load_file(GOLDEN / "predictor" / "model.safetensors")
    tables = {name: tensor for name, tensor in tables.items() if name.startswith("time_emb.")}
    renamed = {name.replace("_embed.", "_embed.emb."): tensor for name, tensor in tables.items()}
    fixed = copy_of("predictor", tmp_path / "fixed", {"learn_te": False}, renamed, dropped=tables)
    stamps = golden("predictor_golden")["stamp"].long()
    assert torch.equal(load_predictor(fixed).time_emb(stamps), tiny().predictor.time_emb(stamps))


def test_other_weights_are_refused(tmp_path):
    weight = torch.zeros(3)
    with pytest.raises(ValueError, match=r"1 missing: head\.bias"):
        load_tokenizer(copy_of("tokenizer", tmp_path / "missing", dropped=["head.bias"]))
    with pytest.raises(ValueError, match=r"1 unexpected: head\.extra"):
        load_predictor(copy_of("predictor", tmp_path / "unexpected", tensors={"head.extra": weight}))
    with pytest.raises(ValueError, match=r"norm\.weight has \(3,\), expected \(40,\)"):
        load_predictor(copy_of("predictor", tmp_path / "shape", tensors={"norm.weight": weight}))
    with pytest.raises(ValueError, match="width 32 does not split into 3 heads"):
        load_tokenizer(copy_of("tokenizer", tmp_path / "heads", {"n_heads": 3}))
    with pytest.raises(ValueError, match=r"n_enc_layers.*another architecture"):
        load_tokenizer(GOLDEN / "predictor")


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("tokenizer", "tokenizer.bsq.basis"),
        ("tokenizer", "tokenizer.bsq.group_basis"),
        ("predictor", "transformer.1.self_attn.rotary.inv_freq"),
    ],
)
def test_buffers_of_another_model_are_refused(tmp_path, part, name):
    stored = load_file(GOLDEN / part / "model.safetensors")[name]
    load = load_tokenizer if part == "tokenizer" else load_predictor
    for i, wrong in enumerate((stored.flip(0).contiguous(), stored[1:].clone())):
        with pytest.raises(ValueError, match=f"{name} of .* is not that of its config"):
            load(copy_of(part, tmp_path / str(i), tensors={name: wrong}))


def test_a_tokenizer_of_other_bits_is_refused():
    wide = KronosPredictor(6, 6, 1, 40, 5, 8, True)
    with pytest.raises(ValueError, match=r"tokens of 5 \+ 5 bits, the predictor reads 6 \+ 6"):
        Kronos(tiny().tokenizer, wide, 64)
    with pytest.raises(ValueError, match="s1_bits 5 and s2_bits 6, expected the same number"):
        KronosTokenizer(6, 32, 4, 64, 3, 3, 5, 6, 5)


@pytest.mark.parametrize(("width", "pairs_with"), [(256, 5), (512, 4), (832, 4)])
@pytest.mark.parametrize("group_size", [4, 5])
def test_published_halves_that_do_not_pair_are_refused(width, pairs_with, group_size):
    with torch.device("meta"):
        tokenizer = KronosTokenizer(6, 256, 4, 512, 1, 1, 10, 10, group_size)
        predictor = KronosPredictor(10, 10, 0, width, 4, 8, True)
    if group_size == pairs_with:
        check_pair(tokenizer, predictor)
    else:
        with pytest.raises(ValueError, match=r"pair with Kronos-Tokenizer-(2k|base).*group_size"):
            check_pair(tokenizer, predictor)


def test_context_lengths_are_known_by_name(tmp_path):
    assert published_max_context("NeoQuasar/Kronos-mini") == 2048
    assert published_max_context("NeoQuasar/Kronos-small@901c26c") == 512
    assert published_max_context(Path("/models--NeoQuasar--Kronos-base/snapshots/abc")) == 512
    assert published_max_context("me/kronos-MINI-crypto") == 2048
    with pytest.raises(ValueError, match="names none of Kronos-mini"):
        published_max_context("NeoQuasar/Kronos-Tokenizer-base")
    with pytest.raises(ValueError, match="give its max_context"):
        load_kronos(GOLDEN / "tokenizer", copy_of("predictor", tmp_path / "mine"))
    predictor = copy_of("predictor", tmp_path / "kronos-small")
    assert load_kronos(GOLDEN / "tokenizer", predictor).max_context == 512


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bars": torch.zeros(3, 48, 3)}, "3 channels"),
        ({"bars": torch.zeros(48, 6)}, "expected \\[B, L, 6\\]"),
        ({"bars": torch.full((3, 48, 6), float("nan"))}, "NaN or infinity"),
        ({"bars": torch.full((3, 48, 6), float("inf"))}, "NaN or infinity"),
        ({"stamps": torch.zeros(3, 48, 5, dtype=torch.int64)}, "horizon 0"),
        ({"stamps": torch.zeros(3, 48 + 65, 5, dtype=torch.int64)}, "horizon 65: expected .* 1 to 64"),
        ({"stamps": torch.zeros(3, 48 + 64, 5, dtype=torch.int64), "window": "fit"}, "no room for a bar"),
        ({"stamps": torch.zeros(2, 64, 5, dtype=torch.int64)}, "expected \\[B, L, 6\\]"),
        ({"window": "sliding"}, "expected exact, fit or stream"),
        ({"num_samples": 0}, "num_samples >= 1"),
        ({"temperature": 0.0}, "temperature > 0"),
        ({"top_k": -1}, "top_k >= 0"),
        ({"top_p": 0.0}, "top_p > 0"),
        ({"num_valid": torch.tensor([48, 0, 48])}, "num_valid is"),
        ({"num_valid": torch.tensor([48, 49, 48])}, "num_valid is"),
        ({"num_valid": torch.tensor([48])}, "num_valid is"),
    ],
)
def test_wrong_inputs_are_refused(bars, stamps, arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny()(**({"bars": bars, "stamps": stamps} | arguments))
