"""Stop as soon as a comparison is decided, and still be right: always-valid bets on paired differences.

    K+ = mean over lambda of prod_s (1 + lambda clip(d_s, -M, M) / M)        K- the same with -d

K+ is the fortune of one who starts with 1 and bets that d is positive. If the mean of the clipped d is not, it is a
supermartingale: it ever reaches 1/alpha with probability at most alpha, whenever and however often one looks.
The first BURN_IN scenarios only set M = max(10 sd, 0.5 log growth), so that M is known before the first bet. What is
decided is the mean of the clipped d: a loss beyond M that occurs once in some hundred scenarios is counted as M.

Consume scenarios in their order, in complete batches: then a decision depends on no clock and no worker.
Axes: S scenarios of a batch, P pairs, L stakes lambda.
Ville (1939); Waudby-Smith, Ramdas (2024), J. R. Stat. Soc. B 86:1, on bets and confidence sequences.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from arena.tournament.stats.growth import CONFIDENCE, Floats
from arena.tournament.stats.paired_tests import holm

STAKES = np.array([0.9, 0.7, 0.5, 0.35, 0.25, 0.175, 0.125, 0.0625, 0.03125, 0.0156])  # [L]
BURN_IN = 50  # scenarios
BOUND_SD, MIN_BOUND = 10.0, 0.5  # of M: standard deviations, log growth
NUM_HALVINGS = 40  # of the search for an end of the interval: to 1e-12 of M
BETTER, WORSE, EQUAL, UNDECIDED = "better", "worse", "equal", "undecided"


class Bets(NamedTuple):
    """State of the bets; four directions: d > 0, d < 0, d > -margin, d < margin."""

    bound: Floats  # [P] M
    margin: float  # delta: means closer to 0 than this are equal for our purposes; 0 = never
    log_fortune: Floats  # [4, P, L] of each stake
    log_peak: Floats  # [3, P] most evidence at the end of any batch: better, worse, equal; log(1/p)


class Decision(NamedTuple):
    """What is known of one pair after some complete batches."""

    verdict: str  # BETTER, WORSE, EQUAL or UNDECIDED
    scenarios: int  # consumed when it was decided; all so far while it is undecided
    low: float  # always-valid interval of the mean difference, jointly 95 % over all pairs, from all scenarios so far
    high: float


def decide(differences: Floats, margin: float, batch_size: int) -> list[Decision]:
    """The state of a comparison of P pairs, from their differences [S, P] in scenario order.

    The first BURN_IN scenarios and every complete batch after them are consumed, a rest waits. More scenarios can only
    add decisions, so a run may stop at the first batch after which nothing of interest is undecided.
    """
    num, num_pairs = differences.shape
    complete = BURN_IN + max(num - BURN_IN, 0) // batch_size * batch_size
    if np.isnan(differences[:complete]).any():
        raise ValueError("a difference is NaN: scenarios count in their order, and only when both have played them")
    if num < BURN_IN:
        return [Decision(UNDECIDED, 0, -np.inf, np.inf)] * num_pairs
    bets, needed = start(differences[:BURN_IN], margin), np.full(num_pairs, complete)
    said = verdicts(bets)
    for first in range(BURN_IN, complete, batch_size):
        bets = advance(bets, differences[first : first + batch_size])
        before, said = said, verdicts(bets)
        needed[(before == UNDECIDED) & (said != UNDECIDED)] = first + batch_size
    low, high = interval(differences[BURN_IN:complete], bets.bound, num_pairs)
    return [Decision(str(what), int(count), float(a), float(b)) for what, count, a, b in zip(said, needed, low, high)]


def start(burn_in: Floats, margin: float) -> Bets:
    """The state before the first bet, from the differences [BURN_IN, P] of the first scenarios."""
    if burn_in.ndim != 2 or len(burn_in) != BURN_IN:
        raise ValueError(f"burn_in has shape {burn_in.shape}, expected ({BURN_IN}, pairs): they set the bound of a bet")
    if not margin >= 0:
        raise ValueError(f"margin is {margin}, expected a number >= 0")
    num_pairs = burn_in.shape[1]
    bound = np.maximum(BOUND_SD * burn_in.std(0, ddof=1), MIN_BOUND)
    return Bets(bound, margin, np.zeros((4, num_pairs, len(STAKES))), np.zeros((3, num_pairs)))


def advance(bets: Bets, batch: Floats) -> Bets:
    """The state after a complete batch of differences [S, P]."""
    shifts = ((1.0, 0.0), (-1.0, 0.0), (1.0, bets.margin), (-1.0, -bets.margin))
    gains = [_log_gain(sign * (batch + shift), bets.bound) for sign, shift in shifts]
    log_fortune = bets.log_fortune + np.stack(gains)
    better, worse, above, below = _log_mean(log_fortune)
    equal = np.minimum(above, below) if bets.margin > 0 else np.full_like(above, -np.inf)
    # Either direction of "better" is a claim of its own, so each has half the level.
    evidence = np.stack([better - math.log(2), worse - math.log(2), equal])
    return bets._replace(log_fortune=log_fortune, log_peak=np.maximum(bets.log_peak, evidence))


def p_values(bets: Bets) -> Floats:
    """[P] always-valid p-value of each pair's strongest claim: with one pair, decide when it is at most alpha."""
    return np.exp(-bets.log_peak.max(0))


def verdicts(bets: Bets) -> NDArray[np.str_]:
    """[P] better, worse, equal within the margin, or undecided; all claims together wrong with at most 5 % (Holm).

    The first pair needs K+- >= 2 P / alpha, or both tests of |d| >= margin at P / alpha; the next P - 1 in place of P,
    and so on. A decision stands: p-values of a later batch are never larger.
    """
    said = np.array([BETTER, WORSE, EQUAL])[bets.log_peak.argmax(0)]
    decided = np.array(holm(p_values(bets).tolist())) <= 1 - CONFIDENCE + 1e-12
    return np.where(decided, said, UNDECIDED)


def interval(differences: Floats, bound: Floats, num_pairs: int) -> tuple[Floats, Floats]:
    """Ends [P] of always-valid intervals of the means of [S, P] differences, jointly 95 % over `num_pairs`.

        all m with K+(d - m) < 2 P / alpha and K-(d - m) < 2 P / alpha

    differences  without the burn-in      bound  M [P], from `Bets`      The ends are within M of the data at most.
    """
    threshold = math.log(2 * num_pairs / (1 - CONFIDENCE))
    if len(differences) == 0:
        return -bound, bound

    def end(sign: float) -> Floats:
        """The largest m with K+(sign d - m) above the threshold: below it lies nothing that the data allow."""
        low, high = -3.0 * bound, 3.0 * bound  # everything is excluded at the one, nothing at the other
        for _ in range(NUM_HALVINGS):
            middle = 0.5 * (low + high)
            excluded = _log_mean(_log_gain(sign * differences - middle, bound)) >= threshold
            low, high = np.where(excluded, middle, low), np.where(excluded, high, middle)
        return sign * high

    return end(1.0), end(-1.0)


def _log_gain(difference: Floats, bound: Floats) -> Floats:
    """[S, P] -> [P, L] log of the factor by which a fortune grows over the batch."""
    scaled = np.clip(difference / bound, -1.0, 1.0)
    return np.stack([np.log1p(stake * scaled).sum(0) for stake in STAKES], -1)


def _log_mean(log_fortune: Floats) -> Floats:
    """[..., L] -> [...] log of the mean fortune over stakes."""
    return np.logaddexp.reduce(log_fortune, -1) - math.log(len(STAKES))
