"""`arena agents`, `arena forecasters`, `arena --version`, and what is said about a command that does not exist."""

import json

import pytest

import arena
from arena.agents.registry import describe_agents
from arena.cli import main
from arena.forecast.loading import BASELINES, EMBEDDED, ENSEMBLE, describe_forecasters, load_forecaster


def printed(capsys, *arguments):
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(("command", "describe"), [("agents", describe_agents), ("forecasters", describe_forecasters)])
def test_a_listing_fits_a_terminal_and_names_everything(capsys, monkeypatch, command, describe):
    monkeypatch.setenv("COLUMNS", "80")
    said = printed(capsys, command)
    assert max(map(len, said.splitlines())) <= 80
    assert "\x1b" not in said
    assert "…" not in said, "nothing is cut"
    starts = {line.split()[0] for line in said.splitlines() if line.strip()}
    assert {row.name for row in describe()} <= starts
    rows = {row["name"]: row for row in json.loads(printed(capsys, command, "--json"))}
    assert list(rows) == [row.name for row in describe()]
    for row in describe():
        assert rows[row.name]["description"] == row.description


def test_agents_are_listed_with_defaults_and_the_cheat_is_marked(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    lines = printed(capsys, "agents").splitlines()
    assert ["lookback=40, gross=1.0, band=0.25" in line for line in lines if line.split()[:1] == ["momentum"]] == [True]
    assert [line.split()[0] for line in lines if "cheat: only with" in line] == ["oracle"]
    rows = json.loads(printed(capsys, "agents", "--json"))
    assert [row["name"] for row in rows if row["is_cheat"]] == ["oracle"]
    assert {"lookback": 40, "gross": 1.0, "band": 0.25} in [row["parameters"] for row in rows]


def test_a_description_is_one_sentence():
    for row in (*describe_agents(), *describe_forecasters()):
        assert row.description.endswith(".")
        assert ". " not in row.description
        assert "\n" not in row.description


def test_forecasters_are_listed_with_their_limits():
    rows = {row.name: row for row in describe_forecasters()}
    assert list(rows) == [*BASELINES, EMBEDDED, ENSEMBLE, "A+B", "FILE"]
    found = load_forecaster(EMBEDDED)
    assert rows[EMBEDDED][3:] == (found.info.min_context, found.info.max_horizon) == (8, 32)


def test_version(capsys):
    assert printed(capsys, "--version") == f"arena {arena.__version__}\n"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("agnets", "unknown command 'agnets'; did you mean 'agents'?"),
        ("turnament", "unknown command 'turnament'; did you mean 'tournament'?"),
        ("bogus", "unknown command 'bogus'; use one of tournament, train, check,"),
    ],
)
def test_an_unknown_command_is_one_sentence(capsys, command, said):
    assert main([command]) == 2
    caught = capsys.readouterr()
    assert caught.err.startswith(f"error: {said}")
    assert (caught.out, caught.err.count("\n")) == ("", 1)
