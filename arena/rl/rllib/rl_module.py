"""The networks of arena.agents.policies.network as an RLModule: one class for the stock and for the tensor path."""

from inspect import signature

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor, nn

from arena.agents.policies.network import AssetPolicy, MlpPolicy
from arena.rl.records import Fields
from arena.rl.rllib.compat import InferenceOnlyAPI, ValueFunctionAPI

Network = MlpPolicy | AssetPolicy
NETWORKS: dict[str, type[MlpPolicy] | type[AssetPolicy]] = {"mlp": MlpPolicy, "assets": AssetPolicy}


def make_network(kind: str, obs_dim: int, num_assets: int, options: Fields) -> Network:
    """`mlp`: MlpPolicy; `assets`: AssetPolicy. options: their width, log_std and, of `assets`, history_length ..."""
    check_network(kind, options)
    return MlpPolicy(obs_dim, num_assets, **options) if kind == "mlp" else AssetPolicy(num_assets, **options)


def check_network(kind: str, options: Fields) -> None:
    """ValueError unless there is such a network with such options."""
    if kind not in NETWORKS:
        raise ValueError(f"unknown network {kind!r}, expected one of {', '.join(NETWORKS)}")
    known = [name for name in signature(NETWORKS[kind]).parameters if name not in ("obs_dim", "num_assets")]
    for name in options:
        if name not in known:
            raise ValueError(f"network {kind!r} has no option {name!r}, expected some of {', '.join(known)}")


def module_spec(kind: str = "mlp", **options: object) -> RLModuleSpec:
    """For AlgorithmConfig.rl_module(rl_module_spec=...); ValueError where kind or options are not known."""
    check_network(kind, options)
    return RLModuleSpec(module_class=ArenaRLModule, model_config={"network": kind, "options": options})


class ArenaRLModule(TorchRLModule, ValueFunctionAPI, InferenceOnlyAPI):
    """A Gaussian policy without bounds (TorchDiagGaussian): the environment makes weights of its draws.

    model_config  network: "mlp" (default) or "assets"; options: arguments of that network
    The moments that normalize observations are buffers: they travel with the weights.
    """

    network: Network

    def setup(self) -> None:
        """Build the network; what only acts has no critic."""
        kind, options = self.model_config.get("network", "mlp"), self.model_config.get("options", {})
        self.network = make_network(kind, self.observation_space.shape[0], self.action_space.shape[0], options)
        if self.inference_only:  # RLlib itself can remove only attributes of the module
            for name in self._critics():
                delattr(self.network, name)

    def get_non_inference_attributes(self) -> list[str]:
        """What is left out where a module only acts."""
        return [f"network.{name}" for name in self._critics()]

    def distribution(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log_std [..., A]."""
        return self.network.distribution(obs)

    def compute_values(self, batch: dict[str, Tensor], embeddings: Tensor | None = None) -> Tensor:
        """V [...]; embeddings: what `_forward_train` has found already."""
        return self.network.value(batch[Columns.OBS]) if embeddings is None else embeddings

    def _forward(self, batch: dict[str, Tensor], **kwargs: object) -> dict[str, Tensor]:
        mean, log_std = self.network.distribution(batch[Columns.OBS])
        return {Columns.ACTION_DIST_INPUTS: torch.cat([mean, log_std], -1)}

    def _forward_train(self, batch: dict[str, Tensor], **kwargs: object) -> dict[str, Tensor]:
        # With the value in it, data-parallel training sees every parameter in this one call.
        mean, log_std, value = self.network(batch[Columns.OBS])
        return {Columns.ACTION_DIST_INPUTS: torch.cat([mean, log_std], -1), Columns.EMBEDDINGS: value}

    def _critics(self) -> list[str]:
        children: list[tuple[str, nn.Module]] = list(self.network.named_children())
        return [name for name, _ in children if name.startswith("critic")]
