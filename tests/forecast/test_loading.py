"""Names, sums of names and files become forecasters; anything else is refused with a hint."""

import numpy as np
import pandas as pd
import pytest
import torch

from arena.data.bars.readers import load_bars
from arena.errors import UserError
from arena.forecast.loading import load_forecaster


def context_of(*leading):
    return 1.0 + torch.rand(*leading, 40, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("spec", ["persistence", "drift", "seasonal_naive", "embedded", "ensemble"])
def test_a_name_is_a_forecaster(spec):
    forecaster = load_forecaster(spec)
    assert forecaster.info.name == spec
    quantiles = forecaster.predict(context_of(2, 3), None, 20).quantiles
    assert quantiles.shape == (2, 3, 20, 9)
    assert quantiles.isfinite().all()
    assert (quantiles.diff(dim=-1) >= 0).all()
    assert forecaster.info == load_forecaster(spec).info


def test_a_sum_is_an_ensemble_with_equal_weights():
    context = context_of(2)
    found = load_forecaster("persistence+drift + drift")
    parts = [load_forecaster(name).predict(context, None, 5).quantiles for name in ("persistence", "drift")]
    torch.testing.assert_close(found.predict(context, None, 5).quantiles, (parts[0] + 2 * parts[1]) / 3)
    assert found.info.name == "persistence+drift+drift"


def test_the_ensemble_is_persistence_and_the_embedded_model():
    context = context_of(2)
    found = load_forecaster("ensemble").predict(context, None, 5).quantiles
    torch.testing.assert_close(found, load_forecaster("persistence+embedded").predict(context, None, 5).quantiles)


def test_the_example_of_the_docstring():
    days = pd.date_range("2024-01-01", periods=80, freq="B")
    price = {name: np.linspace(100, 110, 80) for name in ("open", "high", "low", "close")}
    frames = {symbol: pd.DataFrame({**price, "volume": 1000.0}, index=days) for symbol in ("AAA", "BBB")}
    bars, _ = load_bars(frames)
    context = bars.values[-64:].transpose(0, 1)
    forecast = load_forecaster("embedded").predict(context, None, horizon=5)
    assert forecast.median.shape == (2, 5)
    assert forecast.quantiles.shape == (2, 5, 9)
    assert ((forecast.median - 110).abs() < 5).all()  # prices, as in the context


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("persistance", "did you mean persistence?"),
        ("", "is unknown, expected persistence, drift"),
        ("persistence+", "forecaster '' is unknown"),
        ("models/none.pt", "forecaster 'models/none.pt': no such file"),
        ("model.onnx", "'model.onnx' is unknown"),
    ],
)
def test_anything_else_is_refused(spec, message):
    with pytest.raises(UserError, match=message):
        load_forecaster(spec)


def test_a_file_that_is_no_artefact_is_refused(tmp_path):
    path = tmp_path / "a+b.pt"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"a\+b\.pt"):
        load_forecaster(str(path))
