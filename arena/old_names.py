"""Names that modules had in version 0.1: agents' files, policies and checkpoints of that time import them.

An old name gives the module of the new name. Only what files of users may name is here; code of arena uses new names.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

# Package of today -> its modules, each under the old name or as "old name=new name".
_MOVED = {
    "data.bars": "data.columns data.checks data.align data.findings data.tables",
    "data.synthetic": (
        "data.synthetic_params=params data.factors data.noise data.stylized data.lessons=training_windows data.seeds"
    ),
    "market": (
        "envs.types envs.impact envs.clearing envs.accounting envs.reward envs.market=step envs.observation "
        "envs.history envs.storage envs.presets envs.vector"
    ),
    "forecast.models": (
        "forecast.checkpoint forecast.toto "
        "forecast.toto_layers forecast.toto_config forecast.toto1 forecast.toto1_layers "
        "forecast.toto1_mixture forecast.toto1_scaler forecast.kronos forecast.kronos_layers "
        "forecast.kronos_predictor forecast.kronos_tokenizer forecast.layers forecast.embedded "
        "forecast.bar_models"
    ),
    "forecast.export": ("forecast.artifact forecast.parity forecast.published forecast.sources forecast.captured"),
    "forecast.evaluate": (
        "forecast.evaluation forecast.scoring forecast.significance forecast.contracts forecast.embedded_training"
    ),
    "forecast.serving": (
        "forecast.batching forecast.cache forecast.lru forecast.server forecast.service forecast.live"
    ),
    "agents.rules": (
        "agents.baselines agents.price_rules agents.fader agents.followers=forecast_agents "
        "agents.minimum_variance agents.shrinkage agents.indicators agents.oracle agents.rule "
        "agents.weights=sizing"
    ),
    "agents.policies": ("agents.network agents.policy agents.onnx_policy agents.sb3_policy agents.saved_object"),
    "agents.sandbox": "agents.isolation",
    "rl": "training.types training.rewards training.windows training.market_env",
    "rl.ppo": (
        "training.gae training.gaussian training.loss=batch training.normalise=normalize "
        "training.ppo_loop=batch training.rollout training.episodes"
    ),
    "rl.rllib": (
        "training.algorithm training.experience training.frozen_module training.learner training.registration "
        "training.rl_module training.rllib_config=config_file training.tensor_runner training.tuning "
        "training.export agents.rllib_policy=entrant"
    ),
    "rl.app": "training.league_driver",
    "forecast": "forecast.recorder=call_stats",
    "rl.league": "training.league training.opponents training.pool training.outcomes",
}
NEW_NAMES = {
    f"arena.{old}": f"arena.{package}.{new or old.rpartition('.')[2]}"
    for package, modules in _MOVED.items()
    for old, _, new in (entry.partition("=") for entry in modules.split())
} | {"arena.training": "arena.rl"}


class OldNames(MetaPathFinder, Loader):
    """Finds a module by the name that it had before."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None of a name that is not an old one."""
        return ModuleSpec(fullname, self) if fullname in NEW_NAMES else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module of the new name, which keeps its own spec."""
        module = import_module(NEW_NAMES[spec.name])
        self._own = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is left to do: undo what the import system wrote into the module."""
        module.__spec__ = self._own


def install() -> None:
    """From now on old names can be imported."""
    if not any(isinstance(finder, OldNames) for finder in sys.meta_path):
        sys.meta_path.insert(0, OldNames())  # first, or a package of today would be loaded a second time
