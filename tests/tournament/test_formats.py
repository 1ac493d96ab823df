"""Laws of each format: who meets whom, and that nothing but config, seed and stored results decides it."""

import json
from collections import Counter
from io import StringIO
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from arena.config.flags import override
from arena.config.schedule import ScheduleConfig
from arena.config.tournament import TournamentConfig
from arena.errors import UserError
from arena.market.presets import preset
from arena.tournament.results.outcome import rank, write_outcome
from arena.tournament.run.run_units import run_units
from arena.tournament.schedule.finished_units import run_state
from arena.tournament.schedule.formats import fixed_lineups, fixed_schedule, gauntlet, pairs, population
from arena.tournament.schedule.swiss import SwissSchedule, swiss_schedule
from arena.tournament.setup.controls import control
from arena.tournament.setup.plan import make_plan
from arena.tournament.stats.population import crowding
from arena.tournament.stats.population import sentences as crowd_sentences
from arena.tournament.store import units as store
from arena.tournament.store.run_folder import create_run
from arena.tournament.types import SCHEMA, Lineup, Unit


def names(num: int) -> list[str]:
    return ["cash", *(f"rule_{index}" for index in range(1, num))]


def meetings(lineups: list[Lineup]) -> Counter:
    return Counter(frozenset(pair) for lineup in lineups for pair in combinations(lineup.agents, 2))


def rows(units: list[Unit], skill: dict[str, float], seed: int = 0) -> pa.Table:
    """Result rows of units: skill, and luck that is keyed by scenario and entrant; cash has none."""
    place = {agent: index for index, agent in enumerate(skill)}
    scenarios = sorted({scenario for unit in units for scenario in unit.scenarios})
    luck = {number: np.random.default_rng([seed, number]).normal(size=len(skill)) for number in scenarios}
    keys = [
        (scenario, unit.lineup.lineup, seat, agent)
        for unit in units
        for scenario in unit.scenarios
        for seat, agent in enumerate(unit.lineup.agents)
    ]
    growth = [skill[agent] + 0.01 * luck[number][place[agent]] * (agent != "cash") for number, _, _, agent in keys]
    columns = {name: [""] * len(keys) if kind == "string" else np.zeros(len(keys)) for name, kind in SCHEMA.items()}
    columns |= dict(zip(("scenario", "lineup", "seat", "agent"), zip(*keys)))
    return store.table_from_columns(columns | {"growth_cv": growth, "growth_raw": growth})


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 12), st.integers(0, 2**32))
def test_pairs_meet_exactly_once(num: int, seed: int) -> None:
    lineups = pairs(names(num), seed)
    assert meetings(lineups) == dict.fromkeys(map(frozenset, combinations(names(num), 2)), 1)
    assert all(len(lineup.agents) == 2 for lineup in lineups)
    seats = Counter((seat, agent) for lineup in lineups for seat, agent in enumerate(lineup.agents))
    assert all(abs(seats[0, agent] - seats[1, agent]) <= 2 for agent in names(num))


@settings(max_examples=20, deadline=None)
@given(st.data(), st.integers(2, 10), st.integers(0, 2**32))
def test_every_lineup_of_a_gauntlet_holds_the_newcomer(data: st.DataObject, num: int, seed: int) -> None:
    field = names(num)
    seats = data.draw(st.integers(2, num))
    chosen = data.draw(st.sampled_from(field))
    lineups = gauntlet(field, chosen, seats, seed)
    assert all(chosen in lineup.agents and len(set(lineup.agents)) == seats for lineup in lineups)
    met = Counter(agent for lineup in lineups for agent in lineup.agents if agent != chosen)
    assert set(met) == set(field) - {chosen}
    assert len(set(met.values())) == 1, "the newcomer meets everyone equally often"
    assert len({frozenset(lineup.agents) for lineup in lineups}) == len(lineups)
    assert lineups == gauntlet(field, chosen, seats, seed)


def test_the_last_entrant_is_the_newcomer_if_none_is_named() -> None:
    lineups = fixed_lineups(names(6), ScheduleConfig(format="gauntlet", seats=3), seed=0)
    assert all("rule_5" in lineup.agents for lineup in lineups)


def test_a_population_holds_the_field_and_one_crowd() -> None:
    field = names(3)
    lineups = population(field, 3)
    assert lineups[0].agents == tuple(field)
    assert lineups[2].agents == ("cash", "rule_1", "rule_2", "rule_1~2", "rule_1~3")
    assert [len(lineup.agents) for lineup in lineups] == [3, 5, 5, 5]
    schedule = fixed_schedule(field, ScheduleConfig(format="population", copies=3), 0, range(60))
    skill = {agent: -0.02 * ("~" in agent) for lineup in lineups for agent in lineup.agents}
    table = rows(schedule.units, skill)
    assert set(schedule.ranked(table)["agent"].to_pylist()) == set(field)
    found = {entry["agent"]: entry for entry in crowding(table, field, 3, "growth_cv", "seed")}
    # Two of three copies lose 0.02; luck of the third is the same alone and in the crowd.
    assert found["rule_1"]["change"] == pytest.approx(-0.04 / 3, abs=0.003)
    assert found["rule_1"]["p_value"] < 0.01
    assert found["cash"]["change"] == pytest.approx(-0.04 / 3, abs=0.003)

    lineup, scenario = table["lineup"].to_numpy(), table["scenario"].to_numpy()
    partial = table.filter((lineup < 3) & ~((lineup == 2) & (scenario < 30)) & ~((lineup == 0) & (scenario >= 55)))
    half = {entry["agent"]: entry for entry in crowding(partial, field, 3, "growth_cv", "seed")}
    assert set(half) == {"cash", "rule_1"}, "an unfinished run"
    assert half["cash"]["change"] == pytest.approx(-0.04 / 3, abs=0.003)
    assert half["rule_1"]["change_low"] is None, "25 scenarios are too few"
    assert crowd_sentences(crowding(table.slice(0, 0), field, 3, "growth_cv", "seed")) == []


def swiss(num: int, seats: int, rounds: int, scenarios: int = 12, seed: int = 0) -> SwissSchedule:
    config = ScheduleConfig(format="swiss", seats=seats, rounds=rounds, finalists=6, batch_size=4)
    return swiss_schedule(names(num), config, seed, range(2 * scenarios))


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 40), st.integers(2, 9), st.integers(2, 6), st.integers(0, 2**31))
def test_swiss_rounds_seat_everybody_once(num: int, seats: int, rounds: int, seed: int) -> None:
    """Seats that do not divide the field are filled with as few second games as there can be."""
    schedule = swiss(num, seats, rounds, seed=seed)
    units: list[Unit] = []
    table, lineups = None, set()
    skill = {agent: index / 100 for index, agent in enumerate(schedule.agents)}
    for index in range(rounds):
        stage = schedule.stage(index, table)
        assert stage == schedule.stage(index, None if table is None else table.take(np.arange(table.num_rows)[::-1]))
        games = Counter(agent for lineup in {unit.lineup for unit in stage} for agent in lineup.agents)
        assert set(games) == set(schedule.agents)
        assert max(games.values()) <= 2
        assert sum(games.values()) - num == -num % schedule.num_seats
        assert all(len(set(unit.lineup.agents)) == schedule.num_seats for unit in stage)
        assert not lineups & {unit.lineup.lineup for unit in stage}
        lineups |= {unit.lineup.lineup for unit in stage}
        units += stage
        table = rows(units, skill)
    final = schedule.stage(rounds, table)
    assert schedule.stage(rounds + 1, rows(units + final, skill)) == []
    assert schedule.num_units == len(units + final)
    assert [unit.name for unit in units + final] == sorted(unit.name for unit in units + final)
    assert {unit.name for unit in schedule.sampled} == {unit.name for unit in final}
    assert not {s for unit in units for s in unit.scenarios} & {s for unit in final for s in unit.scenarios}


def test_swiss_neighbours_meet_in_every_second_round_and_the_best_in_the_final() -> None:
    schedule = swiss(40, 4, 4)
    skill = {agent: index / 10 for index, agent in enumerate(schedule.agents)}
    place = {agent: index for index, agent in enumerate(skill)}
    units = schedule.stage(0, None)
    spans = []
    for index in range(1, 4):
        stage = schedule.stage(index, rows(units, skill))
        spans.append(np.mean([np.ptp([place[agent] for agent in unit.lineup.agents]) for unit in stage]))
        units = units + stage
    assert spans[0] == spans[2] == 3, "four neighbours of the table"
    assert spans[1] > 10, "a random round"
    table = rows(units, skill)
    best = {agent for unit in schedule.stage(4, table) for agent in unit.lineup.agents}
    assert best == {"rule_39", "rule_38", "rule_37", "rule_36", "rule_35", "cash"}
    met = meetings(list({unit.lineup for unit in schedule.stage(4, table)})).values()
    assert max(met) - min(met) <= 1
    assert set(schedule.ranked(table)["lineup"].to_pylist()) == set(range(40))
    assert schedule.finale(table) is None


def test_a_survey_goes_on_where_results_end(tmp_path: Path) -> None:
    schedule = swiss(8, 4, 2, scenarios=4)
    skill = {agent: index / 10 for index, agent in enumerate(schedule.agents)}
    played = []
    while missing := run_state(tmp_path, schedule).missing:
        unit = missing[-1]  # any order
        store.write_unit(tmp_path, unit, rows([unit], skill))
        played.append(unit.name)
    assert len(played) == schedule.num_units
    first = next((tmp_path / "units").glob("round-001-*"))
    first.write_bytes(b"damaged")
    seen = run_state(tmp_path, schedule)
    assert [unit.name for unit in seen.missing] == [first.stem], "later rounds wait for it"
    store.write_unit(tmp_path, seen.missing[0], rows(seen.missing, skill))
    assert run_state(tmp_path, schedule).missing == []


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("format=all newcomer=cash", "tournament.newcomer: belongs to the format gauntlet, not to all"),
        ("format=pairs seats=3", "tournament.seats: a pair takes two seats"),
        ("format=pairs lineups=3", "tournament.lineups: follows from the field in the format pairs"),
        ("format=population seats=3", "tournament.seats: a population holds the whole field"),
        ("format=gauntlet newcomer=cahs", "tournament.newcomer: no entrant has this name"),
        ("format=gauntlet seats=1", "tournament.seats: the newcomer needs somebody to meet"),
        ("stop.when=newcomer", "tournament.stop.when: there is a newcomer in the format gauntlet only"),
        ("format=swiss stop.when=leader", "tournament.stop.when: who meets whom in swiss depends on results"),
    ],
)
def test_fields_that_do_not_fit_the_format_are_refused(flags: str, said: str) -> None:
    pieces = [piece for flag in flags.split() for piece in f"--tournament.{flag}".split("=")]
    with pytest.raises(UserError, match=said):
        override(TournamentConfig(), pieces)


def test_bars_have_no_scenarios_to_spare() -> None:
    for schedule in ({"format": "swiss"}, {"stop": {"when": "leader"}}):
        with pytest.raises(ValueError, match="windows of bars are"):
            TournamentConfig.model_validate({"data": {"source": "bars"}, "tournament": schedule})


def test_controls_change_what_they_say_and_no_more() -> None:
    config = TournamentConfig()
    null, positive, costs = (control(config, kind) for kind in ("null", "positive", "costs"))
    assert (null.data.mode, null.data.drift_per_year) == ("fair", config.market.cash_rate_per_year)
    assert null.field == config.field
    TournamentConfig.model_validate(null.model_dump())  # passes the check of a fair market
    assert positive.field == ("oracle", *config.field)
    assert positive.tournament.allow_cheats
    rules, dear = (entry.market.apply(preset(entry.market.preset), 1.0) for entry in (config, costs))
    assert dear.fee_rate == pytest.approx(2 * rules.fee_rate)
    assert costs.market.half_spread_bps == 2 * config.market.half_spread_bps
    assert {null.name, positive.name, costs.name} == {"default-null", "default-positive", "default-costs"}
    bars = config.model_copy(update={"data": config.data.model_copy(update={"source": "bars"})})
    with pytest.raises(UserError, match="of bars nobody knows"):
        control(bars, "null")


@pytest.mark.parametrize("form", ["pairs", "gauntlet", "swiss", "population"])
def test_every_format_is_played_and_ranked(tmp_path: Path, form: str) -> None:
    extra = {"gauntlet": {"seats": 3}, "swiss": {"seats": 2, "rounds": 2, "finalists": 3}, "population": {"copies": 2}}
    content = {
        "out": tmp_path,
        "data": {"num_assets": 2, "scenarios": 6, "episode_length": 5},
        "agents": [{"agent": "cash"}, {"agent": "random", "copies": 3}],
        "tournament": {"format": form, "batch_size": 4, **extra.get(form, {})},
        "ray": {"workers": 0},
    }
    config = TournamentConfig.model_validate(content)
    plan = make_plan(config)
    run = create_run(config, "a command", "")
    run_units(config, plan, run, Console(file=StringIO()))
    found = rank(run, plan, 0) if form in ("pairs", "gauntlet") else write_outcome(run, plan, 0, form)
    board = found.to_json()
    assert {entry["agent"] for entry in board["agents"]} == set(config.field)
    assert board["scenarios"] == 6
    every = store.read_units(run, run_state(run, plan.schedule).present)
    assert board["digest"] == store.digest(every)
    seats = {"pairs": 2, "gauntlet": 3, "swiss": 2, "population": 5}
    matches = Counter(zip(every["lineup"].to_pylist(), every["scenario"].to_pylist()))
    assert max(matches.values()) == seats[form]
    assert (board["final"] is not None, board["population"] is not None) == (form == "swiss", form == "population")
    if form == "swiss":
        assert len(board["final"]["agents"]) == 3
        assert json.loads((run / "final" / "leaderboard.json").read_text()) == board["final"]
        assert board["notes"][0].startswith("The final, in scenarios that no round has used: ")
        assert (run / "final" / "report.html").stat().st_size > 100_000
        assert len({*every["scenario"].to_pylist()}) == 12
    if form == "population":
        assert {entry["agent"] for entry in board["population"]} == set(config.field)
        assert any(note.startswith("Growth in bps a game with one and with 2 of a kind") for note in board["notes"])
        assert "random-1~2" not in (run / "leaderboard.json").read_text()
