"""Liquidation games in a linear book: Schied & Zhang (2019), Luo & Schied (2019), Carlin, Lobo & Viswanathan (2007).

n players, K trades; strategies [n, K] are sales, sells positive; a cost is notional minus revenue. A risk-averse player
minimises expected cost + (risk_aversion / 2) x' Cov x with Cov_kl = sigma**2 min(t_k, t_l): the variance of the revenue
when the price walks and the k-th sale happens at t_k = k tau, the first one at t = 0. Costs reported exclude the risk.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from arena.market.impact import decay_factors, displacement
from arena.market.types import ImpactMode, MarketParams, Quotes
from tools.verify.physics.checks import RELATIVE, ROUNDING, Check, at_most_zero, compare, skip
from tools.verify.physics.equilibrium import best_response_gains
from tools.verify.physics.quadratic import minimise
from tools.verify.physics.replay import bare_rules, flat_quotes, half_life, replay, selling_cost, traded_value
from tools.verify.physics.truth import Entry


@dataclass(frozen=True)
class Game:
    """Rules, price and risk in which n players trade."""

    params: MarketParams
    quotes: Quotes
    risk: Tensor  # [K, K] risk_aversion * Cov

    def costs(self, strategies: Tensor) -> Tensor:
        """Expected cost of each player [B, n], strategies [B, n, K]."""
        return selling_cost(self.params, self.quotes, strategies)

    def objectives(self, strategies: Tensor) -> Tensor:
        """Expected cost plus risk of each player [B, n]."""
        return self.costs(strategies) + 0.5 * torch.einsum("bik,kl,bil->bi", strategies, self.risk, strategies)


def resilient_game(row: Entry, given: Entry, num_trades: int) -> Game:
    """One resilient linear book, an own quadratic cost theta and a net temporary impact phi [currency/share**2]."""
    price, tau = given.number("S0"), given.number("T") / given.number("N")
    mode = ImpactMode(given.number("lam") / price, 1.0, half_life(given.number("rho")))
    theta, phi = row.number("theta"), row.number("phi_net")
    params = bare_rules((mode,), tau, theta / price, temporary_coef=phi / price * tau)
    aversion = row.number("risk_aversion") if "risk_aversion" in row else 0.0
    sigma = row.number("sigma") if aversion else 0.0
    return Game(params, flat_quotes(price), price_risk(aversion, sigma, num_trades, tau))


def temporary_impact_game(row: Entry, price: float, num_trades: int) -> Game:
    """Permanent impact gamma and net temporary impact lambda_temp times the trading rate."""
    tau = row.number("T") / num_trades
    mode = ImpactMode(row.number("gamma") / price, 1.0, half_life(0.0))
    params = bare_rules((mode,), tau, temporary_coef=row.number("lambda_temp") / price)
    return Game(params, flat_quotes(price), price_risk(0.0, 0.0, num_trades, tau))


def price_risk(aversion: float, sigma: float, num_trades: int, tau: float) -> Tensor:
    """aversion * sigma**2 * min(t_k, t_l) [K, K]."""
    times = tau * torch.arange(num_trades, dtype=torch.float64)
    return aversion * sigma**2 * torch.minimum(times.unsqueeze(1), times)


def check_nash_games(truth: Entry) -> Iterator[Check]:
    """Every game of the file: costs, best responses, planner; then the games with net temporary impact."""
    given = truth.entry("params")
    rate = given.number("rho") * given.number("T") / given.number("N")
    step = bare_rules((ImpactMode(0.0, 1.0, half_life(rate)),), dt=1.0)
    yield compare("d.a", decay_factors(step)[0], truth.number("a"))
    yield compare("d.critical_theta_2p", 0.25 * given.number("lam"), truth.number("critical_theta_2p"))
    for key in truth:
        if key.startswith("smallest_theta"):
            yield skip(f"d.{key}", "end of a search over theta, not one replay")
    for index, row in enumerate(truth.entries("games")):
        yield from _check_game(f"d.games[{index}].{row['name']}", row, given)
    for index, row in enumerate(truth.entries("carlin_lobo_viswanathan")):
        yield from _check_temporary_impact(f"d.carlin_lobo_viswanathan[{index}]", row, given.number("S0"))


def planner_cost(game: Game, sizes: Tensor, num_trades: int) -> Tensor:
    """Smallest total expected cost of players who must sell `sizes` [n] and obey one planner."""
    num_players = len(sizes)

    def total(schedules: Tensor) -> Tensor:  # [1, P, n * K] -> [1, P]
        return game.costs(schedules.reshape(-1, num_players, num_trades)).sum(-1).unsqueeze(0)

    start = (sizes / num_trades).repeat_interleave(num_trades).unsqueeze(0)
    own_sums = torch.eye(num_players, dtype=sizes.dtype).repeat_interleave(num_trades, -1)  # [n, n * K]
    return total(minimise(total, start, own_sums, _unit(sizes)).unsqueeze(0))[0, 0]


def alone_costs(game: Game, sizes: Tensor, num_trades: int) -> Tensor:
    """Expected cost [n] of each player's best schedule (risk included in the choice) in a market of its own."""

    def objective(schedules: Tensor) -> Tensor:  # [n, P, K] -> [n, P]
        return game.objectives(schedules.reshape(-1, 1, num_trades)).reshape(schedules.shape[:2])

    even = (sizes / num_trades).unsqueeze(-1).expand(-1, num_trades)
    best = minimise(objective, even, _sum_of_all(num_trades), _unit(sizes))
    return game.costs(best.unsqueeze(1))[:, 0]


def _check_game(name: str, row: Entry, given: Entry) -> Iterator[Check]:
    price = given.number("S0")
    sizes = row.tensor("X", (-1,))  # [n]
    strategies = row.tensor("strategies", (len(sizes), -1))  # [n, K]
    num_players, num_trades = strategies.shape
    game = resilient_game(row, given, num_trades)

    yield compare(f"{name}.n_players", num_players, row.number("n_players"))
    if "kernel" in row:
        yield compare(f"{name}.kernel", _kernel(game, num_trades), row.tensor("kernel"), scale=price)
    yield from _check_strategies(name, game, strategies, sizes, row)
    costs = game.costs(strategies.unsqueeze(0))[0]
    scale = traded_value(game.quotes, strategies.unsqueeze(0))[0]
    yield compare(f"{name}.total_cost", costs.sum(), row.number("total_cost"), scale.sum())
    planned = planner_cost(game, sizes, num_trades)
    yield compare(f"{name}.planner_total_cost", planned, row.number("planner_total_cost"), scale.sum())
    alone = alone_costs(game, sizes, num_trades)
    wanted = row.tensor("single_agent_optimal_cost_if_alone")
    yield compare(f"{name}.single_agent_optimal_cost_if_alone", alone, wanted, price * sizes.abs().max())
    if "v" in row and "w" in row:
        yield from _check_fundamental(name, game, strategies, sizes, row)
    if "markov_perfect" in row:
        feedback = row.entry("markov_perfect")
        played = feedback.tensor("strategies", (num_players, num_trades))
        yield from _check_costs(f"{name}.markov_perfect", game, played, sizes, feedback)
        yield skip(f"{name}.markov_perfect.best_response_gain", "opponents that react: not a fixed-schedule programme")


def _check_fundamental(name: str, game: Game, strategies: Tensor, sizes: Tensor, row: Entry) -> Iterator[Check]:
    """xi_i = mean(X) v + (X_i - mean(X)) w: v is the equilibrium of equal sellers, (w, -w) of seller against buyer."""
    v, w = row.tensor("v", (strategies.shape[1],)), row.tensor("w", (strategies.shape[1],))
    unit = _unit(strategies)
    mixed = sizes.mean() * v + (sizes - sizes.mean()).unsqueeze(-1) * w
    yield compare(f"{name}.strategies_from_v_and_w", mixed, strategies, scale=unit)
    if len(sizes) > 1:
        equal, opposed = v.expand(len(sizes), -1), torch.zeros_like(strategies)
        opposed[0], opposed[1] = w, -w
        for label, played in (("v", equal), ("w", opposed)):
            yield _check_gain(f"{name}.{label}.best_response_gain", game, played)
    if "oscillates" in row:
        yield compare(f"{name}.oscillates", float(torch.cat([v, w]).min() < 0), float(bool(row["oscillates"])))


def _check_temporary_impact(name: str, row: Entry, price: float) -> Iterator[Check]:
    """Permanent impact gamma and net temporary impact lambda_temp times the trading rate, N trades over T."""
    sizes = row.tensor("X", (-1,))
    yield compare(f"{name}.n_players", len(sizes), row.number("n_players"))
    yield skip(f"{name}.continuous_expected_costs", "limit of infinitely many trades, no finite replay")
    for index, discrete in enumerate(row.entries("discrete")):
        label = f"{name}.discrete[{index}].N={discrete['N']}"
        if discrete["strategies"] is None:
            yield skip(label, "the file gives no strategies to replay")
            continue
        strategies = discrete.tensor("strategies", (len(sizes), -1))
        game = temporary_impact_game(row, price, strategies.shape[1])
        yield compare(f"{label}.number_of_trades", strategies.shape[1], discrete.number("N"))
        yield from _check_strategies(label, game, strategies, sizes, discrete)


def _check_strategies(name: str, game: Game, strategies: Tensor, sizes: Tensor, row: Entry) -> Iterator[Check]:
    yield from _check_costs(name, game, strategies, sizes, row)
    yield _check_gain(f"{name}.best_response_gain", game, strategies)


def _check_costs(name: str, game: Game, strategies: Tensor, sizes: Tensor, row: Entry) -> Iterator[Check]:
    costs = game.costs(strategies.unsqueeze(0))[0]
    scale = traded_value(game.quotes, strategies.unsqueeze(0)).max()
    yield compare(f"{name}.strategy_sums", strategies.sum(-1), sizes, scale=_unit(strategies))
    yield compare(f"{name}.expected_costs", costs, row.tensor("expected_costs"), scale)


def _check_gain(name: str, game: Game, strategies: Tensor) -> Check:
    """Gains relative to the total of the players' |costs|, plus what rounding of the notionals alone could show."""
    total = game.objectives(strategies.unsqueeze(0)).abs().sum()
    rounding = ROUNDING / RELATIVE * traded_value(game.quotes, strategies.unsqueeze(0)).max()
    return at_most_zero(name, best_response_gains(game.objectives, strategies).max(), total + rounding)


def _kernel(game: Game, num_trades: int) -> Tensor:
    """Price displacement [K] that one share sold leaves behind after 0, 1, ... bars."""
    params, quotes = game.params, game.quotes
    waiting = torch.zeros(num_trades, 1, num_trades, dtype=torch.float64)  # market k sells, then waits k bars
    waiting[torch.arange(num_trades), 0, num_trades - 1 - torch.arange(num_trades)] = -1.0
    imbalance = replay(params, quotes, waiting).state.imbalance
    return -quotes.ref_price[0, 0] * displacement(params, quotes, imbalance)[:, 0]


def _sum_of_all(num_trades: int) -> Tensor:
    return torch.ones(1, num_trades, dtype=torch.float64)


def _unit(schedules: Tensor) -> float:
    """Typical size of a trade: the unit of probes and of rounding."""
    return float(schedules.abs().max()) or 1.0
