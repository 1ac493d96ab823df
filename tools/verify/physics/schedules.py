"""Optimal schedules of one seller: Almgren & Chriss (2000) and Obizhaeva & Wang (2013)."""

from collections.abc import Iterator
from math import cosh, inf

import torch
from torch import Tensor

from arena.market.impact import decay_factors
from arena.market.types import ImpactMode, MarketParams
from tools.verify.physics.checks import Check, compare, skip
from tools.verify.physics.games import Game, price_risk
from tools.verify.physics.replay import bare_rules, flat_quotes, half_life, replay, traded_value
from tools.verify.physics.truth import Entry


def almgren_chriss_seller(truth: Entry, row: Entry) -> Game:
    """Linear permanent impact, quadratic cost, half-spread; E + lam V as a game of one.

    V = sigma**2 tau sum_k x_k**2 is the variance sales' Cov sales of the games: x_k = X - sales up to the k-th.
    """
    given, mapping = truth.entry("params"), truth.entry("arena_mapping")
    num_trades = int(given.number("N"))
    tau = given.number("T") / num_trades
    permanent = ImpactMode(mapping.number("permanent_linear_mode_c_rel_per_share"), 1.0, half_life(0.0))
    params = bare_rules((permanent,), tau, mapping.number("theta_rel"))
    quotes = flat_quotes(given.number("S0"), half_spread=mapping.number("half_spread_plus_fee_rel"))
    return Game(params, quotes, price_risk(2.0 * row.number("lam"), given.number("sigma"), num_trades, tau))


def obizhaeva_wang_seller(truth: Entry, row: Entry) -> Game:
    """The linear books of the file and the quadratic cost of `row`."""
    price, mapping = truth.entry("params").number("S0"), truth.entry("arena_mapping")
    modes = tuple(
        ImpactMode(mode.number("c_rel"), mode.number("delta"), half_life(mode.number("rho")))
        for mode in mapping.entries("modes")
    )
    return _risk_neutral(truth, bare_rules(modes, mapping.number("dt"), row.number("theta") / price))


def power_law_seller(truth: Entry, book: Entry) -> Game:
    """One resilient book of exponent delta."""
    mode = ImpactMode(book.number("c_rel"), book.number("delta"), half_life(truth.entry("params").number("rho")))
    return _risk_neutral(truth, bare_rules((mode,), truth.entry("arena_mapping").number("dt")))


def _risk_neutral(truth: Entry, params: MarketParams) -> Game:
    given = truth.entry("params")
    num_trades = int(given.number("N")) + 1
    return Game(params, flat_quotes(given.number("S0")), price_risk(0.0, 0.0, num_trades, params.dt))


def check_almgren_chriss(truth: Entry) -> Iterator[Check]:
    """Sales n_k at the start of each interval: linear permanent impact, quadratic cost, half-spread.

    minimise E + lam V,  E expected cost,  V = sigma**2 tau sum_k x_k**2 with x_k the holding after the k-th sale
    """
    given, mapping, rows = truth.entry("params"), truth.entry("arena_mapping"), truth.entries("rows")
    price, shares, tau = given.number("S0"), given.number("X"), given.number("T") / given.number("N")
    permanent = mapping.number("permanent_linear_mode_c_rel_per_share")
    theta, half_spread = mapping.number("theta_rel"), mapping.number("half_spread_plus_fee_rel")
    eta_tilde = given.number("eta") - 0.5 * given.number("gamma") * tau
    yield compare("a.arena_mapping.permanent", permanent, given.number("gamma") / price)
    yield compare("a.arena_mapping.theta_rel", theta, eta_tilde / tau / price)
    yield compare(
        "a.arena_mapping.own_quadratic_theta",
        theta * price,
        mapping.number("own_quadratic_theta_currency_per_share2"),
    )
    yield compare("a.arena_mapping.half_spread", half_spread, given.number("eps") / price)

    for index, row in enumerate(rows):
        name, sales = f"a.rows[{index}]", row.tensor("sales", (-1,)).requires_grad_()  # [K]
        seller = almgren_chriss_seller(truth, row)
        played = replay(seller.params, seller.quotes, -sales.expand(1, 1, -1), position=shares)
        holdings = torch.cat([torch.full((1,), shares, dtype=sales.dtype), played.position[0, 0]])
        cost = price * sales.sum() - played.state.cash[0, 0]
        yield compare(f"{name}.expected_cost", cost, row.number("expected_cost"), price * sales.abs().sum())
        yield compare(f"{name}.holdings", holdings, row.tensor("holdings"), scale=shares)

        risk = row.number("lam") * given.number("sigma") ** 2 * tau * (holdings[1:] ** 2).sum()
        (marginal,) = torch.autograd.grad(cost + risk, sales)
        yield _equal_marginals(f"{name}.sales_are_optimal", marginal, seller.quotes.ref_price)
        kappa, inner = row.number("kappa_per_day"), holdings[1:-1]
        if len(inner):  # x_j-1 + x_j+1 = 2 cosh(kappa tau) x_j
            curve = 0.5 * (holdings[:-2] + holdings[2:])
            growth = cosh(kappa * tau)
            yield compare(f"{name}.kappa_per_day", curve, growth * inner, scale=growth * shares)
        if row["half_life_days"] is not None:
            yield compare(f"{name}.half_life_days", row.number("half_life_days"), 1.0 / kappa if kappa else inf)
        for key in ("variance", "std", "utility"):
            yield skip(f"{name}.{key}", "closed form only: variance of a price walk, no market in it")


def check_obizhaeva_wang(truth: Entry) -> Iterator[Check]:
    """Sales at N + 1 times against a linear resilient book, then against power-law books."""
    given, mapping = truth.entry("params"), truth.entry("arena_mapping")
    price, shares, dt, rho = (given.number("S0"), given.number("X"), mapping.number("dt"), given.number("rho"))
    linear_coefs = [mode.number("c_rel") * price for mode in mapping.entries("modes")]
    yield compare("b.params.lam_perm_plus_kappa", sum(linear_coefs), given.number("lam_perm") + given.number("kappa"))
    yield compare("b.arena_mapping.dt", dt, given.number("T") / given.number("N"))
    yield compare("b.tau", dt, truth.number("tau"))
    yield compare("b.a", decay_factors(bare_rules((ImpactMode(0.0, 1.0, half_life(rho)),), dt))[0], truth.number("a"))
    yield compare(
        "b.times", dt * torch.arange(len(truth["times"]), dtype=torch.float64), truth.tensor("times"), scale=dt
    )

    for index, row in enumerate(truth.entries("rows")):
        yield from _check_schedule(f"b.rows[{index}]", row, "expected_cost", obizhaeva_wang_seller(truth, row), shares)
    yield skip("b.continuous_limit", "limit of infinitely many trades, no finite replay")

    for index, book in enumerate(truth.entries("power_law_book")):
        name = f"b.power_law_book[{index}]"
        seller = power_law_seller(truth, book)
        yield from _check_schedule(name, book, "expected_cost_currency", seller, shares)
        cost = float(seller.costs(book.tensor("schedule", (-1,)).expand(1, 1, -1)))
        notional = price * shares
        yield compare(f"{name}.expected_cost_rel_shares", cost / price, book.number("expected_cost_rel_shares"), shares)
        yield compare(f"{name}.avg_cost_bps", 1e4 * cost / notional, book.number("avg_cost_bps"), scale=1e4)


def _check_schedule(name: str, row: Entry, cost_key: str, seller: Game, shares: float) -> Iterator[Check]:
    """Cost of the schedule, of an even one and of one block; at the optimum every sale has the same marginal cost."""
    schedule = row.tensor("schedule", (-1,))  # [K]
    even = torch.full_like(schedule, shares / len(schedule))
    block = torch.zeros_like(schedule)
    block[0] = shares
    sales = torch.stack([schedule, even, block]).unsqueeze(1).requires_grad_()  # [3, 1, K]
    cost = seller.costs(sales)  # [3, 1]
    (marginal,) = torch.autograd.grad(cost.sum(), sales)
    scale = traded_value(seller.quotes, sales)
    yield compare(f"{name}.schedule_sum", schedule.sum(), shares)
    yield compare(f"{name}.{cost_key}", cost[0, 0], row.number(cost_key), scale[0, 0])
    for index, key in ((1, "twap_cost"), (1, "twap_cost_currency"), (2, "block_cost_now")):
        if key in row:
            yield compare(f"{name}.{key}", cost[index, 0], row.number(key), scale[index, 0])
    yield _equal_marginals(f"{name}.schedule_is_optimal", marginal[0, 0], seller.quotes.ref_price)


def _equal_marginals(name: str, marginal: Tensor, price: Tensor) -> Check:
    return compare(name, marginal, marginal.mean().expand_as(marginal), scale=price.squeeze())
