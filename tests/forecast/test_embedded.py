"""The embedded forecaster: what its weights know, what it does with odd bars, and that training teaches."""

import itertools
import json
from pathlib import Path

import pytest
import torch
import yaml

from arena.bench.embedded import read_plan
from arena.data.synthetic.market import SyntheticParams, fair, generate
from arena.data.synthetic.seeds import SEED_RANGES, scenario_seeds
from arena.data.synthetic.training_windows import SCENARIOS, draw_lessons, lessons_of
from arena.data.types import CHANNELS, CLOSE
from arena.forecast.baselines import Persistence
from arena.forecast.evaluate.embedded_training import TrainingSettings, hide, losses_of, train, write_weights
from arena.forecast.evaluate.scoring import crps_from_quantiles, rank_ic
from arena.forecast.models.checkpoint import WEIGHTS
from arena.forecast.models.embedded import FOLDER, bar_series, load_embedded, new_embedded
from arena.forecast.returns import expected_return
from tests.script import run_script

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "train_forecaster.py"
CONTEXT, HORIZON = 64, 20
TINY = {
    "patch_size": 8,
    "max_context": 16,
    "d_model": 16,
    "num_heads": 2,
    "num_layers": 2,
    "layer_group_size": 2,
    "num_variate_layers_per_group": 1,
    "variate_layer_first": False,
    "residual_attn_ratio": 1.0,
    "qk_norm": False,
}
# Of one series in batches of different sizes, whose matrix products may sum in another order.
ROUNDING = 1e-5
# A scale factor other than a power of two rounds every price once more; returns are 1e-2, prices 1e-7 exact.
RESCALED = 1e-4


@pytest.fixture(scope="module")
def embedded():
    return load_embedded()


@pytest.fixture(scope="module")
def bars():
    """[16, C + H, 6]."""
    scenarios = generate(SyntheticParams(num_bars=CONTEXT + HORIZON), scenario_seeds("validation", 2), warmup=60)
    return scenarios.bars.transpose(1, 2).flatten(0, 1).float()


def quantiles(forecaster, context, horizon=HORIZON):
    return forecaster.predict(context, None, horizon).quantiles


def test_its_weights_are_small_and_it_says_what_it_is(embedded):
    assert (FOLDER / WEIGHTS).stat().st_size < 3_000_000
    assert embedded.info.name == "embedded"
    assert embedded.info.max_horizon == 32
    assert embedded.info.training_cutoff is None
    assert embedded.info == load_embedded().info


def test_quantiles_ascend_and_repeat(embedded, bars):
    found = quantiles(embedded, bars[:, :CONTEXT])
    assert found.shape == (16, HORIZON, 9)
    assert bool((found.diff(dim=-1) > 0).all())
    assert torch.equal(found, quantiles(embedded, bars[:, :CONTEXT]))


def test_longer_horizons_are_refused_and_shorter_ones_are_the_same_forecast(embedded, bars):
    context = bars[:, :CONTEXT]
    assert torch.equal(quantiles(embedded, context, 5), quantiles(embedded, context, 32)[:, :5])
    with pytest.raises(ValueError, match="horizon is 33"):
        quantiles(embedded, context, 33)
    with pytest.raises(ValueError, match="1 to 8 bars"):
        new_embedded(TINY, torch.Generator())(context, torch.zeros(16, CONTEXT + 9, dtype=torch.int64), 9, 0, 0)


def test_a_series_does_not_depend_on_its_neighbours(embedded, bars):
    together = quantiles(embedded, bars[:, :CONTEXT])
    alone = torch.stack([quantiles(embedded, one[:CONTEXT]) for one in bars])
    torch.testing.assert_close(together, alone, rtol=ROUNDING, atol=0.0)


@pytest.mark.parametrize(("factor", "tolerance"), [(0.25, ROUNDING), (3.7, RESCALED)])
def test_prices_and_volumes_in_another_unit(embedded, bars, factor, tolerance):
    context = bars[:, :CONTEXT]
    unit = torch.tensor([factor] * 4 + [8.0, 8.0 * factor])
    rescaled = quantiles(embedded, context * unit) / factor
    torch.testing.assert_close(rescaled, quantiles(embedded, context), rtol=tolerance, atol=0.0)


def test_bars_beyond_its_context_are_not_read(embedded, bars):
    long = torch.cat([bars[:, :20] * 0.5, bars[:, :CONTEXT]], 1)
    assert torch.equal(quantiles(embedded, long), quantiles(embedded, bars[:, :CONTEXT]))


@pytest.mark.parametrize("length", [8, 21, 32, 33, 60])
def test_missing_bars_in_front_are_a_shorter_context(embedded, bars, length):
    context = bars[:, :CONTEXT].clone()
    context[:, : CONTEXT - length] = torch.nan
    short = quantiles(embedded, bars[:, CONTEXT - length : CONTEXT])
    torch.testing.assert_close(quantiles(embedded, context), short, rtol=ROUNDING, atol=0.0)


def test_a_patch_is_told_nothing_of_later_bars(embedded, bars):
    """Both the variates and the network are causal by patch, or training on all patches at once would cheat."""
    model = embedded._module
    changed = bars[:, :CONTEXT].clone()
    changed[:, 32:] *= 1.0 + 0.1 * torch.rand(changed[:, 32:].shape, generator=torch.Generator().manual_seed(0))
    outputs = [model.unit_quantiles(bar_series(context, 32), 2) for context in (bars[:, :CONTEXT], changed)]
    assert torch.equal(outputs[0][:, 0], outputs[1][:, 0])
    assert not torch.allclose(outputs[0][:, 1], outputs[1][:, 1])


@pytest.mark.parametrize("channels", [CHANNELS[:3], ("volume", "amount"), ("open", "high", "low", "volume", "amount")])
def test_channels_may_be_missing(embedded, bars, channels):
    context = bars[:, :CONTEXT].clone()
    context[..., [CHANNELS.index(name) for name in channels]] = torch.nan
    assert bool(quantiles(embedded, context).isfinite().all())


def test_single_missing_bars_and_dead_series(embedded, bars):
    context = bars[:4, :CONTEXT].clone()
    context[0, [3, 17, 40, 63]] = torch.nan
    context[1] = torch.nan  # nothing is known
    context[2] = torch.tensor([50.0, 50.0, 50.0, 50.0, 0.0, 0.0])  # never moved, never traded
    found = quantiles(embedded, context)
    assert bool(found[0].isfinite().all())
    assert bool(found[1].isnan().all())
    torch.testing.assert_close(found[2], torch.full_like(found[2], 50.0), rtol=1e-4, atol=0.0)
    torch.testing.assert_close(found[3], quantiles(embedded, bars[3, :CONTEXT]), rtol=ROUNDING, atol=0.0)


def test_it_beats_persistence_in_volatility_where_returns_cannot_be_foreseen(embedded):
    """By paired CRPS at four dates of 256 scenarios; on average over the horizons by 3 standard errors, seen: 6."""
    market = fair(SyntheticParams(num_bars=CONTEXT + 4 * HORIZON))
    bars = generate(market, scenario_seeds("validation", 256), warmup=60).bars.transpose(1, 2)  # [W, A, T, 6]
    gains = []
    for end in range(CONTEXT, bars.shape[2], HORIZON):
        context, price = bars[:, :, end - CONTEXT : end].float(), bars[:, :, end - 1, None, CLOSE]
        came = (bars[:, :, end : end + HORIZON, CLOSE] / price).log()
        losses = [
            crps_from_quantiles((quantiles(one, context) / price.unsqueeze(-1)).log(), came).mean(1)  # [W, H]
            for one in (Persistence(), embedded)
        ]
        gains.append((losses[0] - losses[1]) / losses[0].mean(0))
    gain = torch.stack(gains).mean(0)
    assert float(gain.mean()) > 3 * float(gain.mean(1).std()) / len(gain) ** 0.5
    assert bool((gain.mean(0)[[0, 4, 19]] > 0).all())


def test_it_ranks_assets_where_returns_can_be_foreseen(embedded):
    """Against the true mean of the return over 20 bars, which has no noise; the best possible is about 0.25."""
    market = SyntheticParams(num_bars=CONTEXT + 32)
    lessons = lessons_of(market, scenario_seeds("validation", 192), CONTEXT + 32, 32)
    forecast = embedded.predict(lessons.bars[:, :CONTEXT], None, HORIZON)
    expected, _ = expected_return(forecast, lessons.bars[:, CONTEXT - 1, CLOSE], [HORIZON])
    true_mean = lessons.mean_return[:, CONTEXT : CONTEXT + HORIZON].sum(1)
    by_scenario = rank_ic(expected.reshape(192, 8), true_mean.reshape(192, 8))
    assert float(by_scenario.mean()) > 0.12


def test_training_seeds_are_those_of_training():
    plan = yaml.safe_load((ROOT / "configs/forecast/embedded.yaml").read_text())
    used = plan["training"]["steps"] * plan["lessons"]["markets_per_step"] * SCENARIOS
    first, size = SEED_RANGES["train"]
    assert first + used <= first + size
    for role in ("validation", "ranking"):
        other, count = SEED_RANGES[role]
        assert other >= first + size or other + count <= first


def test_lessons_repeat_and_go_on(bars):
    steps = [next(draw_lessons(2 * SCENARIOS * i, 2, 24, 8, 2)) for i in range(2)]
    for one, other in zip(steps, itertools.islice(draw_lessons(0, 2, 24, 8, 2), 2)):
        assert all(torch.equal(a, b) for a, b in zip(one, other))
    assert not torch.equal(steps[0].bars, steps[1].bars)


def test_lessons_hold_the_mean_of_what_comes():
    """Standard errors say how far the mean of many returns may be from the mean of their true means."""
    lessons = lessons_of(SyntheticParams(num_bars=96), scenario_seeds("train", 64), 96, 32)
    simple = lessons.log_return.exp() - 1.0
    surprise = (simple - lessons.mean_return).double()
    assert abs(float(surprise.mean())) < 4 * float(surprise.mean(1).std()) / len(surprise) ** 0.5
    explained = (simple * lessons.mean_return).mean() / lessons.mean_return.square().mean()
    assert float(explained) == pytest.approx(1.0, abs=0.4)


def tiny_lessons(step):
    return draw_lessons(step * SCENARIOS, 1, 24, 8, 1)


def test_training_lowers_the_loss_of_what_it_trains_on(tmp_path):
    settings = TrainingSettings(steps=40, warmup_steps=5, validate_every=40, learning_rate=0.01)
    lessons, rows = next(tiny_lessons(0)), []
    train(TINY, settings, lambda step: itertools.repeat(lessons), {"seen": lessons}, tmp_path / "a.pt", rows.append)
    assert rows[-1]["seen_pinball"] < 0.99 * rows[0]["seen_pinball"]
    assert rows[-1]["seen_mean_explained"] > 0.05


def test_a_training_that_was_cut_ends_as_an_unbroken_one(tmp_path):
    settings = TrainingSettings(steps=9, validate_every=3)

    def stop(row):
        if row["step"] == 6:
            raise KeyboardInterrupt

    whole, history = train(TINY, settings, tiny_lessons, {}, tmp_path / "whole.pt", lambda row: None)
    with pytest.raises(KeyboardInterrupt):
        train(TINY, settings, tiny_lessons, {}, tmp_path / "cut.pt", stop)
    cut, resumed = train(TINY, settings, tiny_lessons, {}, tmp_path / "cut.pt", lambda row: None)
    assert [row["step"] for row in resumed] == [row["step"] for row in history] == [0, 3, 6, 9]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, cut.state_dict()[name]), name


def test_what_was_trained_is_what_is_loaded(tmp_path):
    """Folding and the file change nothing."""
    model = new_embedded(TINY, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    write_weights(model, TINY, tmp_path)
    context = next(tiny_lessons(500)).bars[:4, :16]
    expected, _ = model(context, torch.zeros(4, 24, dtype=torch.int64), 8, 0, 0)
    loaded = load_embedded(folder=tmp_path)
    torch.testing.assert_close(quantiles(loaded, context, 8), expected[:, :, CLOSE], rtol=ROUNDING, atol=0.0)


def test_it_runs_without_python(embedded, bars):
    """Scripted as an artefact is."""
    from arena.forecast.export.exporter import script_module

    scripted = script_module(embedded._module)
    found, samples = scripted(bars[:, :CONTEXT], torch.zeros(16, CONTEXT + 5, dtype=torch.int64), 5, 0, 0)
    torch.testing.assert_close(found[:, :, CLOSE], quantiles(embedded, bars[:, :CONTEXT], 5), rtol=ROUNDING, atol=0.0)
    assert bool(found[:, :, :CLOSE].isnan().all())
    assert samples.shape == (16, 0, 5, 6)


def test_what_is_hidden_is_hidden_for_good_and_the_last_close_stays():
    model = new_embedded(TINY, torch.Generator())
    lessons = next(tiny_lessons(0))
    settings = TrainingSettings(gap_share=1.0, gap_probability=0.5)
    context = hide(lessons, model, settings, 3)
    assert bool(context[:, :, CLOSE].isnan().any())
    assert bool((context[:, -1, CLOSE] == lessons.bars[:, 15, CLOSE]).all())
    assert torch.equal(context.nan_to_num(), hide(lessons, model, settings, 3).nan_to_num())
    assert bool(losses_of(model, lessons, context).pinball.isfinite())


def test_the_script_trains_and_records(tmp_path):
    lessons = {"markets_per_step": 1, "windows_per_asset": 1}
    plan = {"network": TINY, "training": {"steps": 2}, "lessons": lessons}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    run = run_script(
        SCRIPT, "--config", tmp_path / "plan.yaml", "--out", tmp_path / "out", "--json", tmp_path / "record.json"
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "record.png").stat().st_size > 0
    record = json.loads((tmp_path / "record.json").read_text())
    assert [row["step"] for row in record["history"]] == [0, 2]
    assert record["seeds"]["train"] == [0, 2 * SCENARIOS - 1]
    assert load_embedded(folder=tmp_path / "out").info.max_horizon == 8


def test_the_script_refuses_in_one_sentence(tmp_path):
    run = run_script(SCRIPT, "--config", tmp_path / "missing.yaml", "--out", tmp_path)
    assert run.returncode == 2
    assert "missing.yaml cannot be used" in run.stderr
    assert run.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"network": TINY, "training": {}}, "expected the sections network, training, lessons"),
        ({"network": TINY, "training": {"stepz": 2}, "lessons": {}}, "stepz"),
        (
            {"network": TINY, "training": {}, "lessons": {"markets": 1}},
            "lessons has markets, expected markets_per_step",
        ),
    ],
)
def test_other_plans_are_refused(tmp_path, plan, said):
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    with pytest.raises(ValueError, match=said):
        read_plan(tmp_path / "plan.yaml")
