"""Tournaments from Python, and what can be entered. Each function does what a command does, with the same code.

They raise `arena.errors.UserError` for an input that cannot be used, and never end the process.
"""

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console

from arena.config.tournament import TournamentConfig
from arena.tournament.run.notebook import in_notebook
from arena.tournament.setup.configure import as_config, changed, resumed_run, with_options

if TYPE_CHECKING:
    import pandas as pd

    from arena.tournament.results.run_result import TournamentRun


def run_tournament(
    agents: Sequence[Any] | Mapping[str, Any] | None = None,
    *,
    config: TournamentConfig | Mapping[str, Any] | str | Path | None = None,
    scenarios: int | None = None,
    seed: int | None = None,
    data: str | Path | None = None,
    forecasters: Sequence[str] = (),
    control: Literal["null", "positive", "costs"] | None = None,
    name: str | None = None,
    out: str | Path | None = None,
    mirror: str | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> "TournamentRun":
    """Let agents trade one market in many scenarios and rank them; the run folder keeps all of it.

        class BuyTheDip:
            def __init__(self, lookback=20):
                self.lookback = lookback

            def act(self, obs):                      # NumPy, one market; obs is an arena.NumpyObservation
                average = obs.close[:, -self.lookback:].mean(axis=1)
                score = np.maximum(1 - obs.close[:, -1] / average, 0)
                return score / max(score.sum(), 1)   # target weights [A], fractions of nav

        run = arena.run_tournament(["cash", "momentum", BuyTheDip, BuyTheDip(lookback=5)], scenarios=256)
        run.leaderboard

    agents       entrants: names (see arena.list_agents), specs such as "my_agent.py:MyAgent" or "policy:FILE", classes,
                 instances, functions; a dict gives them names. None: the agents of the config
    config       sections and fields as in a YAML file, {"market": {"fee_bps": 1}}; a file, the name of a shipped
                 config, or a TournamentConfig. None: the default tournament
    scenarios    markets to play; on bars, at most as many as there are windows
    seed         of everything random; the same seed and config give the same fingerprint
    data         folder or file with OHLCV bars; None: synthetic markets
    forecasters  files or specs; each enters with two agents that follow it
    control      "null", "positive" or "costs": the same tournament as a check of the ranking
    name, out    the run folder is OUT/0001-NAME
    mirror       URI of a folder that keeps a copy of the run, such as s3://bucket/prefix
    workers      processes; 0 plays in this one, None uses one per core
    quiet        show no progress

    Returns an arena.TournamentRun. An agent that raises forfeits, and the tournament goes on. Objects that other
    processes cannot import are stored as code in RUN/agents. Raises UserError for bad input, IncompleteRun if
    the run stopped early and RunInterrupted on Ctrl-C: `arena.load_run(error.run)` opens what is finished, and
    `arena.resume_tournament(error.run)` continues it.
    """
    from arena.tournament.results.run_result import load_run
    from arena.tournament.run.driver import run_tournament
    from arena.tournament.setup.given_agents import agent_configs

    sections = as_config(config)
    with tempfile.TemporaryDirectory(prefix="arena-agents-") as folder:
        given = None
        if agents is not None:
            here = (sections.ray.workers if workers is None else workers) == 0
            given = agent_configs(agents, Path(folder), in_this_process=here)
        fields = {
            "agents": given,
            "seed": seed,
            "name": name,
            "out": out,
            "mirror": mirror,
            "data.scenarios": scenarios,
            "data.source": None if data is None else "bars",
            "data.dir": data,
            "ray.workers": workers,
        }
        whole = with_options(changed(sections, fields, "run_tournament"), forecasters=forecasters, control=control)
        run, _ = run_tournament(whole, None, "arena.run_tournament(...) in Python", _console(quiet))
    return load_run(run)


def resume_tournament(
    run: str | Path,
    *,
    workers: int | None = None,
    mirror: str | None = None,
    out: str | Path | None = None,
    quiet: bool = False,
) -> "TournamentRun":
    """Play what an interrupted run lacks, and rank it.

    run      its folder, or the URI of its copy, which is fetched into `out` first
    workers  processes; 0 plays in this one, None keeps what the run began with
    mirror   URI of a folder that keeps a copy from now on

    The result equals that of a run without an interruption. Agents that were Python objects are opened from
    RUN/agents, which runs their code. Raises as run_tournament.
    """
    from arena.tournament.results.run_result import load_run
    from arena.tournament.run.driver import run_tournament

    fields = {"ray.workers": workers, "mirror": mirror, "out": out}
    config, folder = resumed_run(run, lambda saved: changed(saved, fields, "resume_tournament"))
    folder, _ = run_tournament(config, folder, "", _console(quiet))
    return load_run(folder)


def list_agents() -> "pd.DataFrame":
    """The built-in agents and those of installed packages: name, description, parameters with defaults, is_cheat.

    A parameter without a default has the value inspect.Parameter.empty. A cheat sees what no trader can know and plays
    only with tournament.allow_cheats.
    """
    import pandas as pd

    from arena.agents.registry import describe_agents

    return pd.DataFrame(describe_agents())


def list_forecasters() -> "pd.DataFrame":
    """The forecasters: name (the spec), description, parameters, min_context and max_horizon [bars]."""
    import pandas as pd

    from arena.forecast.loading import describe_forecasters

    return pd.DataFrame(describe_forecasters())


def _console(quiet: bool) -> Console:
    """What shows the progress. In a notebook it prints plain text, and the bar is an output of its own."""
    if in_notebook():  # Ray imports tqdm, which then asks for widgets that nothing here uses
        warnings.filterwarnings("ignore", message="IProgress not found")
    return Console(quiet=quiet, highlight=False, force_jupyter=False if in_notebook() else None)
