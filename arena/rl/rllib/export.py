"""Writes a trained network as a policy file, see arena.agents.policies.policy."""

import copy
import os
import tempfile
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from arena.agents.policies.network import AssetPolicy, MlpPolicy
from arena.agents.policies.policy import PolicyManifest, load_policy, manifest_entries
from arena.forecast.export.exporter import add_manifest, script_module

MAX_BATCH, MAX_ASSETS = 65_536, 4096  # of a .pt2 program
TOLERANCE = 1e-9  # of float64 actions: file against network
TRIED_ROWS = 5


class MeanAction(nn.Module):
    """The deterministic half of a policy: obs [..., F] -> mean of u [..., A]."""

    def __init__(self, network: AssetPolicy | MlpPolicy) -> None:
        super().__init__()
        self.network = network

    def forward(self, obs: Tensor) -> Tensor:
        return self.network.distribution(obs)[0]


def export_policy(
    network: AssetPolicy | MlpPolicy, path: Path, manifest: PolicyManifest, **notes: object
) -> dict[str, object]:
    """Write `network` to FILE.pt (TorchScript) or FILE.pt2 (torch.export), in float64; returns the whole manifest.

    notes  for the reader: seeds, cost and results of the training

    The file is read back and compared before it takes its place.
    """
    actor = MeanAction(copy.deepcopy(network)).double().cpu().eval()
    whole = manifest_entries(manifest) | {"torch": torch.__version__} | notes
    obs = _sample(network, manifest.num_assets)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        draft = Path(folder, path.name)
        if path.suffix == ".pt":
            torch.jit.save(script_module(actor), str(draft))
        elif path.suffix == ".pt2":
            torch.export.save(_program(actor, obs), str(draft))
        else:
            raise ValueError(f"{path} must end in .pt or .pt2 to hold a policy")
        add_manifest(draft, whole)
        with torch.no_grad():
            error = (load_policy(draft).network(obs) - actor(obs)).abs().max()
        if not error <= TOLERANCE:
            raise RuntimeError(f"{path.name} differs from the network by {float(error):.2g}; nothing was written")
        os.replace(draft, path)
    return whole


def _sample(network: AssetPolicy | MlpPolicy, num_assets: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    if isinstance(network, AssetPolicy):
        obs_dim = network.num_asset_features * num_assets + network.num_seat_features
    else:
        obs_dim = len(network.normaliser.mean)
    return torch.randn(TRIED_ROWS, obs_dim, generator=generator, dtype=torch.float64)


def _program(actor: MeanAction, obs: Tensor) -> torch.export.ExportedProgram:
    shapes: dict[int, object] = {0: torch.export.Dim("batch", min=1, max=MAX_BATCH)}
    if isinstance(actor.network, AssetPolicy):
        assets = torch.export.Dim("assets", min=2, max=MAX_ASSETS)
        shapes[1] = actor.network.num_asset_features * assets + actor.network.num_seat_features
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        return torch.export.export(actor, (obs,), dynamic_shapes=(shapes,))
