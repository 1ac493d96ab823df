"""What the evaluation asks and scores: the right bars, the same for all, and what it says about them."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from arena.bench.evaluation import overlap_warnings
from arena.data.types import CLOSE
from arena.forecast.baselines import Persistence
from arena.forecast.evaluate import evaluation
from arena.forecast.evaluate.evaluation import Setting, evaluate
from arena.forecast.types import QUANTILE_LEVELS, Forecast, ForecasterInfo, ForecasterStats
from tests.script import run_script

ROOT = Path(__file__).parent.parent.parent
DAY = 86_400 * 10**9  # ns


class Scripted:
    """A forecaster made of a function (context [..., C, 6], stamps, horizon) -> quantiles [..., H, Q]."""

    info = ForecasterInfo("scripted", "0123456789", min_context=2)

    def __init__(self, quantiles):
        self._quantiles = quantiles

    def predict(self, context, stamps, horizon):
        return Forecast(self._quantiles(context, stamps, horizon))

    def stats(self):
        return ForecasterStats(0, 0, math.nan, math.nan, 0.0)


def random_walk(num_windows, num_bars, num_assets, seed=0, volatility=0.01):
    """Bars [W, T, A, 6] whose closes are Gaussian random walks."""
    generator = torch.Generator().manual_seed(seed)
    shocks = torch.randn(num_windows, num_bars, num_assets, generator=generator, dtype=torch.float64)
    close = 100 * (volatility * shocks).cumsum(1).exp()
    return close.unsqueeze(-1).expand(-1, -1, -1, 6).contiguous()


def log_normal(context, horizon, volatility, drift=0.0):
    """Quantiles of a random walk with known volatility."""
    steps = torch.arange(1, horizon + 1, dtype=torch.float64)
    unit = torch.tensor(stats.norm.ppf(QUANTILE_LEVELS))
    spread = drift * steps[:, None] + volatility * steps.sqrt()[:, None] * unit  # [H, Q]
    return context[..., -1, CLOSE, None, None] * spread.exp()


SMALL = Setting(context_length=10, horizons=(1, 4), stride=2)


@pytest.mark.filterwarnings("ignore:Precision loss")  # all scenarios are alike
def test_a_forecast_that_is_right_loses_nothing():
    """Every asset grows at its own constant rate; whoever is off by one bar, in past or future, loses."""
    rate = torch.tensor([0.01, -0.02, 0.003], dtype=torch.float64)
    close = 50 * (rate * torch.arange(40)[:, None]).exp()
    bars = close[None, ..., None].expand(12, -1, -1, 6)

    def follow(context, stamps, horizon):
        growth = (context[..., -1, CLOSE] / context[..., -2, CLOSE]).log()
        steps = torch.arange(1, horizon + 1)
        path = context[..., -1, CLOSE, None] * (growth[..., None] * steps).exp()
        return path.unsqueeze(-1).expand(*path.shape, len(QUANTILE_LEVELS))

    found = evaluate({"persistence": Persistence(), "right": Scripted(follow)}, bars, SMALL)
    for horizon in SMALL.horizons:
        score = found.scores["right", horizon]
        assert score.crps.value == pytest.approx(0, abs=1e-12)
        assert score.crps_skill.value == pytest.approx(1)
        assert score.rank_ic.value == pytest.approx(1)
        assert [one.right.value for one in score.reliability] == [1.0]


def test_the_true_distribution_is_calibrated_and_beats_persistence():
    bars = random_walk(200, 40, 4)
    truth = Scripted(lambda context, stamps, horizon: log_normal(context, horizon, 0.01))
    found = evaluate({"persistence": Persistence(), "truth": truth}, bars, SMALL)
    for horizon in SMALL.horizons:
        score = found.scores["truth", horizon]
        for mass, share in score.coverage.items():
            assert share.low - 0.01 <= mass <= share.high + 0.01
        for level, share in zip(QUANTILE_LEVELS, score.below):
            assert share.value == pytest.approx(level, abs=0.025)
        assert score.crps_skill.low > 0, "ten bars do not give the volatility away"
        assert score.dm_statistic < 0
        assert score.dm_p_value < 0.01
        exact = 0.01 * math.sqrt(horizon / math.pi)
        assert score.crps.value == pytest.approx(1.094 * exact, rel=0.03)


def test_confidence_that_is_right_is_found_reliable():
    drift = 0.004
    bars = random_walk(300, 30, 4)
    bars = bars * (drift * torch.arange(30, dtype=torch.float64)).exp()[:, None, None]
    truth = Scripted(lambda context, stamps, horizon: log_normal(context, horizon, 0.01, drift))
    found = evaluate({"persistence": Persistence(), "truth": truth}, bars, SMALL)
    (one,) = found.scores["truth", 1].reliability
    assert one.confidence == pytest.approx(stats.norm.cdf(0.4), abs=1e-3)
    assert one.right.low - 0.01 <= one.confidence <= one.right.high + 0.01
    assert found.scores["persistence", 1].reliability == [], "a random walk has no direction"


def test_confidence_is_binned_in_order():
    generator = torch.Generator().manual_seed(0)
    confidence = 0.5 + 0.4 * torch.rand(40, 50, 4, generator=generator, dtype=torch.float64)
    right = torch.rand(40, 50, 4, generator=generator, dtype=torch.float64) < confidence
    outcome = torch.where(right, 1.0, -1.0)
    bins = evaluation.direction_reliability(confidence, torch.ones_like(outcome), outcome, 1)
    assert len(bins) == evaluation.CONFIDENCE_BINS
    assert sum(one.num_forecasts for one in bins) == confidence.numel()
    assert all(abs(one.confidence - one.right.value) < 0.05 for one in bins)
    assert [one.confidence for one in bins] == sorted(one.confidence for one in bins)


def test_the_stamps_are_those_of_the_bars():
    bars = random_walk(1, 60, 2)
    stamps = 17 * DAY + DAY * torch.arange(60)
    bars[0, :, :, 0] = 1.0 + torch.arange(60)[:, None]  # the open tells the bar
    seen = []

    def look(context, when, horizon):
        length = context.shape[-2]
        assert torch.equal(context[..., 0], when[..., :length].double() / DAY - 16)
        assert when.shape == (*context.shape[:-2], length + horizon)
        assert (when.diff(dim=-1) == DAY).all()
        seen.extend((context[:, 0, -1, 0] - 1).tolist())
        return log_normal(context, horizon, 0.01)

    found = evaluate({"persistence": Persistence(), "looks": Scripted(look)}, bars, SMALL, stamps)
    assert seen == found.origins.tolist() == list(range(9, 56, 2))


def test_persistence_has_no_skill_against_itself_and_says_nothing_of_order():
    found = evaluate({"persistence": Persistence()}, random_walk(20, 40, 3), SMALL)
    score = found.scores["persistence", 4]
    assert score.crps_skill == (0.0, 0.0, 0.0)
    assert (score.dm_statistic, score.dm_p_value) == (0.0, 1.0)
    assert math.isnan(score.rank_ic.value)


def test_chunks_change_nothing(monkeypatch):
    bars = random_walk(3, 50, 2)
    whole = evaluate({"persistence": Persistence()}, bars, SMALL)
    monkeypatch.setattr(evaluation, "CHUNK_SERIES", 6)
    parts = evaluate({"persistence": Persistence()}, bars, SMALL)
    # Sums over a context may be ordered otherwise in a batch of another size.
    torch.testing.assert_close(
        parts.panels["persistence"].quantiles, whole.panels["persistence"].quantiles, rtol=1e-12, atol=1e-15
    )


def test_missing_outcomes_and_silent_forecasters_count_for_nobody():
    bars = random_walk(20, 40, 3)
    bars[:, 20, 1] = math.nan

    def shy(context, stamps, horizon):
        quantiles = log_normal(context, horizon, 0.01)
        quantiles[:, 2:] = math.nan  # has no opinion about the last asset
        return quantiles

    found = evaluate({"persistence": Persistence(), "shy": Scripted(shy)}, bars, Setting(10, (1,)))
    told, all_of_them = found.scores["shy", 1], found.scores["persistence", 1]
    num_dates = len(found.origins)
    assert all_of_them.num_scored == 20 * (3 * num_dates - 2)
    assert told.num_silent == 20 * num_dates
    assert told.num_scored == 20 * (2 * num_dates - 2)
    only = evaluate({"persistence": Persistence(), "shy": Scripted(shy)}, bars[:, :, :2], Setting(10, (1,)))
    assert told.crps_skill == pytest.approx(only.scores["shy", 1].crps_skill)


def test_sampled_paths_have_a_score_of_their_own():
    class Draws(Scripted):
        def predict(self, context, stamps, horizon):
            generator = torch.Generator().manual_seed(int(context[0, 0, -1, CLOSE] * 1e6))
            shocks = torch.randn(*context.shape[:-2], horizon, 200, generator=generator, dtype=torch.float64)
            samples = context[..., -1, CLOSE, None, None] * (0.01 * shocks.cumsum(-2)).exp()
            return Forecast(log_normal(context, horizon, 0.01), samples)

    found = evaluate({"persistence": Persistence(), "draws": Draws(None)}, random_walk(100, 30, 4), SMALL)
    for horizon in SMALL.horizons:
        exact = 0.01 * math.sqrt(horizon / math.pi)
        assert found.scores["draws", horizon].crps_samples.value == pytest.approx(exact, rel=0.05)
    rows = {(row["forecaster"], row["horizon"]): row for row in found.rows()}
    assert rows["draws", 4]["crps_samples"] == found.scores["draws", 4].crps_samples.value
    assert "crps_samples" not in rows["persistence", 4]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (Setting(10, (1, 40)), "40 bars hold no forecast date"),
        (Setting(10, (0,)), "of at least 1 bar"),
        (Setting(10, (1,), first=8), "expected 9 or later"),
        (Setting(1, (1,)), "needs at least 2"),
    ],
)
def test_what_cannot_be_scored_is_refused(setting, said):
    with pytest.raises(ValueError, match=said):
        evaluate({"persistence": Persistence()}, random_walk(1, 40, 2), setting)


def test_without_persistence_there_is_no_skill():
    with pytest.raises(ValueError, match="persistence is not among"):
        evaluate({"truth": Persistence()}, random_walk(1, 40, 2), SMALL)


def test_dates_that_a_model_has_seen_are_reported():
    stamps = torch.arange(100) * DAY  # from 1970-01-01 on
    model = Scripted(None)
    model.info = replace(model.info, training_cutoff="1970-01-31")
    origins = torch.arange(20, 90, 10)
    (warning,) = overlap_warnings({"persistence": Persistence(), "model": model}, stamps, origins)
    assert warning.startswith("model was trained on data up to 1970-01-31: 2 of 7 forecast dates")
    assert overlap_warnings({"model": model}, stamps, origins[2:]) == []
    assert overlap_warnings({"model": model}, None, origins) == []


def command(*arguments):
    run = run_script(ROOT / "scripts" / "evaluate_forecaster.py", *arguments, cwd=ROOT)
    return run.returncode, run.stdout, run.stderr


def test_the_script_leaves_a_table_files_and_plots(tmp_path):
    code, out, error = command(
        *("--forecaster", "drift", "persistence+drift", "--scenarios", "16", "--stride", "10", "--out", str(tmp_path))
    )
    assert code == 0, error
    assert "20 bars ahead" in out
    assert "CRPS skill" in out
    written = json.loads((tmp_path / "evaluation.json").read_text())
    assert written["forecasters"].keys() == {"persistence", "drift", "persistence+drift"}
    assert len(written["scores"]) == 9
    with (tmp_path / "evaluation.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 9
    for name in ("skill", "coverage", "quantiles", "direction", "fan"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5_000


def test_the_script_reads_bars_and_never_the_seeds_of_training(tmp_path):
    generator = np.random.default_rng(0)
    days = np.arange("2020-01-01", "2020-07-01", dtype="datetime64[D]")
    for symbol in ("AAA", "BBB", "CCC"):
        close = 100 * np.exp(0.01 * generator.standard_normal(len(days)).cumsum())
        rows = [f"{day},{p},{p * 1.01},{p * 0.99},{p},1000" for day, p in zip(days, close)]
        (tmp_path / f"{symbol}.csv").write_text("date,open,high,low,close,volume\n" + "\n".join(rows))
    code, out, error = command("--forecaster", "drift", "--data", str(tmp_path), "--horizons", "5", "--context", "30")
    assert code == 0, error
    assert "one history of 182 bars, 2020-01-01 to 2020-06-30, 3 assets" in out
    code, _, error = command("--seeds", "train")
    assert code == 2
    assert "invalid choice: 'train'" in error


def test_the_script_says_what_is_wrong():
    assert command("--forecaster", "driftt")[::2] == (
        2,
        "evaluate_forecaster: forecaster 'driftt' is unknown, expected persistence, drift, seasonal_naive, embedded, "
        "ensemble, a .pt or .pt2 file, or several joined by +; did you mean drift?\n",
    )
