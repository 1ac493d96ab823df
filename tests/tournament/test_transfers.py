"""Who paid whom: the split adds up to what was paid, follows flow alone, and shows a pair that hands money over."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from arena.data.synthetic.market import SyntheticParams, generate
from arena.market.impact import average_impact, temporary_impact
from arena.market.presets import preset
from arena.market.types import Quotes
from arena.tournament.play.match import Entrant, MatchRules, play_match
from arena.tournament.play.transfers import moved_by
from arena.tournament.stats.collusion import flagged_pairs, fold_transfers, mean_costs, transfer_table
from arena.tournament.store.units import table_from_columns
from arena.tournament.types import TRANSFER_SCHEMA, Lineup, Unit

NUM_SCENARIOS = 24
SEEDS = tuple(range(201, 201 + NUM_SCENARIOS))
WARMUP, STEPS, ASSETS = 60, 20, 3
RULES = MatchRules(preset("sqrt"), seed=5)
ROUNDING = 1e-12  # of sums of a few hundred terms in float64, relative to the largest

PARTNERS = """
import torch

class Donor:
    '''Buys without end, in all assets, and holds.'''
    history_length = 0
    def reset(self): pass
    def act(self, observation, generator):
        step = observation.step.reshape(-1, 1).to(observation.weight)
        return 0.08 * (1.0 + step) + torch.zeros_like(observation.weight)

class Receiver(Donor):
    '''Owns before the donor buys, and sells into its buying.'''
    def act(self, observation, generator):
        step = observation.step.reshape(-1, 1).to(observation.weight)
        return 0.3 - 0.03 * step + torch.zeros_like(observation.weight)

class Raises(Donor):
    def act(self, observation, generator): raise RuntimeError("broken")
"""


@pytest.fixture(scope="module")
def partner(tmp_path_factory):
    path = tmp_path_factory.mktemp("agents") / "partners.py"
    path.write_text(PARTNERS)
    return lambda name: Entrant(f"{path}:{name}")


@pytest.fixture(scope="module")
def scenarios():
    return generate(SyntheticParams(num_assets=ASSETS, num_bars=WARMUP + STEPS, signal_ic=0.0), SEEDS, warmup=WARMUP)


def played(scenarios, entrants, kept=NUM_SCENARIOS, rules=RULES):
    """Transfers as a table, and the result rows."""
    unit = Unit("unit", Lineup(0, tuple(entrants)), SEEDS)
    found = play_match(rules, entrants, unit, scenarios, num_path_scenarios=kept)
    return table_from_columns(found.transfers, TRANSFER_SCHEMA), table_from_columns(found.results).to_pandas()


def copies(num):
    return {f"random_{index}": Entrant("random", {"every": 5}) for index in range(num)}


@pytest.mark.parametrize("limited", [False, True])
def test_rows_add_up_to_the_impact_that_was_paid(scenarios, limited):
    rules = replace(RULES, market=replace(RULES.market, participation_cap=0.02)) if limited else RULES
    field = {name: Entrant(name) for name in ("momentum", "mean_reversion", "macd", "cash")} | copies(2)
    transfers, results = played(scenarios, field, rules=rules)
    paid = transfers.to_pandas().groupby(["scenario", "agent"])["cost"].sum()
    expected = results.set_index(["scenario", "agent"])["impact_cost"]
    assert (paid - expected).abs().max() <= ROUNDING * transfers.to_pandas()["cost"].abs().max()
    assert expected.abs().max() > 1e-4
    frame = transfers.to_pandas()
    assert (frame[(frame["agent"] == "cash") | (frame["by"] == "cash")]["cost"] == 0).all()


def quotes_of(num_assets=2):
    ones = torch.ones(1, num_assets, dtype=torch.float64)
    return Quotes(
        ref_price=100 * ones,
        fill_price=100 * ones,
        next_ref_price=100 * ones,
        volatility=0.02 * ones,
        adv=1e6 * ones,
        bar_volume=1e6 * ones,
        half_spread=0 * ones,
        borrow_rate=0 * ones,
        tradable=ones > 0,
        reduce_only=torch.zeros(1, dtype=torch.bool),
    )


def random_flows(seed=0, num_seats=4, num_assets=2):
    generator = torch.Generator().manual_seed(seed)
    params = preset("sqrt")
    own = 1e4 * torch.randn(1, num_seats, num_assets, len(params.modes), generator=generator, dtype=torch.float64)
    shares = 1e4 * torch.randn(1, num_seats, num_assets, generator=generator, dtype=torch.float64)
    return params, own, shares


def test_what_the_seats_move_is_what_the_price_moves():
    params, own, shares = random_flows()
    net_flow = shares.sum(-2)
    whole = average_impact(params, quotes_of(), own.sum(1), net_flow) + temporary_impact(params, quotes_of(), net_flow)
    torch.testing.assert_close(moved_by(params, quotes_of(), own, shares).sum(-2), whole, rtol=1e-10, atol=1e-16)


def test_a_linear_market_by_hand():
    """One permanent mode: j moves the price by c sigma (E_j + x_j / 2) / V, whatever the others do."""
    params, own, shares = random_flows()
    params = replace(params, modes=params.modes[-1:], temporary_coef=0.0)
    expected = params.modes[0].coef * 0.02 * (own[..., -1] + shares / 2) / 1e6
    torch.testing.assert_close(moved_by(params, quotes_of(), own[..., -1:], shares), expected)


def test_equal_flows_share_equally_and_cancelled_flows_move_nothing():
    params, own, shares = random_flows(num_seats=1)
    moved = moved_by(params, quotes_of(), own.repeat(1, 3, 1, 1), shares.repeat(1, 3, 1))
    torch.testing.assert_close(moved, moved[:, :1].expand_as(moved))
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64).reshape(1, 2, 1)
    opposite = moved_by(params, quotes_of(), signs.unsqueeze(-1) * own, signs * shares)
    assert (opposite == 0).all()


def test_seats_permute_with_their_flows():
    params, own, shares = random_flows()
    order = [2, 0, 3, 1]
    moved = moved_by(params, quotes_of(), own, shares)
    torch.testing.assert_close(moved_by(params, quotes_of(), own[:, order], shares[:, order]), moved[:, order])


def test_only_sampled_matches_are_booked(scenarios):
    field = copies(3)
    transfers, results = played(scenarios, field, kept=2)
    assert set(transfers["scenario"].to_pylist()) == set(SEEDS[:2])
    assert transfers.num_rows == 2 * 9
    none, same = played(scenarios, field, kept=0)
    assert none.num_rows == 0
    kept = [name for name in results if name != "seconds"]
    assert same[kept].equals(results[kept])
    full = played(scenarios, field)[0].to_pandas()
    part = transfers.to_pandas()
    whole = full[full["scenario"].isin(SEEDS[:2])].reset_index(drop=True)
    np.testing.assert_allclose(part["cost"], whole["cost"], rtol=1e-9, atol=1e-15)


def test_a_forfeit_caused_nothing(scenarios, partner):
    transfers, _ = played(scenarios, copies(2) | {"broken": partner("Raises")})
    frame = transfers.to_pandas()
    assert (frame[(frame["by"] == "broken") | (frame["agent"] == "broken")]["cost"] == 0).all()
    assert len(frame) == len(SEEDS) * 9


def test_a_donor_and_its_receiver_are_flagged_first(scenarios, partner):
    field = copies(4) | {"donor": partner("Donor"), "receiver": partner("Receiver")}
    transfers, _ = played(scenarios, field)
    table = transfer_table(transfers, sorted(field), np.random.default_rng(0))
    assert table["games"] == len(SEEDS)
    first = table["flags"][0]
    assert (first["agent"], first["by"]) == ("receiver", "donor")
    assert first["cost"] < -0.001
    index = {name: place for place, name in enumerate(table["agents"])}
    assert table["cost"][index["receiver"]][index["donor"]] == pytest.approx(first["cost"])


@pytest.mark.parametrize("rules", [(), ("momentum", "mean_reversion", "macd", "rsi", "fader")])
def test_honest_agents_are_not_flagged(scenarios, rules):
    """Neither copies with luck of their own, nor rules that trade against each other."""
    field = copies(3) | {name: Entrant(name) for name in rules}
    transfers, _ = played(scenarios, field)
    assert transfer_table(transfers, sorted(field), np.random.default_rng(0))["flags"] == []


def test_order_of_rows_and_of_names(scenarios, partner):
    field = copies(3) | {"donor": partner("Donor"), "receiver": partner("Receiver")}
    transfers, _ = played(scenarios, field)
    shuffled = transfers.take(np.random.default_rng(0).permutation(transfers.num_rows))
    names, other = sorted(field), sorted(field)[::-1]
    table, same = (transfer_table(rows, names, np.random.default_rng(0)) for rows in (transfers, shuffled))
    assert table == same
    mean = mean_costs(fold_transfers(transfers, names), 5)
    np.testing.assert_allclose(mean_costs(fold_transfers(transfers, other), 5), mean[::-1, ::-1])
    frame = transfers.to_pandas()
    expected = frame[(frame["agent"] == "donor") & (frame["by"] == "receiver")]["cost"].mean()
    assert mean[names.index("donor"), names.index("receiver")] == pytest.approx(expected)


def test_partial_matches_are_refused_and_pairs_need_a_third(scenarios):
    transfers, _ = played(scenarios, copies(2))
    assert flagged_pairs(fold_transfers(transfers, sorted(copies(2))), 2, np.random.default_rng(0)) == []
    with pytest.raises(ValueError, match="partial matches"):
        fold_transfers(transfers.slice(1), sorted(copies(2)))
