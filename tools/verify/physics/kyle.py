"""Insider trading: Kyle (1985), with n insiders and with several auctions, in a market of linear net impact.

The market maker's price p0 + lambda y (y the net flow) is a permanent linear mode lambda, of which a fill pays half on
average, plus a net temporary impact lambda / 2. Insiders sit in seats 0..n-1, the noise traders in the last one; every
position is settled at the value v of the asset. v and the noise are normal and the strategies linear, so every moment
checked is quadratic in them: the 2 D points +-sqrt(D) sd along each of D independent variables give it exactly.
"""

from collections.abc import Iterator
from math import inf, sqrt

import torch
from torch import Tensor

from arena.market.accounting import mark_value
from arena.market.impact import displacement
from arena.market.step import initial_state, step_orders
from arena.market.types import ImpactMode, MarketParams, Quotes
from tools.verify.physics.checks import Check, at_most_zero, compare, skip
from tools.verify.physics.replay import bare_rules, flat_quotes
from tools.verify.physics.truth import Entry, TruthError

PRICE_IN_SD = 100.0  # p0 in standard deviations of v: nothing checked depends on it
MULTI_TOLERANCE = 1e-8  # the file's recursion is solved by a search, which leaves about 1e-9


def check_kyle(truth: Entry) -> Iterator[Check]:
    """One auction with n insiders, then one insider in N auctions."""
    given = truth.entry("params")
    variance, noise_sd = given.number("Sigma0"), given.number("sigma_u")
    for key in truth.entry("single"):
        num_insiders = _count(truth.entry("single"), key)
        yield from _check_single(f"e.single.{key}", truth.entry("single").entry(key), num_insiders, variance, noise_sd)
    for key in truth.entry("multi"):
        row = truth.entry("multi").entry(key)
        yield from _check_auctions(f"e.multi.{key}", row, variance, noise_sd)
    yield skip("e.continuous_limit", "limit of infinitely many auctions, no finite replay")


def _check_single(name: str, row: Entry, num_insiders: int, variance: float, noise_sd: float) -> Iterator[Check]:
    lam, beta = row.number("lam"), row.number("beta")
    sd = sqrt(variance)
    price = PRICE_IN_SD * sd
    surprise, noise = _sigma_points(torch.tensor([sd, noise_sd], dtype=torch.float64))  # [B] v - p0, u
    own_beta = torch.tensor(beta, dtype=torch.float64, requires_grad=True)  # of insider 0; the others keep theirs
    slopes = torch.stack([own_beta, *[own_beta.detach()] * (num_insiders - 1)])
    orders = torch.cat([surprise.unsqueeze(-1) * slopes, noise.unsqueeze(-1)], -1)  # [B, n + 1]

    params, quotes = _auction_rules(), _auction_quotes(torch.full_like(surprise, price), lam)
    state = initial_state(params, torch.zeros_like(orders), num_assets=1)
    state, fills = step_orders(params, state, quotes, orders.unsqueeze(-1))
    profit = mark_value(state.cash, state.position, (price + surprise).unsqueeze(-1)).mean(0)  # [n + 1]
    flow = fills.net_flow.squeeze(-1)
    scale = price * orders.abs().max()
    yield compare(
        f"{name}.expected_profit_each", profit[:-1], row.tensor("expected_profit_each").expand(num_insiders), scale
    )
    yield compare(f"{name}.expected_profit_total", profit[:-1].sum(), row.number("expected_profit_total"), scale)
    yield compare(f"{name}.noise_trader_expected_loss", -profit[-1], row.number("noise_trader_expected_loss"), scale)

    (slope,) = torch.autograd.grad(profit[0], own_beta, create_graph=True)
    (curvature,) = torch.autograd.grad(slope, own_beta)
    gain = slope**2 / (-2.0 * curvature)  # of the best beta, others fixed: the profit is quadratic in it
    yield at_most_zero(f"{name}.beta.best_response_gain", gain if curvature < 0 else inf, profit[0].detach())
    covariance, flow_variance = (surprise * flow).mean(), (flow * flow).mean()
    yield compare(f"{name}.lam", covariance / flow_variance, lam)  # the price is the best guess of v given the flow
    left = variance - covariance**2 / flow_variance
    yield compare(f"{name}.posterior_variance", left, row.number("posterior_variance"))


def _check_auctions(name: str, row: Entry, variance: float, noise_sd: float) -> Iterator[Check]:
    """Each auction starts at the last price with an empty book; the insider orders beta_n dt (v - last price)."""
    lam, dt = row.tensor("lam", (-1,)), row.number("dt")
    num_auctions = len(lam)
    beta_dt = row.tensor("beta_dt", (num_auctions,))
    alpha, delta = row.tensor("alpha", (num_auctions + 1,)), row.tensor("delta", (num_auctions + 1,))
    sd = sqrt(variance)
    deviations = torch.full((num_auctions + 1,), noise_sd * sqrt(dt), dtype=torch.float64)
    deviations[0] = sd
    value, *noise = _sigma_points(deviations)  # [B] each
    price = torch.full_like(value, PRICE_IN_SD * sd)
    value = price + value
    params = _auction_rules()
    profits, slopes, variances = [], [], [((value - price) ** 2).mean()]
    for n in range(num_auctions):
        quotes = _auction_quotes(price, float(lam[n]))
        orders = torch.stack([beta_dt[n] * (value - price), noise[n]], -1)  # [B, 2]
        state = initial_state(params, torch.zeros_like(orders), num_assets=1)
        state, fills = step_orders(params, state, quotes, orders.unsqueeze(-1))
        profits.append(mark_value(state.cash, state.position, value.unsqueeze(-1))[:, 0].mean())
        flow = fills.net_flow[:, 0]
        slopes.append(((value - price) * flow).mean() / (flow * flow).mean())
        price = price * (1.0 + displacement(params, quotes, state.imbalance)[:, 0])
        variances.append(((value - price) ** 2).mean())

    scale = PRICE_IN_SD * sd * noise_sd
    wanted = row.number("expected_insider_profit")
    yield compare(f"{name}.N", num_auctions, row.number("N"))
    yield compare(f"{name}.beta_dt", row.tensor("beta") * dt, beta_dt)
    yield compare(f"{name}.expected_insider_profit", sum(profits), wanted, scale, tolerance=MULTI_TOLERANCE)
    yield compare(f"{name}.lam", torch.stack(slopes), lam, tolerance=MULTI_TOLERANCE)
    yield compare(f"{name}.Sigma", torch.stack(variances), row.tensor("Sigma"), variance, tolerance=MULTI_TOLERANCE)
    # Profit still to come after n auctions is alpha_n (v - p_n)**2 + delta_n.
    to_come = torch.stack([torch.stack(profits)[n:].sum() for n in range(num_auctions + 1)])
    promised = alpha * torch.stack(variances) + delta
    yield compare(f"{name}.alpha_and_delta", to_come, promised, scale, tolerance=MULTI_TOLERANCE)


def _sigma_points(deviations: Tensor) -> Tensor:
    """Values [D, 2 D] of D independent variables whose plain mean over points integrates cubics exactly."""
    spread = sqrt(len(deviations)) * torch.diag(deviations)
    return torch.cat([spread, -spread], -1)


def _auction_rules() -> MarketParams:
    """Coefficients of 1 and 1/2: lambda / price comes as the volatility of the quotes, so it may differ by market."""
    return bare_rules((ImpactMode(1.0, 1.0, inf),), dt=1.0, temporary_coef=0.5)


def _auction_quotes(price: Tensor, lam: float) -> Quotes:
    return flat_quotes(price.unsqueeze(-1), volatility=lam / price.unsqueeze(-1))


def _count(table: Entry, key: str) -> int:
    if not key.isdigit() or int(key) < 1:
        raise TruthError(f"{table.where} has the key {key!r}, expected a number of insiders")
    return int(key)
