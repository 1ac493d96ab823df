"""Agents trade one market and move its price; a tournament ranks them.

    import arena
    trained = arena.train("smoke")                                     # RLlib trains a policy
    run = arena.run_tournament(["cash", "momentum", trained.spec])     # who is better, and how sure that is
    print(run.leaderboard)                                             # a pandas DataFrame
    env = arena.ArenaEnv(["cash", "momentum"])                         # a market for a learner of your own

Tournaments
    run_tournament        run a tournament and return its results
    resume_tournament     continue a run that stopped early
    load_run              open the folder of a run
    TournamentRun         results of a run: leaderboard, intervals, matches, paths
    TournamentConfig      every setting of a tournament, with its default

Training
    train                 train an agent with RLlib
    resume_training       continue a training that stopped early
    load_training         open the run folder of a training
    TrainingRun           results of a training: policy file, checkpoints, learning curve
    register_rllib        make the environments known to RLlib, also for `Algorithm.from_checkpoint`

Environments
    ArenaEnv              one seat of a market, for Gymnasium; also `gymnasium.make("arena/Market-v0")`
    ArenaParallelEnv      all seats of a market, for PettingZoo
    VectorMarket          many markets at once, as tensors

Agents, forecasters, data
    list_agents           a DataFrame of the built-in and installed agents
    NumpyObservation      what an agent written in NumPy receives
    list_forecasters      a DataFrame of the forecasters
    load_forecaster       make a forecaster from its name or file
    load_bars             read OHLCV files

errors                    module with the exceptions: UserError, IncompleteRun, RunInterrupted, ...
__version__               version of this package

Each name is imported when it is first used, so that `import arena` is quick.
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from arena import old_names

__version__ = "0.2.0.dev0"

if TYPE_CHECKING:
    from arena import errors
    from arena.agents.numpy_agent import NumpyObservation
    from arena.api import list_agents, list_forecasters, resume_tournament, run_tournament
    from arena.config.tournament import TournamentConfig
    from arena.data.bars.readers import load_bars
    from arena.envs.parallel import ArenaParallelEnv
    from arena.envs.single import ArenaEnv
    from arena.forecast.loading import load_forecaster
    from arena.market.vector import VectorMarket
    from arena.rl.app.run import TrainingRun, load_training
    from arena.rl.app.train import resume_training, train
    from arena.rl.rllib.registration import register_rllib
    from arena.tournament.results.run_result import load_run
    from arena.tournament.results.tournament_run import TournamentRun

__all__ = [
    "ArenaEnv",
    "ArenaParallelEnv",
    "NumpyObservation",
    "TournamentConfig",
    "TournamentRun",
    "TrainingRun",
    "VectorMarket",
    "__version__",
    "errors",
    "list_agents",
    "list_forecasters",
    "load_bars",
    "load_forecaster",
    "load_run",
    "load_training",
    "register_rllib",
    "resume_tournament",
    "resume_training",
    "run_tournament",
    "train",
]

# Module that defines each name of `__all__`; "" marks a module of this package.
_MODULES = {
    **dict.fromkeys(("list_agents", "list_forecasters", "resume_tournament", "run_tournament"), "arena.api"),
    **dict.fromkeys(("resume_training", "train"), "arena.rl.app.train"),
    "ArenaEnv": "arena.envs.single",
    "ArenaParallelEnv": "arena.envs.parallel",
    "NumpyObservation": "arena.agents.numpy_agent",
    "TournamentConfig": "arena.config.tournament",
    "TournamentRun": "arena.tournament.results.tournament_run",
    "TrainingRun": "arena.rl.app.run",
    "VectorMarket": "arena.market.vector",
    "errors": "",
    "load_bars": "arena.data.bars.readers",
    "load_forecaster": "arena.forecast.loading",
    "load_run": "arena.tournament.results.run_result",
    "load_training": "arena.rl.app.run",
    "register_rllib": "arena.rl.rllib.registration",
}


def __getattr__(name: str) -> Any:
    """Imports a name of `__all__` when it is first used (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module 'arena' has no attribute {name!r}", name=name, obj=sys.modules[__name__])
    module = _MODULES[name]
    found = getattr(import_module(module), name) if module else import_module(f"{__name__}.{name}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Names for `dir(arena)` and for completion in an editor, also those not imported yet."""
    return sorted({*globals(), *__all__})


old_names.install()
try:
    import gymnasium
except ImportError:  # the tensor market needs torch and numpy only
    pass
else:
    from arena.envs.registration import register_market

    register_market(gymnasium)
