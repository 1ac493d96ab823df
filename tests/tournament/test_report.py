"""The page is whole and asks the network for nothing; numbers read as a person writes them."""

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from arena.tournament import wording
from arena.tournament.leaderboard import Leaderboard, PairedDifference
from arena.tournament.report import figures, lines, matrices, pages, plots, report
from arena.tournament.report.columns import columns
from arena.tournament.report.replay import replay
from arena.tournament.report.report_data import DataProblem, Exhibits, forfeits
from arena.tournament.stats import curves
from arena.tournament.stats.convergence import Running, settle
from arena.tournament.stats.growth import Estimate
from arena.tournament.stats.leaderboard import leaderboard
from arena.tournament.store.units import table_from_columns
from arena.tournament.types import PATH_SCHEMA
from tests.tournament.simulated import simulated_results
from tests.tournament.stored import EDGE, STEPS, market_table, path_table


@pytest.fixture(scope="module")
def board() -> Leaderboard:
    results = simulated_results(EDGE | {"broken": 0.0}, 80, seed=0, forfeits=("broken",))
    return leaderboard(results, seed=1, periods_per_year=252)


@pytest.fixture(scope="module")
def shown() -> Exhibits:
    """Everything that a report can show."""
    results = simulated_results(EDGE | {"broken": 0.0}, 80, seed=0, forfeits=("broken",))
    return Exhibits(
        wealth=curves.wealth_bands(path_table()),
        drawdown=curves.drawdown_bands(path_table()),
        replay=replay(market_table()),
        settling=settle(results, "growth_cv", "seed", 1),
        forfeits=forfeits(results),
        data_problems=(DataProblem("warning", "stale", 3, "X<b>: price stands still", "look at it"),),
    )


def test_wealth_and_drawdown_bands(shown) -> None:
    band = shown.wealth["oracle"]
    assert band.num_games == 5
    assert band.step == list(range(STEPS + 1))
    assert (band.low[0], band.median[0], band.high[0]) == (1, 1, 1)
    assert all(low <= median <= high for low, median, high in zip(band.low, band.median, band.high))
    fall = shown.drawdown["oracle"]
    assert (fall.low[0], fall.high[0]) == (0, 0)
    assert all(0 <= low <= high < 1 for low, high in zip(fall.low, fall.high))
    assert max(fall.high) > 0


def test_paths_with_a_hole_are_refused() -> None:
    columns = {name: [0, 0] for name in PATH_SCHEMA} | {"agent": ["a", "a"], "step": [0, 2]}
    with pytest.raises(ValueError, match="paths of a are not whole"):
        curves.wealth_bands(table_from_columns(columns, PATH_SCHEMA))


def test_page_is_self_contained(tmp_path: Path, board, shown) -> None:
    path = report.write_report(
        tmp_path,
        board,
        shown,
        title="A <title>",
        config="seed: 1\n",
        environment={"torch": "2.13"},
        command="python scripts/tournament.py",
        notes=["one bad bar"],
    )
    page = path.read_text()
    assert len(page) < 6e6
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    library = max(scripts, key=len)
    assert sum(len(script) > 1e6 for script in scripts) == 1, "plotly.js stands there exactly once"
    own = page.replace(library, "")  # plotly.js mentions addresses that it never opens
    assert not re.search(r"https?://|//cdn|@import|url\(|<link[^>]+href=\"(?!data:)|src=", own)
    assert "default-src 'none'" in own
    for text in (
        "A &lt;title&gt;",
        wording.claim(board)[:20],
        "mo&lt;b&gt;mentum",
        "one bad bar",
        "exception in act: ValueError",
        "X&lt;b&gt;: price stands still",
        board.digest,
        "seed: 1",
    ):
        assert text in own
    assert "<b>mentum" not in own
    charts = json.loads(re.search(r"const charts = (\{.*\});", own).group(1))
    assert {name.split("-")[0] for name in charts} == {
        *("growth", "rating", "costs", "profiles", "wealth", "drawdown", "running")
    }
    assert all(f'id="{name}" role="img" aria-label="' in own for name in charts)
    assert own.count("<table") == own.count("<caption>")
    assert all(f"<dt>{term}</dt>" in own for term in ("growth", "explicit cost", "Calmar", "Sortino [per year]"))
    assert {trace["type"] for chart in charts.values() for trace in chart["data"]} == {"bar", "scatter"}


def test_page_shows_what_there_is_and_no_more(tmp_path: Path, board) -> None:
    page = report.write_report(tmp_path, board, title="t").read_text()
    for part in ("curves", "settling", "match", "forfeits", "data"):
        assert f'id="{part}"' not in page
    for part in ("ranking", "pairs", "money", "shape", "making"):
        assert f'<section id="{part}"' in page


def test_a_large_field_is_cut_where_it_would_be_a_wall(tmp_path: Path, board, monkeypatch) -> None:
    monkeypatch.setattr(figures, "MAX_ROWS", 3)
    monkeypatch.setattr(matrices, "MAX_MATRIX", 2)
    page = report.write_report(tmp_path, replace(board, final=board), title="t").read_text()
    charts = json.loads(re.search(r"const charts = (\{.*\});", page).group(1))
    assert {len(trace["y"]) for name in ("growth", "rating") for trace in charts[name]["data"]} == {3}
    assert "The charts show the first 3 of 5 entrants." in page
    assert "The first 2 of 5 entrants; leaderboard.json has all pairs." in page
    assert page.count('<td title="oracle against') == 1
    assert 'href="final/report.html"' in page
    assert "../report.html" not in page
    assert 'href="../report.html"' in report.write_report(tmp_path, board, title="t", of_final=True).read_text()


def test_tiers_are_runs_down_the_ranking(board) -> None:
    entries = [replace(entry, tier=tier) for entry, tier in zip(board.standings, (1, 1, 2, 1, 3))]
    assert report.tiers(replace(board, standings=entries)) == [(None, [0, 1, 2, 3, 4])], "they overlap"
    runs = [replace(entry, tier=tier) for entry, tier in zip(board.standings, (1, 1, 2, 3, 3))]
    assert report.tiers(replace(board, standings=runs)) == [(1, [0, 1]), (2, [2]), (3, [3, 4])]


def test_overlapping_tiers_are_a_column_and_not_headings(tmp_path: Path, board) -> None:
    entries = [replace(entry, tier=tier) for entry, tier in zip(board.standings, (1, 2, 1, 2, 3))]
    for agents, headings in ((board.standings, True), (entries, False)):
        page = report.write_report(tmp_path, replace(board, standings=agents), title="t").read_text()
        assert ('<tr class="tier-head">' in page) == headings
        assert ("Tiers overlap down this table" in page) == (not headings)
    shown = {
        column.title: [cell.value for cell in column.cells] for column in columns(replace(board, standings=entries))
    }
    assert shown["tier"] == [1, 2, 1, 2, 3]
    assert "tier" not in {column.title for column in columns(board)}


def test_axes_of_few_windows_have_whole_numbers() -> None:
    estimate = Estimate(0.1, 0.0, 0.2)
    few = Running([8, 9, 10], {"a": [estimate] * 3})
    layout = lines.settling_figure(few, ["a"], 1.0, "growth", "window")["layout"]
    assert layout["xaxis"]["dtick"] == 1
    assert layout["xaxis"]["title"]["text"] == "windows"
    many = few._replace(scenarios=[50, 100, 200])
    assert "dtick" not in lines.settling_figure(many, ["a"], 1.0, "growth", "scenario")["layout"]["xaxis"]


def test_numbers_of_a_chart_are_cut_to_what_can_be_seen() -> None:
    assert pages.shortened({"y": [1 / 3, None, 7], "n": "name"}) == {"y": [0.33333, None, 7], "n": "name"}


def test_verdicts_read_from_both_sides(board) -> None:
    rows = {row.agent: dict(zip(matrices.shown_agents(board), row.cells)) for row in matrices.verdict_matrix(board)}
    ahead, behind = rows["oracle"]["cash"], rows["cash"]["oracle"]
    assert (ahead.kind, ahead.symbol) == ("win", matrices.SYMBOLS["better"])
    assert (behind.kind, behind.symbol) == ("lose", matrices.SYMBOLS["worse"])
    assert ahead.text.lstrip("+") == behind.text.lstrip(wording.MINUS)
    low, high = re.search(r"\((.*) to (.*)\)", behind.said).groups()
    assert f"{high.replace(wording.MINUS, '+')} to {low.replace(wording.MINUS, '+')}" in ahead.said
    same = replace(board, pairs=[replace(pair, verdict="identical", growth=None) for pair in board.pairs])
    assert {cell.symbol for row in matrices.verdict_matrix(same) for cell in row.cells} == {"=", ""}


def test_transfers_are_tinted_by_size_and_told_by_sign() -> None:
    transfers = {"agents": ["a", "b"], "games": 3, "cost": [[0.05, 0.001], [-0.002, None]], "flags": []}
    (own, paid), (served, unknown) = (row.cells for row in matrices.transfer_matrix(transfers))
    assert (own.kind, paid.kind, served.kind, unknown.text) == ("", "lose", "win", "")
    assert served.tint == pytest.approx(2 * paid.tint)
    assert matrices.flag_sentences(transfers) == []
    flags = [{"agent": "a", "by": "b", "cost": -0.01, "net": -0.012}]
    assert "Trading by b moved prices in favour of a by 120 bps" in matrices.flag_sentences({"flags": flags})[0]


def test_plots_are_written(tmp_path: Path, board, shown) -> None:
    written = plots.write_plots(tmp_path / "plots", board, shown.wealth)
    assert {path.name for path in written} == {"growth.png", "rating.png", "costs.png", "wealth.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
    assert len(plots.write_plots(tmp_path / "plots", board, None)) == 3


def test_leaderboard_files_hold_the_same_numbers(tmp_path: Path, board) -> None:
    json_path, csv_path = report.write_leaderboard(tmp_path, board)
    assert json.loads(json_path.read_text())["agents"] == [vars(entry) for entry in board.standings]
    rows = list(csv.DictReader(csv_path.open()))
    assert [row["agent"] for row in rows] == board.ranking
    assert float(rows[0]["growth"]) == board.standings[0].growth
    assert (rows[0]["rank_low"], rows[0]["rank_high"], rows[0]["tier"]) == ("1", "1", "1")


def test_a_total_loss_does_not_flatten_the_others(board) -> None:
    growth = figures.growth_figure(board)
    low, high = growth["layout"]["xaxis"]["range"]
    assert -2000 < low < high < 2000  # bps; the forfeit stands at -23863
    assert "broken (off scale)" in growth["layout"]["yaxis"]["ticktext"]


def test_who_stands_at_the_reference_is_never_off_scale(board) -> None:
    growths = {"cash": 0.0, "a": -0.0260, "b": -0.0261}
    entries = [replace(board.standings[0], agent=name, growth=growth) for name, growth in growths.items()]
    assert figures.off_scale(entries, "growth", 0.0) == set()
    assert figures.off_scale(entries, "growth", -0.02) == {"cash"}


def test_interval_ends_of_exactly_zero_are_drawn(board) -> None:
    entry = replace(board.standings[0], growth_low=0.0)
    trace = figures.growth_figure(replace(board, standings=[entry]))["data"][-1]
    assert trace["error_x"]["arrayminus"] == [pytest.approx(entry.growth * 1e4)]


def test_terminal_table_fits_120_columns(board) -> None:
    out = io.StringIO()
    wide = [replace(entry, rank_low=10, rank_high=15, tier=10) for entry in board.standings]
    wide[1] = replace(wide[1], agent="sixteen_letters_", rank=15)
    Console(file=out, width=120).print(report.leaderboard_table(replace(board, standings=wide)))
    assert "…" not in out.getvalue()
    assert f"10{wording.EMPTY}15" in out.getvalue()
    out = io.StringIO()
    Console(file=out, width=110).print(report.leaderboard_table(board))
    text = out.getvalue()
    assert "…" not in text
    assert all(name in text for name in EDGE)
    assert "significantly ahead" in text


def test_rank_intervals_read_as_ranks() -> None:
    assert wording.rank_interval(3, 3) == "3"
    assert wording.rank_interval(3, 5) == f"3{wording.EMPTY}5"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, wording.EMPTY),
        (0.0, "0.0"),
        (0.00042, "+4.2"),
        (-0.00042, f"{wording.MINUS}4.2"),
        (0.0123, "+123"),
        (-2.3863, f"{wording.MINUS}23,863"),
        (-1e-9, "0.0"),
    ],
)
def test_bps(value: float | None, text: str) -> None:
    assert wording.bps(value) == text


def test_claims(board) -> None:
    assert "significantly ahead of every other" in wording.claim(board)
    close = replace(board.leader, significant=False, not_separated=["cash", "mo<b>mentum"])
    unsure = replace(board, leader=close, equality_p_value=0.4)
    sentence = wording.claim(unsure)
    assert "not significantly ahead of mo<b>mentum and cash." in sentence
    assert "cannot be told apart (p = 0.40)" in sentence
    few = leaderboard(simulated_results(EDGE, 10, seed=0), seed=1, periods_per_year=252)
    assert "too few to claim anything" in wording.claim(few)
    one = wording.claim(replace(few, scenarios=1, scenario_kind="window"))
    assert "but 1 window is too few to claim anything" in one
    alone = leaderboard(simulated_results({"cash": 0.0}, 60, seed=0), seed=1, periods_per_year=252)
    assert "alone in the field" in wording.claim(alone)


def test_what_a_forecast_is_worth_is_said_where_it_is_known(tmp_path: Path, board) -> None:
    def found(agent: str, growth: float, p_value: float, half: float | None = 0.01) -> PairedDifference:
        low, high = (None, None) if half is None else (growth - half, growth + half)
        return PairedDifference(agent, "walk", growth, low, high, p_value)

    rows = [found("good", 0.02, 0.001), found("bad", -0.02, 0.001), found("un<b>sure", 0.02, 0.2, None)]
    minus = wording.MINUS
    sentences = [
        "good pays: +200 bps a game (+100 to +300) against walk, the same rule on a random walk.",
        f"bad costs: {minus}200 bps a game ({minus}300 to {minus}100) against walk, the same rule on a random walk.",
        "un<b>sure is undecided: +200 bps a game against walk, the same rule on a random walk.",
    ]
    assert wording.forecast_claims(replace(board, forecasts=rows)) == sentences
    page = report.write_report(tmp_path, replace(board, forecasts=rows), title="t").read_text()
    assert "Does the forecast pay?" in page
    assert sentences[0] in page
    assert "un<b>sure" not in page
    assert wording.forecast_claims(board) == []
    assert "Does the forecast pay?" not in report.write_report(tmp_path, board, title="t").read_text()
