"""A run as an object: what its folder holds, finished or not, without opening any agent."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from arena.cli import main
from arena.config.tournament import TournamentConfig
from arena.errors import IncompleteRun, UserError
from arena.tournament.report.column_dictionary import ENTRIES, meaning
from arena.tournament.report.columns import columns
from arena.tournament.report.run_comparison import read_board
from arena.tournament.report.tables import MEASURES
from arena.tournament.results.leaderboard_frame import LeaderboardFrame, leaderboard_html
from arena.tournament.results.outcome import rank, write_outcome
from arena.tournament.results.run_result import TournamentRun, load_run
from arena.tournament.run.run_units import run_units
from arena.tournament.setup import ranking_plan
from arena.tournament.setup.plan import Plan, make_plan, resolve_paths
from arena.tournament.stats.leaderboard import leaderboard
from arena.tournament.store.run_folder import create_run
from arena.tournament.wording import bps
from tests.tournament.simulated import simulated_results

ROOT = Path(__file__).parents[2]
NUM_BATCHES = 4
AGENT = """
import torch

class Mine:
    history_length = 0
    def reset(self): pass
    def act(self, observation, generator):
        return torch.full_like(observation.weight, 0.2)
"""


def played(folder: Path, **changes: object) -> tuple[Plan, Path]:
    """A finished run and its plan."""
    content = {
        "name": "small",
        "out": folder / "runs",
        "data": {"num_assets": 2, "scenarios": 8, "episode_length": 6},
        "tournament": {"batch_size": 2, "paths_mb": 0.1},
        "ray": {"workers": 0},
    }
    config = resolve_paths(TournamentConfig.model_validate(content | changes))
    plan = make_plan(config)
    run = create_run(config, "a command", plan.data_digest)
    run_units(config, plan, run, Console(file=StringIO()))
    write_outcome(run, plan, config.seed, f"{config.name}, seed {config.seed}")
    return plan, run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path]:
    """A run whose agent's file cannot be opened any more."""
    folder = tmp_path_factory.mktemp("finished")
    file = folder / "mine.py"
    file.write_text(AGENT)
    rule = {"agent": "mean_variance", "params": {"forecaster": "persistence"}}
    agents = [
        {"agent": "cash"},
        rule | {"name": "walk"},
        rule | {"name": "drift", "params": {"forecaster": "drift"}},
        {"agent": f"{file}:Mine"},
    ]
    plan, run = played(folder, agents=agents)
    file.write_text("raise RuntimeError('nobody may open this file')\n")
    return plan, run


@pytest.fixture
def copied(finished: tuple[Plan, Path], tmp_path: Path) -> Path:
    """The run again, to be damaged."""
    return Path(shutil.copytree(finished[1], tmp_path / "0001-small"))


def unfinished(run: Path, missing: int = 1) -> Path:
    """What an interruption leaves: no ranking, and the first batches."""
    for name in ("leaderboard.json", "leaderboard.csv", "results.parquet", "report.html"):
        (run / name).unlink()
    for unit in sorted((run / "units").iterdir())[NUM_BATCHES - missing :]:
        unit.unlink()
    return run


def board_of(run: Path) -> dict[str, object]:
    return json.loads((run / "leaderboard.json").read_text())


def test_a_finished_run_has_its_tables_in_fractions(finished: tuple[Plan, Path]) -> None:
    run, board = load_run(str(finished[1])), board_of(finished[1])
    assert [*run.leaderboard["agent"]] == [entry["agent"] for entry in board["agents"]]
    assert [*run.leaderboard.columns] == [*board["agents"][0]]
    for row, entry in zip(run.leaderboard.to_dict("records"), board["agents"]):
        for name, value in entry.items():
            assert row[name] == value or (value is None and pd.isna(row[name])), name
    assert run.leaderboard["iqm_low"].dtype == float, "an unknown number is NaN, not an object"
    assert run.pairs.replace({np.nan: None}).to_dict("records") == board["pairs"]
    assert run.pairs["growth_low"].dtype == float
    assert len(run.results) == 8 * 4
    assert run.results["final_nav"].between(0.5, 1.5).all()
    assert run.paths()["nav"].between(0.5, 1.5).all()
    assert set(run.markets()["agent"]) == set(run.transfers()["by"]) == {"cash", "walk", "drift", "Mine"}
    assert run.fingerprint == board["digest"]
    assert run.config.field == ("cash", "walk", "drift", "Mine")
    assert (run.partial, run.num_finished, run.num_planned) == (False, NUM_BATCHES, NUM_BATCHES)
    assert run.final is None
    assert run.notes == board["notes"]
    assert run.verdict in (finished[1] / "report.html").read_text()
    (forecast,) = run.forecasts
    assert forecast.startswith("drift ")


def test_the_text_of_a_run_is_short_and_its_table_has_intervals(finished: tuple[Plan, Path]) -> None:
    run, entries = load_run(finished[1]), board_of(finished[1])["agents"]
    text = repr(run)
    assert text.startswith("Tournament small, seed 0, 4 entrants: finished.\n  1. ")
    assert len(text.splitlines()) == 5
    assert run.fingerprint[:16] in text
    assert str(finished[1]) in text
    shown = run._repr_html_()
    assert "<script" not in shown
    assert run.leaderboard._repr_html_() in shown.replace(f"<caption>{run.verdict}</caption>", "")
    low, high = (next(e for e in entries if e["agent"] == "Mine")[f"rating_{end}"] for end in ("low", "high"))
    assert f"<small>{low:,.0f} to {high:,.0f}</small>" in shown
    board = leaderboard(simulated_results({"mine": 0.03, "cash": 0.0}, 60, seed=0), seed=0, periods_per_year=252)
    first = board.standings[0]
    span = f"{bps(first.growth)} bps a game ({bps(first.growth_low)} to {bps(first.growth_high)})"
    assert f"\n  1. mine: {span}\n" in repr(TournamentRun(finished[1], board))


def test_a_selection_of_the_leaderboard_is_a_plain_frame(finished: tuple[Plan, Path]) -> None:
    board = load_run(finished[1]).leaderboard
    assert type(board) is LeaderboardFrame
    for part in (
        board.head(2),
        board[["agent", "growth"]],
        board.sort_values("sharpe"),
        board.copy(),
        board.set_index("agent"),
    ):
        assert type(part) is pd.DataFrame
    board["growth"] = 0.0
    assert board._repr_html_() == pd.DataFrame(board)._repr_html_(), "numbers that were changed are shown as they are"


def test_names_are_escaped() -> None:
    board = leaderboard(simulated_results({"mo<b>": 0.1, "cash": 0.0}, 30, seed=0), seed=0, periods_per_year=252)
    flagged = [replace(board.standings[0], flag="<i>"), *board.standings[1:]]
    shown = leaderboard_html(replace(board, standings=flagged), "<u> & you")
    assert "mo&lt;b&gt; (&lt;i&gt;)" in shown
    assert "&lt;u&gt; &amp; you" in shown
    assert not re.search(r"<[biu]>", shown)


def test_the_dictionary_has_every_column_and_no_other(finished: tuple[Plan, Path]) -> None:
    run = load_run(finished[1])
    tables = {
        "leaderboard": run.leaderboard,
        "pairs": run.pairs,
        "results": run.results,
        "paths": run.paths(),
        "markets": run.markets(),
        "transfers": run.transfers(),
    }
    real = {(table, column) for table, frame in tables.items() for column in frame.columns}
    listed = [(entry.table, entry.column) for entry in ENTRIES]
    assert set(listed) == real
    assert len(listed) == len(real), "no column is listed twice"
    assert [*run.columns.columns] == ["table", "column", "unit", "meaning"]
    assert len(run.columns) == len(ENTRIES)
    assert all(entry.meaning and "bps" not in entry.unit and "%" not in entry.unit for entry in ENTRIES)
    with (finished[1] / "leaderboard.csv").open() as file:
        assert file.readline().strip().split(",") == [*run.leaderboard.columns]


def test_reports_and_pages_use_the_words_of_the_dictionary(finished: tuple[Plan, Path]) -> None:
    page = (finished[1] / "report.html").read_text()
    for title, field in {"growth": "growth", "drawdown": "max_drawdown", "explicit cost": "cost"}.items():
        assert f"<dt>{title}</dt><dd>{meaning(field)}</dd>" in page
    assert MEASURES["orders refused"] == meaning("rejected")
    assert {column.help for column in columns(read_board(finished[1]))} <= {entry.meaning for entry in ENTRIES}
    known = {entry.column for entry in ENTRIES if entry.table == "leaderboard"} | set(board_of(finished[1]))
    texts = [path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))]
    named = [name for text in texts for name in re.findall(r"`(\w+)` in `leaderboard\.\w+`", text)]
    assert named
    assert set(named) <= known


def test_an_unfinished_run_is_ranked_without_its_agents(finished: tuple[Plan, Path], copied: Path) -> None:
    unfinished(copied)
    broken = sorted((copied / "units").iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:-50])
    before = sorted(copied.rglob("*"))
    run = load_run(copied)
    assert sorted(copied.rglob("*")) == before, "a reader sets no damaged file aside"
    assert (run.partial, run.num_finished, run.num_planned) == (True, 2, NUM_BATCHES)
    assert run.notes[0] == "Partial: 2 of 4 batches are finished."
    assert run.notes[0] in repr(run)
    assert run.notes[0] in run._repr_html_()
    assert len(run.results) == 4 * 4
    expected = rank(copied, finished[0], 0)  # with the plan, for which the agents were opened
    assert run.fingerprint == expected.digest
    assert run.leaderboard.equals(LeaderboardFrame.of(expected))
    assert run.notes[1:] == expected.notes
    assert len(run.forecasts) == 1
    run.plot("wealth")


def test_a_report_of_an_unfinished_run_says_so(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unfinished(copied, missing=2)
    assert main(["report", str(copied)]) == 0
    assert capsys.readouterr().out == f"{copied}/report.html\n"
    page = (copied / "report.html").read_text()
    assert "small, seed 0 (partial)" in page
    assert "<li>Partial: 2 of 4 batches are finished.</li>" in page


def test_a_run_that_was_stopped_before_its_ranking_gives_the_same_one(
    finished: tuple[Plan, Path], copied: Path
) -> None:
    run, expected = load_run(unfinished(copied, missing=0)), load_run(finished[1])
    assert not run.partial
    assert run.leaderboard.equals(expected.leaderboard)
    assert run.results.equals(expected.results)
    for name in ("fingerprint", "notes", "forecasts", "verdict", "num_finished", "num_planned"):
        assert getattr(run, name) == getattr(expected, name)


def test_a_run_that_ended_early_by_its_rule_is_not_partial(copied: Path) -> None:
    board = board_of(copied) | {"stop": {"decided": True}}
    (copied / "leaderboard.json").write_text(json.dumps(board))
    rows = pq.read_table(copied / "results.parquet")
    pq.write_table(rows.slice(0, 3 * 4), copied / "results.parquet")  # one batch of two scenarios, and one of one
    run = load_run(copied)
    assert (run.partial, run.num_finished, run.num_planned) == (False, 2, NUM_BATCHES)


@pytest.mark.parametrize("kind", ["growth", "rating", "costs", "wealth"])
def test_plots_leave_pyplot_alone(finished: tuple[Plan, Path], kind: str) -> None:
    from matplotlib import pyplot
    from matplotlib.figure import Figure

    figure = load_run(finished[1]).plot(kind)
    assert isinstance(figure, Figure)
    assert pyplot.get_fignums() == []
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_what_cannot_be_plotted_is_a_sentence(copied: Path) -> None:
    with pytest.raises(UserError, match="unknown kind 'sharpe'; choose one of growth, rating, costs, wealth"):
        load_run(copied).plot("sharpe")
    shutil.rmtree(copied / "paths")
    run = load_run(copied)
    assert (run.paths(), run.markets(), run.transfers()) == (None, None, None)
    with pytest.raises(UserError, match=r"kept no paths to plot; raise tournament\.paths_mb"):
        run.plot("wealth")


def test_the_report_is_the_page_of_the_tournament(copied: Path, tmp_path: Path) -> None:
    written = (copied / "report.html").read_bytes()
    run = load_run(copied)
    elsewhere = run.report(tmp_path / "page.html")
    assert elsewhere == tmp_path / "page.html"
    assert elsewhere.read_bytes() == written
    (copied / "report.html").unlink()
    assert run.report() == copied / "report.html"
    assert (copied / "report.html").read_bytes() == written


def test_a_swiss_run_has_a_final(tmp_path: Path) -> None:
    agents = [{"agent": "cash"}, {"agent": "random", "copies": 3}]
    schedule = {"format": "swiss", "seats": 2, "rounds": 2, "finalists": 3, "batch_size": 4}
    data = {"num_assets": 2, "scenarios": 4, "episode_length": 5}
    plan, path = played(tmp_path, agents=agents, tournament=schedule, data=data)
    run = load_run(path)
    assert len(run.leaderboard) == 4
    assert len(run.final) == 3
    assert run.num_planned == run.num_finished == plan.schedule.num_units
    assert "final/report.html" in (path / "report.html").read_text()
    assert "final/report.html" not in run.report(tmp_path / "alone.html").read_text()
    final = (path / "final" / "report.html").read_bytes()
    shutil.rmtree(path / "final")
    run.report()
    assert (path / "final" / "report.html").read_bytes() == final
    (path / "leaderboard.json").unlink()
    again = load_run(path)
    assert again.final.equals(run.final)
    assert again.leaderboard.equals(run.leaderboard)
    for unit in (path / "units").glob("round-final-*"):
        unit.unlink()
    rounds = load_run(path)
    assert rounds.partial
    assert rounds.final is None
    assert rounds.num_planned == plan.schedule.num_units


def test_a_run_on_bars_keeps_the_times_of_its_windows(tmp_path: Path) -> None:
    folder = tmp_path / "bars"
    folder.mkdir()
    days = np.busday_offset("2020-01-01", np.arange(160), roll="forward")
    for seed, symbol in enumerate(("AAA", "BBB")):
        close = 50 * np.exp(0.01 * np.random.default_rng(seed).normal(size=160).cumsum())
        lines = [f"{day},{c:.4f},{c * 1.01:.4f},{c * 0.99:.4f},{c:.4f},1000000" for day, c in zip(days, close)]
        (folder / f"{symbol}.csv").write_text("date,open,high,low,close,volume\n" + "\n".join(lines))
    data = {"source": "bars", "dir": folder, "warmup": 40, "episode_length": 20, "gap": 10}
    schedule = {"batch_size": 1, "paths_mb": 1}
    _, path = played(tmp_path, agents=[{"agent": "cash"}, {"agent": "buy_and_hold"}], data=data, tournament=schedule)
    expected = board_of(path)
    assert expected["continuous"]["begins"][0] == str(days[40])
    shutil.rmtree(folder)
    (path / "leaderboard.json").unlink()
    run = load_run(path)
    page = (path / "report.html").read_bytes()
    assert run.report().read_bytes() == page, "with the continuous path and its times"
    assert run.notes == [*expected["notes"], *expected["data"]]
    sorted((path / "units").iterdir())[-1].unlink()
    assert load_run(path).notes[0] == "Partial: 3 of 4 batches are finished."


def test_a_run_behind_a_uri_is_copied(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = tmp_path / "desk"
    desk.mkdir()
    monkeypatch.chdir(desk)
    run = load_run(copied.as_uri())
    assert run.path == Path("runs/0001-small")
    assert not (run.path / "units").exists()
    unfinished(copied)
    part = load_run(copied.as_uri(), copies=desk / "parts")
    assert part.path == desk / "parts" / "0001-small"
    assert part.num_finished == 3
    with pytest.raises(UserError, match="nothing is there"):
        load_run((tmp_path / "nowhere").as_uri())


def test_a_run_of_an_older_version_is_read(copied: Path) -> None:
    board = board_of(copied)
    for entry in board["agents"]:
        for name in ("sortino", "sortino_low", "sortino_high", "calmar", "mean_return", "spread", "fee"):
            del entry[name]
    for name in ("continuous", "stop", "population", "final"):
        del board[name]
    (copied / "leaderboard.json").write_text(json.dumps(board))
    (copied / "ranking.json").unlink()
    run = load_run(copied)
    assert run.leaderboard["sortino"].isna().all()
    assert "older version" in run.notes[-1]
    assert run.num_planned == NUM_BATCHES
    assert "sortino" in run.leaderboard
    assert run.report().exists()


def test_a_full_disk_at_the_beginning_is_told(
    finished: tuple[Plan, Path], copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    (copied / "ranking.json").unlink()
    monkeypatch.setattr(ranking_plan, "atomic_file", full)
    with pytest.raises(IncompleteRun, match=r"cannot write ranking\.json to .*: No space left on device"):
        run_units(load_run(copied).config, finished[0], copied, Console(file=StringIO()))


def damage(run: Path, what: str) -> None:
    if what == "truncated":
        text = (run / "leaderboard.json").read_text()
        (run / "leaderboard.json").write_text(text[: len(text) // 2])
    elif what in ("[]", "{}"):
        (run / "leaderboard.json").write_text(what)
    elif what == "no rows":
        (run / "results.parquet").unlink()
    elif what == "nothing finished":
        unfinished(run, missing=NUM_BATCHES)
    elif what == "older and unfinished":
        (unfinished(run) / "ranking.json").unlink()
    elif what == "damaged ranking":
        (unfinished(run) / "ranking.json").write_text("{")
    elif what == "no config":
        (run / "config.yaml").unlink()
    else:
        shutil.rmtree(run)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("truncated", "not JSON"),
        ("[]", "expected a JSON object, found list"),
        ("{}", r"written by another version or damaged \(no 'agents'\)"),
        ("no rows", r"results\.parquet: cannot be read .*--resume"),
        ("nothing finished", "none of 4 batches is finished, so there is nothing to rank.*--resume"),
        ("older and unfinished", r"no ranking\.json, so an older version began it.*--resume"),
        ("damaged ranking", r"ranking\.json: the file is damaged .*--resume"),
        ("no config", r"no config\.yaml there, so it is not the folder of a run"),
        ("no folder", "no such folder. Give the folder of a run"),
    ],
)
def test_what_is_no_run_is_one_sentence(copied: Path, what: str, said: str) -> None:
    damage(copied, what)
    with pytest.raises(UserError, match=said) as error:
        load_run(copied).results  # noqa: B018
    assert str(copied) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_finished_run_is_loaded_without_the_market(finished: tuple[Plan, Path]) -> None:
    program = f"""
import sys
from arena.tournament.results.run_result import load_run
heavy = [name for name in ("torch", "pandas", "pyarrow", "matplotlib", "scipy", "ray") if name in sys.modules]
assert not heavy, heavy
print(load_run({str(finished[1])!r}))
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Tournament small, seed 0, 4 entrants: finished.")
