"""What grows with the field is measured on rows as swiss rounds leave them."""

import json
from collections import Counter

import numpy as np
import pytest

from arena.bench.ranking import SEATS, exponent, results_of
from arena.commands.bench.ranking import main
from arena.tournament.stats.growth import growth_estimates
from arena.tournament.types import KEY


def test_everybody_plays_every_scenario_once():
    results = results_of(entrants=24, scenarios=10)
    played = Counter(zip(results["scenario"].to_pylist(), results["agent"].to_pylist()))
    assert len(played) == 240
    assert set(played.values()) == {1}
    assert len(set(zip(*(results[name].to_pylist() for name in KEY)))) == 240
    ranks = results["rank"].to_numpy().reshape(-1, SEATS)
    navs = results["final_nav"].to_numpy().reshape(-1, SEATS)
    assert (np.sort(ranks, 1) == np.arange(1, SEATS + 1)).all()
    assert (ranks.argmin(1) == navs.argmax(1)).all()


def test_where_the_seats_do_not_divide_the_field_some_sit_out():
    results = results_of(entrants=21, scenarios=6)
    assert results.num_rows == 6 * 16
    assert len(growth_estimates(results)) == 21


def test_an_exponent_is_that_of_the_last_two():
    assert exponent([1, 10, 20], [5.0, 3.0, 12.0]) == pytest.approx(2.0)
    assert np.isnan(exponent([10], [1.0]))


def test_the_command_measures(tmp_path, capsys):
    path = tmp_path / "new" / "ranking.json"
    assert main(["--entrants", "16", "24", "--scenarios", "10", "--unit-files", "3", "--json", str(path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"wrote {path}"
    record = json.loads(path.read_text())
    assert [(field["entrants"], field["rows"]) for field in record["fields"]] == [(16, 160), (24, 240)]
    assert all(value > 0 for value in record["unit_file"].values())
    assert record["exponents"].keys() == {"lineups_seconds", "growth_seconds", "leaderboard_seconds"}


@pytest.mark.parametrize(
    ("arguments", "said"), [(["--entrants", "8"], "--entrants are [8]"), (["--unit-files", "0"], "--unit-files is 0")]
)
def test_bad_sizes_are_refused(arguments, said, capsys):
    assert main(arguments) == 2
    assert said in capsys.readouterr().err
