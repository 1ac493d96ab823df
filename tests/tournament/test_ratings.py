"""The leaderboard as a whole: its form, its claims on known truths, and what it says when it knows little."""

import json

import numpy as np
import pyarrow as pa
import pytest
import torch

from arena.metrics import descending_rank, utility
from arena.tournament.games import fold_matches, win_matrix
from arena.tournament.ratings import WINS_OFTEN, leaderboard
from arena.tournament.store import table_from_columns
from arena.tournament.types import OK, SCHEMA
from tests.tournament.simulated import simulated_results

EDGE = {"oracle": 0.03, "momentum": 0.01, "cash": 0.0, "random": -0.02}
DOCUMENTED = [
    *("agent", "rank", "growth", "growth_low", "growth_high", "rating", "rating_low", "rating_high", "games"),
    *("forfeits", "median_return", "sharpe", "max_drawdown", "turnover", "cost"),
]


def board_of(results: pa.Table, **changes: object) -> dict:
    return leaderboard(results, **({"seed": 1, "periods_per_year": 252} | changes))


def results_from_nav(final_nav: np.ndarray, agents: list[str]) -> pa.Table:
    """[S, m] final nav per scenario -> rows of one lineup."""
    num_scenarios, num_agents = final_nav.shape
    columns = {name: np.zeros(final_nav.size) for name in SCHEMA}
    columns |= {
        "scenario": np.repeat(np.arange(num_scenarios), num_agents),
        "seat": np.tile(np.arange(num_agents), num_scenarios),
        "agent": agents * num_scenarios,
        "final_nav": final_nav.ravel(),
        "growth_raw": utility(torch.from_numpy(final_nav)).numpy().ravel(),
        "growth_cv": np.full(final_nav.size, np.nan),
        "rank": descending_rank(torch.from_numpy(final_nav)).numpy().ravel(),
        "status": [OK] * final_nav.size,
    } | {name: [""] * final_nav.size for name in ("reason", "traceback")}
    return table_from_columns(columns)


def test_form_and_order() -> None:
    board = board_of(simulated_results(EDGE, 300, seed=0, num_seats=3))
    assert [entry["agent"] for entry in board["agents"]] == list(EDGE)
    for rank, entry in enumerate(board["agents"], start=1):
        assert entry["rank"] == rank
        assert set(DOCUMENTED) <= set(entry)
        assert entry["games"] == 900
        assert entry["growth_low"] <= entry["growth"] <= entry["growth_high"]
        assert entry["rating_low"] <= entry["rating"] <= entry["rating_high"]
    assert (board["seed"], board["scenarios"], len(board["digest"])) == (1, 300, 64)
    cash = board["agents"][2]
    assert (cash["growth"], cash["rating"], cash["rating_low"], cash["rating_high"]) == (0, 1000, 1000, 1000)
    assert cash["sharpe"] is None
    json.dumps(board, allow_nan=False)


def test_truth_lies_in_the_intervals_and_the_control_variate_shortens_them() -> None:
    board = board_of(simulated_results(EDGE, 1000, seed=1))
    assert board["headline"] == "growth_cv"
    for entry in board["agents"]:
        assert entry["growth_low"] - 1e-3 <= EDGE[entry["agent"]] <= entry["growth_high"] + 1e-3
        if entry["agent"] != "cash":
            ours, raw = (entry[f"{name}_high"] - entry[f"{name}_low"] for name in ("growth_cv", "growth_raw"))
            assert ours < 0.3 * raw
    assert board["leader"]["significant"]
    assert board["equality_p_value"] < 0.001


def test_without_a_control_variate_the_headline_is_raw() -> None:
    board = board_of(simulated_results(EDGE, 100, seed=2, control_variate=False))
    assert board["headline"] == "growth_raw"
    assert board["agents"][0]["growth_cv"] is None
    assert board["agents"][0]["growth"] == board["agents"][0]["growth_raw"]


def test_the_order_of_rows_changes_nothing() -> None:
    table = simulated_results(EDGE, 60, seed=3, num_seats=2)
    shuffled = table.take(np.random.default_rng(0).permutation(table.num_rows))
    assert board_of(shuffled) == board_of(table)


def test_copies_of_one_agent_are_not_told_apart() -> None:
    board = board_of(simulated_results({f"random_{copy}": 0.0 for copy in range(10)}, 256, seed=4))
    assert board["equality_p_value"] > 0.01
    assert not board["leader"]["significant"]
    assert any("No entrant 'cash'" in note for note in board["notes"])


def test_an_insurer_is_flagged_and_does_not_lead() -> None:
    """Wins 95 % of its games by a little, loses a lot in the rest; the lottery is its mirror image."""
    generator = np.random.default_rng(5)
    rare = generator.random((600, 2)) < 0.05
    insurer = np.where(rare[:, 0], 0.15, 1.01)
    lottery = np.where(rare[:, 1], 4.5, 0.99)
    steady = np.exp(0.002 + 0.004 * generator.normal(size=600))
    final_nav = np.stack([np.ones(600), insurer, lottery, steady, np.ones(600)], 1)
    board = board_of(results_from_nav(final_nav, ["cash", "insurer", "lottery", "steady", "idle"]))
    entries = {entry["agent"]: entry for entry in board["agents"]}
    assert max(entries.values(), key=lambda entry: entry["rating"])["agent"] == "insurer"
    assert entries["insurer"]["flag"] == WINS_OFTEN
    assert entries["insurer"]["rank"] == 5
    assert entries["lottery"]["rank"] == 1
    assert all(entries[name]["flag"] is None for name in ("lottery", "cash", "idle"))


def test_few_scenarios_make_no_claim() -> None:
    board = board_of(simulated_results({"good": 0.5, "cash": 0.0}, 10, seed=6))
    assert board["agents"][0]["growth_low"] is None
    assert board["agents"][0]["rating_low"] is not None  # ranks have no rare losses
    seven = board_of(simulated_results({"good": 0.5, "cash": 0.0}, 7, seed=6))
    assert seven["agents"][0]["rating_low"] is None
    assert not board["leader"]["significant"]
    assert any("descriptive" in note for note in board["notes"])
    windows = board_of(simulated_results({"good": 0.5, "cash": 0.0}, 10, seed=6), kind="window")
    assert windows["agents"][0]["growth_low"] is not None
    assert any("one window" in note for note in windows["notes"])


def test_middling_samples_carry_a_warning() -> None:
    assert any("once in 100" in note for note in board_of(simulated_results(EDGE, 100, seed=7))["notes"])
    assert board_of(simulated_results(EDGE, 300, seed=7))["notes"] == []


def test_a_forfeit_is_last_and_explained() -> None:
    board = board_of(simulated_results(EDGE | {"broken": 0.5}, 60, seed=8, forfeits=("broken",)))
    last = board["agents"][-1]
    assert (last["agent"], last["forfeits"], last["games"]) == ("broken", 60, 60)
    assert last["sharpe"] is None
    assert any("broken forfeited 60 games" in note and "ValueError" in note for note in board["notes"])


def test_an_unfinished_run_is_ranked_and_says_so() -> None:
    table = simulated_results(EDGE, 80, seed=9, num_seats=2)
    late = (table["lineup"].to_numpy() == 0) & (table["scenario"].to_numpy() >= 60)
    first_two = table["lineup"].to_numpy() <= 1
    board = board_of(table.filter(~late & first_two))
    assert any("Unfinished: 20 of 80" in note for note in board["notes"])
    with pytest.raises(ValueError, match="no result to rank"):
        board_of(table.slice(0, 0))


def test_win_matrix_by_hand() -> None:
    final_nav = np.array([[1.0, 1.1, 0.9], [1.0, 1.1, 1.0], [1.0, 0.8, 1.2], [1.0, 1.0, 1.0]])
    wins = win_matrix(results_from_nav(final_nav, ["cash", "a", "b"]), ["a", "b", "cash"])
    assert wins["share"][0] == [None, (2 + 0.5) / 4, (2 + 0.5) / 4]
    assert wins["share"][1] == [1 - 2.5 / 4, None, (1 + 0.5 + 0.5) / 4]


def test_partial_matches_are_refused() -> None:
    table = simulated_results(EDGE, 4, seed=10)
    with pytest.raises(ValueError, match="partial matches"):
        fold_matches(table.slice(1), sorted(EDGE))
