"""An execution game as an environment to learn in: who acts knows the number of the trade and who it is, nothing else.

With such observations a policy without noise is a schedule, so that what was learned can be compared with an optimum
and its exploitability computed exactly (tools.verify.physics.equilibrium).

Axes: B markets, n players, K trades. The last trade sells what is left, so K - 1 actions make an episode.
"""

import torch
from torch import Tensor

from arena.market.step import initial_state, step_orders
from arena.rl.types import EnvStep, Policy
from tools.verify.physics.games import Game


class ExecutionEnv:
    """TensorEnv over B copies of `game`; action u sells u times an even share of the largest of `sizes` [n].

    The reward is minus what the trade adds to the player's objective, as share of what even schedules cost on average:
    rewards of an episode sum to -objective / unit.
    """

    def __init__(self, game: Game, sizes: Tensor, num_trades: int, num_markets: int) -> None:
        self.num_markets, self.num_agents, self.num_assets = num_markets, len(sizes), 1
        self.obs_dim = self.num_agents * num_trades
        self._game, self._sizes, self._num_trades = game, sizes, num_trades
        self._share = float(sizes.abs().max()) / num_trades
        even = (sizes / num_trades).unsqueeze(-1).expand(-1, num_trades)
        self._unit = float(game.objectives(even.unsqueeze(0)).abs().mean())

    def reset(self) -> Tensor:
        shape = (self.num_markets, self.num_agents)
        self._state = initial_state(self._game.params, self._sizes.new_zeros(shape), num_assets=1)
        self._sales = self._sizes.new_zeros(*shape, self._num_trades)
        self._trade = 0
        return self._see()

    def step(self, action: Tensor) -> EnvStep:
        reward = self._sell(self._share * action[..., 0].double())
        ended = self._trade == self._num_trades - 1
        if ended:
            reward = reward + self._sell(self._sizes - self._sales.sum(-1))
            self.reset()
        obs = self._see()
        over = torch.full(reward.shape, ended)
        return EnvStep(obs, reward.float(), over, torch.zeros_like(over), obs, torch.ones_like(over))

    def schedules(self, policy: Policy) -> Tensor:
        """[n, K] that the policy plays without noise."""
        with torch.no_grad():
            mean, _ = policy.distribution(torch.eye(self.obs_dim).unflatten(0, (self.num_agents, -1)))
        sales = self._share * mean[:, :-1, 0].double()
        return torch.cat([sales, (self._sizes - sales.sum(-1)).unsqueeze(-1)], -1)

    def _sell(self, sales: Tensor) -> Tensor:
        """Reward [B, n] of one trade."""
        price, risk, trade = self._game.quotes.ref_price, self._game.risk[self._trade], self._trade
        self._sales[..., trade] = sales
        before = self._state.cash
        self._state, _ = step_orders(self._game.params, self._state, self._game.quotes, -sales.unsqueeze(-1))
        cost = price * sales - (self._state.cash - before)
        # The terms of sales' risk sales / 2 that this trade completes.
        cost = cost + sales * ((self._sales[..., :trade] * risk[:trade]).sum(-1) + 0.5 * risk[trade] * sales)
        self._trade += 1
        return -cost / self._unit

    def _see(self) -> Tensor:
        """One-hot in (player, trade) [B, n, n * K]."""
        seen = torch.zeros(self.num_agents, self.num_agents, self._num_trades)
        seen[range(self.num_agents), range(self.num_agents), self._trade] = 1.0
        return seen.flatten(1).expand(self.num_markets, -1, -1)
