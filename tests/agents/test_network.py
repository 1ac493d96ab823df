import warnings

import pytest
import torch

from arena.agents.policies.network import AssetPolicy, MlpPolicy
from arena.forecast.export.exporter import script_module
from arena.market.observation import layout
from arena.market.presets import preset

P, S = 13, 8


def obs_of(num_assets, count=6, features=P, seed=0):
    return torch.randn(count, features * num_assets + S, generator=torch.Generator().manual_seed(seed))


def asset_policy(**options):
    """With weights and moments as after some training, so that every input matters."""
    torch.manual_seed(0)
    network = AssetPolicy(8, **options)
    with torch.no_grad():
        network.actor_mean.weight.normal_()
        network.normaliser.mean.normal_(0, 0.1)
        network.normaliser.var.uniform_(0.5, 2.0)
    return network


def permuted(obs, order, features):
    assets = obs[:, :-S].unflatten(-1, (features, -1))[..., order].flatten(1)
    return torch.cat([assets, obs[:, -S:]], -1)


@pytest.mark.parametrize("history_length", [0, 5])
def test_permuting_the_assets_permutes_the_actions(history_length):
    features = P + history_length
    network = asset_policy(num_asset_features=features, history_length=history_length)
    obs, order = obs_of(8, features=features), torch.randperm(8, generator=torch.Generator().manual_seed(1))
    mean, log_std, value = network(obs)
    other_mean, other_log_std, other_value = network(permuted(obs, order, features))
    torch.testing.assert_close(other_mean, mean[:, order])
    torch.testing.assert_close(other_log_std, log_std[:, order])
    torch.testing.assert_close(other_value, value)
    assert mean.std(-1).min() > 1e-3  # assets that differ are told apart


def test_it_plays_any_number_of_assets():
    network = asset_policy()
    for num_assets in (1, 3, 30):
        mean, log_std, value = network(obs_of(num_assets))
        assert mean.shape == log_std.shape == (6, num_assets)
        assert value.shape == (6,)


def test_a_market_doubled_asset_by_asset_is_played_the_same():
    """Each asset twice, each copy with half the weight: what a copy should hold is said in units of 1 / A."""
    network, obs = asset_policy(), obs_of(8)
    assets = obs[:, :-S].unflatten(-1, (P, 8)).clone()
    twice = torch.cat([assets, assets], -1)
    twice[:, 8] *= 0.5  # the feature `weight`
    mean, _, value = network(obs)
    doubled, _, doubled_value = network(torch.cat([twice.flatten(1), obs[:, -S:]], -1))
    torch.testing.assert_close(doubled, torch.cat([mean, mean], -1))
    torch.testing.assert_close(doubled_value, value)


def test_moments_are_those_of_a_feature_of_all_assets():
    """It answers as one without moments does to numbers that were normalised before."""
    network, plain = asset_policy(), asset_policy()
    with torch.no_grad():
        plain.normaliser.mean.zero_()
        plain.normaliser.var.fill_(1.0)
    obs, (mean, std) = obs_of(8), (network.normaliser.mean, network.normaliser.var.sqrt())
    every = [*(feature for feature in range(P) for _ in range(8)), *range(P, P + S)]  # moment of each entry of obs
    for found, expected in zip(network(obs), plain((obs - mean[every]) / std[every])):
        torch.testing.assert_close(found, expected)


def test_it_knows_the_layout_of_an_observation():
    names = layout(preset("sqrt"), 1)
    assert len(names) == P + S
    assert [name for name, is_weight in zip(names, AssetPolicy(8).is_weight) if is_weight] == ["weight[0]"]
    with_history = AssetPolicy(8, num_asset_features=P + 20, history_length=20)
    assert with_history.is_weight.nonzero().tolist() == [[names.index("weight[0]")]]


@pytest.mark.parametrize("network", [AssetPolicy(8), MlpPolicy(8 * P + S, 8)], ids=["asset", "mlp"])
def test_at_the_start_it_holds_next_to_nothing(network):
    mean, log_std, _ = network(obs_of(8, count=500))
    assert mean.abs().max() < 0.1
    assert (log_std == -1.0).all()


@pytest.mark.parametrize("network", [asset_policy(), MlpPolicy(8 * P + S, 8)], ids=["asset", "mlp"])
def test_its_parts_agree_with_the_whole_and_with_its_script(network):
    obs = obs_of(8).view(2, 3, -1)
    mean, log_std, value = network(obs)
    assert mean.shape == (2, 3, 8)
    scripted = script_module(network)
    for form in (network, scripted):
        for found, expected in zip((*form.distribution(obs), form.value(obs), *form(obs)), (mean, log_std, value) * 2):
            torch.testing.assert_close(found, expected)


def test_torch_export_takes_any_number_of_assets():
    network = asset_policy()
    batch, assets = torch.export.Dim("batch", min=1, max=4096), torch.export.Dim("assets", min=2, max=512)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(network, (obs_of(8),), dynamic_shapes=({0: batch, 1: P * assets + S},))
    for num_assets in (2, 8, 30):
        obs = obs_of(num_assets, count=3)
        for found, expected in zip(program.module()(obs), network(obs)):
            torch.testing.assert_close(found, expected)


def test_a_wild_observation_is_cut():
    network = asset_policy()
    obs = obs_of(8)
    obs[0] = 1e12
    mean, _, value = network(obs)
    assert mean.isfinite().all()
    assert value.isfinite().all()
