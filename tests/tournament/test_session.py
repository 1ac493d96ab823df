"""A run resumed, interrupted, damaged, played in another order or by other processes gives the same result."""

import json
from contextlib import contextmanager
from io import StringIO

import pytest
from rich.console import Console

from arena.config.tournament import TournamentConfig
from arena.errors import RunInterrupted, UserError
from arena.tournament.results.outcome import rank, write_outcome
from arena.tournament.run import run_units as run_units_module
from arena.tournament.run.run_units import run_units
from arena.tournament.run.workers import num_workers, open_workers
from arena.tournament.setup.plan import make_plan, resolve_paths
from arena.tournament.store.run_folder import check_same_inputs, create_run, open_run
from arena.tournament.store.units import (
    compact,
    digest,
    finished_units,
    read_markets,
    read_paths,
    read_transfers,
    read_units,
    write_unit,
)
from arena.tournament.types import FORFEIT

FRAIL_AGENTS = '''
import os
import signal
from pathlib import Path
import torch

class Raises:
    history_length = 0
    def reset(self): pass
    def act(self, observation, generator): raise RuntimeError(f"broken in process {len(str(self)) > 0}")

class DiesOnce(Raises):
    """Takes its whole process down as the system does where memory runs out, but only the first time."""
    def __init__(self, marker: str): self.marker = Path(marker)
    def act(self, observation, generator):
        if not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.randn(observation.weight.shape, generator=generator, dtype=torch.float64) * 0.1
'''


def tiny(tmp_path, **changes):
    """Three seats of a field of seven, two batches of scenarios: 10 units of milliseconds."""
    agents = tmp_path / "frail.py"
    agents.write_text(FRAIL_AGENTS)
    marker = tmp_path / "died"
    return TournamentConfig.model_validate(
        {
            "name": "tiny",
            "seed": 3,
            "out": tmp_path / "runs",
            "data": {"num_assets": 2, "scenarios": 5, "episode_length": 6},
            "agents": [
                {"agent": "cash"},
                {"agent": "random", "copies": 2},
                {"agent": "mean_variance", "params": {"forecaster": "drift", "speed": 0.5}},
                {"agent": "rank", "params": {"forecaster": "persistence+drift", "speed": 0.5}},
                {"agent": f"{agents}:Raises"},
                {"agent": f"{agents}:DiesOnce", "params": {"marker": str(marker)}},
            ],
            "tournament": {"seats": 3, "batch_size": 3, "lineups": 5, "paths_mb": 0.01},
            "ray": {"workers": 0},
            **changes,
        }
    )


def new_run(config):
    plan = make_plan(config)
    return plan, create_run(config, "a command", plan.data_digest)


def played(config, console=None):
    """The digest of a fresh run."""
    plan, run = new_run(config)
    run_units(config, plan, run, console or Console(file=StringIO()))
    return digest(compact(run, plan.units)), plan, run


@pytest.fixture
def survivor(tmp_path):
    """A config whose frail agent will not die any more, and the digest of its tournament."""
    (tmp_path / "died").touch()
    config = tiny(tmp_path)
    return config, played(config)[0]


def test_a_run_leaves_all_its_files(tmp_path, survivor):
    config, expected = survivor
    _, plan, run = played(config)
    board = write_outcome(run, plan, config.seed, "tiny").to_json()
    assert run.name == "0002-tiny"
    assert board["digest"] == expected
    assert board["scenarios"] == 5
    for name in ("report.html", "leaderboard.json", "leaderboard.csv", "results.parquet", "environment.json"):
        assert (run / name).stat().st_size > 100, name
    assert (run / "command.txt").read_text() == "a command\n"
    assert list((run / "plots").glob("*.png"))
    assert read_paths(run).num_rows > 0
    kept = read_markets(run).to_pandas()[["scenario", "lineup"]].drop_duplicates().to_numpy().tolist()
    sampled = [unit for unit in plan.units if unit.name in plan.job.market_units]
    assert 0 < len(sampled) < len(plan.units)
    assert sorted(kept) == sorted([unit.scenarios[0], unit.lineup.lineup] for unit in sampled)
    moved = read_transfers(run).to_pandas()
    paths = read_paths(run).to_pandas()
    matches = [set(map(tuple, rows[["scenario", "lineup"]].to_numpy().tolist())) for rows in (moved, paths)]
    assert matches[0] == matches[1], "transfers are those of the matches that keep their paths"
    assert board["transfers"]["games"] == len(matches[0])
    assert open_run(run) == config
    events = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events[:2]] == ["begin", "unit"]
    forfeits = {event["agent"] for event in events if event["event"] == "forfeit"}
    assert forfeits == {"Raises"}
    assert [entry["forfeits"] > 0 for entry in board["agents"]] == [
        name["agent"] == "Raises" for name in board["agents"]
    ]


def test_the_budget_of_paths_changes_no_result(tmp_path, survivor):
    _, expected = survivor
    without = {"seats": 3, "batch_size": 3, "lineups": 5, "paths_mb": 0}
    got, plan, run = played(tiny(tmp_path, tournament=without))
    assert got == expected
    assert not (run / "paths").exists()
    assert write_outcome(run, plan, 3, "no paths").transfers is None
    assert "One market" not in (run / "report.html").read_text()


def test_the_order_of_units_changes_nothing(survivor):
    config, expected = survivor
    plan, run = new_run(config)
    with open_workers(plan.job, config.ray, len(plan.units), "reversed") as play:
        for unit, tables in play(plan.units[::-1]):
            write_unit(run, unit, tables.results)
    assert digest(compact(run, plan.units)) == expected


def test_an_interrupted_run_is_finished_by_resuming(survivor, monkeypatch):
    config, expected = survivor
    plan, run = new_run(config)
    real = run_units_module.open_workers

    def stopped(played):
        for count, done in enumerate(played):
            if count == 2:
                raise KeyboardInterrupt
            yield done

    @contextmanager
    def stopping(*arguments):
        with real(*arguments) as play:
            yield lambda units: stopped(play(units))

    monkeypatch.setattr(run_units_module, "open_workers", stopping)
    with pytest.raises(RunInterrupted, match=r"stopped after 2 of 10 batches"):
        run_units(config, plan, run, Console(file=StringIO()))
    kept = {path.name: path.stat().st_mtime_ns for path in (run / "units").iterdir()}
    assert len(kept) == 2
    assert rank(run, plan, config.seed).standings, "a partial table must be possible"

    asked = []

    @contextmanager
    def listening(*arguments):
        with real(*arguments) as play:
            yield lambda units: (asked.extend(units), play(units))[1]

    monkeypatch.setattr(run_units_module, "open_workers", listening)
    run_units(config, plan, run, Console(file=StringIO()))
    assert len(asked) == 8, "what was finished is not played again"
    assert all((run / "units" / name).stat().st_mtime_ns == when for name, when in kept.items())
    assert digest(compact(run, plan.units)) == expected


def test_a_damaged_unit_is_played_again(survivor):
    config, expected = survivor
    _, plan, run = played(config)
    victim = run / "units" / f"{plan.units[1].name}.parquet"
    victim.write_bytes(victim.read_bytes()[:-100])
    said = StringIO()
    run_units(config, plan, run, Console(file=said, width=500))
    assert "is played again" in said.getvalue()
    assert digest(compact(run, plan.units)) == expected


def test_a_finished_run_plays_nothing(survivor):
    config, _ = survivor
    _, plan, run = played(config)
    before = sorted(path.stat().st_mtime_ns for path in (run / "units").iterdir())
    run_units(config, plan, run, Console(file=StringIO()))
    assert sorted(path.stat().st_mtime_ns for path in (run / "units").iterdir()) == before
    assert len(finished_units(run, plan.units).names) == len(plan.units)


@pytest.mark.ray
@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_ray_workers_change_nothing_not_even_one_that_dies(tmp_path, workers):
    config = tiny(tmp_path, ray={"workers": workers})
    on_ray, plan, run = played(config)
    assert (tmp_path / "died").exists(), "the frail agent was to take a worker down"
    in_process, _, _ = played(config.model_copy(update={"ray": tiny(tmp_path).ray}))
    assert on_ray == in_process
    rows = read_units(run, plan.units).to_pandas()
    assert set(rows[rows["status"] == FORFEIT]["agent"]) == {"Raises"}


def test_another_seed_is_another_tournament(tmp_path, survivor):
    _, expected = survivor
    assert played(tiny(tmp_path, seed=4))[0] != expected


def test_no_more_workers_than_units(tmp_path):
    config = tiny(tmp_path, ray={"workers": 64})
    assert num_workers(config.ray, 3) == 3
    assert num_workers(tiny(tmp_path).ray, 3) == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"agents": [{"agent": "momentun"}]}, "unknown agent 'momentun'; did you mean 'momentum'?"),
        ({"agents": [{"agent": "nowhere/agent.py:Mine"}]}, "no file"),
        ({"agents": [{"agent": "momentum", "params": {"lookbak": 3}}]}, "has no parameter 'lookbak'"),
        ({"agents": [{"agent": "momentum", "params": {"lookback": 90}}]}, "raise data.warmup"),
        ({"agents": [{"agent": "oracle"}]}, "set tournament.allow_cheats to admit it"),
        ({"market": {"preset": "sqr"}}, "unknown market preset 'sqr'"),
        ({"tournament": {"lineups": 99}}, "num_lineups is 99"),
    ],
)
def test_what_cannot_be_played_is_refused_before_the_first_match(tmp_path, changes, said):
    changes = {"tournament": {}, **changes}
    with pytest.raises(UserError, match=said.replace("?", r"\?").replace(".", r"\.")):
        make_plan(tiny(tmp_path, **changes))


def test_one_asset_and_one_agent_are_enough(tmp_path):
    data = {"num_assets": 1, "scenarios": 2, "episode_length": 4}
    config = tiny(tmp_path, agents=[{"agent": "random"}], data=data, tournament={})
    _, plan, run = played(config)
    board = write_outcome(run, plan, config.seed, "alone").to_json()
    assert [entry["agent"] for entry in board["agents"]] == ["random"]


def test_two_hundred_assets_are_not_too_many(tmp_path):
    data = {"num_assets": 200, "scenarios": 2, "episode_length": 4}
    _, plan, run = played(tiny(tmp_path, agents=[{"agent": "cash"}, {"agent": "rsi"}], data=data, tournament={}))
    rows = read_units(run, plan.units).to_pandas()
    assert len(rows) == 4
    assert rows["final_nav"].notna().all()


def test_a_run_refuses_other_data(tmp_path):
    config = tiny(tmp_path)
    _, run = new_run(config)
    check_same_inputs(run, "", {})
    with pytest.raises(UserError, match="have changed since it began"):
        check_same_inputs(run, "0123", {})


def test_paths_are_absolute_in_a_stored_config(tmp_path, monkeypatch):
    (tmp_path / "frail.py").write_text(FRAIL_AGENTS)
    monkeypatch.chdir(tmp_path)
    config = TournamentConfig.model_validate({"agents": [{"agent": "frail.py:Raises"}], "data": {"dir": "bars"}})
    resolved = resolve_paths(config)
    assert resolved.agents[0].agent == f"{tmp_path}/frail.py:Raises"
    assert resolved.data.dir == tmp_path / "bars"
    assert resolved.field == config.field
