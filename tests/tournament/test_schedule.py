"""Designs are balanced, deterministic, and refuse what cannot be scheduled."""

import math
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arena.tournament.schedule.lineups import build_lineups, build_units
from arena.tournament.types import Lineup


@st.composite
def fields(draw: st.DrawFn) -> tuple[int, int, int]:
    """(entrants, seats, lineups)"""
    num_agents = draw(st.integers(1, 9))
    num_seats = draw(st.integers(1, num_agents))
    return num_agents, num_seats, draw(st.integers(1, min(20, math.comb(num_agents, num_seats))))


@settings(max_examples=15, deadline=None)
@given(fields(), st.integers(0, 2**32))
def test_lineups_are_balanced(field: tuple[int, int, int], seed: int) -> None:
    num_agents, num_seats, num_lineups = field
    agents = [f"agent_{index}" for index in range(num_agents)]
    lineups = build_lineups(agents, num_seats, seed, num_lineups)
    assert [lineup.lineup for lineup in lineups] == list(range(num_lineups))
    assert all(len(set(lineup.agents)) == num_seats for lineup in lineups)
    appearances = Counter(dict.fromkeys(agents, 0))
    for lineup in lineups:
        appearances.update(lineup.agents)
    assert max(appearances.values()) - min(appearances.values()) <= 1
    assert len({frozenset(lineup.agents) for lineup in lineups}) == num_lineups
    assert lineups == build_lineups(agents, num_seats, seed, num_lineups)


@pytest.mark.parametrize(("num_agents", "num_seats"), [(5, 2), (7, 3), (10, 4), (12, 4), (11, 10), (9, 3)])
def test_default_design_is_nearly_a_block_design(num_agents: int, num_seats: int) -> None:
    """Equal appearances, no set twice, meetings of pairs and visits of seats at most one from the best possible."""
    agents = [f"agent_{index}" for index in range(num_agents)]
    lineups = build_lineups(agents, num_seats, seed=3)
    appearances = Counter(agent for lineup in lineups for agent in lineup.agents)
    assert len(set(appearances.values())) == 1
    assert len({frozenset(lineup.agents) for lineup in lineups}) == len(lineups)
    meetings = Counter(frozenset(pair) for lineup in lineups for pair in combinations(lineup.agents, 2))
    counts = [meetings[frozenset(pair)] for pair in combinations(agents, 2)]
    assert max(counts) - min(counts) <= 1
    seats = Counter((agent, seat) for lineup in lineups for seat, agent in enumerate(lineup.agents))
    sitting = [seats[agent, seat] for agent in agents for seat in range(num_seats)]
    assert max(sitting) - min(sitting) <= 2


def test_a_field_that_fills_the_seats_has_one_lineup() -> None:
    assert len(build_lineups(["a", "b", "c"], 3, seed=0)) == 1
    with pytest.raises(ValueError, match="seat rotations are duplicates"):
        build_lineups(["a", "b", "c"], 3, seed=0, num_lineups=2)


def test_a_field_of_one_plays_alone() -> None:
    assert build_lineups(["a"], 1, seed=0) == [Lineup(0, ("a",))]
    assert [lineup.agents for lineup in build_lineups(["a"], 1, seed=0, num_lineups=1)] == [("a",)]


def test_impossible_fields_are_refused() -> None:
    with pytest.raises(ValueError, match=r"lineup of 4 seats is larger than the field of 3 entrants \(a, b, c\)"):
        build_lineups(["a", "b", "c"], 4, seed=0)
    with pytest.raises(ValueError, match="share the name 'a'"):
        build_lineups(["a", "b", "a"], 2, seed=0)
    with pytest.raises(ValueError, match="num_seats is 0"):
        build_lineups(["a"], 0, seed=0)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 50))
def test_units_cover_every_lineup_and_scenario_once(num_scenarios: int, batch_size: int) -> None:
    lineups = build_lineups(["a", "b", "c", "d"], 2, seed=0)
    scenarios = [100 + 7 * index for index in range(num_scenarios)]
    units = build_units(lineups, scenarios, batch_size)
    played = [(unit.lineup.lineup, scenario) for unit in units for scenario in unit.scenarios]
    assert sorted(played) == sorted((lineup.lineup, scenario) for lineup in lineups for scenario in scenarios)
    names = [unit.name for unit in units]
    assert names == sorted(set(names))  # unique, and listing a folder gives the schedule's order
    first = units[: len(lineups)]
    assert {unit.scenarios for unit in first} == {tuple(scenarios[:batch_size])}  # all lineups before the next batch


def test_units_refuse_repeated_scenarios_and_empty_batches() -> None:
    lineups = build_lineups(["a", "b"], 2, seed=0)
    with pytest.raises(ValueError, match="scenarios repeat"):
        build_units(lineups, [1, 2, 1], 2)
    with pytest.raises(ValueError, match="batch_size is 0"):
        build_units(lineups, [1, 2], 0)
