"""Laws of averaged quantiles."""

import math

import pytest
import torch

from arena.forecast.baselines import Drift, Persistence, SeasonalNaive
from arena.forecast.ensemble import Ensemble
from arena.forecast.types import Forecast, ForecasterInfo, ForecasterStats


class Constant:
    """Says the same quantiles of every series."""

    def __init__(self, value, *, min_context=2, max_horizon=None, training_cutoff=None, channels=True):
        self.value, self.has_channels = value, channels
        self.info = ForecasterInfo(f"constant_{value}", f"constant {value}", min_context, max_horizon, training_cutoff)

    def predict(self, context, stamps, horizon):
        quantiles = (self.value + torch.arange(9.0)).expand(*context.shape[:-2], horizon, 9)
        channels = quantiles.unsqueeze(-2).expand(*context.shape[:-2], horizon, 6, 9)
        return Forecast(quantiles, quantiles[..., :3], channels if self.has_channels else None)

    def stats(self):
        return ForecasterStats(0, 0, math.nan, math.nan, 0.0)


@pytest.fixture
def context():
    steps = torch.randn(4, 3, 40, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (4.0 + 0.02 * steps.cumsum(-2)).exp().expand(-1, -1, -1, 6)


def test_an_ensemble_of_one_is_its_member(context):
    assert torch.equal(
        Ensemble([Drift()]).predict(context, None, 5).quantiles, Drift().predict(context, None, 5).quantiles
    )


def test_quantiles_are_averaged_by_weight(context):
    members = [Persistence(), Drift(), SeasonalNaive()]
    found = Ensemble(members, [3, 0, 1]).predict(context, None, 5).quantiles
    first, _, last = (member.predict(context, None, 5).quantiles for member in members)
    torch.testing.assert_close(found, 0.75 * first + 0.25 * last)
    assert (found.diff(dim=-1) >= 0).all()


def test_equal_members_agree_with_each_of_them(context):
    """Where a mixture of two shifted copies would be wider, the average keeps their spread."""
    found = Ensemble([Constant(10.0), Constant(30.0)]).predict(context, None, 2).quantiles
    assert torch.equal(found[0, 0, 0], 20.0 + torch.arange(9.0))


def test_an_ensemble_may_hold_an_ensemble(context):
    members = [Persistence(), Drift(), SeasonalNaive()]
    nested = Ensemble([Ensemble(members[:2]), members[2]], [2, 1])
    flat = Ensemble(members)
    torch.testing.assert_close(
        nested.predict(context, None, 5).quantiles, flat.predict(context, None, 5).quantiles, rtol=1e-12, atol=0
    )


def test_it_asks_for_what_every_member_can_give():
    ensemble = Ensemble(
        [
            Constant(1, min_context=7, max_horizon=20, training_cutoff="2023-12-31"),
            Constant(2, min_context=3, max_horizon=9, training_cutoff="2024-01-31"),
            Persistence(),
        ]
    )
    assert (ensemble.info.min_context, ensemble.info.max_horizon, ensemble.info.training_cutoff) == (7, 9, "2024-01-31")
    assert ensemble.info.name == "constant_1+constant_2+persistence"
    with pytest.raises(ValueError, match="needs at least 7"):
        ensemble.predict(torch.ones(6, 6), None, 1)
    with pytest.raises(ValueError, match="horizon is 10"):
        ensemble.predict(torch.ones(8, 6), None, 10)
    assert Ensemble([Persistence()]).info.max_horizon is None
    assert Ensemble([Persistence()]).info.training_cutoff is None


def test_channels_come_if_all_members_have_them_and_samples_never(context):
    both = Ensemble([Constant(10.0), Constant(30.0)]).predict(context, None, 2)
    assert torch.equal(both.channels[0, 0, 0, 5], 20.0 + torch.arange(9.0))
    assert both.samples is None
    assert Ensemble([Constant(10.0), Constant(30.0, channels=False)]).predict(context, None, 2).channels is None


def test_no_opinion_of_one_is_no_opinion(context):
    context = context.clone()
    context[1, 2] = math.nan
    quantiles = Ensemble([Persistence(), Constant(10.0)]).predict(context, None, 2).quantiles
    assert quantiles[1, 2].isnan().all()
    assert quantiles.isnan().sum() == 2 * 9


def test_the_fingerprint_is_of_members_and_weights():
    made = [
        Ensemble([Persistence(), Drift()]),
        Ensemble([Drift(), Persistence()]),
        Ensemble([Persistence(), Drift()], [1, 2]),
        Ensemble([Persistence(), Drift(), Drift()]),
    ]
    assert len({ensemble.info.fingerprint for ensemble in made}) == len(made)
    assert Ensemble([Persistence(), Drift()], [2, 2]).info == made[0].info


def test_stats_are_its_own(context):
    ensemble = Ensemble([Persistence(), Drift()])
    ensemble.predict(context, None, 2)
    assert (ensemble.stats().predictions, ensemble.stats().calls) == (12, 1)


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0], [1.0, math.nan], [1.0, math.inf]])
def test_bad_weights_are_refused(weights):
    with pytest.raises(ValueError, match="expected 2 numbers >= 0"):
        Ensemble([Persistence(), Drift()], weights)


def test_no_members_are_refused():
    with pytest.raises(ValueError, match="got no members"):
        Ensemble([])
