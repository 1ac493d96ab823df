"""PPO finds optimal schedules and, playing against itself, an equilibrium, knowing nothing but the number of the trade.

The schedules compared with come from gradient play, which is tested against closed forms.
"""

import math
from collections.abc import Callable

import pytest
import torch
from execution_env import ExecutionEnv
from rllib_setup import learner_network, probe_config

from arena.market.types import ImpactMode
from tools.verify.physics.equilibrium import nash_conv, play
from tools.verify.physics.games import Game, price_risk
from tools.verify.physics.replay import bare_rules, flat_quotes, half_life

# With discount 1 and lambda 1 advantages are right although the value cannot see what was sold so far.
TRAINING = {"gamma": 1.0, "lambda_": 1.0, "num_epochs": 4, "minibatch_size": 2048}
ITERATIONS = 50
NEAR = 0.02  # of the optimum

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


def almgren_chriss() -> tuple[Game, list[float]]:
    """Their example (J. Risk 3:5, section 4): an averse seller of 1e6 shares over five days."""
    modes = (ImpactMode(2.5e-7 / 50.0, 1.0, math.inf),)
    quadratic = 2.5e-6 - 0.5 * 2.5e-7
    game = Game(
        bare_rules(modes, 1.0, quadratic / 50.0), flat_quotes(50.0, half_spread=1.25e-3), price_risk(2e-6, 0.95, 5, 1.0)
    )
    return game, [1e6]


def obizhaeva_wang(exponent: float) -> tuple[Game, list[float]]:
    """1e5 shares in 13 trades against a resilient book that such a block would displace by 1 %."""
    mode = ImpactMode(0.01 / 1e5**exponent, exponent, half_life(5.0))
    return Game(bare_rules((mode,), 1 / 12), flat_quotes(100.0), price_risk(0.0, 0.0, 13, 1 / 12)), [1e5]


def seller_and_predator() -> tuple[Game, list[float]]:
    """Schied & Zhang (2019): one sells, one owns nothing; a quadratic cost twice that below which they oscillate."""
    mode = ImpactMode(0.01, 1.0, half_life(1.0))
    return Game(bare_rules((mode,), 0.1, 0.5 / 100.0), flat_quotes(100.0), price_risk(0.0, 0.0, 11, 0.1)), [1.0, 0.0]


def learn(build: Callable, game: Game, sizes: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """Schedules [n, K] before and after training."""
    num_trades = len(game.risk)
    env = ExecutionEnv(game, torch.tensor(sizes, dtype=torch.float64), num_trades, num_markets=256)
    algorithm = build(probe_config(env, num_steps=num_trades - 1, width=32, iterations=ITERATIONS, **TRAINING))
    before = env.schedules(learner_network(algorithm))
    for _ in range(ITERATIONS):
        algorithm.train()
    return before, env.schedules(learner_network(algorithm))


def optimum(game: Game, sizes: list[float]) -> torch.Tensor:
    end = play(game.objectives, torch.tensor(sizes, dtype=torch.float64), len(game.risk))
    assert end.converged
    return end.strategies


@pytest.mark.parametrize(
    "problem",
    [
        pytest.param(almgren_chriss(), id="ac"),
        pytest.param(obizhaeva_wang(1.0), id="ow", marks=pytest.mark.slow),
        pytest.param(obizhaeva_wang(0.5), id="sqrt", marks=pytest.mark.slow),
    ],
)
def test_one_seller_learns_the_optimal_schedule(problem: tuple[Game, list[float]], build: Callable) -> None:
    game, sizes = problem
    before, after = learn(build, game, sizes)
    best, start, end = (float(game.objectives(x.unsqueeze(0))) for x in (optimum(game, sizes), before, after))
    assert start > 1.5 * best
    assert best <= end <= (1.0 + NEAR) * best


@pytest.mark.slow
def test_two_players_learn_an_equilibrium_by_self_play(build: Callable) -> None:
    game, sizes = seller_and_predator()
    before, after = learn(build, game, sizes)
    exploitability = [nash_conv(game.objectives, x) / float(game.costs(x.unsqueeze(0)).sum()) for x in (before, after)]
    assert exploitability[0] > 0.3
    assert 0.0 <= exploitability[1] < NEAR
    assert float(game.costs(after.unsqueeze(0))[0, 1]) < 0.0  # the predator earns


def test_rewards_add_up_to_the_objective() -> None:
    for game, sizes in (almgren_chriss(), seller_and_predator()):
        num_trades = len(game.risk)
        env = ExecutionEnv(game, torch.tensor(sizes, dtype=torch.float64), num_trades, num_markets=3)
        even = torch.tensor(sizes, dtype=torch.float64).unsqueeze(-1).expand(-1, num_trades) / num_trades
        unit = float(game.objectives(even.unsqueeze(0)).abs().mean())
        action = torch.randn(num_trades - 1, 3, len(sizes), 1, generator=torch.Generator().manual_seed(0))
        sales = action[..., 0].double().permute(1, 2, 0) * max(sizes) / num_trades
        last = torch.tensor(sizes, dtype=torch.float64) - sales.sum(-1)
        wanted = -game.objectives(torch.cat([sales, last.unsqueeze(-1)], -1)) / unit
        obs = env.reset()
        total = torch.zeros(3, len(sizes))
        for k in range(num_trades - 1):
            assert obs.argmax(-1).tolist() == [[i * num_trades + k for i in range(len(sizes))]] * 3
            step = env.step(action[k])
            obs, total = step.obs, total + step.reward
            assert bool(step.terminated.all()) == bool(step.terminated.any()) == (k == num_trades - 2)
        torch.testing.assert_close(total.double(), wanted, rtol=1e-4, atol=1e-5)
