"""What a report shows beside the leaderboard: known answers."""

import json
from pathlib import Path

import numpy as np
import pytest

from arena.tournament.report import replay, report_data
from arena.tournament.stats import convergence, growth
from arena.tournament.stats.leaderboard import leaderboard
from tests.tournament.simulated import simulated_results
from tests.tournament.stored import EDGE, STEPS, market_table

NAMES = list(EDGE)


def test_replay_begins_with_the_most_displaced_asset_of_the_first_match() -> None:
    found = replay.replay(market_table())
    assert (found.scenario, found.lineup, found.agents) == (7, 0, NAMES)
    assert [asset.asset for asset in found.assets] == [1, 0]
    first = found.assets[0]
    assert first.mid == pytest.approx([1.01 * price for price in first.ref_price])
    assert first.position[3] == [-3 * step for step in range(STEPS + 1)]
    assert first.pushed == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6])


def test_a_long_replay_is_thinned_and_keeps_every_fill(monkeypatch) -> None:
    whole = replay.replay(market_table(50)).assets[0]
    monkeypatch.setattr(replay, "MAX_STEPS", 7)
    found = replay.replay(market_table(50))
    assert found.step[0] == 0
    assert found.step[-1] == 50
    assert len(found.step) == 7
    thin = found.assets[0]
    assert sum(thin.net_flow) == sum(whole.net_flow)
    for seat, position in enumerate(thin.position):
        assert np.cumsum(thin.shares[seat]).tolist() == position
    assert thin.pushed == whole.pushed


def test_pushed_adds_up_to_one_and_is_negative_against_the_flow() -> None:
    shares = np.array([[3.0, -2.0, 0.0], [-1.0, 1.0, 0.0], [2.0, 0.0, 0.0]])
    price = np.array([10.0, 20.0, 30.0])
    pushed = replay.push_shares(shares, price)
    assert pushed.sum() == pytest.approx(1)
    assert pushed.tolist() == pytest.approx([70 / 60, -30 / 60, 20 / 60])
    assert replay.push_shares(0 * shares, price).tolist() == [0, 0, 0]


def test_the_ranking_settles_on_the_leaderboard() -> None:
    results = simulated_results(EDGE, 120, seed=0)
    board = leaderboard(results, seed=3, periods_per_year=252)
    found = convergence.settle(results, board.headline, "seed", 3)
    assert found.growth.scenarios[0] == growth.MIN_SCENARIOS["seed"]
    assert found.growth.scenarios[-1] == 120
    for entry in board.standings:
        for name, running in (("growth", found.growth), ("rating", found.rating)):
            last = running.estimates[entry.agent][-1]
            ends = [entry.number(name), *entry.ends(name)]
            assert list(last) == pytest.approx(ends, rel=1e-9)
    widths = [estimate.high - estimate.low for estimate in found.growth.estimates["oracle"]]
    assert widths[-1] < widths[0]
    assert found.same_first_since <= found.same_order_since <= 120
    assert convergence.settle(simulated_results(EDGE, 20, seed=0), "growth_cv", "seed", 3) is None


def test_since_when_the_order_is_the_last_one() -> None:
    orders = [["a", "b"], ["b", "a"], ["a", "b"], ["a", "b"]]
    assert convergence.since([10, 20, 30, 40], orders) == 30
    assert convergence.since([10, 20], [["a"], ["b"]]) == 20
    assert convergence.since([10, 20], [["a"], ["a"]]) == 10


def test_forfeits_are_counted_by_reason() -> None:
    results = simulated_results(EDGE | {"broken": 0.0}, 60, seed=0, forfeits=("broken",))
    (found,) = report_data.forfeits(results)
    assert (found.agent, found.reason, found.games) == ("broken", "exception in act: ValueError", 60)
    assert report_data.forfeits(simulated_results(EDGE, 60, seed=0)) == ()


def test_data_problems_are_counted_by_kind(tmp_path: Path) -> None:
    assert report_data.data_problems(tmp_path) == ()

    def finding(severity: str, check: str, symbol: str) -> dict:
        return {
            "severity": severity,
            "check": check,
            "symbol": symbol,
            "timestamp": None,
            "message": "m",
            "remedy": "r",
        }

    findings = [finding("warning", "stale", "X"), finding("error", "gap", "Y"), finding("warning", "stale", "Z")]
    (tmp_path / "data_report.json").write_text(json.dumps({"findings": findings}))
    gap, stale = report_data.data_problems(tmp_path)
    assert (gap.severity, gap.found, gap.example) == ("error", 1, "Y: m")
    assert (stale.check, stale.found, stale.example) == ("stale", 2, "X: m")
