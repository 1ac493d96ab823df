"""What is known of the published models: where they are, their configurations, sizes and hashes; and random weights of
the same sizes, for work without a connection.

Hashes are those of the revision named; the repositories may have moved on since.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from arena.forecast.models.checkpoint import CONFIG, WEIGHTS
from arena.forecast.models.kronos import PUBLISHED_MAX_CONTEXT
from arena.forecast.models.kronos_predictor import KronosPredictor
from arena.forecast.models.kronos_tokenizer import KronosTokenizer
from arena.forecast.models.toto import Toto2
from arena.forecast.models.toto_config import Toto2Config


@dataclass(frozen=True)
class Published:
    """One repository of the hub."""

    repo: str  # owner/name
    config: dict[str, Any]  # the entries that inference reads
    parameters: int
    revision: str = ""  # of the hashes
    sha256: dict[str, str] = field(default_factory=dict)  # file -> hash
    tokenizer: str = ""  # Kronos: key of the tokenizer that the predictor was trained with
    max_context: int = 0  # Kronos: bars seen at once; no part of the files

    @property
    def can_stand_alone(self) -> bool:
        """Whether random weights of it make a forecaster."""
        return "n_enc_layers" not in self.config and "embed_dim" not in self.config


def _toto(d_model: int, num_layers: int, d_ff: int) -> dict[str, Any]:
    return {
        "attn_bias": True,
        "d_ff": d_ff,
        "d_model": d_model,
        "dropout_p": 0.0,
        "heads_per_group": 1,
        "layer_group_size": num_layers,
        "mlp_bias": False,
        "norm_eps": 0.0001,
        "norm_include_weight": False,
        "num_groups": d_model // 64,
        "num_heads": d_model // 64,
        "num_layers": num_layers,
        "num_output_patches": 1,
        "num_variate_layers_per_group": 1,
        "patch_size": 32,
        "per_dim_scale": True,
        "pre_norm": True,
        "qk_dim": 64,
        "qk_norm": False,
        "qk_norm_include_weight": False,
        "residual_attn_ratio": 5.136215466577748,
        "residual_mult": 0.75,
        "use_xpos": True,
        "v_dim": 64,
        "variate_layer_first": False,
    }


TOTO1 = {
    "patch_size": 64,
    "stride": 64,
    "embed_dim": 768,
    "num_layers": 12,
    "num_heads": 12,
    "mlp_hidden_dim": 3072,
    "spacewise_every_n_layers": 12,
    "spacewise_first": False,
    "output_distribution_kwargs": {"k_components": 24},
}


def _kronos(n_layers: int, d_model: int, n_heads: int, ff_dim: int) -> dict[str, Any]:
    width = {"d_model": d_model, "n_heads": n_heads, "ff_dim": ff_dim}
    return {"s1_bits": 10, "s2_bits": 10, "n_layers": n_layers, **width, "learn_te": True}


def _kronos_tokenizer(group_size: int) -> dict[str, Any]:
    width = {"d_in": 6, "d_model": 256, "n_heads": 4, "ff_dim": 512, "n_enc_layers": 4, "n_dec_layers": 4}
    return {"s1_bits": 10, "s2_bits": 10, **width, "group_size": group_size}


PUBLISHED = {
    "toto-4m": Published(
        "Datadog/Toto-2.0-4m",
        _toto(256, 4, 688),
        4_144_448,
        revision="8306a9801cf98c0f5ffe4b2dcc8f496e616d84d9",
        sha256={
            CONFIG: "7a926d130e401ab0c5fdb3564f46c8d917bd05c7b3ae26b9c22d2da2ef01d2d8",
            WEIGHTS: "316660d5afb47943e531f39242e0b02ca0b8bb73be5709dfe07ca80dfce9805e",
        },
    ),
    "toto-22m": Published(
        "Datadog/Toto-2.0-22m",
        _toto(512, 6, 1368),
        21_915_584,
        revision="3affccf372ff82f5d200ac76fad3dbcdeb64299a",
        sha256={
            CONFIG: "abeaf0fcd54aaac66757fde69ec3ddb4d3bfdcf96e0c8f767aefd03ab4c9e8d9",
            WEIGHTS: "9cd503d82df3aa71747862688f47a31c1d0a4b80f898df6e046189016eaa21dd",
        },
    ),
    "toto1-base": Published("Datadog/Toto-Open-Base-1.0", TOTO1, 151_306_080),
    "kronos-tokenizer-2k": Published("NeoQuasar/Kronos-Tokenizer-2k", _kronos_tokenizer(5), 3_958_042),
    "kronos-tokenizer-base": Published("NeoQuasar/Kronos-Tokenizer-base", _kronos_tokenizer(4), 3_958_042),
    "kronos-mini": Published(
        "NeoQuasar/Kronos-mini",
        _kronos(4, 256, 4, 512),
        4_108_032,
        tokenizer="kronos-tokenizer-2k",
        max_context=PUBLISHED_MAX_CONTEXT["Kronos-mini"],
    ),
    "kronos-small": Published(
        "NeoQuasar/Kronos-small",
        _kronos(8, 512, 8, 1024),
        24_741_376,
        tokenizer="kronos-tokenizer-base",
        max_context=PUBLISHED_MAX_CONTEXT["Kronos-small"],
    ),
    "kronos-base": Published(
        "NeoQuasar/Kronos-base",
        _kronos(12, 832, 16, 2048),
        102_310_592,
        tokenizer="kronos-tokenizer-base",
        max_context=PUBLISHED_MAX_CONTEXT["Kronos-base"],
    ),
}


def identify(config: dict[str, Any]) -> str | None:
    """Key of the published model that has this configuration, as far as inference reads it."""
    for key, published in PUBLISHED.items():
        if all(config.get(name) == value for name, value in published.config.items()):
            return key
    return None


def write_random_checkpoint(key: str, folder: Path, seed: int = 0) -> None:
    """A checkpoint of the published layout and size with random weights: config.json and model.safetensors."""
    from safetensors.torch import (
        save_file,
    )  # here, because only a process that handles upstream files needs the package

    config = PUBLISHED[key].config
    generator = torch.Generator().manual_seed(seed)
    if key.startswith("toto"):
        toto = Toto2(Toto2Config.from_json(config))
        toto.initialise(generator)
        tensors = toto.state_dict()
    else:
        module = KronosTokenizer(**config) if "tokenizer" in key else KronosPredictor(**config)
        tensors = {name: _drawn(name, like, generator) for name, like in module.state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True))
    save_file(tensors, folder / WEIGHTS)


def _drawn(name: str, like: Tensor, generator: torch.Generator) -> Tensor:
    """Weights that keep the size of what passes through; norm weights near 1, biases near 0."""
    noise = torch.randn(like.shape, generator=generator)
    if like.dim() > 1:
        return noise / like.size(-1) ** 0.5
    return 0.1 * noise + (1.0 if "norm" in name else 0.0)
