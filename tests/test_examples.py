"""The notebooks of examples/ run from their first cell to their last."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

INTERVAL = re.compile(r"<br><small>\S+ to \S+</small>")  # below an estimate
EXAMPLES = Path(__file__).parent.parent / "examples"


def executed(name, folder, old="", new=""):
    """The notebook after a run in `folder`, with a piece of text replaced in its cells."""
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    for cell in notebook.cells:
        assert not cell.get("outputs"), "clear the outputs before a commit"
        cell.source = cell.source.replace(old, new) if old else cell.source
    NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


def outputs(notebook):
    """[(kind, text)] of all that the cells show."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            assert output.output_type != "error", output
            found += list(output.get("data", {}).items()) or [("stream", output.get("text", ""))]
    return found


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=[pytest.mark.slow, pytest.mark.ray])])
def test_the_first_tournament(tmp_path, workers):
    shown = outputs(executed("first_tournament.ipynb", tmp_path, "workers=0", f"workers={workers}"))
    tables = [text for kind, text in shown if kind == "text/html"]
    assert any("<th>BuyTheDip-2</th>" in text and INTERVAL.search(text) for text in tables), "a table with intervals"
    assert any(kind == "image/png" for kind, _ in shown), "a plot"
    assert any("batches" in text for text in tables), "a progress bar"
    assert not [text for kind, text in shown if kind == "stream" and "Warning" in text]
    fingerprint = next(text for kind, text in shown if "first_tournament.html" in text)[-66:-2]
    assert (tmp_path / "first_tournament.html").stat().st_size > 1_000_000
    leaderboard = tmp_path / "runs" / "0001-default" / "leaderboard.json"
    assert fingerprint in leaderboard.read_text()
    KNOWN.add(fingerprint)
    assert len(KNOWN) == 1, "the number of workers changes nothing"


KNOWN: set[str] = set()  # fingerprints of the same tournament
