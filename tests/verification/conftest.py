"""A truth folder with its own parameters, computed by closed forms and plain loops that share nothing with the market.

Sells are positive in a, b and d, buys in the others, as in the files' schema.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

Truths = dict[str, Any]


@pytest.fixture(scope="session")
def truths() -> Truths:
    return {
        "a_almgren_chriss.json": almgren_chriss(),
        "b_obizhaeva_wang.json": obizhaeva_wang(),
        "c_square_root_law.json": square_root_law(),
        "d_nash_games.json": nash_games(),
        "e_kyle.json": kyle(),
        "f_golden_ledger.json": ledger(),
        "g_statistics.json": statistics(),
        "h_energy_limiter_valuation.json": energy(),
    }


@pytest.fixture
def write_folder(truths: Truths, tmp_path: Path) -> Callable[..., Path]:
    """write_folder(change=None): the folder, after `change` has edited a copy of its contents."""

    def write(change: Callable[[Truths], object] | None = None) -> Path:
        edited = copy.deepcopy(truths)
        if change:
            change(edited)
        for name, content in edited.items():
            (tmp_path / name).write_text(json.dumps(content))
        return tmp_path

    return write


def potential(e: float, c: float, delta: float) -> float:
    return c * abs(e) ** (1 + delta) / (1 + delta)


def buying_cost(modes: list[tuple[float, float, float]], orders: Any, tau: Callable[[float], float] = lambda x: 0.0):
    """Impact paid / S, prices / S and imbalances; modes (c, delta, decay factor), tau the temporary part."""
    e, paid, prices = [0.0] * len(modes), 0.0, []
    for x in orders:
        e = [a * v for v, (_, _, a) in zip(e, modes)]
        impact = sum(potential(v + x, c, d) - potential(v, c, d) for v, (c, d, _) in zip(e, modes)) + abs(x) * tau(x)
        e, paid = [v + x for v in e], paid + impact
        prices.append(1 + (impact / x if x else 0.0))
    return paid, prices, e


def displaced(modes: list[tuple[float, float, float]], e: list[float]) -> float:
    return sum(c * np.sign(v) * abs(v) ** d for v, (c, d, _) in zip(e, modes))


def almgren_chriss() -> Any:
    s0, x, horizon, n, sigma, gamma, eta, eps = 40.0, 3e5, 4.0, 8, 0.7, 4e-7, 3e-6, 0.05
    tau = horizon / n
    eta_tilde = eta - gamma * tau / 2
    rows = []
    for lam in (0.0, 3e-6, 1e-3):
        kappa = np.arccosh(1 + lam * sigma**2 * tau**2 / (2 * eta_tilde)) / tau
        t = tau * np.arange(n + 1)
        held = x * (np.sinh(kappa * (horizon - t)) / np.sinh(kappa * horizon) if lam else 1 - t / horizon)
        sales = -np.diff(held)
        cost = gamma * x**2 / 2 + eps * x + eta_tilde / tau * (sales**2).sum()
        variance = sigma**2 * tau * (held[1:] ** 2).sum()
        row = {"lam": lam, "kappa_per_day": kappa, "half_life_days": 1 / kappa if lam else None}
        row |= {"holdings": held.tolist(), "sales": sales.tolist(), "expected_cost": cost}
        rows.append(row | {"variance": variance, "std": variance**0.5, "utility": cost + lam * variance})
    mapping = {
        "permanent_linear_mode_c_rel_per_share": gamma / s0,
        "own_quadratic_theta_currency_per_share2": eta_tilde / tau,
        "theta_rel": eta_tilde / tau / s0,
        "half_spread_plus_fee_rel": eps / s0,
    }
    params = {"S0": s0, "X": x, "T": horizon, "N": n, "sigma": sigma, "gamma": gamma, "eta": eta, "eps": eps}
    return {"params": params, "rows": rows, "arena_mapping": mapping}


def obizhaeva_wang() -> Any:
    s0, x, horizon, n, rho, lam, kappa = 30.0, 2e4, 2.0, 7, 2.5, 2e-5, 3e-4
    tau = horizon / n
    a = np.exp(-rho * tau)
    kernel = lam + kappa * a ** np.abs(np.subtract.outer(np.arange(n + 1), np.arange(n + 1)))
    even = np.full(n + 1, x / (n + 1))
    rows = []
    for theta in (0.0, 2e-5):
        schedule = np.linalg.solve(kernel + 2 * theta * np.eye(n + 1), np.ones(n + 1))
        schedule *= x / schedule.sum()
        cost = schedule @ (kernel / 2 + theta * np.eye(n + 1)) @ schedule
        rows.append({"theta": theta, "schedule": schedule.tolist(), "expected_cost": cost})
    rows[0] |= {"twap_cost": even @ kernel @ even / 2, "block_cost_now": (lam + kappa) * x**2 / 2}
    books = []
    for delta in (0.4, 0.5, 1.0):
        c = 0.02 / x**delta
        r = ((1 - a ** (1 + delta)) / (1 - a)) ** (1 / delta)
        first = x / (n * (1 - a) + r)
        schedule = np.array([first, *[(1 - a) * first] * (n - 1), 0.0])
        schedule[-1] = x - schedule.sum()
        cost, twap = (buying_cost([(c, delta, a)], orders)[0] for orders in (schedule, even))
        row = {"delta": delta, "c_rel": c, "schedule": schedule.tolist(), "expected_cost_rel_shares": cost}
        row |= {"expected_cost_currency": s0 * cost, "avg_cost_bps": 1e4 * cost / x, "twap_cost_currency": s0 * twap}
        books.append(row)
    modes = [{"c_rel": lam / s0, "delta": 1, "rho": 0}, {"c_rel": kappa / s0, "delta": 1, "rho": rho}]
    return {
        "params": {"S0": s0, "X": x, "T": horizon, "N": n, "rho": rho, "lam_perm": lam, "kappa": kappa},
        "a": a,
        "tau": tau,
        "times": (tau * np.arange(n + 1)).tolist(),
        "rows": rows,
        "arena_mapping": {"modes": modes, "dt": tau},
        "power_law_book": books,
    }


def square_root_law() -> Any:
    p = {"sigma": 0.03, "V": 5e5, "Yf": 0.5, "hlf": 0.2, "Ys": 0.2, "hls": 8.0, "gamma": 0.25, "eta": 0.1, "beta": 0.7}
    p |= {"dt": 0.1, "S0": 60.0}
    fast, slow = (
        (p["Y" + k] * p["sigma"] / p["V"] ** 0.5, 0.5, 2 ** (-p["dt"] / p["hl" + k])) for k in "fs"
    )  # fmt: skip
    books = {"sqrt_single_mode": [fast], "sqrt_two_modes": [fast, slow]}
    books["default_full"] = [fast, slow, (p["gamma"] * p["sigma"] / p["V"], 1.0, 1.0)]
    tables = {}
    for name, modes in books.items():
        coef = p["eta"] * p["sigma"] if name == "default_full" else 0.0
        for k in (1, 4):
            rows = []
            for size in (0.002, 0.01, 0.03):
                q = size * p["V"]
                cost, prices, e = buying_cost(
                    modes, [q / k] * k, lambda x, coef=coef: coef * (abs(x) / (p["V"] * p["dt"])) ** p["beta"]
                )
                later = [
                    displaced(modes, [v * a ** (day / p["dt"]) for v, (_, _, a) in zip(e, modes)])
                    for day in (1, 5, 20, 50)
                ]
                row = {"Q_over_V": size, "cost_currency": p["S0"] * cost, "cost_bps": 1e4 * cost / q}
                row |= {"peak_impact": displaced(modes, e), "impact_after_days_1_5_20_50": later}
                rows.append(row | {"exec_prices": [p["S0"] * price for price in prices] if size == 0.01 else None})
            x = np.log([row["Q_over_V"] for row in rows])
            cost_slope, peak_slope = (
                np.polyfit(x, np.log([row[key] for row in rows]), 1)[0] for key in ("cost_bps", "peak_impact")
            )
            fitted = {"fitted_cost_exponent": cost_slope, "fitted_peak_exponent": peak_slope}
            tables[f"{name}_K{k}"] = {"rows": rows} | fitted
    return {"params": p, "tables": tables}


def nash_games() -> Any:
    s0, horizon, n, rho, lam = 50.0, 2.0, 6, 0.8, 0.5
    a = np.exp(-rho * horizon / n)
    lags = np.abs(np.subtract.outer(np.arange(n + 1), np.arange(n + 1)))
    times = horizon / n * np.arange(n + 1)
    games = [
        game("three", lam * a**lags, [1.0, 0.5, -0.25], theta=0.6, phi=0.0),
        game("oscillating", lam * a**lags, [1.0, 0.0], theta=0.01, phi=0.0),
        game("temporary", lam * a**lags, [1.0, 1.0, 0.0], theta=0.1, phi=0.3),
        game("averse", lam * a**lags, [2.0, 1.0], theta=0.4, phi=0.0, risk=(1.5, 0.4), times=times),
    ]
    permanent, temporary, duration, trades = 0.7, 0.4, 1.5, 5
    linear = game("linear", np.full((trades, trades), permanent), [1.0, 0.0], 0.0, temporary * trades / duration)
    row = {key: linear[key] for key in ("expected_costs", "strategies")} | {"N": trades}
    finer = game("finer", np.full((20, 20), permanent), [1.0, 0.0], 0.0, temporary * 20 / duration)
    later = {"N": 20, "expected_costs": finer["expected_costs"], "strategies": None}
    sellers = {"n_players": 2, "X": [1.0, 0.0], "gamma": permanent, "lambda_temp": temporary, "T": duration}
    return {
        "params": {"S0": s0, "T": horizon, "N": n, "rho": rho, "lam": lam},
        "a": a,
        "critical_theta_2p": lam / 4,
        "smallest_theta_without_sign_changes": {"2": 0.1},
        "games": games,
        "carlin_lobo_viswanathan": [sellers | {"discrete": [row, later]}],
    }


def game(name: str, kernel: Any, sizes: Any, theta: float, phi: float, risk: Any = (0.0, 0.0), times: Any = 0) -> Any:
    """Equilibrium in closed form, planner and single seller by their linear conditions."""
    x, k, n = np.array(sizes), len(kernel), len(sizes)
    one, unit = np.ones(k), np.eye(k)
    covariance = risk[0] * risk[1] ** 2 * np.minimum.outer(times, times) if risk[0] else 0.0
    own, cross = kernel / 2 + (theta + phi) * unit, np.tril(kernel, -1) + (kernel[0, 0] / 2 + phi) * unit
    v = np.linalg.solve(2 * own + covariance + (n - 1) * cross, one)
    w = np.linalg.solve(2 * own + covariance - cross, one)
    v, w = v / v.sum(), w / w.sum()
    xi = x.mean() * v + np.outer(x - x.mean(), w)
    costs = [xi[i] @ own @ xi[i] + xi[i] @ cross @ (xi.sum(0) - xi[i]) for i in range(n)]
    # A planner splits the sum evenly but for theta: the mean of the players' schedules, then equal steps around it.
    total = np.linalg.solve(kernel + 2 * (phi + theta / n) * unit, one)
    total *= x.sum() / total.sum()
    around = ((x - x.mean()) ** 2).sum() / k
    planner = total @ (kernel / 2 + (phi + theta / n) * unit) @ total + theta * around
    alone = np.linalg.solve(2 * own + covariance, one)
    alone /= alone.sum()
    row = {"name": name, "n_players": n, "theta": theta, "phi_net": phi, "kernel": kernel[0].tolist(), "X": sizes}
    row |= {"risk_aversion": risk[0], "v": v.tolist(), "w": w.tolist(), "strategies": xi.tolist()}
    row |= {"expected_costs": costs, "total_cost": sum(costs), "planner_total_cost": planner}
    row |= {"single_agent_optimal_cost_if_alone": (x**2 * (alone @ own @ alone)).tolist()}
    row |= {"oscillates": bool((v < 0).any() or (w < 0).any())}
    if risk[0]:
        return row | {"sigma": risk[1]}
    return row | {"markov_perfect": {"expected_costs": costs, "strategies": xi.tolist()}}


def kyle() -> Any:
    variance, noise = 9.0, 4.0
    single = {}
    for n in (1, 4):
        beta, lam = noise / (n * variance) ** 0.5, (n * variance) ** 0.5 / ((n + 1) * noise)
        each = noise * variance**0.5 / ((n + 1) * n**0.5)
        row = {"lam": lam, "beta": beta, "expected_profit_each": each, "expected_profit_total": n * each}
        single[str(n)] = row | {"noise_trader_expected_loss": n * each, "posterior_variance": variance / (n + 1)}
    lam, beta = single["1"]["lam"], single["1"]["beta"]
    once = {"N": 1, "dt": 1.0, "lam": [lam], "beta": [beta], "beta_dt": [beta], "alpha": [1 / (4 * lam), 0.0]}
    once |= {"delta": [0.0, 0.0], "Sigma": [variance, variance / 2], "expected_insider_profit": variance / (4 * lam)}
    return {"params": {"Sigma0": variance, "sigma_u": noise}, "single": single, "multi": {"1": once}}


def ledger() -> Any:
    """Three seats, two assets, four bars; every rule written out for one seat at a time."""
    p = {"N": 3, "A": 2, "S0": [50.0, 8.0], "V_adv": [2e5, 9e5], "sigma_d": [0.015, 0.04], "dt": 0.5}
    p |= {"cap_shares": [3000.0, 20000.0], "half_spread": 0.0004, "fee": 0.0001, "eta": 0.2, "beta": 0.55}
    p |= {"r_cash": 0.05, "r_margin_spread": 0.02, "r_borrow": 0.03, "days_per_year": 250.0, "initial_cash": 2e5}
    modes = [(0.4, 0.5, 0.3), (0.2, 0.7, 4.0), (0.25, 1.0, None)]
    p["modes"] = [{"Y": y, "delta": d, "half_life": life} for y, d, life in modes]
    rng = np.random.default_rng(5)
    year, rate = p["dt"] / p["days_per_year"], p["half_spread"] + p["fee"]
    cash, house, external = [p["initial_cash"]] * 3, 0.0, 0.0
    held, outside = [[0.0, 0.0] for _ in range(3)], [0.0, 0.0]
    e, price, steps = [[0.0] * 3, [0.0] * 3], p["S0"], []

    def book(asset: int) -> list[tuple[float, float, float]]:
        sigma, adv = p["sigma_d"][asset], p["V_adv"][asset]
        return [(y * sigma / adv**d, d, 1.0 if life is None else 2 ** (-p["dt"] / life)) for y, d, life in modes]

    def temporary(asset: int, x: float) -> float:
        return p["eta"] * p["sigma_d"][asset] * (abs(x) / (p["V_adv"][asset] * p["dt"])) ** p["beta"]

    for _ in range(4):
        orders = rng.normal(0, [6000, 40000], (3, 2)).round().tolist()
        financing, cost, net, paid = [], [0.0] * 3, [0.0, 0.0], [0.0, 0.0]
        for i in range(3):
            short = sum(max(-held[i][a], 0) * price[a] for a in range(2))
            interest = p["r_cash"] * max(cash[i], 0) - (p["r_cash"] + p["r_margin_spread"]) * max(-cash[i], 0)
            financing.append(year * (interest - p["r_borrow"] * short))
        price = [s * float(np.exp(rng.normal(0, 0.02))) for s in price]
        fills = [[0.0, 0.0] for _ in range(3)]
        for a in range(2):
            for i, x in enumerate(ration([row[a] for row in orders], p["cap_shares"][a])):
                fills[i][a] = x
            net[a] = sum(row[a] for row in fills)
            e[a] = [v * decay for v, (_, _, decay) in zip(e[a], book(a))]
            impact = sum(potential(v + net[a], c, d) - potential(v, c, d) for v, (c, d, _) in zip(e[a], book(a)))
            paid[a] = price[a] * (1 + impact / net[a] + np.sign(net[a]) * temporary(a, net[a]))
            e[a] = [v + net[a] for v in e[a]]
        for i in range(3):
            cost[i] = sum(price[a] * abs(fills[i][a]) * rate for a in range(2))
            cash[i] += financing[i] - cost[i] - sum(fills[i][a] * paid[a] for a in range(2))
            held[i] = [held[i][a] + fills[i][a] for a in range(2)]
        external += sum(net[a] * paid[a] for a in range(2))
        house += sum(cost) - sum(financing)
        outside = [outside[a] - net[a] for a in range(2)]
        shift = [displaced(book(a), e[a]) for a in range(2)]
        v_ref = [cash[i] + sum(held[i][a] * price[a] for a in range(2)) for i in range(3)]
        v_mid = [cash[i] + sum(held[i][a] * price[a] * (1 + shift[a]) for a in range(2)) for i in range(3)]
        exits = [
            sum(
                price[a] * (sum(potential(h, c, d) for c, d, _ in book(a)) + abs(h) * (temporary(a, h) + rate))
                for a, h in enumerate(held[i])
            )
            for i in range(3)
        ]
        steps.append(
            {"S": price, "orders": orders, "financing": financing, "fills": fills, "net": net, "exec_price": paid}
            | {"explicit_cost": cost, "E": [list(v) for v in e], "I": shift, "cash": list(cash), "external_h": outside}
            | {"h": [list(h) for h in held], "external_cash": external, "house_cash": house, "v_ref": v_ref}
            | {"v_mid": v_mid, "v_rest": [v - cost for v, cost in zip(v_ref, exits)]}
        )
    return {"params": p, "steps": steps}


def ration(orders: list[float], cap: float) -> list[float]:
    """Uniform rule by bisection on the level."""
    sign = 1 if sum(orders) > 0 else -1
    heavy = [max(sign * x, 0) for x in orders]
    room = sum(max(-sign * x, 0) for x in orders) + min(abs(sum(orders)), cap)
    if sum(heavy) <= room:
        return orders
    low, high = 0.0, max(heavy)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(min(x, middle) for x in heavy) < room else (low, middle)
    return [sign * min(sign * x, low) if sign * x > 0 else x for x in orders]


def energy() -> Any:
    s0, adv, sigma, dt = 20.0, 3e5, 0.025, 0.2
    listed = [[0.3, 0.5, 0.25], [0.3, 0.6, 6.0], [0.2, 1.0, None]]
    modes = [(y * sigma / adv**d, d, 2 ** (-dt / life) if life else 1.0) for y, d, life in listed]
    rng = np.random.default_rng(3)
    e, paid, lost, steps = [0.0] * 3, 0.0, 0.0, []

    def stored(e: list[float]) -> float:
        return sum(potential(v, c, d) for v, (c, d, _) in zip(e, modes))

    for x in rng.normal(0, 3000, 8).round().tolist():
        rested = [v * a for v, (_, _, a) in zip(e, modes)]
        lost += s0 * (stored(e) - stored(rested))
        e = [v + x for v in rested]
        paid += s0 * (stored(e) - stored(rested))
        row = {"X": x, "impact_paid": paid, "dissipated": lost, "stored": s0 * stored(e), "I": displaced(modes, e)}
        steps.append(row)
    raw = np.exp(rng.normal(0, 0.8, 12)).tolist()
    effective = [raw[:1] * 2]
    for multiplier in raw[1:]:
        growth = [2 ** ((1 + d) * dt / life) for _, d, life in listed[:2]]
        effective.append([min(multiplier, old * g) for old, g in zip(effective[-1], growth)])
    x = 9000.0
    price, mid = s0 * (1 + stored([x] * 3) / x), s0 * (1 + displaced(modes, [x] * 3))
    v_ref, alone, shared = x * (s0 - price), s0 * stored([x] * 3), s0 * 5 * stored([x / 5] * 3)
    coalition = {"v_mid": x * (mid - price), "v_ref": v_ref, "v_rest": v_ref - shared, "v_liq": 1.0, "v_joint": 0.0}
    block = {"X": x, "exec_price": price, "mid_after": mid, "v_mid_gain": x * (mid - price), "v_ref_gain": v_ref}
    block |= {"v_rest_gain": v_ref - alone, "v_liq_gain": 0.0, "n5_equal_coalition_sum": coalition}
    return {
        "params": {"S0": s0, "V": adv, "sigma": sigma, "dt": dt, "modes_Y_delta_halflife": listed},
        "steps": steps,
        "limiter": {"raw_multiplier": raw, "eff_multiplier_fast_slow": effective},
        "block_buy_from_rest": block,
    }


def statistics() -> Any:
    """Moments by sums, skills by Hunter's iteration, alpha-rank by running its chain for long."""
    returns = np.random.default_rng(0).standard_t(5, 300) * 0.01 + 0.0015
    num, normal = len(returns), NormalDist()
    deviation = returns - returns.sum() / num
    second, third, fourth = ((deviation**power).sum() / num for power in (2, 3, 4))
    ratio = returns.sum() / num / (second * num / (num - 1)) ** 0.5
    skew, kurtosis = third / second**1.5, fourth / second**2
    factor = 1 - skew * ratio + (kurtosis - 1) / 4 * ratio**2

    def exceeds(benchmark: float) -> float:
        return normal.cdf((ratio - benchmark) * (num - 1) ** 0.5 / factor**0.5)

    trials, variance = 7, 0.0009
    quantiles = [normal.inv_cdf(1 - 1 / trials), normal.inv_cdf(1 - 1 / (trials * np.e))]
    best = variance**0.5 * ((1 - np.euler_gamma) * quantiles[0] + np.euler_gamma * quantiles[1])
    rankings = [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 2, 1], [1, 0, 2]]
    worth = np.full(3, 1 / 3)
    for _ in range(2000):
        stages = [ranking[place:] for ranking in rankings for place in (0, 1)]
        pull = [sum(1 / worth[stage].sum() for stage in stages if item in stage) for item in range(3)]
        worth = np.array([sum(stage[0] == item for stage in stages) for item in range(3)]) / pull
        worth /= worth.sum()
    payoff = np.array([[0.0, 0.4, -0.6], [-0.1, 0.0, 0.5], [0.3, -0.2, 0.0]])
    return {
        "returns": returns.tolist(),
        "sharpe_per_period": ratio,
        "skew_biased": skew,
        "kurtosis_pearson": kurtosis,
        "psr_vs_0": exceeds(0.0),
        "psr_vs_0p05": exceeds(0.05),
        "n_trials": trials,
        "var_of_trial_sharpes": variance,
        "expected_max_sharpe": best,
        "dsr": exceeds(best),
        "min_track_record_length_90": 1 + factor * (normal.inv_cdf(0.9) / ratio) ** 2,
        "plackett_luce": {
            "rankings_best_first": rankings,
            "worth": worth.tolist(),
            "log_worth_centered": (np.log(worth) - np.log(worth).mean()).tolist(),
        },
        "alpha_rank": {
            "cycle": payoff.tolist(),
            "cycle_result_alpha0p5": long_run(payoff, 0.5, 50),
            "cycle_result_alpha3_m10": long_run(payoff, 3.0, 10),
        },
    }


def long_run(payoff: Any, alpha: float, population: int) -> list[float]:
    num = len(payoff)
    chain = np.zeros((num, num))
    for resident in range(num):
        for mutant in set(range(num)) - {resident}:
            lead = alpha * (payoff[mutant, resident] - payoff[resident, mutant])
            chain[resident, mutant] = (1 - np.exp(-lead)) / (1 - np.exp(-population * lead)) / (num - 1)
        chain[resident, resident] = 1 - chain[resident].sum()
    return np.linalg.matrix_power(chain, 10**4)[0].tolist()
