"""What a ranking needs beside the units of a run. RUN/ranking.json stores it when the run begins.

A run can therefore be ranked in any process, finished or not, and no agent's code is opened there.
"""

import json
from pathlib import Path
from typing import NamedTuple

from arena.config.tournament import TournamentConfig
from arena.errors import UserError
from arena.tournament.schedule.formats import Schedule
from arena.tournament.setup.plan import Plan, make_schedule, num_copies, synthetic_seeds
from arena.tournament.setup.stopping import StopRule, stop_rule
from arena.tournament.stats.growth import ScenarioKind
from arena.tournament.store.atomic_file import atomic_file
from arena.tournament.store.units import StorageError, os_error_text

FILE = "ranking.json"


class WindowTimes(NamedTuple):
    """Times of the windows of bars, as text; one per window."""

    begins: list[str]  # first decision
    ends: list[str]  # last bar


class RankingFacts(NamedTuple):
    """What the config of a run alone does not say; JSON-ready."""

    kind: ScenarioKind
    periods_per_year: float  # steps per year
    num_scenarios: int  # planned, those of a final included
    forecast_pairs: list[list[str]]  # [entrant that uses a forecast, entrant with the same rule on a random walk]
    data_notes: list[str]  # sentences about the bars
    windows: WindowTimes | None  # None: synthetic, or bars without times


class RankingPlan(NamedTuple):
    """What a ranking needs beside the units of a run."""

    schedule: Schedule
    stop: StopRule | None
    num_copies: int  # of each entrant of a population; 0 in another format
    facts: RankingFacts


def ranking_plan(plan: Plan) -> RankingPlan:
    """The part of a plan that a ranking needs."""
    pairs = [list(pair) for pair in plan.forecast_pairs]
    facts = RankingFacts(
        plan.kind, plan.periods_per_year, plan.num_scenarios, pairs, data_notes(plan), _window_times(plan)
    )
    return RankingPlan(plan.schedule, plan.stop, plan.num_copies, facts)


def data_notes(plan: Plan) -> list[str]:
    """What a reader must know about the bars."""
    found = [] if plan.data_report is None else [f"Data: {plan.data_report.text(0).splitlines()[0]}."]
    return [*found, *plan.data_notes]


def store_ranking_plan(run: Path, plan: Plan) -> None:
    """Write RUN/ranking.json unless it is there; StorageError if that fails."""
    if (run / FILE).exists():
        return
    facts = ranking_plan(plan).facts
    content = facts._asdict() | {"windows": facts.windows and facts.windows._asdict()}
    try:
        with atomic_file(run / FILE) as place:
            place.write_text(json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise StorageError(f"cannot write {FILE} to {run}: {os_error_text(error)}") from error


def read_ranking_plan(run: Path, config: TournamentConfig) -> RankingPlan:
    """The stored part of the plan of a run, and its schedule made again from the config. Opens no agent."""
    path = run / FILE
    remedy = f"Use `arena tournament --resume {run}` to finish the run."
    if not path.is_file():
        raise UserError(
            f"{run}: the run is not finished and has no {FILE}, so an older version began it. It cannot be ranked yet. "
            f"{remedy}"
        )
    try:
        content = json.loads(path.read_text())
        windows = content.pop("windows")
        facts = RankingFacts(**content, windows=windows and WindowTimes(**windows))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: the file is damaged ({error}). Delete it. {remedy}") from error
    scenarios = synthetic_seeds(config) if facts.kind == "seed" else range(facts.num_scenarios)
    return RankingPlan(make_schedule(config, scenarios), stop_rule(config), num_copies(config), facts)


def _window_times(plan: Plan) -> WindowTimes | None:
    windows = plan.job.windows
    if windows is None or windows.timestamps is None:
        return None
    times = windows.timestamps.numpy().astype("datetime64[us]")
    times = times.astype("datetime64[D]" if windows.dt >= 1 else "datetime64[m]")
    return WindowTimes(times[:, windows.warmup].astype(str).tolist(), times[:, -1].astype(str).tolist())
