"""Policy and value networks over flat observations (arena.market.types.Observation.flat).

Both answer obs [..., F] with mean and log_std [..., A] of an unbounded Gaussian action and value [...]. They normalise
their input by moments kept as buffers, start with means near 0 (hardly any weight in any asset), and can be compiled by
TorchScript and by torch.export.

P numbers per asset, feature-major (feature f of asset a at f * A + a), the last C of them a history; then S per seat.
"""

import math

import torch
from torch import Tensor, nn

OBS_BOUND = 5.0  # standard deviations; beyond it an observation says no more
MIN_VARIANCE = 1e-8  # a feature that never moved stays 0
MEAN_GAIN = 0.01  # of the last layer of the mean
LOG_STD_BOUNDS = (-6.0, 1.0)
NUM_SEAT_FEATURES = 8  # S
NUM_ASSET_FEATURES = 13  # P of a market with three impact modes
FEATURES_BEHIND_WEIGHT = 4  # the forecast's: the seat's own weight comes before them


class Normaliser(nn.Module):
    """Keeps the moments of observations: (x - mean) / std, cut at OBS_BOUND."""

    count: Tensor
    mean: Tensor
    var: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("var", torch.ones(num_features))

    def forward(self, x: Tensor, bound: float = OBS_BOUND) -> Tensor:
        """x [..., F]."""
        return ((x - self.mean) * _inverse_std(self.var)).clamp(-bound, bound)


class MlpPolicy(nn.Module):
    """Two hidden layers for the policy and two for the value; knows one number of assets.

    obs_dim  F      num_assets  A      width  of the hidden layers      log_std  at the start
    """

    num_asset_features: int

    def __init__(self, obs_dim: int, num_assets: int, width: int = 128, log_std: float = -1.0) -> None:
        super().__init__()
        self.num_asset_features = 0  # moments are kept per entry of obs
        self.normaliser = Normaliser(obs_dim)
        self.actor = _two_layers(obs_dim, width, num_assets, MEAN_GAIN)
        self.critic = _two_layers(obs_dim, width, 1, 1.0)
        self.log_std = nn.Parameter(torch.full((num_assets,), log_std))

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """mean, log_std [..., A] and value [...]."""
        x = self.normaliser(obs)
        mean = self.actor(x)
        return mean, _bounded(self.log_std).expand_as(mean), self.critic(x).squeeze(-1)

    @torch.jit.export
    def distribution(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """mean and log_std alone: the critic is not asked."""
        mean = self.actor(self.normaliser(obs))
        return mean, _bounded(self.log_std).expand_as(mean)

    @torch.jit.export
    def value(self, obs: Tensor) -> Tensor:
        """value alone."""
        return self.critic(self.normaliser(obs)).squeeze(-1)


class AssetEncoder(nn.Module):
    """One encoder for all assets, and a summary of the market: permuting the assets permutes its answer.

    The summary is the mean over assets of what the encoder finds, so it has one size for any number of them. Zaheer,
    Kottur, Ravanbakhsh, Poczos, Salakhutdinov, Smola (2017), "Deep Sets", NeurIPS.
    """

    history_length: int

    def __init__(self, num_asset_features: int, num_seat_features: int, history_length: int, width: int) -> None:
        super().__init__()
        self.history_length = history_length
        self.filters = _linear(history_length, width) if history_length else None
        num_inputs = num_asset_features - history_length + (width if history_length else 0)
        self.own = _linear(num_inputs, width)
        self.seat = _linear(num_seat_features, width)
        self.deep = _linear(width, width)

    def forward(self, assets: Tensor, seat: Tensor) -> tuple[Tensor, Tensor]:
        """Found per asset [..., A, W] and the summary [..., W], from assets [..., A, P] and seat [..., S]."""
        if self.filters is not None:
            now = assets.size(-1) - self.history_length
            assets = torch.cat([assets[..., :now], torch.tanh(self.filters(assets[..., now:]))], -1)
        found = torch.tanh(self.own(assets) + self.seat(seat).unsqueeze(-2))
        found = torch.tanh(self.deep(found))
        return found, found.mean(-2)


class AssetPolicy(nn.Module):
    """Treats all assets alike, so that it plays any number of them whatever number it was trained on.

    num_assets          trained on: with others its own weights are shown to it in proportion, as 1 / A is its measure
    num_asset_features  P, history included      history_length  C
    width               of the layers            log_std  at the start
    """

    num_assets: int
    num_asset_features: int
    num_seat_features: int
    is_weight: Tensor

    def __init__(
        self,
        num_assets: int,
        num_asset_features: int = NUM_ASSET_FEATURES,
        num_seat_features: int = NUM_SEAT_FEATURES,
        history_length: int = 0,
        width: int = 64,
        log_std: float = -1.0,
    ) -> None:
        super().__init__()
        self.num_assets = num_assets
        self.num_asset_features, self.num_seat_features = num_asset_features, num_seat_features
        self.normaliser = Normaliser(num_asset_features + num_seat_features)  # pooled over assets
        own_weight = num_asset_features - history_length - FEATURES_BEHIND_WEIGHT - 1
        self.register_buffer("is_weight", torch.arange(num_asset_features) == own_weight, persistent=False)
        self.actor = AssetEncoder(num_asset_features, num_seat_features, history_length, width)
        self.critic = AssetEncoder(num_asset_features, num_seat_features, history_length, width)
        self.actor_own = _linear(width, width)
        self.actor_market = _linear(width, width)
        self.actor_mean = _linear(width, 1, MEAN_GAIN)
        self.critic_market = _linear(width, width)
        self.critic_value = _linear(width, 1, 1.0)
        self.log_std = nn.Parameter(torch.full((1,), log_std))

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """mean, log_std [..., A] and value [...]."""
        assets, seat = self._split(obs)
        mean = self._mean(assets, seat)
        return mean, _bounded(self.log_std).expand_as(mean), self._value(assets, seat)

    @torch.jit.export
    def distribution(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """mean and log_std alone: the critic is not asked."""
        assets, seat = self._split(obs)
        mean = self._mean(assets, seat)
        return mean, _bounded(self.log_std).expand_as(mean)

    @torch.jit.export
    def value(self, obs: Tensor) -> Tensor:
        """value alone."""
        assets, seat = self._split(obs)
        return self._value(assets, seat)

    def _split(self, obs: Tensor, bound: float = OBS_BOUND) -> tuple[Tensor, Tensor]:
        """Normalised numbers of the assets [..., A, P] and of the seat [..., S]."""
        features, seats = self.num_asset_features, self.num_seat_features
        num_assets = (obs.size(-1) - seats) // features
        mean, scale = self.normaliser.mean, _inverse_std(self.normaliser.var)
        proportion = torch.where(self.is_weight, num_assets / self.num_assets, 1.0)  # [P]
        # As they lie in memory, one row of A numbers per feature: (x * proportion - mean) * scale in two passes.
        assets = obs[..., : features * num_assets].unflatten(-1, [features, num_assets])
        shift = (mean[:features] / proportion).unsqueeze(-1)
        assets = ((assets - shift) * (scale[:features] * proportion).unsqueeze(-1)).clamp(-bound, bound)
        seat = (obs[..., features * num_assets :] - mean[features:]) * scale[features:]
        return assets.transpose(-1, -2), seat.clamp(-bound, bound)

    def _mean(self, assets: Tensor, seat: Tensor) -> Tensor:
        found, market = self.actor(assets, seat)
        both = torch.tanh(self.actor_own(found) + self.actor_market(market).unsqueeze(-2))
        return self.actor_mean(both).squeeze(-1)

    def _value(self, assets: Tensor, seat: Tensor) -> Tensor:
        _, market = self.critic(assets, seat)
        return self.critic_value(torch.tanh(self.critic_market(market))).squeeze(-1)


def _linear(num_inputs: int, num_outputs: int, gain: float = math.sqrt(2.0)) -> nn.Linear:
    """Orthogonal rows, no bias."""
    layer = nn.Linear(num_inputs, num_outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def _two_layers(num_inputs: int, width: int, num_outputs: int, gain: float) -> nn.Sequential:
    hidden = (_linear(num_inputs, width), nn.Tanh(), _linear(width, width), nn.Tanh())
    return nn.Sequential(*hidden, _linear(width, num_outputs, gain))


# Constants are arguments because TorchScript knows no globals.


def _inverse_std(var: Tensor, min_variance: float = MIN_VARIANCE) -> Tensor:
    return torch.rsqrt(var + min_variance)


def _bounded(log_std: Tensor, low: float = LOG_STD_BOUNDS[0], high: float = LOG_STD_BOUNDS[1]) -> Tensor:
    return log_std.clamp(low, high)
