"""Alpha-rank: how often a population of copying, rarely mutating players plays each strategy. Knows about cycles.

In a population of m players of one strategy s a mutant of strategy r takes over with the fixation probability
    rho = (1 - exp(-a)) / (1 - exp(-m a))        a = alpha (payoff of r against s - payoff of s against r)
The population moves from strategy to strategy with chances rho / (n - 1); its stationary law is the ranking.

Axes: n strategies; [...] any batch. Logarithms throughout: masses down to e^-(10^300) keep their digits.
Omidshafiei et al. (2019), Sci. Rep. 9:9937; Grassmann, Taksar, Heyman (1985), Oper. Res. 33:1107, on the solution.
"""

import numpy as np

from arena.tournament.stats.growth import Floats

POPULATION = 50
ALPHAS = tuple(0.1 * 2.0**power for power in range(14))  # 0.1 .. 819: of the sweep
SETTLED = 1e-3  # largest distance of a mass from that at the end of the sweep that counts as none


def alpha_rank(payoff: Floats, alpha: float, population: int = POPULATION) -> Floats:
    """Payoffs [..., n, n] of the row against the column -> masses [..., n] that add to 1."""
    num = payoff.shape[-1]
    if payoff.ndim < 2 or payoff.shape[-2] != num or not np.isfinite(payoff).all():
        raise ValueError(f"payoff has shape {payoff.shape}, expected finite numbers [..., n, n]")
    if not (alpha > 0 and population >= 2):
        raise ValueError(f"alpha = {alpha}, population = {population}; expected alpha > 0 and at least 2 players")
    return np.exp(_log_stationary(_log_transition(payoff, alpha, population)))


def sweep(payoff: Floats) -> tuple[float, Floats]:
    """The first alpha of ALPHAS from which on the masses of payoffs [n, n] stay, and these masses [n].

    A small alpha makes all strategies alike; the ranking is what is left when alpha grows.
    """
    masses = np.stack([alpha_rank(payoff, alpha) for alpha in ALPHAS])
    settled = np.abs(masses - masses[-1]).max(1) <= SETTLED
    first = len(ALPHAS) - int(np.argmin([*settled[::-1], False]))  # after the last that is not settled
    return ALPHAS[first], masses[first]


def _log_transition(payoff: Floats, alpha: float, population: int) -> Floats:
    """[..., n, n] log chance to move from the row's strategy to the column's; the diagonal is not used."""
    a = alpha * (np.swapaxes(payoff, -1, -2) - payoff)  # of the column against the row, minus the reverse
    size = np.abs(a)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_rho = np.log(-np.expm1(-size)) - np.log(-np.expm1(-population * size))
    log_rho = np.where(a == 0, -np.log(population), log_rho - np.where(a < 0, (population - 1) * size, 0.0))
    return log_rho - np.log(max(payoff.shape[-1] - 1, 1))


def _log_stationary(log_chance: Floats) -> Floats:
    """[..., n, n] -> [..., n] log masses: strategies are taken out one by one, without a subtraction."""
    log_chance = log_chance.copy()
    num = log_chance.shape[-1]
    for last in range(num - 1, 0, -1):
        leaving = np.logaddexp.reduce(log_chance[..., last, :last], -1)
        log_chance[..., :last, last] -= leaving[..., None]
        detour = log_chance[..., :last, last, None] + log_chance[..., None, last, :last]
        log_chance[..., :last, :last] = np.logaddexp(log_chance[..., :last, :last], detour)
    log_mass = np.zeros(log_chance.shape[:-1])
    for index in range(1, num):
        log_mass[..., index] = np.logaddexp.reduce(log_mass[..., :index] + log_chance[..., :index, index], -1)
    return log_mass - np.logaddexp.reduce(log_mass, -1)[..., None]
