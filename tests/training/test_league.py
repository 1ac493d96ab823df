"""The league as a plain object: laws of its weights, its thinning, its memory and its file."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from arena.rl.league.league import League, LeagueParams, sampling_weights, thinned
from arena.rl.league.opponents import Opponent, SinglePrecision, load_opponent, opponent_names
from arena.rl.league.outcomes import LEARNER, Outcome, Scoreboard, add_up, against
from arena.rl.league.pool import Pool
from arena.tournament.stats.ratings import rate_players

PARAMS = LeagueParams(scripted=("cash", "momentum", "fader"), max_snapshots=4, num_exploiters=1)


@pytest.fixture
def league(tmp_path):
    return League.open(PARAMS, tmp_path / "league")


def beats(name, games, wins):
    """Results of the learner against a player."""
    return {(LEARNER, name): float(wins), (name, LEARNER): float(games - wins)}


def snapshot(league, env_steps, author=LEARNER):
    path = league.new_policy_file(author)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(path.name.encode())
    return league.add_snapshot(author, path, env_steps)


# How often each is met.


@pytest.mark.parametrize("sampling", ["uniform", "prioritised"])
@pytest.mark.parametrize("chances", [[0.5], [0.0, 1.0, 0.3], [1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
def test_weights_sum_to_one_and_everyone_is_met(sampling, chances):
    params = replace(PARAMS, sampling=sampling, floor=0.2)
    weights = sampling_weights(params, chances)
    assert sum(weights) == pytest.approx(1.0, abs=1e-12)
    assert min(weights) >= 0.2 / len(chances) - 1e-12


def test_the_harder_to_beat_the_more_often_met():
    chances = [0.9, 0.1, 0.5, 0.7]
    weights = sampling_weights(PARAMS, chances)
    assert sorted(range(4), key=lambda i: -weights[i]) == [1, 2, 3, 0]
    mild, keen = (sampling_weights(replace(PARAMS, hardness=h), chances) for h in (1.0, 6.0))
    assert keen[1] > weights[1] > mild[1]
    # f(p) = (1 - p)**hardness above an even floor
    even = PARAMS.floor / 4
    assert (weights[1] - even) / (weights[2] - even) == pytest.approx((0.9 / 0.5) ** PARAMS.hardness)
    assert sampling_weights(replace(PARAMS, sampling="uniform"), chances) == [0.25] * 4
    assert sampling_weights(replace(PARAMS, floor=1.0), chances) == [0.25] * 4


def test_a_league_weighs_by_what_was_recorded(league):
    assert len(set(league.weights().values())) == 1, "nobody was met"
    league.record(beats("cash", 100, 90) | beats("momentum", 100, 20))
    weights = league.weights()
    assert weights["momentum"] > weights["fader"] > weights["cash"]
    assert list(weights) == [member.name for member in league.members]


# What is remembered.


def test_results_of_the_learner_fade_and_those_of_the_frozen_do_not():
    league = League(replace(PARAMS, half_life=10.0), None)
    league.record(beats("cash", 8, 6) | {("momentum", "fader"): 3.0, ("fader", "momentum"): 5.0})
    for _ in range(10):
        league.record({})
    met = league.outcomes()["cash"]
    assert (met.games, met.wins) == (pytest.approx(4.0), pytest.approx(3.0))
    assert league.outcomes("momentum") == {"fader": Outcome(8.0, 3.0)}
    for _ in range(200):
        league.record(beats("cash", 8, 0))
    assert league.win_probability("cash") < 0.02, "what it was no longer counts"


def test_results_of_strangers_are_left_out(league):
    league.record(beats("cash", 10, 5) | beats("one_that_has_left", 10, 5))
    assert set(league.outcomes()) == {"cash"}


# Snapshots.


def test_thinning_keeps_the_first_and_the_latest_and_an_even_spread():
    kept: list[int] = []
    for birth in range(0, 3000, 10):
        kept = [*kept, birth]
        kept = [kept[i] for i in thinned(kept, 6)]
        assert kept[0] == 0
        assert kept[-1] == birth
        assert len(kept) <= 6
        gaps = [after - before for before, after in pairwise(kept)]
        assert max(gaps, default=0) <= max(10, 2.5 * birth / 5)
    assert thinned([3, 7], 2) == [0, 1]


def test_snapshots_of_each_author_are_thinned_and_scripted_agents_stay(league):
    for step in range(12):
        snapshot(league, 100 * step)
        snapshot(league, 100 * step, "exploiter_0")
    kinds = [member.kind for member in league.members]
    assert (kinds.count("scripted"), kinds.count("snapshot"), kinds.count("exploiter")) == (3, 4, 4)
    for author in (LEARNER, "exploiter_0"):
        births = [member.env_steps for member in league.members if member.author == author]
        assert (births[0], births[-1]) == (0, 1100)
        assert births == sorted(births)
    names = [member.name for member in league.members]
    assert len(set(names)) == len(names)
    assert len(list(league.folder.glob("*.pt"))) == 24, "files of those that have left are kept"


def test_a_member_that_leaves_takes_its_results_along(league):
    first, second, *_ = (snapshot(league, step) for step in range(4))
    league.record(beats(first.name, 10, 5) | beats(second.name, 10, 5))
    snapshot(league, 4)
    assert second.name not in league.players
    assert set(league.outcomes()) == {first.name}


def test_an_exploiter_that_begins_anew_has_met_nobody(league):
    league.record(beats("exploiter_0", 100, 10))
    assert league.win_probability("exploiter_0") < 0.2
    league.forget("exploiter_0")
    assert league.win_probability("exploiter_0") == 0.5


# The file.


def test_a_league_comes_back_as_it_was(league):
    member = snapshot(league, 500)
    league.record(beats("cash", 7, 3) | beats(member.name, 9, 1 / 3))
    league.rate(rate_players, 20, 500)
    league.save()
    again = League.open(PARAMS, league.folder)
    assert again.members == league.members
    assert again.wins == league.wins
    assert again.history == league.history
    assert again.weights() == league.weights()
    assert again.new_policy_file(LEARNER) == league.new_policy_file(LEARNER) != league.folder / member.policy
    assert [path.name for path in league.folder.glob("*.json")] == ["league.json"], "no draft is left behind"


def test_other_scripted_agents_may_join_when_it_comes_back(league):
    kept = snapshot(league, 500)
    league.record(beats("cash", 7, 3) | beats("fader", 7, 3))
    league.save()
    again = League.open(replace(PARAMS, scripted=("cash", "rsi")), league.folder)
    assert [member.name for member in again.members] == ["cash", "rsi", kept.name]
    assert set(again.outcomes()) == {"cash"}


def test_a_damaged_file_is_refused(league):
    league.save()
    (league.folder / "league.json").write_text('{"members": 3}')
    with pytest.raises(ValueError, match="holds no league"):
        League.open(PARAMS, league.folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scripted": ()}, "scripted is empty"),
        ({"snapshot_every": 0}, "snapshot_every is 0"),
        ({"max_snapshots": 1}, "the first and the latest"),
        ({"sampling": "best"}, "expected uniform or prioritised"),
        ({"floor": 0.0}, "everyone must be met"),
        ({"half_life": 0.0}, "half_life is 0.0"),
        ({"exploiter_threshold": 1.0}, "exploiter_threshold is 1.0"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(PARAMS, **change)


# Ratings.


def test_ratings_are_those_of_the_fit_and_come_with_the_history(league):
    """Log odds of the shares, on the Elo scale: 3 of 4 games won is 191 points."""
    many = 1e6
    league.record(beats("cash", 4 * many, 3 * many) | {("momentum", "cash"): many, ("cash", "momentum"): many})
    ratings = league.rate(rate_players, 10, 640)
    assert ratings["cash"] == 1000.0
    assert ratings[LEARNER] == pytest.approx(1000.0 + 400.0 * torch.tensor(3.0).log10().item(), abs=0.01)
    assert ratings["momentum"] == pytest.approx(1000.0, abs=0.01)
    assert "fader" not in ratings, "it has met nobody"
    league.rate(rate_players, 20, 1280)
    assert [(row["iteration"], row["env_steps"]) for row in league.history] == [(10, 640), (20, 1280)]


def test_who_always_wins_and_who_met_nobody_have_finite_ratings():
    ratings = rate_players(["cash", "a", "b"], {("a", "cash"): 50.0, ("cash", "a"): 0.0}, "cash")
    assert ratings["a"] > 1500.0
    assert ratings["b"] == ratings["cash"] == 1000.0
    assert rate_players(["cash", "a"], {}, "cash") == {"cash": 1000.0, "a": 1000.0}


# Counting.


def test_a_scoreboard_counts_every_pair_of_seats_once():
    board = Scoreboard()
    nav = torch.tensor([[3.0, 1.0, 2.0, 2.0], [1.0, 2.0, 3.0, 0.0]])
    board.add([LEARNER, LEARNER, "a", "b"], nav)
    board.add([LEARNER, LEARNER, "c", "a"], nav)
    wins = board.drain()
    learner = against(wins, LEARNER)
    assert learner["a"] == Outcome(8.0, 1.0 + 3.0)
    assert learner["b"] == Outcome(4.0, 1.0 + 2.0)
    assert learner["c"] == Outcome(4.0, 1.0)
    assert against(wins, "a") == {LEARNER: Outcome(8.0, 4.0), "b": Outcome(2.0, 1.5), "c": Outcome(2.0, 0.5)}
    assert all(first != second for first, second in wins)
    assert board.drain() == {}
    assert add_up([wins, wins])[LEARNER, "c"] == 2.0


def test_draws_follow_the_weights_without_repetition():
    pool = Pool()
    pool.set({name: object() for name in "abcd"}, {"a": 0.7, "b": 0.1, "c": 0.1, "d": 0.1})
    generator = torch.Generator().manual_seed(0)
    draws = [pool.draw(2, generator)[0] for _ in range(2000)]
    assert all(len(set(draw)) == 2 for draw in draws)
    first = sum(draw[0] == "a" for draw in draws) / len(draws)
    assert first == pytest.approx(0.7, abs=4 * (0.7 * 0.3 / 2000) ** 0.5)
    assert {name for draw in draws for name in draw} == set("abcd")
    assert set(pool.draw(6, generator)[0][:4]) == set("abcd"), "all once before one twice"


def test_names_are_fit_for_files_and_unique():
    names = opponent_names(["momentum", "pack.mod:Rule", "some/where/file.py:Rule", "momentum"])
    assert names == ["momentum", "pack.mod_Rule", "some_where_file.py_Rule", "momentum_2"]


def test_a_spec_is_loaded_as_it_is_and_a_wrong_one_is_said():
    assert type(load_opponent(Opponent("x", 1.0, "momentum"))).__name__ == "Momentum"
    with pytest.raises(ValueError, match="did you mean 'momentum'"):
        load_opponent(Opponent("x", 1.0, "momentun"))


def test_a_network_answers_in_single_precision():
    network = SinglePrecision(torch.nn.Linear(3, 2).double())
    assert network(torch.zeros(4, 3, dtype=torch.float64)).dtype == torch.float32
