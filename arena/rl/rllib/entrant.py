"""Policies of RLlib as entrants: `rllib:CHECKPOINT`, or `rllib:CHECKPOINT@module_id` where there are several.

CHECKPOINT is a folder that Algorithm.save_to_path or Ray Tune wrote (new API stack), or the folder of one module in it.
It holds pickles, and reading it runs code: take it only from people you trust. No Algorithm is built, no Ray started.
"""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from gymnasium.spaces import Box
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor

from arena.agents.policies.network import AssetPolicy
from arena.agents.policies.policy import PolicyAgent, PolicyManifest, manifest_of_shape, one_line
from arena.market.presets import preset
from arena.rl.market_env import EnvParams
from arena.rl.records import Fields
from arena.rl.rllib.compat import TorchSquashedGaussian
from arena.rl.rllib.export import MeanAction
from arena.rl.rllib.registration import STOCK_ENV, TENSOR_ENV
from arena.rl.rllib.rl_module import ArenaRLModule

MODULES = Path("learner_group", "learner", "rl_module")
CLASS_FILE = "class_and_ctor_args.pkl"
PREFERRED = ("shared", "main")

Map = Callable[[Tensor], Tensor]


def load_rllib(spec: str, forecaster: str = "") -> PolicyAgent:
    """The agent of CHECKPOINT or CHECKPOINT@module_id; ValueError says in one sentence what cannot be used.

    forecaster  spec of the one in its observation in training, where env_config does not name it

    It plays the module's deterministic action, and makes weights of it as in training: by the bounds of the action
    space and `normalize_actions`, then by `reach` and `speed` of env_config. Without module_id it is the only module,
    else `shared`, else `main`.
    """
    folder = _module_folder(spec)
    module, config = _module(folder), _training_config(folder)
    manifest = _manifest(str(folder), module, config, forecaster)
    mean, precision = _mean_action(module)
    for_env = _for_env(module.action_space, config)
    return PolicyAgent(lambda obs: for_env(mean(obs)), manifest, f"rllib:{spec}", precision=precision)


def _module_folder(spec: str) -> Path:
    """The absolute folder of the module that is meant."""
    path, module_id = Path(spec), ""
    if not path.is_dir() and "@" in spec:
        place, _, module_id = spec.rpartition("@")
        path = Path(place)
    if not path.is_dir():
        raise ValueError(f"{path} does not exist, expected a checkpoint folder of RLlib")
    path = path.resolve()
    parent = path / MODULES if (path / MODULES).is_dir() else path
    found = sorted(child.name for child in parent.iterdir() if _is_module(child))
    if not found and _is_module(path) and not module_id:
        return path
    if not found:
        inside = sorted(child.name for child in path.glob("checkpoint_*"))
        hint = f"; did you mean {inside[-1]} in it?" if inside else ""
        raise ValueError(f"{path} is no checkpoint of RLlib's new API stack: it has no {MODULES}{hint}")
    if not module_id:
        preferred = [name for name in PREFERRED if name in found]
        module_id = found[0] if len(found) == 1 else preferred[0] if preferred else ""
    if module_id not in found:
        wanted = f"no module {module_id!r}" if module_id else "several modules"
        raise ValueError(f"{path} has {wanted}: say which with @module_id, one of {', '.join(found)}")
    return parent / module_id


def _is_module(folder: Path) -> bool:
    return (folder / CLASS_FILE).is_file() and any(folder.glob("module_state.*"))


def _module(folder: Path) -> TorchRLModule:
    """The torch RLModule, ready to act."""
    kind = _unpickled(folder / CLASS_FILE)["class"]
    if not issubclass(kind, TorchRLModule):
        raise ValueError(f"{folder} holds a {kind.__name__}, expected an RLModule of torch")
    try:
        module = kind.from_checkpoint(str(folder))
    except Exception as error:  # a module may raise anything
        raise ValueError(f"{folder} cannot be loaded: {one_line(error)}") from error
    for space in (module.observation_space, module.action_space):
        if len(space.shape or ()) != 1 or not hasattr(space, "low"):
            raise ValueError(f"{folder} has the space {space}, expected those of a market: flat boxes")
    if module.is_stateful():
        raise ValueError(f"{folder} has a recurrent module, expected one that remembers nothing")
    return module.eval()


def _training_config(module_folder: Path) -> Fields:
    """Fields of the AlgorithmConfig of the checkpoint that the module lies in, empty if it lies in none."""
    if module_folder.parent.parts[-len(MODULES.parts) :] != MODULES.parts:
        return {}
    checkpoint = module_folder.parents[len(MODULES.parts)]
    if not (checkpoint / CLASS_FILE).is_file():
        return {}
    config = _unpickled(checkpoint / CLASS_FILE)["ctor_args_and_kwargs"][0][0]
    for way in ("_env_to_module_connector", "_module_to_env_connector"):
        if config.get(way) is not None:
            raise ValueError(
                f"{checkpoint} was trained with a connector of its own, {way[1:]}, which an entrant does not have; "
                "do its work in the module"
            )
    return config


def _unpickled(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return pickle.load(file)
    except Exception as error:  # pickles may raise anything
        raise ValueError(f"{path} cannot be read: {one_line(error)}") from error


def _manifest(name: str, module: TorchRLModule, config: Fields, forecaster: str) -> PolicyManifest:
    """What is known of the training."""
    env, env_config = config.get("env"), dict(config.get("env_config") or {})
    if env == TENSOR_ENV:
        env_config.setdefault("reach", EnvParams.reach)
    if env_config.get("reach") is None and not _is_bounded(module.action_space):
        raise ValueError(
            f"{name} acts without bounds, and no reach in env_config says which weights are meant; name a whole "
            "checkpoint of a training on the environments of arena"
        )
    if env_config.get("forecast") is not None and not forecaster:
        raise ValueError(f"{name} was trained with forecasts; say whose with the parameter forecaster")
    (obs_dim,), (num_assets,) = module.observation_space.shape, module.action_space.shape
    told = {
        "any_assets": isinstance(getattr(module, "network", None), AssetPolicy),
        "reach": env_config.get("reach"),
        "speed": env_config.get("speed", 1.0),
        "forecaster": forecaster or env_config.get("forecaster", ""),
        # The stock environment shows no history: there, history_length is for scripted agents.
        "history_length": env_config.get("history_length", 0) if env == TENSOR_ENV else 0,
    }
    manifest = manifest_of_shape(name, obs_dim, num_assets, told)
    if env in (STOCK_ENV, TENSOR_ENV):
        expected = max(len(preset(env_config.get("preset", "sqrt")).modes), 1)
        if manifest.num_modes != expected:
            raise ValueError(
                f"{name} was trained on another observation layout than this version's: {obs_dim} numbers for "
                f"{num_assets} assets and {expected} impact modes; train it again"
            )
    return manifest


def _mean_action(module: TorchRLModule) -> tuple[Map, torch.dtype]:
    """obs [B, F] float64 -> the mean of the module's action [B, A], and the precision of that."""
    if isinstance(module, ArenaRLModule):  # cuts its observations itself
        return MeanAction(module.network).double(), torch.float64
    seen = module.observation_space
    low, high = torch.from_numpy(seen.low).double(), torch.from_numpy(seen.high).double()
    distribution = module.get_inference_action_dist_cls()
    is_squashed = issubclass(distribution, TorchSquashedGaussian)

    def mean(obs: Tensor) -> Tensor:
        found = module.forward_inference({Columns.OBS: obs.clamp(low, high).float()})
        if Columns.ACTIONS in found:
            return found[Columns.ACTIONS]
        action = distribution.from_logits(found[Columns.ACTION_DIST_INPUTS]).to_deterministic().sample()
        # RLlib 2.60 gives the mean before it is squashed, which is not what was trained.
        return torch.tanh(action) if is_squashed else action

    return mean, torch.float32


def _for_env(space: Box, config: Fields) -> Map:
    """What RLlib's default connectors make of a module's action; without a config, as by its default."""
    with_default = config.get("add_default_connectors_to_module_to_env_pipeline", True)
    if not (with_default and _is_bounded(space)):
        return lambda action: action
    # One bound for all assets, where it is one: a network may play other numbers of them.
    sides = [torch.from_numpy(side).double() for side in (space.low, space.high)]
    low, high = (side[:1] if bool((side == side[0]).all()) else side for side in sides)
    if config.get("normalize_actions", True):
        return lambda action: (low + (action + 1) * (high - low) / 2).clamp(low, high)
    if config.get("clip_actions", False):
        return lambda action: action.clamp(low, high)
    return lambda action: action


def _is_bounded(space: Box) -> bool:
    return bool(space.is_bounded("both"))
