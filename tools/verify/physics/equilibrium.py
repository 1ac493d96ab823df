"""Open-loop equilibria found by play: every player follows its own gradient through the shipped step, all at once.

A schedule is X / K + z - mean(z): whatever its parameters z [K] are, it sums to the size X. Play sees no formula of the
costs, only their gradients, which autograd takes through the market in float64.

Letters: n players, K trades. `objectives` maps strategies [B, n, K], B independent markets, to what each player wants
small [B, n].
"""

from collections.abc import Callable
from math import isfinite
from typing import NamedTuple

import torch
from torch import Tensor

from tools.verify.physics.quadratic import FLAT, expand, minimise

Objectives = Callable[[Tensor], Tensor]

# Play ends when no player's marginal costs of two trades differ by more than this share of the largest marginal cost.
# What a player could save is then of the order of its square.
FIRST_ORDER = 1e-10
MAX_ROUNDS = 200


class Equilibrium(NamedTuple):
    """Where play ended."""

    strategies: Tensor  # [n, K]
    num_rounds: int
    first_order: float  # largest |marginal cost - mean of its player| as share of the largest |marginal cost|

    @property
    def converged(self) -> bool:
        return self.first_order <= FIRST_ORDER


def play(objectives: Objectives, sizes: Tensor, num_trades: int, max_rounds: int = MAX_ROUNDS) -> Equilibrium:
    """Simultaneous gradient play of n players with `sizes` [n] to trade, from even schedules.

    One round: every player asks for the move -H_i^-1 dJ_i / dz_i, not knowing what the others ask for; H_i is its own
    curvature at the start. They go to where, judging by all rounds so far, the asked moves cancel best, and from there
    by the move to expect there (Anderson 1965, J. ACM 12:547).

    On quadratic objectives this is GMRES on the joint first-order conditions, preconditioned player by player: rounding
    aside it ends after at most n (K - 1) + 1 rounds, also where gradient play or best responses alone circle for ever.
    Elsewhere it is a quasi-Newton method without a guarantee, and `converged` tells whether the conditions hold. They
    make an equilibrium where every objective is strictly convex in its player's own schedule, as costs are in a linear
    resilient book.
    """
    parameters = torch.zeros(len(sizes), num_trades, dtype=sizes.dtype)
    strategies = _schedules(sizes, parameters)
    gradient, first_order = _own_gradients(objectives, strategies)
    if not isfinite(first_order):
        raise ValueError("objectives have no finite gradient at even schedules")
    inverse = _inverse_curvature(objectives, strategies)  # [n, K, K]
    places: list[Tensor] = []  # parameters and the moves asked for there, round by round, flat
    moves: list[Tensor] = []
    while first_order > FIRST_ORDER and len(moves) < max_rounds:
        places.append(parameters.flatten())
        moves.append(-(inverse @ gradient.unsqueeze(-1)).flatten())
        parameters = _mix(places, moves).reshape(parameters.shape)
        strategies = _schedules(sizes, parameters)
        gradient, first_order = _own_gradients(objectives, strategies)
    return Equilibrium(strategies, len(moves), first_order)


def best_response_gains(objectives: Objectives, strategies: Tensor) -> Tensor:
    """What each player [n] would save by its best schedule of the same size while the others keep theirs [n, K].

    A quadratic programme per player. Exact where a player's objective is quadratic and convex in its own schedule:
    linear books at a constant price, no cap, no half-spread that the best schedule would meet with another sign.
    """
    objective = _unilateral(objectives, strategies)
    num_trades = strategies.shape[-1]
    best = minimise(objective, strategies, torch.ones(1, num_trades, dtype=strategies.dtype), _unit(strategies))
    before, after = objective(torch.stack([strategies, best], 1)).unbind(-1)
    return before - after


def nash_conv(objectives: Objectives, strategies: Tensor) -> float:
    """Sum of `best_response_gains`: 0 in an open-loop equilibrium, positive elsewhere."""
    return float(best_response_gains(objectives, strategies).sum())


def _unilateral(objectives: Objectives, strategies: Tensor) -> Callable[[Tensor], Tensor]:
    """Objective of player i [n, P] if it alone plays own[i] [n, P, K] instead of its schedule in `strategies`."""
    num_players = len(strategies)
    itself = torch.eye(num_players, dtype=torch.bool).reshape(num_players, 1, num_players, 1)

    def objective(own: Tensor) -> Tensor:
        played = torch.where(itself, own.unsqueeze(-2), strategies)  # [n, P, n, K]
        return objectives(played.flatten(0, 1)).unflatten(0, own.shape[:2]).diagonal(dim1=0, dim2=2).T

    return objective


def _own_gradients(objectives: Objectives, strategies: Tensor) -> tuple[Tensor, float]:
    """dJ_i / dz_i [n, K] while the others keep their schedules, and how far from first-order conditions that is."""
    own = strategies.unsqueeze(1).requires_grad_()
    (marginal,) = torch.autograd.grad(_unilateral(objectives, strategies)(own).sum(), own)
    gradient = marginal - marginal.mean(-1, keepdim=True)
    largest = marginal.abs().max().clamp(min=torch.finfo(marginal.dtype).tiny)  # 0 where nothing costs anything
    return gradient[:, 0], float(gradient.abs().max() / largest)


def _inverse_curvature(objectives: Objectives, strategies: Tensor) -> Tensor:
    """Inverse [n, K, K] of each player's own second derivatives in z."""
    _, hessian = expand(_unilateral(objectives, strategies), strategies, _unit(strategies))
    centred = hessian - hessian.mean(-1, keepdim=True)
    centred = centred - centred.mean(-2, keepdim=True)
    return torch.linalg.pinv(centred, rtol=FLAT, hermitian=True)


def _schedules(sizes: Tensor, parameters: Tensor) -> Tensor:
    return (sizes / parameters.shape[-1]).unsqueeze(-1) + parameters - parameters.mean(-1, keepdim=True)


def _mix(places: list[Tensor], moves: list[Tensor]) -> Tensor:
    """Next place: sum_j w_j (place_j + move_j), weights w of sum 1 that make |sum_j w_j move_j| smallest."""
    if len(moves) == 1:
        return places[0] + moves[0]
    place, move = torch.stack(places, -1), torch.stack(moves, -1)
    earlier = torch.linalg.lstsq(move.diff(), move[:, -1:], driver="gelsd").solution
    return (place + move)[:, -1] - ((place + move).diff() @ earlier).squeeze(-1)


def _unit(strategies: Tensor) -> float:
    """Typical size of a trade, for probes."""
    return float(strategies.abs().max()) or 1.0
