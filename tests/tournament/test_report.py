"""The page is whole and asks the network for nothing; numbers read as a person writes them."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from arena.tournament import curves, figures, plots, report, wording
from arena.tournament.ratings import leaderboard
from arena.tournament.store import table_from_columns
from arena.tournament.types import MARKET_SCHEMA, PATH_SCHEMA
from tests.tournament.simulated import simulated_results

EDGE = {"oracle": 0.03, "mo<b>mentum": 0.01, "cash": 0.0, "random": -0.02}
STEPS = 12


@pytest.fixture(scope="module")
def board() -> dict:
    results = simulated_results(EDGE | {"broken": 0.0}, 80, seed=0, forfeits=("broken",))
    return leaderboard(results, seed=1, periods_per_year=252)


@pytest.fixture(scope="module")
def bands() -> dict[str, curves.WealthBand]:
    generator = np.random.default_rng(0)
    shape = (len(EDGE), 5, STEPS + 1)
    nav = np.exp(0.01 * generator.normal(size=shape).cumsum(-1))
    nav[..., 0] = 1
    index = np.indices(shape).reshape(3, -1)
    columns = {name: np.zeros(nav.size) for name in PATH_SCHEMA}
    columns |= {"seat": index[0], "scenario": index[1], "step": index[2], "nav": nav.ravel()}
    columns["agent"] = [list(EDGE)[seat] for seat in index[0]]
    table = table_from_columns(columns, PATH_SCHEMA)
    return curves.wealth_bands(table.take(generator.permutation(table.num_rows)))


def test_wealth_bands(bands) -> None:
    band = bands["oracle"]
    assert band.num_games == 5
    assert band.step == list(range(STEPS + 1))
    assert (band.low[0], band.median[0], band.high[0]) == (1, 1, 1)
    assert all(low <= median <= high for low, median, high in zip(band.low, band.median, band.high))


@pytest.fixture(scope="module")
def market() -> curves.MarketCurves:
    """Two assets, of which the second is displaced; a seat buys `step` shares of asset 0 and sells them of asset 1."""
    asset, step, seat = np.indices((2, STEPS + 1, len(EDGE))).reshape(3, -1)
    columns = {name: np.zeros(len(asset)) for name in MARKET_SCHEMA}
    columns |= {"scenario": np.full(len(asset), 7), "asset": asset, "step": step, "seat": seat}
    columns |= {"agent": [list(EDGE)[index] for index in seat], "ref_price": 10.0 + step}
    columns |= {"displacement": 0.01 * asset, "mid": (10.0 + step) * (1 + 0.01 * asset)}
    columns |= {"position": seat * step * (1 - 2 * asset)}
    table = table_from_columns(columns, MARKET_SCHEMA)
    other = table_from_columns(columns | {"scenario": np.full(len(asset), 8)}, MARKET_SCHEMA)
    return curves.market_curves(pa.concat_tables([table, other]))


def test_market_curves_show_the_most_displaced_asset_of_the_first_match(market) -> None:
    assert (market.scenario, market.lineup, market.asset) == (7, 0, 1)
    assert market.step == list(range(STEPS + 1))
    assert market.mid == pytest.approx([1.01 * price for price in market.ref_price])
    assert list(market.positions) == list(EDGE)
    assert market.positions["random"] == [-3 * step for step in range(STEPS + 1)]


def test_market_figure_has_every_seat(market) -> None:
    figure = figures.market_figure(market)
    positions = [trace for trace in figure["data"] if trace["yaxis"] == "y"]
    assert [trace["name"] for trace in positions][-1] == "random", "the largest holder on top"
    assert {trace["name"] for trace in positions} == {"oracle", "mo&lt;b&gt;mentum", "cash", "random"}
    assert next(trace for trace in figure["data"] if trace["yaxis"] == "y2")["y"] == pytest.approx([100] * (STEPS + 1))


def test_paths_with_a_hole_are_refused() -> None:
    columns = {name: [0, 0] for name in PATH_SCHEMA} | {"agent": ["a", "a"], "step": [0, 2]}
    with pytest.raises(ValueError, match="paths of a are not whole"):
        curves.wealth_bands(table_from_columns(columns, PATH_SCHEMA))


def test_page_is_self_contained(tmp_path: Path, board, bands, market) -> None:
    path = report.write_report(
        tmp_path,
        board,
        title="A <title>",
        bands=bands,
        market=market,
        config="seed: 1\n",
        environment={"torch": "2.13"},
        command="python scripts/tournament.py",
        notes=["one bad bar"],
    )
    page = path.read_text()
    script = page.index("<script>")
    own = page[:script] + page[page.rindex("<script>") :]  # without plotly.js, which mentions addresses it never opens
    assert not re.search(r"https?://|//cdn|@import|url\(|<link[^>]+href=\"(?!data:)|src=", own)
    assert page.count("<script>") == 2
    for text in (
        "A &lt;title&gt;",
        wording.claim(board)[:20],
        "mo&lt;b&gt;mentum",
        "one bad bar",
        board["digest"],
        "seed: 1",
    ):
        assert text in own
    assert "<b>mentum" not in own
    charts = json.loads(re.search(r"const charts = (\{.*\});", own).group(1))
    assert set(charts) == {"growth", "rating", "costs", "wealth", "market"}
    assert all(f'id="{name}"' in own for name in charts)


def test_page_without_paths_has_neither_wealth_nor_market(tmp_path: Path, board) -> None:
    page = report.write_report(tmp_path, board, title="t").read_text()
    assert 'id="wealth"' not in page
    assert 'id="market"' not in page


def test_leaderboard_files_hold_the_same_numbers(tmp_path: Path, board) -> None:
    json_path, csv_path = report.write_leaderboard(tmp_path, board)
    assert json.loads(json_path.read_text())["agents"] == board["agents"]
    rows = list(csv.DictReader(csv_path.open()))
    assert [row["agent"] for row in rows] == [entry["agent"] for entry in board["agents"]]
    assert float(rows[0]["growth"]) == board["agents"][0]["growth"]
    assert (rows[0]["rank_low"], rows[0]["rank_high"], rows[0]["tier"]) == ("1", "1", "1")


def test_plots_are_written(tmp_path: Path, board, bands) -> None:
    written = plots.write_plots(tmp_path / "plots", board, bands)
    assert {path.name for path in written} == {"growth.png", "rating.png", "costs.png", "wealth.png"}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
    assert len(plots.write_plots(tmp_path / "plots", board, None)) == 3


def test_a_total_loss_does_not_flatten_the_others(board) -> None:
    growth = figures.growth_figure(board)
    low, high = growth["layout"]["xaxis"]["range"]
    assert -2000 < low < high < 2000  # bps; the forfeit stands at -23863
    assert "broken (off scale)" in growth["layout"]["yaxis"]["ticktext"]


def test_interval_ends_of_exactly_zero_are_drawn(board) -> None:
    entry = board["agents"][0] | {"growth_low": 0.0}
    trace = figures.growth_figure(board | {"agents": [entry]})["data"][-1]
    assert trace["error_x"]["arrayminus"] == [pytest.approx(entry["growth"] * 1e4)]


def test_terminal_table_fits_120_columns(board) -> None:
    out = io.StringIO()
    wide = [entry | {"rank_low": 10, "rank_high": 15, "tier": 10} for entry in board["agents"]]
    wide[1] |= {"agent": "sixteen_letters_", "rank": 15}
    Console(file=out, width=120).print(report.leaderboard_table(board | {"agents": wide}))
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
    unsure = board | {
        "leader": {"significant": False, "not_separated": ("cash", "mo<b>mentum")},
        "equality_p_value": 0.4,
    }
    sentence = wording.claim(unsure)
    assert "not significantly ahead of mo<b>mentum and cash." in sentence
    assert "cannot be told apart (p = 0.40)" in sentence
    few = leaderboard(simulated_results(EDGE, 10, seed=0), seed=1, periods_per_year=252)
    assert "too few to claim anything" in wording.claim(few)
    alone = leaderboard(simulated_results({"cash": 0.0}, 60, seed=0), seed=1, periods_per_year=252)
    assert "alone in the field" in wording.claim(alone)


def test_what_a_forecast_is_worth_is_said_where_it_is_known(tmp_path: Path, board) -> None:
    def found(agent: str, growth: float, p_value: float, half: float | None = 0.01) -> dict:
        low, high = (None, None) if half is None else (growth - half, growth + half)
        ends = {"growth": growth, "growth_low": low, "growth_high": high}
        return {"agent": agent, "against": "walk", **ends, "p_value": p_value}

    rows = [found("good", 0.02, 0.001), found("bad", -0.02, 0.001), found("un<b>sure", 0.02, 0.2, None)]
    minus = wording.MINUS
    sentences = [
        "good pays: +200 bps a game (+100 to +300) against walk, the same rule on a random walk.",
        f"bad costs: {minus}200 bps a game ({minus}300 to {minus}100) against walk, the same rule on a random walk.",
        "un<b>sure is undecided: +200 bps a game against walk, the same rule on a random walk.",
    ]
    assert wording.forecast_claims(board | {"forecasts": rows}) == sentences
    page = report.write_report(tmp_path, board | {"forecasts": rows}, title="t").read_text()
    assert "Does the forecast pay?" in page
    assert sentences[0] in page
    assert "un<b>sure" not in page
    assert wording.forecast_claims(board) == []
    assert "Does the forecast pay?" not in report.write_report(tmp_path, board, title="t").read_text()
