"""Exact quadratic programmes on the market: with linear impact every cost is quadratic in the orders.

    f(x + d) = f(x) + g'd + d'Hd / 2     subject to C d = 0

g is the gradient through the shipped step at x, row k of H the change of that gradient when x_k grows by one unit, both
exact up to rounding; one batch of markets holds all of them.
"""

from collections.abc import Callable

import torch
from torch import Tensor

# Directions in which the objective is flat to this share of its steepest curvature are left alone: their curvature is
# rounding, and moving along them changes nothing.
FLAT = 1e-10


def expand(objective: Callable[[Tensor], Tensor], start: Tensor, unit: float) -> tuple[Tensor, Tensor]:
    """g [R, V] and H [R, V, V] of each of R quadratic objectives at start [R, V].

    objective   [R, P, V] -> [R, P], every point by itself
    unit        size of the probes that measure the curvature, about that of `start`
    """
    num_variables = start.shape[-1]
    probes = torch.cat([torch.zeros(1, num_variables, dtype=start.dtype), unit * torch.eye(num_variables).to(start)])
    points = (start.unsqueeze(-2) + probes).requires_grad_()  # [R, 1 + V, V]
    (gradients,) = torch.autograd.grad(objective(points).sum(), points)
    gradient, hessian = gradients[:, 0], (gradients[:, 1:] - gradients[:, :1]) / unit
    return gradient, 0.5 * (hessian + hessian.mT)


def minimise(objective: Callable[[Tensor], Tensor], start: Tensor, constraints: Tensor, unit: float) -> Tensor:
    """Where each of R quadratic objectives is smallest among start + {d: C d = 0}; start [R, V], constraints C [.., V].

    objective, unit     as in `expand`
    """
    gradient, hessian = expand(objective, start, unit)
    feasible = _null_space(constraints)  # [V, F]
    curvature = feasible.T @ hessian @ feasible  # [R, F, F]
    step = torch.linalg.pinv(curvature, rtol=FLAT, hermitian=True) @ (gradient @ feasible).unsqueeze(-1)
    return start - step.squeeze(-1) @ feasible.T


def _null_space(constraints: Tensor) -> Tensor:
    """Orthonormal basis [V, F] of the directions that keep C x."""
    return torch.linalg.svd(constraints, full_matrices=True).Vh[len(constraints) :].T
