"""Trained policies as entrants: files `policy:FILE.pt` and `policy:FILE.pt2`, and how an observation becomes an action.

A file holds the network's mean action alone (obs [..., F] -> u [..., A], float64) and a manifest; what was measured in
training is said there too. It is written by `arena.rl.rllib.export`.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from arena.data.types import CLOSE
from arena.forecast.export.artifact import read_manifest
from arena.market.observation import layout, layout_hash
from arena.market.types import ImpactMode, MarketParams, Observation

NUM_SEAT_FEATURES = 8  # the last entries of Observation.flat
WRITER = "scripts/train.py"
ASSET_COUNTS = (1, 4, 50)  # tried on a policy that plays any number of assets


@dataclass(frozen=True)
class PolicyManifest:
    """What a policy file must say of itself; more may stand beside it.

    layout          hash of the observation layout of one asset          num_modes  impact modes of its market
    num_assets      trained on      any_assets  True: it plays any number of them
    reach           sum of absolute weights if every action is at its limit: weight limit * number of assets; None: the
                    actions are target weights already
    speed           share of the gap to the aimed weights traded per step
    history_length  displayed returns appended to the observation        forecaster  in its forecast slot, "" = none
    command         that trained it
    """

    layout: str
    num_modes: int
    num_assets: int
    any_assets: bool
    reach: float | None
    speed: float = 1.0
    history_length: int = 0
    forecaster: str = ""
    command: str = ""


def policy_layout(num_modes: int) -> str:
    """Hash of this version's layout for markets of that many impact modes."""
    return layout_hash(_rules(num_modes), 1)


def num_asset_features(num_modes: int, history_length: int = 0) -> int:
    """Numbers per asset in an observation, a history of returns included."""
    return len(layout(_rules(num_modes), 1)) - NUM_SEAT_FEATURES + history_length


def check_layout(name: str, manifest: PolicyManifest) -> None:
    """ValueError if the policy was trained on observations that are laid out otherwise than this version's."""
    expected = policy_layout(manifest.num_modes)
    if manifest.layout != expected:
        raise ValueError(
            f"{name} was trained on the observation layout {manifest.layout}, and this version's is {expected}; "
            "train it again"
        )


def manifest_of_shape(name: str, obs_dim: int, num_assets: int, told: Mapping[str, Any]) -> PolicyManifest:
    """What the sizes of a network, F numbers in and A out, say of its market, beside the entries that are `told`.

    An asset shows one number more for every impact mode beyond the first, so F and A give the number of modes.
    ValueError if no market shows F numbers of A assets, or if another one is told.
    """
    history_length = told.get("history_length", 0)
    of_one_mode = num_asset_features(1, history_length)
    of_asset, rest = divmod(obs_dim - NUM_SEAT_FEATURES, num_assets)
    num_modes = of_asset - of_one_mode + 1
    if rest or num_modes < 1:
        raise ValueError(
            f"{name} reads {obs_dim} numbers and answers {num_assets}; a market of {num_assets} assets shows "
            f"{NUM_SEAT_FEATURES} + {num_assets} * ({of_one_mode} + impact modes beyond the first)"
        )
    defaults: dict[str, Any] = {"layout": policy_layout(num_modes), "any_assets": False, "reach": None}
    found = {"num_modes": num_modes, "num_assets": num_assets}
    for entry, value in found.items():
        if told.get(entry, value) != value:
            raise ValueError(f"{name} says {entry}={told[entry]}, and its shapes say {value}")
    return PolicyManifest(**(defaults | dict(told) | found))


def policy_obs(observation: Observation, history_length: int) -> Tensor:
    """The flat observation [..., F]; a history of returns joins the numbers per asset, before those of the seat.

    The returns are log returns of the last `history_length` displayed bars, oldest first, in units of volatility.
    """
    flat = observation.flat
    if not history_length:
        return flat
    assert observation.history is not None
    closes = observation.history[..., -(history_length + 1) :, CLOSE]  # [..., A, C + 1]
    returns = closes.log().diff(dim=-1) / (observation.volatility * observation.dt**0.5).unsqueeze(-1)
    own = flat[..., :-NUM_SEAT_FEATURES], returns.transpose(-1, -2).flatten(-2), flat[..., -NUM_SEAT_FEATURES:]
    return torch.cat(own, -1)


def target_weights(action: Tensor, weight: Tensor, reach: float, speed: float) -> Tensor:
    """Target weights [..., A] that an unbounded action u stands for; `weight` are those held.

    aim = reach / A * tanh(u),   target = weight + speed * (aim - weight)
    """
    aim = (reach / action.shape[-1]) * torch.tanh(action)
    return aim if speed == 1.0 else weight + speed * (aim - weight)


class PolicyAgent:
    """Plays the mean action of a network; it draws no numbers and remembers nothing.

    network     obs [B, F] float64 -> u [B, A], or target weights if `manifest.reach` is None
    name        for messages       min_assets  that it can play, where it plays any number
    precision   that the network computes in
    """

    def __init__(
        self,
        network: Callable[[Tensor], Tensor],
        manifest: PolicyManifest,
        name: str = "policy",
        min_assets: int = 1,
        precision: torch.dtype = torch.float64,
    ) -> None:
        self.network = network
        self._manifest, self._name, self._min_assets = manifest, name, min_assets
        self.forecaster = manifest.forecaster
        self.history_length = manifest.history_length + 1 if manifest.history_length else 0
        self.precision, self.num_modes = precision, manifest.num_modes
        if manifest.any_assets:
            self.asset_counts = tuple(max(count, min_assets) for count in ASSET_COUNTS)
        else:
            self.asset_counts = (manifest.num_assets,)

    def reset(self) -> None:
        """Nothing to forget."""

    @torch.no_grad()
    def act(self, observation: Observation, generator: torch.Generator) -> Tensor:
        """Weights [B, A]; ValueError where the market is not one that it can play.

        Impact modes that the market lacks and that it was trained with are shown to it without displacement.
        """
        manifest = self._manifest
        num_assets, num_modes = observation.weight.shape[-1], observation.mode_displacement.shape[-1] + 1
        if num_modes > manifest.num_modes or not (manifest.any_assets or num_assets == manifest.num_assets):
            trained = "any number of" if manifest.any_assets else manifest.num_assets
            raise ValueError(
                f"{self._name} was trained for {manifest.num_modes} impact modes and {trained} assets, and this market "
                f"has {num_modes} and {num_assets}; train one for it"
            )
        if num_assets < self._min_assets:
            raise ValueError(f"{self._name} plays {self._min_assets} assets or more, not {num_assets}; a .pt file does")
        if num_modes < manifest.num_modes:
            shown = F.pad(observation.mode_displacement, (0, manifest.num_modes - num_modes))
            observation = observation._replace(mode_displacement=shown)
        obs = policy_obs(observation, manifest.history_length).double()
        action = self.network(obs).to(observation.weight)
        if manifest.reach is None:
            return action
        return target_weights(action, observation.weight, manifest.reach, manifest.speed)


def load_policy(path: str | Path) -> PolicyAgent:
    """The agent of a policy file; refuses anything else, and a layout that is not this version's, in one sentence."""
    path = Path(path)
    found = read_manifest(path, WRITER)
    if found.get("kind") != "policy":
        raise ValueError(f"{path} holds a {found.get('kind', 'file without a kind')}, expected a policy")
    known = {field.name: found[field.name] for field in fields(PolicyManifest) if field.name in found}
    try:
        manifest = PolicyManifest(**known)
    except TypeError as error:
        raise ValueError(f"{path} has a manifest that lacks something: {error}; train it again") from error
    check_layout(str(path), manifest)
    if path.suffix == ".pt":
        return PolicyAgent(torch.jit.load(str(path), map_location="cpu").eval(), manifest, path.name)
    # torch.export makes a constant of an axis of size 1.
    return PolicyAgent(torch.export.load(str(path)).module(), manifest, path.name, min_assets=2)


def manifest_entries(manifest: PolicyManifest) -> dict[str, Any]:
    """What goes into a policy file."""
    return {"kind": "policy", **asdict(manifest)}


def one_line(error: Exception) -> str:
    """What went wrong in another library, for the end of a sentence."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _rules(num_modes: int) -> MarketParams:
    return MarketParams(modes=(ImpactMode(1.0, 1.0, 1.0),) * num_modes)
