"""Every forecaster keeps the contract; one bad in each way is caught by the clause that it breaks."""

import math
from dataclasses import replace

import pytest
import torch

from arena.cli import main
from arena.forecast.baselines import Drift, Persistence, SeasonalNaive
from arena.forecast.ensemble import Ensemble
from arena.forecast.evaluate.contracts import ContractViolation, check_forecaster, fake_context
from arena.forecast.loading import BASELINES, load_forecaster
from arena.forecast.serving.cache import CachedForecaster


@pytest.mark.parametrize("spec", ["persistence", "drift", "seasonal_naive", "embedded", "ensemble"])
def test_those_that_come_with_arena_keep_the_contract(spec):
    check_forecaster(load_forecaster(spec))


def test_wrapped_forecasters_keep_the_contract():
    check_forecaster(CachedForecaster(Persistence(), 10**6))
    check_forecaster(CachedForecaster(Drift(), 0))
    check_forecaster(Ensemble([Drift(), SeasonalNaive(season=3)]), context_length=5)


class Bad(Persistence):
    """Persistence, spoilt by `answer`."""

    def __init__(self, answer, **attributes):
        super().__init__()
        self._answer = answer
        self.info = replace(self.info, **attributes)

    def predict(self, context, stamps, horizon):
        return self._answer(context, super().predict(context, stamps, horizon))


class Lenient(Persistence):
    """Makes do with a price that is none."""

    def predict(self, context, stamps, horizon):
        return super().predict(context.clamp(max=1e9), stamps, horizon)


def crash(context, forecast):
    raise RuntimeError("out of ideas")


def answer_nan(context, forecast):
    quantiles = forecast.quantiles
    quantiles[..., -1, :] = math.nan
    return forecast


def spread_nan(context, forecast):
    return forecast._replace(quantiles=forecast.quantiles + (math.nan if has_silent(context) else 0))


def spread_shift(context, forecast):
    return forecast._replace(quantiles=forecast.quantiles * (1.01 if has_silent(context) else 1))


def has_silent(context):
    return context.isnan().all((-1, -2)).any()


def shift_by_batch(context, forecast):
    return forecast._replace(quantiles=forecast.quantiles * (1 + 0.01 * (context.dim() == 2)))


def mutate(context, forecast):
    context[..., 0, 0] += 1.0
    return forecast


@pytest.mark.parametrize(
    ("clause", "bad"),
    [
        ("identity", Bad(lambda c, f: f, training_cutoff="last May")),
        ("identity", Bad(lambda c, f: f, min_context=2.5)),
        ("identity", Bad(lambda c, f: f, max_horizon=0)),
        ("runs", Bad(crash)),
        ("shape", Bad(lambda c, f: f._replace(quantiles=f.quantiles[..., :-1]))),
        ("shape", Bad(lambda c, f: f._replace(channels=f.quantiles))),
        ("order", Bad(lambda c, f: f._replace(quantiles=f.quantiles.flip(-1)))),
        ("finite", Bad(answer_nan)),
        ("no opinion", Bad(lambda c, f: f._replace(quantiles=f.quantiles.nan_to_num(1.0)))),
        ("repeat", Bad(lambda c, f: f._replace(quantiles=f.quantiles * (1 + 1e-3 * torch.rand(()))))),
        ("batch", Bad(shift_by_batch)),
        ("no mutation", Bad(mutate)),
        ("refusal", Lenient()),
    ],
)
def test_a_bad_forecaster_breaks_its_clause(clause, bad):
    with pytest.raises(ContractViolation, match=f"'persistence' breaks the clause '{clause}'"):
        check_forecaster(bad)


def test_a_silent_series_that_touches_the_others_is_caught():
    with pytest.raises(ContractViolation, match="clause 'finite'"):
        check_forecaster(Bad(spread_nan))
    with pytest.raises(ContractViolation, match="clause 'batch': a series of NaN changes"):
        check_forecaster(Bad(spread_shift))


def test_the_made_up_bars_are_bars():
    context = fake_context(30)
    high, low = context[..., 1], context[..., 2]
    others = context[..., [0, 3]].nan_to_num(1.0)
    assert ((others <= high.nan_to_num(1.0)[..., None]) & (others >= low.nan_to_num(1.0)[..., None])).all()
    assert context[3].isnan().any()
    assert context[4, :, 4].isnan().all()


def test_the_command_says_what_holds(capsys, monkeypatch):
    assert main(["check-forecaster", "drift"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == ["checking drift: at least 2 bars of context, any horizon", "drift keeps the contract"]
    assert main(["check-forecaster", "drfit"]) == 2
    assert "did you mean drift?" in capsys.readouterr().err
    monkeypatch.setitem(BASELINES, "drift", lambda: Bad(crash))
    assert main(["check-forecaster", "drift"]) == 1
    assert "breaks the clause 'runs': predict raised RuntimeError: out of ideas" in capsys.readouterr().out
