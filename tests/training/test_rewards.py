import pytest
import torch

from arena.metrics import max_drawdown, utility
from arena.rl.rewards import RewardParams, begin_episode, differential_sharpe, step_reward

STEPS = 40


def wealth_paths(seed=0, sd=0.05):
    """[T + 1, B, N] from 1 on; some fall far."""
    noise = torch.randn(STEPS, 4, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    paths = torch.cat([torch.ones(1, 4, 3).double(), 1.0 + (sd * noise).cumsum(0)])
    assert paths.min() < 0.25
    return paths


def rewards_of(params, paths, luck=None):
    state, found = begin_episode(params, paths[0]), []
    for t in range(len(paths) - 1):
        reward, state = step_reward(params, state, paths[t], paths[t + 1], None if luck is None else luck[t])
        found.append(reward)
    return torch.stack(found)


def test_growth_sums_to_the_score_of_the_episode():
    paths = wealth_paths(sd=0.1)
    found = rewards_of(RewardParams("growth", scale=10.0), paths)
    torch.testing.assert_close(found.sum(0), 10.0 * utility(paths[-1]))


def test_luck_is_taken_out_of_growth_per_unit_of_wealth():
    paths, luck = wealth_paths(sd=0.1), wealth_paths(1, sd=0.1)[1:] - 1.0
    plain = rewards_of(RewardParams(scale=1.0), paths)
    without = rewards_of(RewardParams(scale=1.0), paths, luck)
    torch.testing.assert_close(plain - without, luck / paths[:-1].clamp(min=0.05))
    kept = rewards_of(RewardParams(scale=1.0, without_luck=False), paths, luck)
    assert torch.equal(kept, plain)


def test_drawdowns_cost_what_the_deepest_is_worth():
    paths = wealth_paths(sd=0.1)
    found = rewards_of(RewardParams("drawdown", scale=1.0, drawdown_coef=0.3), paths)
    expected = utility(paths[-1]) - 0.3 * max_drawdown(paths.movedim(0, -1))
    torch.testing.assert_close(found.sum(0), expected)


def test_the_differential_sharpe_ratio_is_a_derivative():
    """d/d eta of the moving Sharpe ratio at eta = 0, by finite differences; eta as small as the half-life is long."""
    params = RewardParams("sharpe", sharpe_half_life=1e7)
    eta = 1.0 - 2.0 ** (-1e-7)
    mean, square = torch.tensor([0.001, -0.002]).double(), torch.tensor([1e-4, 3e-4]).double()
    simple_return = torch.tensor([0.02, 0.01]).double()
    reward, new_mean, new_square = differential_sharpe(params, mean, square, simple_return)

    def ratio(a, b):
        return a / (b - a.square()).sqrt()

    numeric = (ratio(new_mean, new_square) - ratio(mean, square)) / eta
    torch.testing.assert_close(reward / eta, numeric, rtol=1e-5, atol=0)


def test_the_sharpe_reward_prefers_steady_gains_and_is_finite_in_cash():
    steady, wild = torch.full((STEPS,), 0.002).double(), torch.full((STEPS,), 0.002).double()
    wild[::2] += 0.02
    wild[1::2] -= 0.02
    cash = torch.zeros(STEPS).double()
    paths = torch.stack([steady, wild, cash]).cumsum(-1).add(1.0).t().unsqueeze(1)  # [T, 1, 3]
    found = rewards_of(RewardParams("sharpe"), torch.cat([torch.ones(1, 1, 3).double(), paths])).sum(0)[0]
    assert found[0] > found[1]
    assert found[2] == 0.0


def test_an_unknown_reward_is_refused():
    with pytest.raises(ValueError, match="expected growth, sharpe or drawdown"):
        RewardParams("profit")
