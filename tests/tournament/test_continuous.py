"""The continuous path: windows in the order of time, the numbers of one backtest, and why there may be none."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from arena import metrics
from arena.cli import main
from arena.tournament.report import lines
from arena.tournament.report.run_comparison import read_board
from arena.tournament.stats import continuous, ratios
from arena.tournament.store.units import table_from_columns
from arena.tournament.types import FORFEIT, OK, PATH_SCHEMA
from tests.result_rows import table_from_rows
from tests.tournament.test_growth import row

WINDOWS, STEPS = 9, 20
STORED_TOLERANCE = 1e-4  # of a return of 1 %, from navs in float32


def path_rows(returns: dict[str, np.ndarray], lineup: int = 0) -> pa.Table:
    """Entrant -> [W, L] returns, as stored paths, rows in no order."""
    tables = []
    for agent, each in returns.items():
        nav = np.concatenate([np.ones((len(each), 1)), (1 + each).cumprod(1)], 1)
        scenario, step = np.indices(nav.shape)
        columns = {name: np.zeros(nav.size) for name in PATH_SCHEMA} | {"lineup": np.full(nav.size, lineup)}
        columns |= {"agent": [agent] * nav.size, "scenario": scenario.ravel(), "step": step.ravel(), "nav": nav.ravel()}
        tables.append(table_from_columns(columns, PATH_SCHEMA))
    table = pa.concat_tables(tables)
    return table.take(np.random.default_rng(0).permutation(table.num_rows))


def result_rows(returns: dict[str, np.ndarray], forfeits: tuple[str, ...] = ()) -> pa.Table:
    return table_from_rows(
        row(
            scenario=window,
            seat=seat,
            agent=agent,
            status=FORFEIT if agent in forfeits and window == 3 else OK,
            num_steps=path.size,
            return_sum=path.sum(),
            return_square_sum=np.square(path).sum(),
        )
        for seat, (agent, each) in enumerate(returns.items())
        for window, path in enumerate(each)
    )


def field(num: int = 3) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(1)
    skilled = {f"a{index}": 0.002 * index + 0.01 * generator.standard_t(5, (WINDOWS, STEPS)) for index in range(num)}
    return {"cash": np.zeros((WINDOWS, STEPS)), **skilled}


def summary(returns: dict[str, np.ndarray], **changes: object) -> dict:
    chosen = {"paths": path_rows(returns), "results": result_rows(returns)} | changes
    return continuous.summary(**chosen, ranking=list(returns), periods_per_year=252)


def test_the_path_has_the_numbers_of_its_returns() -> None:
    returns = field()
    found = summary(returns)
    assert (found["windows"], found["steps"], found["reason"], found["missing"]) == (WINDOWS, WINDOWS * STEPS, None, {})
    for agent in ("a0", "a2"):
        flat = returns[agent].ravel()
        of, nav = found["agents"][agent], torch.from_numpy(np.append(1, (1 + flat).cumprod()))
        pooled = ratios.pooled_sharpe(result_rows(returns), agent, 252, "window")
        assert of["sharpe"] == pytest.approx(pooled.value, rel=STORED_TOLERANCE), "one path or a pool: the same steps"
        assert of["psr"] == pytest.approx(ratios.probabilistic_sharpe(flat), rel=STORED_TOLERANCE)
        assert of["calmar"] == pytest.approx(float(metrics.calmar(nav, 252)), rel=STORED_TOLERANCE)
        assert of["max_drawdown"] == pytest.approx(float(metrics.max_drawdown(nav)), rel=STORED_TOLERANCE)
        assert of["sortino"] == pytest.approx(float(metrics.sortino(torch.from_numpy(flat), 252)), rel=STORED_TOLERANCE)
    curve = continuous.curves(path_rows(returns), found)["a1"]
    assert (curve.step[0], curve.step[-1]) == (0, WINDOWS * STEPS)
    assert curve.wealth[-1] == pytest.approx((1 + returns["a1"]).prod(), rel=STORED_TOLERANCE)


def test_the_interval_and_the_probability_say_the_same() -> None:
    """PSR is above 0.975 where the two-sided 95 % interval is above 0."""
    for seed in range(20):
        each = 0.001 + 0.01 * np.random.default_rng(seed).normal(size=(WINDOWS, STEPS))
        of = summary({"a": each})["agents"]["a"]
        assert (of["psr"] > 0.975) == (of["sharpe_low"] > 0)


def test_cash_trades_nothing_and_is_no_trial() -> None:
    found = summary(field(3))
    assert found["trials"] == 3
    assert found["agents"]["cash"]["sharpe"] is None
    assert found["agents"]["cash"]["max_drawdown"] == 0


def test_interest_on_cash_is_no_skill() -> None:
    plain, paid = field(), {agent: each + 0.0005 for agent, each in field().items()}
    before, after = summary(plain)["agents"]["a1"], summary(paid)["agents"]["a1"]
    assert after["sharpe"] == pytest.approx(before["sharpe"], rel=1e-3)
    assert after["annual_return"] > before["annual_return"] + 0.1


def test_the_field_deflates() -> None:
    one, many = summary({"a": field()["a2"]}), summary(field(12))
    assert one["trials"] == 1
    assert one["luck"] == 0
    assert one["agents"]["a"]["dsr"] == one["agents"]["a"]["psr"]
    best = many["agents"]["a2"]
    assert many["luck"] > 0
    assert best["dsr"] < best["psr"]
    shown = [ratios.sharpe_ratio(each.ravel()) for agent, each in field(12).items() if agent != "cash"]
    expected = ratios.deflated_sharpe(field(12)["a2"].ravel(), float(np.var(shown, ddof=1)), 12)
    assert best["dsr"] == pytest.approx(expected, abs=STORED_TOLERANCE)


@pytest.mark.parametrize("num_windows", [1, 2, 3, 9, 60])
def test_a_curve_has_few_dates_below_it(num_windows: int) -> None:
    begins = [f"day {window}" for window in range(num_windows)]
    found = {"windows": num_windows, "steps": 5 * num_windows, "begins": begins}
    curve = {"a": continuous.Curve([0, 5 * num_windows], [1.0, 1.1])}
    layout = lines.path_figure(curve, ["a"], found)["layout"]
    if num_windows < 3:
        assert layout["xaxis"]["title"]["text"] == "bars since day 0"
        assert "ticktext" not in layout["xaxis"]
    else:
        assert layout["xaxis"]["ticktext"][0] == "day 0"
        assert layout["xaxis"]["tickvals"] == [5 * begins.index(day) for day in layout["xaxis"]["ticktext"]]
        assert 2 <= len(layout["xaxis"]["ticktext"]) <= 4
    assert len(layout["shapes"]) == (num_windows - 1 if num_windows <= 40 else 0)


def test_wealth_is_split_between_lineups() -> None:
    returns = {"a": np.array([[0.5, 0.0], [0.1, 0.0]])}
    both = pa.concat_tables([path_rows(returns), path_rows({"a": np.array([[0.0, 1.0], [0.1, 0.0]])}, lineup=1)])
    assert continuous.laid_end_to_end(both)["a"] == pytest.approx(np.array([[0.25, 0.4], [0.1, 0.0]]), rel=1e-6)


def test_who_has_no_path_is_named_and_was_tried() -> None:
    returns = field(4)
    returns["a1"][2, 5] = -1.5  # owes money from here on
    kept = {agent: each if agent != "a2" else each[:-1] for agent, each in returns.items()}
    found = summary(returns, paths=path_rows(kept), results=result_rows(returns, forfeits=("a0",)))
    assert found["missing"] == {
        "a0": continuous.FORFEITED,
        "a1": continuous.RUINED,
        "a2": continuous.NOT_KEPT,
    }
    assert set(found["agents"]) == {"cash", "a3"}
    assert found["trials"] == 4
    assert summary(returns, paths=None)["reason"].endswith("(raise tournament.paths_mb)")


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    """Two symbols, 160 business days: three windows of 20 bars after 40."""
    folder = tmp_path / "bars"
    folder.mkdir()
    days = np.busday_offset("2020-01-01", np.arange(160), roll="forward")
    for seed, symbol in enumerate(("AAA", "BBB")):
        close = 50 * np.exp(0.01 * np.random.default_rng(seed).normal(size=160).cumsum())
        lines = [f"{day},{c:.4f},{c * 1.01:.4f},{c * 0.99:.4f},{c:.4f},1000000" for day, c in zip(days, close)]
        (folder / f"{symbol}.csv").write_text("date,open,high,low,close,volume\n" + "\n".join(lines))
    return folder


@pytest.mark.parametrize(("episode", "gap", "windows"), [(20, 10, 4), (100, 0, 1)])
def test_a_run_on_bars_shows_it(bars: Path, tmp_path: Path, episode: int, gap: int, windows: int) -> None:
    config = tmp_path / "real.yaml"
    config.write_text(
        f"name: real\ndata: {{source: bars, warmup: 40, episode_length: {episode}, gap: {gap}}}\n"
        "ray: {workers: 0}\nagents:\n  - agent: cash\n  - agent: buy_and_hold\n"
    )
    assert main(["tournament", "--config", str(config), "--data", str(bars), "--out", str(tmp_path / "runs")]) == 0
    run = tmp_path / "runs" / "0001-real"
    found, page = read_board(run).continuous, (run / "report.html").read_text()
    assert (found["windows"], found["steps"], len(found["begins"])) == (windows, windows * episode, windows)
    assert found["begins"][0] == "2020-02-26"
    assert found["begins"] == sorted(found["begins"])
    assert found["begins"][-1] < found["ends"] <= "2020-08-11"
    assert '<section id="path">' in page
    assert ("one match without interruption" in page) == (windows == 1)
    assert ("laid end to end" in page) == (windows > 1)
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").read_text() == page


def test_synthetic_scenarios_make_no_path(tmp_path: Path) -> None:
    config = tmp_path / "tiny.yaml"
    config.write_text(
        "name: tiny\ndata: {scenarios: 4, num_assets: 2, episode_length: 8}\nray: {workers: 0}\n"
        "agents:\n  - agent: cash\n  - agent: buy_and_hold\n"
    )
    assert main(["tournament", "--config", str(config), "--out", str(tmp_path)]) == 0
    run = tmp_path / "0001-tiny"
    assert read_board(run).continuous == {"reason": continuous.NO_HISTORY}
    page = (run / "report.html").read_text()
    assert continuous.NO_HISTORY in page
    assert 'id="path"' not in page
    assert not math.isnan(read_board(run).standings[0].growth)
