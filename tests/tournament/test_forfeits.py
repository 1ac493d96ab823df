"""An entrant that forfeits, in whatever seat: the run ends, and its report shows the seats that have a path."""

import json
import re

import pytest

from arena.cli import main
from arena.tournament.report import plots
from arena.tournament.report.replay import replay
from arena.tournament.store import units

AGENT = """
import numpy as np


class Bad:
    history_length = 2

    def __init__(self, limit: float = 0.0):
        self.limit = limit

    def act(self, obs):
        if obs.volatility[0] > self.limit:
            raise RuntimeError("boom")
        return np.full(obs.num_assets, 0.1)
"""
SCENARIOS = 16
BAD = {  # raises where the daily volatility of the first asset is above the limit
    "Always": ("bad.py:Bad", {"limit": 0.0}),
    "Sometimes": ("bad.py:Bad", {"limit": 0.026}),
}


@pytest.fixture
def play(tmp_path, monkeypatch):
    """Plays a field of (agent, params, name), writes the report again and resumes; returns the run folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.py").write_text(AGENT)

    def whole_life(agents):
        config = {
            "name": "forfeit",
            "data": {"scenarios": SCENARIOS, "num_assets": 3, "episode_length": 5},
            "agents": [{"agent": agent, "params": params, "name": name} for agent, params, name in agents],
            "tournament": {"batch_size": 2},
            "ray": {"workers": 0},
        }
        (tmp_path / "forfeit.yaml").write_text(json.dumps(config))
        run = tmp_path / "runs" / "0001-forfeit"
        assert main(["tournament", "--config", "forfeit.yaml"]) == 0
        board = (run / "leaderboard.json").read_text()
        for again in (["report", str(run)], ["tournament", "--resume", str(run)]):
            (run / "report.html").unlink()
            assert main(again) == 0
            assert (run / "report.html").exists()
        assert (run / "leaderboard.json").read_text() == board
        return run

    return whole_life


def shown_match(run):
    """The match that the page replays, None without one."""
    found = re.search(r"const match = (\{.*?\});\n", (run / "report.html").read_text())
    return found and json.loads(found[1])


@pytest.mark.parametrize(
    "names",
    [("Always", "Sometimes", "equal_weight"), ("cash", "Always", "Sometimes"), ("Sometimes", "equal_weight", "Always")],
    ids="-".join,
)
def test_the_report_shows_the_seats_that_have_a_path(play, monkeypatch, names):
    monkeypatch.setattr(plots, "write_plots", lambda *arguments: [])
    run = play([(*BAD.get(name, (name, {})), name) for name in names])
    board = json.loads((run / "leaderboard.json").read_text())
    forfeits = {entry["agent"]: entry["forfeits"] for entry in board["agents"]}
    assert forfeits.pop("Always") == SCENARIOS
    assert 0 < forfeits.pop("Sometimes") < SCENARIOS
    assert list(forfeits.values()) == [0]
    markets = units.read_markets(run)
    kept = set()
    for scenario in set(markets["scenario"].to_pylist()):
        rows = markets.filter([value == scenario for value in markets["scenario"].to_pylist()])
        present = set(rows["agent"].to_pylist())
        match = replay(rows)
        assert match.agents == [name for name in names if name in present]
        for asset in match.assets:
            assert len(asset.position) == len(match.agents)
            held = {name: any(asset.position[i]) for i, name in enumerate(match.agents)}
            assert held == {name: name != "cash" for name in match.agents}
        kept.add(len(match.agents))
    assert kept == {1, 2}
    assert "Always" not in shown_match(run)["agents"]


def test_a_field_that_forfeits_as_a_whole_has_a_report_without_paths(play):
    run = play([(*BAD["Always"], f"Bad-{i}") for i in range(3)])
    board = json.loads((run / "leaderboard.json").read_text())
    assert [entry["forfeits"] for entry in board["agents"]] == [SCENARIOS] * 3
    assert shown_match(run) is None
    assert "boom" in (run / "report.html").read_text()
