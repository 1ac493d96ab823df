"""The whole machinery against known answers: where nothing can be earned and where the winner is known."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from arena.cli import tournament
from arena.config.files import read_config
from arena.config.tournament import AgentConfig
from arena.tournament.results.outcome import rank
from arena.tournament.run.run_units import run_units
from arena.tournament.setup.plan import make_plan
from arena.tournament.store.run_folder import create_run

CONFIGS = Path(__file__).parents[2] / "configs" / "tournament"


STOP_WHEN_AHEAD = """
import torch

class StopWhenAhead:
    # Bets on everything, doubles up when it is behind, and goes home for good once it is a little ahead.
    history_length = 0
    target = 0.0035  # log growth

    def reset(self):
        self.home = None

    def act(self, observation, generator):
        ahead = observation.growth > self.target
        self.home = ahead if self.home is None else self.home | ahead
        gross = (0.5 - 20 * observation.growth).clamp(0.5, 1.9)
        weight = torch.where(self.home, 0.0, gross / observation.weight.shape[-1]).unsqueeze(-1)
        return weight.expand_as(observation.weight)
"""


def board_of(name, tmp_path, scenarios, agents=None):
    """The leaderboard of a shipped config, or of its market with other agents, played in this process."""
    config = read_config(CONFIGS / f"{name}.yaml")
    config = config.model_copy(
        update={
            "out": tmp_path,
            "data": config.data.model_copy(update={"scenarios": scenarios}),
            "ray": config.ray.model_copy(update={"workers": 0}),
            **({"agents": agents} if agents else {}),
        }
    )
    plan = make_plan(config)
    run = create_run(config, "a control", plan.data_digest)
    run_units(config, plan, run, Console(file=StringIO()))
    return rank(run, plan, config.seed).to_json()


def test_a_control_is_one_flag(tmp_path, capsys):
    tiny = ["--ray.workers", "0", "--data.scenarios", "2", "--data.num-assets", "2", "--data.episode-length", "5"]
    tiny += ["--config", str(CONFIGS / "oracle.yaml"), "--out", str(tmp_path)]
    ran = {"null": "0001-oracle-null", "positive": "0002-oracle-positive", "costs": "0003-oracle-costs"}
    for kind, folder in ran.items():
        assert tournament([*tiny, "--control", kind]) == 0
        assert (tmp_path / folder / "leaderboard.json").exists()
        assert f"{folder[5:]}, seed 0" in capsys.readouterr().out
    assert read_config(tmp_path / ran["null"] / "config.yaml").data.mode == "fair"
    assert read_config(tmp_path / ran["positive"] / "config.yaml").field.count("oracle") == 1
    assert read_config(tmp_path / ran["costs"] / "config.yaml").market.half_spread_bps == 3
    assert tournament(["--resume", str(tmp_path / ran["costs"])]) == 0, "the saved config is that of the control"
    assert tournament(["--resume", str(tmp_path / ran["costs"]), "--control", "costs"]) == 2
    assert tournament(["--control", "nul"]) == 2
    assert "invalid choice: 'nul'" in capsys.readouterr().err


def test_copies_of_a_random_agent_cannot_be_told_apart_in_a_fair_market(tmp_path):
    """Null control: one simultaneous test of equality over ten copies, each its own owner."""
    board = board_of("fair", tmp_path, scenarios=256)
    assert len(board["agents"]) == 10
    assert board["headline"] == "growth_cv"
    assert board["equality_p_value"] > 0.01
    assert not board["leader"]["significant"]
    assert {pair["verdict"] for pair in board["pairs"]} == {"not separated"}
    assert {(entry["rank_low"], entry["rank_high"], entry["tier"]) for entry in board["agents"]} == {(1, 10, 1)}
    assert board["transitivity"]["cycles"] == []
    assert board["transfers"]["flags"] == []
    # Luck leaves the score: the interval shrinks at least fivefold, and only costs remain.
    for entry in board["agents"]:
        raw, kept = (entry[f"{name}_high"] - entry[f"{name}_low"] for name in ("growth_raw", "growth_cv"))
        assert kept < 0.2 * raw
        assert entry["growth_cv_high"] < 0


def test_the_test_of_equality_sees_a_difference_where_there_is_one(tmp_path):
    """The same p-value on agents that differ, so that the null control could fail."""
    board = board_of("oracle", tmp_path, scenarios=64)
    assert board["equality_p_value"] < 0.01


def test_an_oracle_is_first_and_significantly_so(tmp_path):
    """Positive control: the agent that sees the signal wins, by raw growth as well."""
    board = board_of("oracle", tmp_path, scenarios=128)
    first = board["agents"][0]
    assert first["agent"] == "oracle"
    assert board["leader"]["significant"]
    assert not board["leader"]["not_separated"]
    assert max(board["agents"], key=lambda entry: entry["growth_raw"])["agent"] == "oracle"
    assert max(board["agents"], key=lambda entry: entry["rating"])["agent"] == "oracle"


@pytest.mark.slow
def test_who_stops_when_ahead_wins_most_games_and_does_not_outrank_cash(tmp_path):
    """An attack on ranks of single episodes: nearly always a little ahead, and far behind in the rest."""
    (tmp_path / "attack.py").write_text(STOP_WHEN_AHEAD)
    specs = ("cash", "buy_and_hold", "equal_weight", "random", f"{tmp_path}/attack.py:StopWhenAhead")
    board = board_of("fair", tmp_path, scenarios=512, agents=tuple(AgentConfig(agent=spec) for spec in specs))
    entries = {entry["agent"]: entry for entry in board["agents"]}
    attack, cash = entries["StopWhenAhead"], entries["cash"]
    wins = board["wins"]
    place = {agent: index for index, agent in enumerate(wins["agents"])}
    assert wins["share"][place["StopWhenAhead"]][place["cash"]] > 0.8
    assert attack["median_return"] > 0
    assert max(entries.values(), key=lambda entry: entry["rating"]) is attack
    # By growth it has earned nothing: it is not ahead of cash, and the table says what is wrong with its rating.
    assert attack["growth_high"] < 0
    assert attack["rank"] > cash["rank"]
    assert attack["flag"] == "wins often, earns little"
    pair = next(pair for pair in board["pairs"] if {pair["agent"], pair["against"]} == {"StopWhenAhead", "cash"})
    assert (pair["agent"], pair["verdict"]) == ("cash", "better")
