"""Runs side by side: who moved, what differs, and what cannot be compared."""

import json
import re
from pathlib import Path

import pytest

from arena.cli import main
from arena.errors import UserError
from arena.tournament.report import comparison_page, report
from arena.tournament.report.run_comparison import compare, flat, names_of, read_board
from arena.tournament.stats.leaderboard import leaderboard
from tests.tournament.simulated import simulated_results


def finished(folder: Path, edge: dict[str, float], config: str, torch: str = "2.13") -> Path:
    """A folder with the files that a comparison reads."""
    folder.mkdir()
    board = leaderboard(simulated_results(edge, 60, seed=0), seed=1, periods_per_year=252)
    report.write_leaderboard(folder, board)
    (folder / "config.yaml").write_text(config + "agents:\n" + "".join(f"  - agent: {name}\n" for name in edge))
    (folder / "environment.json").write_text(json.dumps({"torch": torch}))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    first = finished(tmp_path / "0001-a", {"momentum": 0.03, "random": 0.0, "cash": 0.0}, "name: a\nseed: 1\n")
    second = finished(tmp_path / "0002-b", {"rsi": 0.05, "momentum": -0.02, "cash": 0.0}, "name: b\nseed: 2\n", "2.12")
    return [first, second]


def test_a_run_of_an_older_version_is_read_and_says_what_it_lacks(runs) -> None:
    path = runs[0] / "leaderboard.json"
    board = json.loads(path.read_text())
    new = ("sortino", "sortino_low", "sortino_high", "calmar", "mean_return", "spread", "fee")
    for entry in board["agents"]:
        for name in new:
            entry.pop(name)
    path.write_text(json.dumps(board))
    old = read_board(runs[0])
    assert old.standings[0].sortino is None
    assert old.standings[0].spread == old.standings[0].cost
    assert "Played by an older version" in old.notes[-1]
    page = report.write_report(runs[0], old, title="t").read_text()
    assert f"arena tournament --resume {runs[0]}" in page
    assert compare(runs).standings["momentum"][0] is not None
    assert "Played by an older version" not in "".join(read_board(runs[1]).notes)


def test_places_are_won_and_lost_since_the_first_run(runs) -> None:
    found = compare(runs)
    assert found.runs == ["0001-a", "0002-b"]
    before, after = found.standings["momentum"]
    assert (before.standing.rank, before.change, after.standing.rank, after.change) == (1, None, 3, -2)
    assert before.standing.growth_low < before.standing.growth < before.standing.growth_high
    assert found.standings["random"][1] is None
    assert found.standings["rsi"][1].change is None, "its first run"
    assert not found.same_results
    (row,) = [row for row in comparison_page.rank_table(found).rows if row[0].text == "momentum"]
    assert [cell.small for cell in row[1:]] == ["", "▼ 2"]


def test_settings_that_differ_are_named_and_no_others(runs) -> None:
    settings = compare(runs).settings
    assert settings["seed"] == ["1", "2"]
    assert settings["environment.torch"] == ["2.13", "2.12"]
    assert settings["agents.random.agent"] == ["random", "not set"]
    assert not any(name.startswith(("agents.momentum", "agents.cash", "market", "name")) for name in settings)
    same = compare([runs[0], runs[0]])
    assert same.same_results
    assert same.settings == {}


def test_page_of_a_comparison(runs, capsys) -> None:
    assert main(["report", *map(str, runs)]) == 0
    path = runs[0].parent / "comparison.html"
    assert str(path) in capsys.readouterr().out
    page = path.read_text()
    charts = json.loads(re.search(r"const charts = (\{.*\});", page).group(1))
    assert [trace["name"] for trace in charts["growth"]["data"]] == ["0001-a", "0002-b"]
    assert [len(trace["x"]) for trace in charts["growth"]["data"]] == [3, 3]
    for text in ("2 runs compared", "Settings and versions that differ", "environment.torch"):
        assert text in page


def test_a_folder_that_cannot_be_read_is_refused_in_one_sentence(runs, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no leaderboard\.json there; give the folder of a finished run"):
        read_board(tmp_path)
    board = json.loads((runs[0] / "leaderboard.json").read_text())
    del board["profiles"]
    (runs[0] / "leaderboard.json").write_text(json.dumps(board))
    with pytest.raises(
        UserError, match=r"another version or damaged \(no 'profiles'\)\. Use `arena tournament --resume"
    ):
        compare(runs)
    board = json.loads((runs[1] / "leaderboard.json").read_text())
    del board["agents"][0]["growth"]
    (runs[1] / "leaderboard.json").write_text(json.dumps(board))
    with pytest.raises(UserError, match=r"another version or damaged \(.*'growth'\)\. Use `arena tournament --resume"):
        read_board(runs[1])
    (runs[0] / "leaderboard.json").write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        read_board(runs[0])


def test_the_command_answers_bad_input_in_one_sentence(runs, tmp_path: Path, capsys) -> None:
    assert main(["report", str(tmp_path / "nothing")]) == 2
    assert "no such folder. Give the folder of a run" in capsys.readouterr().err
    assert main(["report", str(runs[0]), "--out", str(tmp_path / "x.html")]) == 2
    assert "only of a comparison" in capsys.readouterr().err
    assert main(["report", *map(str, runs), "--out", str(tmp_path / "no" / "x.html")]) == 2
    assert "No such file or directory" in capsys.readouterr().err


def test_runs_of_one_name_are_told_apart() -> None:
    assert names_of([Path("a/0001-x"), Path("b/0002-y")]) == ["0001-x", "0002-y"]
    assert names_of([Path("a/0001-x"), Path("b/0001-x")]) == ["a/0001-x", "b/0001-x"]
    assert names_of([Path("0001-x"), Path("0001-x")]) == ["0001-x", "0001-x"], "one run twice"


def test_nested_settings_get_one_name_each() -> None:
    nested = {"a": {"b": 1, "c": [{"d": 2}, 3]}, "e": None}
    assert flat(nested) == {"a.b": 1, "a.c.1.d": 2, "a.c.2": 3, "e": None}
