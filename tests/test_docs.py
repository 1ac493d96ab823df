"""The pages of docs/ do what they say: their commands run, in order, in one folder that is empty at first."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from arena.agents.sandbox.isolation import SUPPORTED
from arena.cli import main
from arena.rl.app.config import load_train_config
from arena.tournament.run import command

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"# ([\w./-]+\.(?:py|yaml))\n")


def blocks(page):
    """(language, text) of every fenced block, in order."""
    assert len(re.findall(r"^```", page, re.MULTILINE)) == 2 * len(FENCE.findall(page)), "a fence that is not closed"
    return FENCE.findall(page)


def follow(page, folder):
    """What a reader does: writes the files that have a name, runs what is marked sh, shows the rest no attention."""
    for name in ("configs", "scripts"):
        (folder / name).symlink_to(ROOT / name)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    for language, text in blocks(page):
        named = NAMED.match(text)
        if language in ("python", "yaml") and named:
            (folder / named[1]).write_text(text, encoding="utf-8")
        elif language == "sh":
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", text],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{text}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


PAGES = [
    pytest.param("data.md", ["bars/CCC.csv", "runs/0001-daily/data_report.json", "runs/0001-daily/report.html"]),
    pytest.param(
        "agent.md",
        ["my_agent.py", "runs/0001-mine/report.html", "runs/0002-mine/report.html"],
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(not SUPPORTED, reason="isolates, for which this system has no means"),
        ],
    ),
    pytest.param(
        "train.md",
        ["runs/0001-smoke/policy.pt", "runs/0001-smoke/plots/learning.png", "runs/0002-field/report.html"],
        marks=[pytest.mark.slow, pytest.mark.ray],
    ),
    pytest.param(
        "ranking.md",
        ["runs/0002-small-null/report.html", "runs/0003-small-positive/report.html", "comparison.html"],
        marks=pytest.mark.slow,
    ),
    pytest.param("monitoring.md", ["grafana/arena_dashboard.json"]),
    pytest.param(
        "storage.md", ["backup/0001-default-*/report.html", "runs/0001-default-*/report.html"], marks=pytest.mark.slow
    ),
]


@pytest.mark.parametrize(("name", "results"), PAGES)
def test_what_a_page_says_can_be_done(name, results, tmp_path):
    follow((ROOT / "docs" / name).read_text(encoding="utf-8"), tmp_path)
    assert [result for result in results if not any(map(Path.is_file, tmp_path.glob(result)))] == []


@pytest.mark.parametrize("name", ["agent.md", "train.md", "ranking.md"])
def test_what_a_long_page_asks_for_is_understood(name, tmp_path, monkeypatch):
    """Its files and the flags of its tournaments and trainings, none of which is played here."""
    understood = []
    monkeypatch.setattr(command, "tournament", lambda config, run, words: understood.append(config) or 0)
    monkeypatch.chdir(tmp_path)
    for language, text in blocks((ROOT / "docs" / name).read_text(encoding="utf-8")):
        if language in ("python", "yaml") and (named := NAMED.match(text)):
            Path(named[1]).write_text(text, encoding="utf-8")
        lines = text.replace("\\\n", " ").splitlines() if language == "sh" else []
        for program, *words in filter(None, map(shlex.split, lines)):
            if program == "arena" and words[0] == "tournament" and not any(word.startswith("runs/") for word in words):
                assert main(words) == 0, words
            elif program == "arena" and words[:2] == ["train", "--config"]:
                understood.append(load_train_config(words[2], words[3:]))
    assert understood


@pytest.mark.parametrize(
    "name", ["data.md", "agent.md", "train.md", "ranking.md", "cluster.md", "monitoring.md", "storage.md"]
)
def test_links_lead_somewhere_and_the_readme_has_the_page(name):
    links = re.findall(r"\]\(([\w./-]+)\)", (ROOT / "docs" / name).read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []
    assert f"](docs/{name})" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", ["false", "false; true", "false | true", "echo $unset_variable_of_nobody"])
def test_a_page_with_a_failing_command_fails(command, tmp_path):
    with pytest.raises(AssertionError, match=re.escape(command)):
        follow(f"# Page\n\n```sh\ntrue\n```\n\n```sh\n{command}\n```\n", tmp_path)


def test_blocks_run_in_order_in_one_folder_and_only_sh_runs(tmp_path):
    page = """
```sh
test ! -e my.py && touch first
```

```python
# my.py
print("written")
```

```python
from nowhere import nothing  # without a name: an illustration
```

```text
touch never
```

```sh
test -f first
python my.py > second
python -c "import arena; print(arena.__file__)" > where
test -f configs/tournament/default.yaml
command -v arena
```
"""
    follow(page, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"configs", "scripts", "first", "my.py", "second", "where"}
    assert (tmp_path / "second").read_text() == "written\n"
    assert Path((tmp_path / "where").read_text().strip()).is_relative_to(ROOT)


def test_a_fence_that_is_not_closed_is_noticed():
    with pytest.raises(AssertionError, match="not closed"):
        blocks("```sh\ntrue\n```\n\n```sh\ntrue\n")
