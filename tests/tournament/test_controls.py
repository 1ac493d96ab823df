"""The whole machinery against known answers: where nothing can be earned and where the winner is known."""

from io import StringIO
from pathlib import Path

from rich.console import Console

from arena.config_file import read_config
from arena.tournament.outcome import rank
from arena.tournament.plan import make_plan
from arena.tournament.run_folder import create_run
from arena.tournament.session import play_all

CONFIGS = Path(__file__).parents[2] / "configs" / "tournament"


def board_of(name, tmp_path, scenarios):
    """The leaderboard of a shipped config, played in this process."""
    config = read_config(CONFIGS / f"{name}.yaml")
    config = config.model_copy(
        update={
            "out": tmp_path,
            "data": config.data.model_copy(update={"scenarios": scenarios}),
            "ray": config.ray.model_copy(update={"workers": 0}),
        }
    )
    plan = make_plan(config)
    run = create_run(config, "a control", plan.data_digest)
    play_all(config, plan, run, Console(file=StringIO()))
    return rank(run, plan, config.seed)


def test_copies_of_a_random_agent_cannot_be_told_apart_in_a_fair_market(tmp_path):
    """Null control: one simultaneous test of equality over ten copies, each its own owner."""
    board = board_of("fair", tmp_path, scenarios=256)
    assert len(board["agents"]) == 10
    assert board["headline"] == "growth_cv"
    assert board["equality_p_value"] > 0.01
    assert not board["leader"]["significant"]
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
