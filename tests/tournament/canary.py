"""A policy file that writes files: one when it is loaded, one when it plays."""

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from arena.agents.policies.policy import PolicyManifest, manifest_entries, policy_layout
from arena.forecast.export.exporter import script_module

NUM_MODES = 3  # of the default market


class Canary(nn.Module):
    """TorchScript that makes a file of four numbers at each of two paths, "" for none, and answers their sum."""

    def __init__(self, loaded: str, played: str, num_assets: int):
        super().__init__()
        self.loaded, self.played, self.num_assets, self.sum = loaded, played, num_assets, 0.0

    @torch.jit.export
    def __getstate__(self) -> tuple[str, str, int, bool]:
        return self.loaded, self.played, self.num_assets, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, str, int, bool]) -> None:
        self.loaded, self.played, self.num_assets, self.training = state
        self.sum = 0.0
        if len(self.loaded) > 0:
            self.sum = float(torch.from_file(self.loaded, True, 4).fill_(1.0).sum())

    def forward(self, obs: Tensor) -> Tensor:
        action = torch.full([obs.size(0), self.num_assets], self.sum, dtype=obs.dtype)
        if len(self.played) > 0:
            action = action + torch.from_file(self.played, True, 4).fill_(1.0).sum()
        return action


def write_canary(path: Path, num_assets: int, loaded: Path | None = None, played: Path | None = None) -> str:
    """The spec of such a file, for markets of `num_assets`."""
    layout = policy_layout(NUM_MODES)
    manifest = PolicyManifest(layout, NUM_MODES, num_assets, any_assets=False, reach=1.0)
    module = script_module(Canary(str(loaded or ""), str(played or ""), num_assets))
    content = {"manifest.json": json.dumps(manifest_entries(manifest))}
    torch.jit.save(module, str(path), _extra_files=content)
    return f"policy:{path}"
