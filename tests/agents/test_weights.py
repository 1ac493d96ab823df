"""Sizing, the no-trade band and the calendar."""

import pytest
import torch

from arena.agents.fake_observation import fake_observation
from arena.agents.rules.sizing import cap_gross, rebalance, scale_to_gross


@pytest.mark.parametrize("size", [1e-300, 1e-30, 1.0, 1e300])
def test_scale_to_gross_keeps_proportions(size):
    score = size * torch.tensor([[3.0, -1.0, 0.0, 4.0]], dtype=torch.float64)
    torch.testing.assert_close(scale_to_gross(score, 2.0), torch.tensor([[0.75, -0.25, 0.0, 1.0]], dtype=torch.float64))


def test_scale_to_gross_of_nothing_is_nothing():
    assert torch.equal(scale_to_gross(torch.zeros(2, 3), 1.0), torch.zeros(2, 3))


def test_cap_gross_only_shrinks():
    weight = torch.tensor([[0.3, -0.2], [3.0, -1.0]], dtype=torch.float64)
    torch.testing.assert_close(cap_gross(weight, 1.0), torch.tensor([[0.3, -0.2], [0.75, -0.25]], dtype=torch.float64))
    assert torch.equal(cap_gross(weight, 0.0), torch.zeros_like(weight))


def test_no_trade_band_keeps_the_weight_bit_for_bit():
    held = torch.tensor([[0.1, 0.3, 0.25, 0.0]], dtype=torch.float64)  # A = 4: a band of 1/16
    observation = fake_observation(1, 4, step=0)._replace(weight=held)
    target = torch.full((1, 4), 0.25, dtype=torch.float64)
    expected = torch.tensor([[0.25, 0.3, 0.25, 0.25]], dtype=torch.float64)
    assert torch.equal(rebalance(observation, target, band=0.25), expected)
    assert torch.equal(rebalance(observation, target, band=0.0), target)


def test_calendar_follows_each_markets_own_step():
    observation = fake_observation(3, 4)._replace(step=torch.tensor([0, 4, 10]))
    target = torch.zeros(3, 4, dtype=torch.float64)
    found = rebalance(observation, target, every=5, band=0.0)
    assert torch.equal(found[[0, 2]], target[[0, 2]])
    assert torch.equal(found[1], observation.weight[1])
