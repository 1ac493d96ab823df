"""A match: what each row says, whom a forfeit costs, and what a result may depend on."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from arena.agents.registry import make_agent
from arena.data.synthetic.market import SyntheticParams, generate
from arena.data.types import CLOSE, OPEN
from arena.market.observation import seat_view
from arena.market.presets import preset
from arena.market.vector import VectorMarket
from arena.metrics import utility
from arena.tournament.play.match import Entrant, MatchRules, entrant_generator, play_match
from arena.tournament.store.units import digest, table_from_columns
from arena.tournament.types import FORFEIT, FORFEIT_FINAL_NAV, MARKET_SCHEMA, OK, PATH_SCHEMA, Lineup, Unit

SEEDS = (101, 102, 103)
WARMUP, STEPS = 60, 12  # the longest history that an agent of the default field wants
RULES = MatchRules(preset("sqrt"), seed=5)
FIELD = ("momentum", "equal_weight", "random", "cash")
# Reordering seats reorders float sums over seats: a few last bits per step.
SEAT_TOLERANCE = 1e-12
# Stored in float32: each number is off by at most 6e-8 of itself, and sums are of a few of them.
STORED_TOLERANCE = 1e-6

BAD_AGENTS = """
import sys
import numpy as np
import torch

class Good:
    history_length = 0
    def reset(self): pass
    def act(self, observation, generator): return torch.full_like(observation.weight, 0.1)

class Raises(Good):
    def act(self, observation, generator):
        if int(observation.step[0]) == 3:
            raise RuntimeError(f"broken at {object()}")
        return super().act(observation, generator)

class Exits(Good):
    def act(self, observation, generator): sys.exit("bye")

class WrongShape(Good):
    def act(self, observation, generator): return observation.weight[:, :-1]

class Complex(Good):
    def act(self, observation, generator): return observation.weight.to(torch.complex64)

class Words(Good):
    def act(self, observation, generator): return "buy"

class Vandal(Good):
    history_length = 5
    def act(self, observation, generator):
        observation.history.mul_(2)
        return super().act(observation, generator)

class NoStart(Good):
    def reset(self): raise OSError("no model file")

class Nan(Good):
    def act(self, observation, generator):
        weight = super().act(observation, generator)
        return torch.full_like(weight, torch.nan) if int(observation.step[0]) == 2 else weight

class Scribbler(Good):
    def act(self, observation, generator):
        weight = super().act(observation, generator)
        for name, value in observation._asdict().items():
            if isinstance(value, torch.Tensor):
                value.zero_()
        return weight

class Float32Array(Good):
    def act(self, observation, generator): return np.full(tuple(observation.weight.shape), 0.125, dtype=np.float32)

class Gambler(Good):
    def act(self, observation, generator): return torch.full_like(observation.weight, 5.0)
"""


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    """Class name -> entrant of the file of misbehaving agents."""
    path = tmp_path_factory.mktemp("agents") / "bad.py"
    path.write_text(BAD_AGENTS)
    return lambda name: Entrant(f"{path}:{name}")


@pytest.fixture(scope="module")
def scenarios():
    return generate(SyntheticParams(num_assets=3, num_bars=WARMUP + STEPS), SEEDS, warmup=WARMUP)


def field(*names, **others):
    return {**{name: Entrant(name) for name in names}, **others}


def rows(scenarios, entrants, names=None, rules=RULES, seeds=SEEDS):
    """Result rows of one unit as a data frame, and its table."""
    unit = Unit("unit", Lineup(0, tuple(names or entrants)), tuple(seeds))
    table = table_from_columns(play_match(rules, entrants, unit, scenarios).results)
    return table.to_pandas(), table


def same_rows(left, right, but=("seconds",)):
    columns = [name for name in left.columns if name not in but]
    return left[columns].reset_index(drop=True).equals(right[columns].reset_index(drop=True))


def test_rows_and_paths_agree(scenarios):
    unit = Unit("unit", Lineup(4, FIELD), SEEDS)
    played = play_match(RULES, field(*FIELD), unit, scenarios, num_path_scenarios=2)
    frame = table_from_columns(played.results).to_pandas()
    assert frame["scenario"].tolist() == [seed for seed in SEEDS for _ in FIELD]
    assert frame["agent"].tolist() == list(FIELD) * len(SEEDS)
    assert (frame["num_steps"] == STEPS).all()
    assert (frame["status"] == OK).all()
    cash = frame[frame["agent"] == "cash"]
    assert (cash["final_nav"] == 1).all()
    assert (cash[["growth_raw", "growth_cv", "turnover", "cost", "financing"]] == 0).all().all()

    paths = table_from_columns(played.paths, PATH_SCHEMA).to_pandas()
    assert len(paths) == 2 * len(FIELD) * (STEPS + 1)
    ends = paths[paths["step"] == STEPS].merge(frame, on=["scenario", "seat"])
    assert (ends["nav"] == ends["final_nav"].astype("float32")).all()
    sums = paths.groupby(["scenario", "seat"], as_index=False)[["cost", "impact_cost"]].sum()
    both = sums.merge(frame, on=["scenario", "seat"])
    for name in ("cost", "impact_cost"):  # stored in float32
        assert (both[f"{name}_x"] - both[f"{name}_y"]).abs().max() < 1e-6


def test_what_ratios_and_the_cost_split_are_made_of(scenarios):
    unit = Unit("unit", Lineup(4, FIELD), SEEDS)
    played = play_match(RULES, field(*FIELD), unit, scenarios, num_path_scenarios=len(SEEDS))
    frame = table_from_columns(played.results).to_pandas()
    nav = np.reshape(played.paths["nav"], (len(SEEDS) * len(FIELD), STEPS + 1))
    returns = nav[:, 1:] / nav[:, :-1] - 1
    assert frame["downside_square_sum"].to_numpy() == pytest.approx(np.square(np.minimum(returns, 0)).sum(1), rel=1e-9)
    rate = RULES.market.fee_rate
    assert frame["fee"].to_numpy() == pytest.approx(frame["cost"] * rate / (rate + RULES.half_spread), rel=1e-9)
    assert frame["fee"].max() > 0


def test_a_market_path_adds_up(scenarios):
    unit = Unit("unit", Lineup(4, FIELD), SEEDS)
    played = play_match(RULES, field(*FIELD), unit, scenarios, num_market_scenarios=2)
    frame = table_from_columns(played.markets, MARKET_SCHEMA).to_pandas()
    assert len(frame) == 2 * 3 * (STEPS + 1) * len(FIELD)
    assert sorted(set(frame["scenario"])) == sorted(SEEDS[:2])
    assert (frame["agent"] == frame["seat"].map(dict(enumerate(FIELD)))).all()

    frame = frame.astype({name: "float64" for name, kind in MARKET_SCHEMA.items() if kind == "float32"})
    assert (frame["mid"] / frame["ref_price"] - 1 - frame["displacement"]).abs().max() < STORED_TOLERANCE
    assert frame["displacement"].abs().max() > 1e-4, "trading must show"
    cell = frame.groupby(["scenario", "asset", "step"])
    assert (cell[["ref_price", "mid", "displacement", "price", "net_flow"]].nunique() <= 1).all().all()
    size = frame["position"].abs().max()
    assert (cell["shares"].sum() - cell["net_flow"].first()).abs().max() < STORED_TOLERANCE * size
    held = frame.sort_values("step").groupby(["scenario", "asset", "seat"])
    assert (held["shares"].cumsum() - frame["position"]).abs().max() < STORED_TOLERANCE * size
    traded = frame["step"] > 0
    assert (frame["price"].notna() == traded).all()
    assert (frame.loc[~traded, ["displacement", "net_flow", "shares", "position"]] == 0).all().all()

    closes = scenarios.bars[0, WARMUP - 1 :, 1, CLOSE].numpy()
    own = frame[(frame["scenario"] == SEEDS[0]) & (frame["asset"] == 1) & (frame["seat"] == 0)].sort_values("step")
    assert abs(own["ref_price"].to_numpy() / closes - 1).max() < STORED_TOLERANCE


def test_a_market_path_explains_the_impact_that_seats_paid(scenarios):
    unit = Unit("unit", Lineup(0, FIELD), SEEDS)
    played = play_match(RULES, field(*FIELD), unit, scenarios, num_market_scenarios=1)
    frame = table_from_columns(played.markets, MARKET_SCHEMA).to_pandas()
    opens = scenarios.bars[0, WARMUP:, :, OPEN].numpy()
    fills = frame[frame["step"] > 0].copy()
    fills["paid"] = fills["shares"] * (fills["price"] - opens[fills["step"] - 1, fills["asset"]])
    start = VectorMarket(RULES.market, scenarios, 1).initial_nav[0].item()
    expected = table_from_columns(played.results).to_pandas().query(f"scenario == {SEEDS[0]}").set_index("seat")
    difference = fills.groupby("seat")["paid"].sum() / start - expected["impact_cost"]
    assert difference.abs().max() < STORED_TOLERANCE


def test_keeping_paths_changes_no_result(scenarios, bad):
    entrants = field("momentum", "random", offender=bad("Raises"))
    unit = Unit("unit", Lineup(0, tuple(entrants)), SEEDS)
    bare, watched = (play_match(RULES, entrants, unit, scenarios, kept, kept) for kept in (0, 2))
    assert digest(table_from_columns(bare.results)) == digest(table_from_columns(watched.results))
    assert table_from_columns(bare.markets, MARKET_SCHEMA).num_rows == 0
    assert set(watched.markets["agent"]) == {"momentum", "random"}, "a forfeit has no rows"


def test_the_same_match_gives_the_same_bits(scenarios):
    first, second = (digest(rows(scenarios, field(*FIELD))[1]) for _ in range(2))
    assert first == second


def test_another_seed_changes_only_those_who_draw_numbers_and_their_market(scenarios):
    alone = [rows(scenarios, field("momentum"), rules=MatchRules(preset("sqrt"), seed=seed))[0] for seed in (1, 2)]
    assert same_rows(*alone)
    drawn = [rows(scenarios, field("random"), rules=MatchRules(preset("sqrt"), seed=seed))[0] for seed in (1, 2)]
    assert (drawn[0]["final_nav"] != drawn[1]["final_nav"]).all()


def test_permuting_seats_permutes_results(scenarios):
    names = (*FIELD, "random-2")
    entrants = field(*FIELD, **{"random-2": Entrant("random")})
    straight, _ = rows(scenarios, entrants, names)
    turned, _ = rows(scenarios, entrants, names[::-1])
    both = straight.merge(turned, on=["scenario", "agent"])
    for name in ("final_nav", "growth_cv", "cost", "turnover", "return_sum"):
        assert (both[f"{name}_x"] - both[f"{name}_y"]).abs().max() < SEAT_TOLERANCE
    copies = straight.pivot_table(index="scenario", columns="agent", values="final_nav")
    assert (copies["random"] != copies["random-2"]).all(), "copies must draw their own numbers"


def test_a_batch_equals_its_singles(scenarios):
    """Agents without random numbers: only rounding of differently shaped sums may differ."""
    names = ("momentum", "equal_weight", "cash")
    whole, _ = rows(scenarios, field(*names))
    for index, seed in enumerate(SEEDS):
        one = scenarios._replace(
            **{name: value[[index]] for name, value in scenarios._asdict().items() if isinstance(value, torch.Tensor)}
        )
        single, _ = rows(one, field(*names), seeds=(seed,))
        expected = whole[whole["scenario"] == seed]["final_nav"].to_numpy()
        assert abs(single["final_nav"].to_numpy() - expected).max() < SEAT_TOLERANCE


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Raises", "raised RuntimeError: broken at <object object at 0x>"),
        ("Exits", "raised SystemExit: bye"),
        ("WrongShape", "returned weights of shape (3, 2), expected (3, 3)"),
        ("Complex", "returned torch.complex64, expected a tensor of real weights"),
        ("Words", "returned str, expected a tensor of real weights"),
        ("Vandal", "wrote into the shared price history"),
        ("NoStart", "could not be made OSError: no model file"),
    ],
)
def test_a_forfeit_costs_the_offender_only(scenarios, bad, name, reason):
    honest = ("momentum", "mean_reversion", "random")
    entrants = field(*honest, offender=bad(name), bystander=Entrant("cash"))
    with_offender, _ = rows(scenarios, entrants, ("momentum", "offender", "mean_reversion", "random"))
    without, _ = rows(scenarios, entrants, ("momentum", "bystander", "mean_reversion", "random"))
    others = [frame[frame["agent"].isin(honest)] for frame in (with_offender, without)]
    assert same_rows(*others, but=("seconds", "rank"))

    row = with_offender[with_offender["agent"] == "offender"]
    assert set(row["status"]) == {FORFEIT}
    assert set(row["reason"]) == {reason}
    assert (row["final_nav"] == FORFEIT_FINAL_NAV).all()
    assert (row["growth_cv"] == float(utility(torch.tensor(FORFEIT_FINAL_NAV, dtype=torch.float64)))).all()
    assert (row["rank"] == 4).all()
    assert (row[["turnover", "cost", "num_steps", "return_sum"]] == 0).all().all()


def test_two_offenders_both_forfeit(scenarios, bad):
    frame, _ = rows(scenarios, field("momentum", first=bad("WrongShape"), second=bad("Raises")))
    assert frame.groupby("agent")["status"].first().to_dict() == {"first": FORFEIT, "second": FORFEIT, "momentum": OK}
    assert set(frame[frame["status"] == FORFEIT]["rank"]) == {2.5}


def test_nan_weights_keep_the_position_and_are_counted(scenarios, bad):
    frame, _ = rows(scenarios, field("cash", gappy=bad("Nan"), steady=bad("Good")))
    gappy = frame[frame["agent"] == "gappy"]
    assert set(gappy["status"]) == {OK}
    assert (gappy["rejected"] == 3).all()  # one bar, three assets


def test_what_an_agent_writes_into_its_observation_reaches_nobody(scenarios, bad):
    entrants = field("momentum", "equal_weight", scribbler=bad("Scribbler"), good=bad("Good"))
    scribbled, _ = rows(scenarios, entrants, ("scribbler", "momentum", "equal_weight"))
    clean, _ = rows(scenarios, entrants, ("good", "momentum", "equal_weight"))
    assert same_rows(scribbled, clean, but=("seconds", "agent"))


def test_numpy_and_float32_answers_are_taken(scenarios, bad):
    frame, _ = rows(scenarios, field("cash", array=bad("Float32Array")))
    assert set(frame["status"]) == {OK}
    assert (frame[frame["agent"] == "array"]["turnover"] > 0).all()


def test_ruin_is_scored_with_the_wealth_it_left(bad):
    wild = generate(SyntheticParams(num_assets=2, num_bars=WARMUP + 60, daily_volatility=0.12), range(8), warmup=WARMUP)
    rules = MatchRules(replace(preset("sqrt"), max_gross_leverage=20.0, margin=False))
    frame, _ = rows(wild, field("cash", gambler=bad("Gambler")), rules=rules, seeds=range(8))
    ruined = frame[frame["ruined"]]
    assert len(ruined) > 2
    assert set(ruined["agent"]) == {"gambler"}
    assert (ruined["status"] == OK).all()
    negative = ruined[ruined["final_nav"] < 0]
    assert len(negative) > 2, "a debt stays in the score"
    assert (negative["growth_raw"] < math.log(0.25) - 1).all()
    assert frame[["return_sum", "max_drawdown", "growth_cv"]].notna().all().all()


def test_only_an_admitted_cheat_sees_the_signal(scenarios):
    refused, _ = rows(scenarios, field("cash", "oracle"))
    assert set(refused[refused["agent"] == "oracle"]["status"]) == {FORFEIT}
    admitted, _ = rows(scenarios, field("cash", "oracle"), rules=MatchRules(preset("sqrt"), allow_cheats=True))
    assert set(admitted["status"]) == {OK}


def test_control_variate_against_its_definition(scenarios):
    """The statement of the score, one step after the other, for one agent alone in its market."""
    unit = Unit("unit", Lineup(0, ("random",)), SEEDS)
    frame, _ = rows(scenarios, field("random"))
    agent, generator = make_agent("random"), entrant_generator(RULES, unit, "random")
    market = VectorMarket(RULES.market, scenarios, 1)
    start, luck = market.state.nav[:, 0], torch.zeros(len(SEEDS), dtype=torch.float64)
    for step in range(STEPS):
        bar, nav, held = WARMUP + step, market.state.nav[:, 0], market.state.position[:, 0]
        market.step(agent.act(seat_view(market.observe(), 0), generator).unsqueeze(1))
        open_, close = scenarios.bars[:, bar, :, 0], scenarios.bars[:, bar, :, 3]
        won = held * (open_ - scenarios.expected_open[:, bar])
        won += market.state.position[:, 0] * (close - scenarios.expected_close[:, bar])
        luck += won.sum(-1) / torch.maximum(nav, 0.05 * start)
    expected = utility(market.state.nav[:, 0] / start) - luck
    assert abs(frame["growth_cv"].to_numpy() - expected.numpy()).max() < SEAT_TOLERANCE
    assert (frame["growth_raw"] - frame["growth_cv"]).abs().max() > 1e-3


def test_without_conditional_means_there_is_no_control_variate(scenarios):
    frame, _ = rows(scenarios._replace(expected_open=None, expected_close=None), field("momentum", "cash"))
    assert frame["growth_cv"].isna().all()
    assert frame["growth_raw"].notna().all()
