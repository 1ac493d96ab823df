"""Runs, policies and agents of arena 0.1.0 can still be read, ranked and played; see fixtures/old_files/README.md."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import arena
from arena.cli import main
from arena.tournament.store.digest import digest

OLD = Path(__file__).parent / "fixtures" / "old_files"
RUNS = ("synthetic_run", "bars_run")
AGENTS = (
    *("numpy_agent.py:BuyTheDip", "numpy_agent.py:Follower"),
    *("batch_agent.py:Dip", "batch_agent.py:Trend"),
)
POLICIES = ("trained.pt", "smoke_policy.pt")
SMALL = """\
name: small
data: {{scenarios: 2, num_assets: 4, episode_length: 4}}
agents: {agents}
ray: {{workers: 0}}
out: {out}
"""


@pytest.fixture
def run(request, tmp_path, monkeypatch):
    """A copy of an old run, beside the bars that its config names."""
    shutil.copytree(OLD / "bars", tmp_path / "bars")
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(OLD / request.param, tmp_path / request.param)


def board(run):
    return json.loads((run / "leaderboard.json").read_text())


def unit_events(run):
    return [line for line in (run / "log.jsonl").read_text().splitlines() if json.loads(line)["event"] == "unit"]


@pytest.mark.parametrize("name", RUNS)
def test_the_digest_of_an_old_run_is_that_of_its_rows(name):
    assert digest(pq.read_table(OLD / name / "results.parquet")) == board(OLD / name)["digest"]


@pytest.mark.parametrize("name", RUNS)
def test_an_old_run_is_an_object(name):
    run = arena.load_run(OLD / name)
    assert run.fingerprint == board(OLD / name)["digest"]
    assert not run.partial
    assert list(run.leaderboard["agent"]) == [entry["agent"] for entry in board(OLD / name)["agents"]]
    assert len(run.results) == pq.read_metadata(OLD / name / "results.parquet").num_rows


@pytest.mark.parametrize("name", RUNS)
def test_an_old_leaderboard_is_written_as_it_was_read(name):
    assert json.dumps(arena.load_run(OLD / name).board.to_json()) == json.dumps(board(OLD / name))


@pytest.mark.parametrize("run", RUNS, indirect=True)
def test_the_report_of_an_old_run_is_written_again(run):
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert all(entry["agent"] in page for entry in board(run)["agents"])
    assert "displacement" in page, "the match to replay"


@pytest.mark.parametrize("run", RUNS, indirect=True)
def test_an_old_run_is_ranked_again_without_playing(run):
    before, events = board(run), unit_events(run)
    assert main(["tournament", "--resume", str(run)]) == 0
    after = board(run)
    assert after["digest"] == before["digest"]
    assert [entry["agent"] for entry in after["agents"]] == [entry["agent"] for entry in before["agents"]]
    assert unit_events(run) == events
    for unit in (OLD / run.name / "units").iterdir():
        assert (run / "units" / unit.name).read_bytes() == unit.read_bytes()


def play(specs, folder):
    """Rows of these entrants in the leaderboard of one tiny tournament."""
    config = folder / "small.yaml"
    agents = [{"agent": "cash"}, *({"agent": spec, "name": f"old-{i}"} for i, spec in enumerate(specs))]
    config.write_text(SMALL.format(agents=json.dumps(agents), out=folder / "runs"))
    assert main(["tournament", "--config", str(config)]) == 0
    return [row for row in board(folder / "runs" / "0001-small")["agents"] if row["agent"] != "cash"]


def test_old_policies_and_agents_play(tmp_path):
    specs = [*(f"policy:{OLD / file}" for file in POLICIES), *(str(OLD / agent) for agent in AGENTS)]
    rows = play(specs, tmp_path)
    assert len(rows) == len(specs)
    assert [row["forfeits"] for row in rows] == [0] * len(specs)
    assert all(row["turnover"] > 0 for row in rows)


@pytest.mark.ray
def test_an_old_checkpoint_plays(tmp_path):
    (row,) = play([f"rllib:{OLD / 'checkpoint'}"], tmp_path)
    assert row["forfeits"] == 0
    assert row["turnover"] > 0
