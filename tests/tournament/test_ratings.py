"""The leaderboard as a whole: its form, its claims on known truths, and what it says when it knows little."""

import json
from itertools import combinations, pairwise

import numpy as np
import pyarrow as pa
import pytest
import torch

from arena.metrics import descending_rank, utility
from arena.tournament.stats.games import fold_matches, win_matrix
from arena.tournament.stats.leaderboard import WINS_OFTEN, leaderboard
from arena.tournament.store.units import table_from_columns
from arena.tournament.types import OK, SCHEMA, TRANSFER_SCHEMA
from tests.tournament.simulated import simulated_results

EDGE = {"oracle": 0.03, "momentum": 0.01, "cash": 0.0, "random": -0.02}
DOCUMENTED = [
    *("agent", "rank", "growth", "growth_low", "growth_high", "rating", "rating_low", "rating_high", "games"),
    *("forfeits", "median_return", "sharpe", "max_drawdown", "turnover", "cost"),
    *("rank_low", "rank_high", "tier", "iqm", "iqm_low", "iqm_high", "prob_better", "prob_better_low"),
    *("prob_better_high", "alpha_rank"),
]


def board_of(results: pa.Table, **changes: object) -> dict:
    return leaderboard(results, **({"seed": 1, "periods_per_year": 252} | changes)).to_json()


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
        assert entry["iqm_low"] <= entry["iqm"] <= entry["iqm_high"]
        assert 1 <= entry["rank_low"] <= entry["rank_high"] <= len(EDGE)
    assert (board["seed"], board["scenarios"], len(board["digest"])) == (1, 300, 64)
    cash = board["agents"][2]
    assert (cash["growth"], cash["rating"], cash["rating_low"], cash["rating_high"]) == (0, 1000, 1000, 1000)
    assert cash["sharpe"] is None
    json.dumps(board, allow_nan=False)


def test_claims_about_ranks_follow_from_the_pairs() -> None:
    """Far apart: every rank is certain and a tier of its own. Copies: the same ranks, one tier, "identical"."""
    board = board_of(simulated_results(EDGE, 300, seed=0, num_seats=3))
    assert [(entry["rank_low"], entry["rank_high"], entry["tier"]) for entry in board["agents"]] == [
        (rank, rank, rank) for rank in range(1, 5)
    ]
    assert [(pair["agent"], pair["against"]) for pair in board["pairs"]] == list(combinations(EDGE, 2))
    assert {pair["verdict"] for pair in board["pairs"]} == {"better"}
    assert board["leader"]["p_values"] == {pair["against"]: pair["p_value"] for pair in board["pairs"][:3]}
    for entry, following in pairwise(board["agents"]):
        assert entry["prob_better_low"] > 0.5, f"{entry['agent']} scores higher than {following['agent']}"
    assert board["agents"][-1]["prob_better"] is None

    final_nav = np.exp(0.01 * np.random.default_rng(0).normal(size=(80, 1)))
    copies = board_of(results_from_nav(np.repeat(final_nav, 3, 1), ["a", "b", "c"]))
    assert [pair["verdict"] for pair in copies["pairs"]] == ["identical"] * 3
    assert [(entry["rank_low"], entry["rank_high"], entry["tier"]) for entry in copies["agents"]] == [(1, 3, 1)] * 3
    assert [entry["prob_better"] for entry in copies["agents"]] == [0.5, 0.5, None]
    assert [entry["alpha_rank"] for entry in copies["agents"]] == pytest.approx([1 / 3] * 3)


def test_names_do_not_decide() -> None:
    """The same scores under other names make the same claims."""
    names = {"oracle": "z", "momentum": "y", "cash": "cash", "random": "a"}
    table = simulated_results(EDGE, 120, seed=3)
    board = board_of(table)
    other_names = pa.array([names[agent] for agent in table["agent"].to_pylist()])
    index = table.schema.get_field_index("agent")
    renamed = board_of(table.set_column(index, table.field(index), other_names))
    for entry, other in zip(board["agents"], renamed["agents"]):
        assert names[entry["agent"]] == other["agent"]
        for field in ("growth", "rank_low", "rank_high", "tier", "iqm", "prob_better", "alpha_rank"):
            assert entry[field] == pytest.approx(other[field]), field
    assert [pair["verdict"] for pair in board["pairs"]] == [pair["verdict"] for pair in renamed["pairs"]]


def test_details_are_of_the_field() -> None:
    board = board_of(simulated_results(EDGE, 300, seed=0))
    assert board["transitivity"]["cycles"] == []
    assert 0.9 < board["transitivity"]["explained"] <= 1
    assert board["alpha_rank"]["mass"]["oracle"] > 0.99
    assert sum(board["alpha_rank"]["mass"].values()) == pytest.approx(1)
    profile = board["profiles"]
    assert list(profile["share"]) == list(EDGE)
    for share in profile["share"].values():
        assert len(share) == len(profile["threshold"])
        assert share == sorted(share, reverse=True)
    assert board["confidence_set"] in (["oracle"], None)  # None without the optional package
    assert board["transfers"] is None


def test_a_circle_of_entrants_is_said() -> None:
    """Three that beat each other in a circle, in two scenarios of three."""
    first = np.random.default_rng(1).integers(0, 3, 200)
    place = (np.arange(3) - first[:, None]) % 3
    board = board_of(results_from_nav(np.column_stack([1.02 - 0.01 * place, np.full(200, 0.9)]), [*"abc", "cash"]))
    assert sorted(board["transitivity"]["cycles"][0]) == ["a", "b", "c"]
    assert any("No rating can be right about all" in note for note in board["notes"])
    assert [board["alpha_rank"]["mass"][name] for name in "abc"] == pytest.approx([1 / 3] * 3, abs=0.2)


def test_transfers_that_stand_out_are_said() -> None:
    agents = ["cash", "giver", "taker", "other"]
    generator = np.random.default_rng(2)
    scenario, payer, cause = np.indices((60, 4, 4)).reshape(3, -1)
    cost = 1e-4 * generator.normal(size=len(payer)) - 0.01 * ((payer == 2) & (cause == 1))
    columns = {"lineup": np.zeros(len(payer)), "scenario": scenario, "cost": cost}
    columns |= {name: [agents[index] for index in who] for name, who in (("agent", payer), ("by", cause))}
    results = results_from_nav(np.exp(0.01 * generator.normal(size=(60, 4))), agents)
    board = board_of(results, transfers=table_from_columns(columns, TRANSFER_SCHEMA))
    flag = board["transfers"]["flags"][0]
    assert (flag["agent"], flag["by"], len(board["transfers"]["flags"])) == ("taker", "giver", 1)
    assert any("Trading by giver moved prices in favour of taker by 100 bps a game" in note for note in board["notes"])
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


def test_growing_less_by_chance_is_not_flagged() -> None:
    """The patient one wins 95 games of 100 and is a little behind, by five games of the other: that may be luck."""
    lucky = np.where(np.arange(100) % 20 == 0, 1.08, 0.999)
    patient = np.full(100, 1.001) * np.exp(1e-4 * np.random.default_rng(9).normal(size=100))
    entries = {
        entry["agent"]: entry
        for entry in board_of(
            results_from_nav(np.stack([np.ones(100), patient, lucky], 1), ["cash", "patient", "lucky"])
        )["agents"]
    }
    assert entries["patient"]["rating_low"] > entries["lucky"]["rating_high"]
    assert entries["patient"]["growth"] < entries["lucky"]["growth"]
    assert entries["patient"]["flag"] is None


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
