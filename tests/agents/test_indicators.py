"""Indicators against the obvious loop, and on series too short or too quiet to say anything."""

import math
from itertools import pairwise

import pytest
import torch

from arena.agents.rules import indicators

TOLERANCE = 1e-11  # float64, sums of about 100 terms of size 100 in another order


def loop_rsi(closes, period):
    changes = [b - a for a, b in pairwise(closes)]
    seed = min(period, len(changes))
    gain = sum(max(d, 0) for d in changes[:seed]) / seed
    loss = sum(max(-d, 0) for d in changes[:seed]) / seed
    for change in changes[seed:]:
        gain = (gain * (period - 1) + max(change, 0)) / period
        loss = (loss * (period - 1) + max(-change, 0)) / period
    return 100 - 100 / (1 + gain / loss)


def loop_exponential_average(series, span):
    keep, top, bottom, averages = 1 - 2 / (span + 1), 0.0, 0.0, []
    for value in series:
        top, bottom = keep * top + value, keep * bottom + 1
        averages.append(top / bottom)
    return averages


def loop_macd(closes, fast, slow, signal):
    pairs = zip(loop_exponential_average(closes, fast), loop_exponential_average(closes, slow))
    line = [a - b for a, b in pairs]
    average = loop_exponential_average(line, signal)
    return line, average, [a - b for a, b in zip(line, average)]


def loop_mean_std(series, window):
    recent = series[-window:]
    mean = sum(recent) / len(recent)
    return mean, math.sqrt(sum((x - mean) ** 2 for x in recent) / (len(recent) - 1))


def loop_covariance(closes):
    returns = [[math.log(b / a) for a, b in pairwise(row)] for row in closes]
    count = len(returns[0])
    means = [sum(row) / count for row in returns]
    return [
        [sum((a - m) * (b - n) for a, b in zip(x, y)) / (count - 1) for y, n in zip(returns, means)]
        for x, m in zip(returns, means)
    ]


@pytest.fixture
def closes():
    """[2, 3, 90] positive random walks."""
    noise = torch.randn((2, 3, 90), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return 50 * torch.exp(0.02 * noise.cumsum(-1))


def each(closes):
    return [((b, a), closes[b, a].tolist()) for b in range(closes.shape[0]) for a in range(closes.shape[1])]


@pytest.mark.parametrize("period", [1, 2, 14])
@pytest.mark.parametrize("length", [8, 90])
def test_rsi_is_wilders_recursion(closes, period, length):
    closes = closes[..., :length]
    if period == 1:  # the last change alone: all gain or all loss
        assert set(indicators.rsi(closes, 1).flatten().tolist()) <= {0.0, 100.0}
        return
    for index, series in each(closes):
        assert float(indicators.rsi(closes, period)[index]) == pytest.approx(loop_rsi(series, period), rel=TOLERANCE)


def test_rsi_of_wilders_kind_by_hand():
    # Changes +1, +1, -1, -1, +2 with period 2: gain 1, loss 0 -> .5, .5 -> .25, .75 -> 1.125, .375.
    closes = torch.tensor([10.0, 11, 12, 11, 10, 12], dtype=torch.float64)
    assert float(indicators.rsi(closes, 2)) == pytest.approx(75.0)


@pytest.mark.parametrize("span", [1, 9, 200])
def test_exponential_average_weights_every_bar_by_age(closes, span):
    for index, series in each(closes):
        expected = loop_exponential_average(series, span)
        assert indicators.exponential_average(closes, span)[index].tolist() == pytest.approx(expected, rel=TOLERANCE)


def test_macd_is_three_averages(closes):
    found = indicators.macd(closes)
    for index, series in each(closes):
        for part, expected in zip(found, loop_macd(series, 12, 26, 9)):
            assert part[index].tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("window", [2, 20, 500])
def test_mean_std_and_z_score(closes, window):
    for index, series in each(closes):
        mean, std = loop_mean_std(series, window)
        assert float(indicators.simple_average(closes, window)[index]) == pytest.approx(mean, rel=TOLERANCE)
        assert float(indicators.trailing_std(closes, window)[index]) == pytest.approx(std, rel=1e-9)
        z = (series[-1] - mean) / std
        assert float(indicators.z_score(closes, window)[index]) == pytest.approx(z, rel=1e-9, abs=1e-9)


def test_momentum_is_the_log_ratio(closes):
    for index, series in each(closes):
        assert float(indicators.momentum(closes, 10)[index]) == pytest.approx(math.log(series[-1] / series[-11]))
        assert float(indicators.momentum(closes, 999)[index]) == pytest.approx(math.log(series[-1] / series[0]))


def test_covariance_is_of_log_returns(closes):
    found = indicators.covariance(closes)
    assert found.shape == (2, 3, 3)
    for market in range(2):
        expected = loop_covariance(closes[market].tolist())
        for row, wanted in zip(found[market].tolist(), expected):
            assert row == pytest.approx(wanted, rel=1e-9)


NEUTRAL = {
    "rsi": (lambda x: indicators.rsi(x), 50.0),
    "macd": (lambda x: indicators.macd(x).histogram[..., -1], 0.0),
    "momentum": (lambda x: indicators.momentum(x, 20), 0.0),
    "z_score": (lambda x: indicators.z_score(x, 20), 0.0),
    "trailing_std": (lambda x: indicators.trailing_std(x, 20), 0.0),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("price", [1e-4, 1 / 3, 100.1, 1e6])
@pytest.mark.parametrize("length", [1, 2, 60])
@pytest.mark.parametrize("name", NEUTRAL)
def test_constant_series_gives_exactly_the_neutral_value(name, length, price, dtype):
    function, neutral = NEUTRAL[name]
    found = function(torch.full((2, 3, length), price, dtype=dtype))
    assert found.dtype == dtype
    assert torch.equal(found, torch.full((2, 3), neutral, dtype=dtype))


@pytest.mark.parametrize("length", [1, 2, 3, 13])
def test_short_series_are_finite(closes, length):
    short = closes[..., :length]
    for function, _ in NEUTRAL.values():
        assert function(short).isfinite().all()
    assert indicators.covariance(short).isfinite().all()
    assert indicators.simple_average(short, 20).isfinite().all()
