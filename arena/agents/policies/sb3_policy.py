"""Policies of Stable-Baselines3 as entrants: `sb3:FILE.zip`, what `model.save` wrote after training on ArenaEnv.

Such a file holds pickles, and reading it runs code: take it only from people you trust. What a VecNormalize around the
training environment knew is in another file: without it, train on observations as they are.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from arena.agents.policies.policy import PolicyAgent, manifest_of_shape, one_line

NEEDED = ("policy_class", "policy_kwargs", "observation_space", "action_space", "use_sde")


def load_sb3(path: str | Path, forecaster: str = "") -> PolicyAgent:
    """The agent of a saved model of any algorithm with continuous actions: PPO, A2C, SAC, TD3, DDPG and their like.

    forecaster  spec of the one in its observation in training; "" if it had none

    It sees what ArenaEnv shows, cut to the bounds of its space, in float32; its deterministic actions, within the
    bounds of theirs, are target weights. ValueError says in one sentence what cannot be used.
    """
    path = Path(path)
    policy = _policy(path)
    seen, done = policy.observation_space, policy.action_space
    low, high = torch.from_numpy(seen.low).double(), torch.from_numpy(seen.high).double()

    def network(obs: Tensor) -> Tensor:
        actions, _ = policy.predict(obs.clamp(low, high).float().numpy(), deterministic=True)
        return torch.from_numpy(actions)

    manifest = manifest_of_shape(path.name, len(seen.low), len(done.low), {"forecaster": forecaster})
    return PolicyAgent(network, manifest, path.name, precision=torch.float32)


def _policy(path: Path) -> Any:
    """The policy alone, with its weights: no algorithm, no buffers."""
    stored = _stored_names(path)
    try:
        from stable_baselines3.common.save_util import load_from_zip_file
    except ImportError as error:
        raise ValueError(f'{path} needs Stable-Baselines3: pip install "market-arena[sb3]"') from error
    try:
        # The rest, schedules for one, may hold code of another Python version, and is not looked at.
        others = dict.fromkeys(stored - set(NEEDED))
        data, weights, _ = load_from_zip_file(path, custom_objects=others, device="cpu")
        assert data is not None
        settings = data["policy_kwargs"] | ({"use_sde": True} if data.get("use_sde") else {})
        policy = data["policy_class"](
            data["observation_space"], data["action_space"], lr_schedule=lambda _: 0.0, **settings
        )
        policy.load_state_dict(weights["policy"])
    except Exception as error:  # pickles may raise anything
        raise ValueError(f"{path} cannot be loaded: {one_line(error)}") from error
    for space in (policy.observation_space, policy.action_space):
        if len(space.shape or ()) != 1 or not hasattr(space, "low"):
            raise ValueError(f"{path} has the space {space}, expected those of arena.envs.single.ArenaEnv: flat boxes")
    if hasattr(policy, "lstm_actor"):
        raise ValueError(f"{path} has a recurrent policy, expected one that remembers nothing")
    return policy.eval()


def _stored_names(path: Path) -> set[str]:
    """What the file holds beside weights."""
    if not path.is_file():
        raise ValueError(f"{path} does not exist; model.save of Stable-Baselines3 writes such files")
    try:
        with zipfile.ZipFile(path) as archive:
            stored = set(json.loads(archive.read("data")))
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{path} is no whole file of Stable-Baselines3: {error}") from error
    missing = [name for name in NEEDED if name not in stored and name != "use_sde"]
    if missing:
        raise ValueError(f"{path} is no model of Stable-Baselines3 with a policy: it lacks {', '.join(missing)}")
    return stored
