"""A tournament ends when what was asked is decided; which unit was finished first has no part in that."""

from io import StringIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from arena.config.tournament import TournamentConfig
from arena.tournament.play.job import run_unit
from arena.tournament.results.outcome import rank, write_outcome
from arena.tournament.run.run_units import run_units
from arena.tournament.schedule.formats import FixedSchedule
from arena.tournament.schedule.lineups import build_lineups, build_units
from arena.tournament.setup.plan import make_plan
from arena.tournament.setup.stopping import Finding, StopMonitor, StopRule, sentences
from arena.tournament.stats.growth import score_table
from arena.tournament.stats.pairwise import paired_leads
from arena.tournament.stats.sequential import decide
from arena.tournament.store.run_folder import create_run
from arena.tournament.store.units import write_paths, write_unit
from tests.tournament.test_formats import rows

SKILL = {"cash": 0.0, "good": 0.2, "same": 0.198, "bad": -0.2}
SCHEDULE = FixedSchedule(build_units(build_lineups(list(SKILL), 2, seed=0), range(600), 20), frozenset(SKILL))
TABLES = {unit.name: rows([unit], SKILL) for unit in SCHEDULE.units[: 6 * 18]}


def watched(rule: StopRule, order: list[int]) -> tuple[Finding | None, set[str]]:
    """The finding and the units that count, when units finish in the order of their places."""
    watch = StopMonitor(rule, SCHEDULE, SCHEDULE.units)
    for place in order:
        watch.add(SCHEDULE.units[place], TABLES[SCHEDULE.units[place].name])
    dropped = {unit.name for unit in watch.surplus_units()}
    return watch.finding(), {unit.name for unit in SCHEDULE.units} - dropped


IN_ORDER = list(range(len(TABLES)))


@settings(max_examples=5, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_in_which_units_finish_changes_nothing(random) -> None:  # type: ignore[no-untyped-def]
    rule = StopRule(newcomer=None, margin=0.1)
    expected, counted = watched(rule, IN_ORDER)
    assert expected is not None
    assert expected.decided
    assert len(counted) < len(TABLES)
    shuffled = IN_ORDER[:]
    random.shuffle(shuffled)
    assert watched(rule, shuffled) == (expected, counted)


def test_what_is_decided_is_true_and_read_from_both_sides() -> None:
    finding, counted = watched(StopRule(None, margin=0.1), IN_ORDER)
    assert finding is not None
    assert finding.agent == "good"
    verdicts = {other: decision.verdict for other, decision in finding.against.items()}
    assert verdicts == {"cash": "better", "bad": "better", "same": "equal"}
    assert all(decision.low < 0.2 - SKILL[other] < decision.high for other, decision in finding.against.items())
    assert len(counted) == 6 * finding.scenarios / 20
    late, _ = watched(StopRule("bad", margin=0.0), IN_ORDER)
    assert late is not None
    assert late.agent == "bad"
    assert {decision.verdict for decision in late.against.values()} == {"worse"}
    assert late.scenarios < finding.scenarios, "a sure loss of one against three is decided sooner"


def test_equals_without_a_margin_are_played_to_the_end() -> None:
    finding, counted = watched(StopRule("same", margin=0.0), IN_ORDER)
    assert finding is not None
    assert not finding.decided
    assert len(counted) == len(SCHEDULE.units)


def test_the_watch_says_what_the_bets_say_of_all_pairs_at_once() -> None:
    """Batches that add up to the burn-in: then it consumes exactly as `decide` does."""
    schedule = FixedSchedule(build_units(build_lineups(list(SKILL), 4, seed=0), range(250), 25), frozenset(SKILL))
    table = rows(schedule.units, SKILL)
    watch = StopMonitor(StopRule(None, margin=0.0), schedule, schedule.units)
    for unit in schedule.units:
        watch.add(unit, table.filter(np.isin(table["scenario"].to_numpy(), unit.scenarios)))
    finding = watch.finding()
    assert finding is not None
    assert not finding.decided, "good and same are too close"
    scores = score_table(table, "growth_cv")
    lead, first, second = paired_leads(scores)
    for pair, decision in enumerate(decide(lead, 0.0, 25)):
        names = [scores.agents[first[pair]], scores.agents[second[pair]]]
        if finding.agent == names[0]:
            assert finding.against[names[1]] == decision
        elif finding.agent == names[1]:
            mine = finding.against[names[0]]
            assert (mine.scenarios, mine.low, mine.high) == (decision.scenarios, -decision.high, -decision.low)
            assert (mine.verdict, decision.verdict) in {("better", "worse"), ("undecided", "undecided")}


def test_nothing_is_said_before_the_bets_begin() -> None:
    missing_first = [place for place in IN_ORDER if place != 0]
    assert watched(StopRule(None, 0.1), missing_first)[0] is None, "the first batch is not complete"
    assert watched(StopRule(None, 0.1), IN_ORDER[: 6 * 2])[0] is None, "40 scenarios only set the bound"


def config(tmp_path, **changes):  # type: ignore[no-untyped-def]
    """Cash against an agent that burns its wealth: decided soon."""
    (tmp_path / "burn.py").write_text(
        "import torch\n\nclass Burn:\n    history_length = 0\n    def reset(self): self.bar = 0\n"
        "    def act(self, observation, generator):\n        self.bar += 1\n"
        "        return torch.full_like(observation.weight, 0.9 * (-1) ** self.bar)\n"
    )
    content = {
        "out": tmp_path / "runs",
        "data": {"num_assets": 1, "scenarios": 400, "episode_length": 30},
        "market": {"fee_bps": 200},
        "agents": [{"agent": "cash"}, {"agent": f"{tmp_path}/burn.py:Burn"}],
        "tournament": {"batch_size": 25, "stop": {"when": "leader"}},
        "ray": {"workers": 0},
    }
    return TournamentConfig.model_validate(content | changes)


def played(chosen: TournamentConfig):  # type: ignore[no-untyped-def]
    """Run folder and plan of a fresh run."""
    plan = make_plan(chosen)
    run = create_run(chosen, "a command", "")
    run_units(chosen, plan, run, Console(file=StringIO()))
    return plan, run


def test_a_run_stops_says_so_and_leaves_nothing_beyond(tmp_path) -> None:  # type: ignore[no-untyped-def]
    chosen = config(tmp_path)
    plan, run = played(chosen)
    board = write_outcome(run, plan, 0, "stops").to_json()
    assert board["stop"]["decided"]
    assert board["scenarios"] == board["stop"]["scenarios"] < 400
    assert board["stop"]["against"]["Burn"]["verdict"] == "better"
    said = f"Stopped after {board['scenarios']} of 400 scenarios: cash is decided against everyone"
    assert [note for note in board["notes"] if note.startswith(said)]
    assert said in (run / "report.html").read_text()
    kept = sorted(run.glob("*/*.parquet"))
    assert len(list((run / "units").iterdir())) * 25 == board["scenarios"]

    beyond = plan.units[-1]  # of a run that was killed before it could throw this away
    tables = run_unit(plan.job, beyond)
    write_paths(run, beyond, tables.paths)
    write_unit(run, beyond, tables.results)
    assert len(sorted(run.glob("*/*.parquet"))) == len(kept) + 2
    run_units(chosen, plan, run, Console(file=StringIO()))
    assert sorted(run.glob("*/*.parquet")) == kept
    assert rank(run, plan, 0).digest == board["digest"]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("workers", [1, 4])
def test_workers_stop_at_the_same_place(tmp_path, workers: int) -> None:  # type: ignore[no-untyped-def]
    boards = []
    for number in (0, workers):
        plan, run = played(config(tmp_path, ray={"workers": number}))
        boards.append((rank(run, plan, 0).digest, sorted(path.name for path in run.glob("*/*.parquet"))))
    assert boards[0] == boards[1]


@pytest.mark.slow
def test_the_trained_agent_is_decided_in_the_default_field_before_the_end(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """On the shipped field and market: the gauntlet of docs/ranking.md."""
    form = {"format": "gauntlet", "newcomer": "trained", "stop": {"when": "newcomer"}}
    chosen = TournamentConfig.model_validate({"out": tmp_path, "tournament": form, "ray": {"workers": 0}})
    plan, run = played(chosen)
    stop = rank(run, plan, 0).stop
    assert stop["decided"]
    assert stop["scenarios"] < chosen.data.scenarios / 2
    assert {decision["verdict"] for decision in stop["against"].values()} == {"better"}


def test_a_difference_beyond_the_bound_is_counted_and_said() -> None:
    """One ruin of the other by 3 in log growth, which the bets count as their bound."""
    schedule = FixedSchedule(build_units(build_lineups(["cash", "good"], 2, seed=0), range(300), 25), frozenset(SKILL))
    table = rows(schedule.units, SKILL)
    growth = table["growth_cv"].to_numpy().copy()
    growth[np.flatnonzero((table["scenario"].to_numpy() == 60) & (np.array(table["agent"]) == "cash"))] = -3.0
    table = table.set_column(table.schema.get_field_index("growth_cv"), "growth_cv", [growth])
    watch = StopMonitor(StopRule("good", margin=0.0), schedule, schedule.units)
    for unit in schedule.units:
        watch.add(unit, table.filter(np.isin(table["scenario"].to_numpy(), unit.scenarios)))
    finding = watch.finding()
    assert finding is not None
    assert finding.beyond == 1
    assert any(f"more than {finding.bound:.2g} in log growth" in said for said in sentences(finding, 0.0, 300))
