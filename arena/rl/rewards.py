"""What a learner is paid for a step: growth, the differential Sharpe ratio, or growth less the cost of drawdowns.

Axes: B markets, N learners. The state begins anew with every episode.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from arena.metrics import utility

RewardKind = Literal["growth", "sharpe", "drawdown"]
NAV_FLOOR = 0.05  # of the initial nav: returns below are taken per this, as a ratio to nothing means nothing


@dataclass(frozen=True)
class RewardParams:
    """Plain numbers.

    without_luck  take out what unforeseeable price moves gave, where the true means are known (synthetic markets): the
                  expected return of every policy stays what it was and most of the noise goes. Not for the Sharpe
                  ratio, which is about that noise.
    """

    kind: RewardKind = "growth"
    scale: float = 100.0  # growth in percent: values of order 1 suit a network
    without_luck: bool = True
    drawdown_coef: float = 0.5  # price of the episode's deepest drawdown in units of growth
    sharpe_half_life: float = 60.0  # of the moving moments [steps]
    typical_return: float = 0.005  # per step: standard deviation that the moving moments begin with

    def __post_init__(self) -> None:
        if self.kind not in ("growth", "sharpe", "drawdown"):
            raise ValueError(f"reward is {self.kind!r}, expected growth, sharpe or drawdown")


class RewardState(NamedTuple):
    """Of the episode so far."""

    peak: Tensor  # [B, N] highest nav / initial nav
    deepest: Tensor  # [B, N] deepest drawdown
    mean: Tensor  # [B, N] moving mean of returns
    square: Tensor  # [B, N] moving mean of their squares


def begin_episode(params: RewardParams, wealth: Tensor) -> RewardState:
    """State at the start; wealth = nav / initial nav [B, N], 1."""
    zero = torch.zeros_like(wealth)
    return RewardState(wealth, zero, zero, torch.full_like(wealth, params.typical_return**2))


def step_reward(
    params: RewardParams, state: RewardState, wealth: Tensor, new_wealth: Tensor, luck: Tensor | None
) -> tuple[Tensor, RewardState]:
    """Reward [B, N] of a step from `wealth` to `new_wealth`, both nav / initial nav [B, N].

    luck  what unforeseeable price moves gave in the step, in units of the initial nav [B, N]; None: unknown
    """
    base = wealth.clamp(min=NAV_FLOOR)
    if params.kind == "sharpe":
        reward, mean, square = differential_sharpe(params, state.mean, state.square, (new_wealth - wealth) / base)
        return params.scale * reward, state._replace(mean=mean, square=square)
    reward = utility(new_wealth) - utility(wealth)
    if luck is not None and params.without_luck:
        reward = reward - luck / base
    if params.kind == "drawdown":
        peak = torch.maximum(state.peak, new_wealth)
        deepest = torch.maximum(state.deepest, 1.0 - new_wealth / peak)
        reward = reward - params.drawdown_coef * (deepest - state.deepest)  # sums to the deepest of the episode
        state = state._replace(peak=peak, deepest=deepest)
    return params.scale * reward, state


def exploiters_reward(reward: Tensor, num_exploiters: int) -> Tensor:
    """Rewards [B, N] of which the last `num_exploiters` are taken relative to the mean of the others in their market.

    An exploiter that trades as the others do earns 0, and so does one that gains where all gain.
    """
    if not num_exploiters:
        return reward
    main, own = reward[:, :-num_exploiters], reward[:, -num_exploiters:]
    return torch.cat([main, own - main.mean(1, keepdim=True)], 1)


def differential_sharpe(
    params: RewardParams, mean: Tensor, square: Tensor, simple_return: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """What a return adds to the moving Sharpe ratio A / sqrt(B - A**2), to first order in eta; and the new A and B.

        eta D,   D = (B dA - A dB / 2) / (B - A**2)**(3/2),   dA = R - A,   dB = R**2 - B,   eta = 1 - 2**(-1/half life)

    A, B  moving means of R and R**2 before the step      R  simple return of the step

    Moody, Saffell (2001), "Learning to Trade via Direct Reinforcement", IEEE Trans. Neural Networks 12:875.
    """
    eta = 1.0 - 2.0 ** (-1.0 / params.sharpe_half_life)
    rise, square_rise = simple_return - mean, simple_return.square() - square
    # A seat that holds cash for long has no variance left; a hundredth of the typical deviation stands in.
    variance = (square - mean.square()).clamp(min=(0.01 * params.typical_return) ** 2)
    reward = eta * (square * rise - 0.5 * mean * square_rise) * variance**-1.5
    return reward, mean + eta * rise, square + eta * square_rise
