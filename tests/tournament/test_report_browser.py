"""The report of a tiny run in a real browser, from a file and without a network."""

import html
import json
import re
from pathlib import Path

import pytest

from arena.cli import main
from tests import needs
from tests.tournament.browser import BROWSER, Visit, visit

FIELD = ("cash", "buy_and_hold", "momentum", "random")
CHARTS = ("growth", "rating", "costs", "profiles", "running-growth", "running-rating", "replay")


@pytest.fixture(scope="module", autouse=True)
def browser() -> None:
    if BROWSER is None:
        needs.lacks("needs a browser: no chromium on the PATH")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of four entrants over 56 scenarios."""
    folder = tmp_path_factory.mktemp("runs")
    config = folder / "tiny.yaml"
    config.write_text(
        "name: tiny\n"
        "data: {scenarios: 56, num_assets: 2, episode_length: 16, warmup: 64}\n"
        "ray: {workers: 0}\n"
        "agents:\n" + "".join(f"  - agent: {name}\n" for name in FIELD)
    )
    assert main(["tournament", "--config", str(config), "--out", str(folder)]) == 0
    return folder / "0001-tiny"


@pytest.fixture(scope="module")
def seen(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Visit:
    return visit((run / "report.html").as_uri(), tmp_path_factory.mktemp("browser"))


def test_the_page_neither_complains_nor_asks_the_network(seen: Visit) -> None:
    assert seen.complaints == []
    assert seen.requests == []


def test_every_chart_is_drawn(seen: Visit) -> None:
    charts = re.findall(r'<div class="chart[^"]*" id="([^"]+)"[^>]*>(?=<div class="plot-container)', seen.dom)
    panels = [f"{kind}-{place}" for kind in ("wealth", "drawdown") for place in range(len(FIELD))]
    assert sorted(charts) == sorted([*CHARTS, *panels])
    assert seen.dom.count('class="main-svg"') >= len(charts)


def test_every_table_has_a_caption_and_rows(seen: Visit) -> None:
    tables = re.findall(r"<table.*?</table>", seen.dom, re.DOTALL)
    captions = [re.search(r"<caption>(.*?)</caption>", table, re.DOTALL).group(1) for table in tables]
    for start in ("Entrants by growth", "Paired differences", "Share of matches won", "Impact paid", "Seats at"):
        assert any(caption.startswith(start) for caption in captions), start
    for table in tables:
        rows = re.findall(r'<th scope="row"', table)
        assert len(rows) >= len(FIELD), table[:300]
        assert "<thead>" in table


# Every table of more than two rows is taken for a long one.
ACTIONS = """
const said = {};
const board = document.querySelector("table.board"), sort = board.querySelectorAll("button.sort");
const [words, all, count] = document.querySelector(".finder").querySelectorAll("input, button, output");
const seen = (kind) => [...board.querySelectorAll(kind)].filter((found) => !found.hidden);
const names_seen = () => seen("tbody tr:not(.tier-head)").map((row) => row.cells[0].dataset.value);
said.first = names_seen();
said.count = count.value;
words.value = "MOM";
words.dispatchEvent(new Event("input"));
said.found = names_seen();
said.heads = seen(".tier-head").length;
words.value = "";
all.click();
said.all = names_seen().length;
all.click();
sort[0].click();
said.names = names_seen();
sort[0].click();
sort[0].click();
const order = () => [...board.querySelectorAll("tbody th[scope=row]")].map((head) => head.dataset.value).join();
said.before = order();
sort[2].click();
said.down = order();
sort[2].click();
said.up = order();
sort[2].click();
said.again = order();
said.sorted = board.querySelectorAll("[aria-sort]").length;
const step = document.getElementById("replay-step"), table = document.getElementById("replay-table");
const position = () => table.tBodies[0].textContent;
step.value = 0;
step.dispatchEvent(new Event("input"));
said.start = position();
step.value = 10;
step.dispatchEvent(new Event("input"));
said.later = position();
said.line = document.getElementById("replay").layout.shapes[0].x0;
document.getElementById("theme").click();
document.getElementById("theme").click();
said.theme = document.documentElement.dataset.theme;
said.ground = getComputedStyle(document.body).backgroundColor;
said.ink = document.getElementById("growth").layout.font.color;
const out = document.body.appendChild(document.createElement("pre"));
out.id = "said";
out.textContent = JSON.stringify(said);
"""


def test_tables_sort_the_replay_moves_and_the_theme_changes(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "used.html"
    report = (run / "report.html").read_text()
    assert "const long = 40;" in report
    report = report.replace("const long = 40;", "const long = 2;")
    page.write_text(report.replace("</body>", f"<script>{ACTIONS}</script></body>"))
    used = visit(page.as_uri(), tmp_path)
    assert used.complaints == []
    said = json.loads(html.unescape(re.search(r'<pre id="said">(.*?)</pre>', used.dom).group(1)))
    growth = {entry["agent"]: entry["growth"] for entry in json.loads((run / "leaderboard.json").read_text())["agents"]}
    assert (said["first"], said["count"]) == (list(growth)[:2], "2 of 4 rows")
    assert (said["found"], said["heads"]) == (["momentum"], 1), "a tier without a row to show has no heading"
    assert (said["all"], said["names"]) == (4, sorted(growth)[:2])
    assert said["before"] == said["down"] == said["again"] == ",".join(growth)
    assert said["up"].split(",") == sorted(growth, key=lambda agent: growth[agent])
    assert said["sorted"] == 0
    assert said["start"] != said["later"]
    assert said["line"] == 10
    assert (said["theme"], said["ground"], said["ink"]) == ("dark", "rgb(20, 22, 26)", "#e4e6e9")


def test_the_watch_notices_errors_and_requests(tmp_path: Path) -> None:
    page = tmp_path / "bad.html"
    page.write_text('<p>bad</p><img src="http://127.0.0.1:9/x.png"><script>undefined.name</script>')
    bad = visit(page.as_uri(), tmp_path)
    assert any("Uncaught TypeError" in line for line in bad.complaints)
    assert bad.requests == ["http://127.0.0.1:9/x.png"]


def test_the_page_forbids_what_it_does_not_need(run: Path, tmp_path: Path) -> None:
    page = tmp_path / "changed.html"
    report = (run / "report.html").read_text()
    page.write_text(report.replace("</main>", '<img src="http://127.0.0.1:9/x.png"></main>'))
    changed = visit(page.as_uri(), tmp_path)
    assert changed.requests == []
    assert any("Content Security Policy" in line for line in changed.complaints)


def test_reports_are_written_again_and_compared(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    before = (run / "report.html").read_text()
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").read_text() == before
    page = tmp_path / "comparison.html"
    assert main(["report", str(run), str(run), "--out", str(page)]) == 0
    compared = visit(page.as_uri(), tmp_path)
    assert (compared.complaints, compared.requests) == ([], [])
    assert 'id="growth"' in compared.dom
    assert "have the same results" in compared.dom
    assert str(page) in capsys.readouterr().out
