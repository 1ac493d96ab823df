"""One seat of a market as a Gymnasium environment; scripted agents play the others.

env = ArenaEnv(["equal_weight", "momentum", "rsi"])
obs, info = env.reset(seed=0)
obs, reward, terminated, truncated, info = env.step(env.action_space.sample())
"""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from arena.agents.registry import make_agent
from arena.agents.types import Agent
from arena.envs.parallel import ArenaParallelEnv, Info
from arena.market.observation import own_view
from arena.market.types import LiveForecast


class ArenaEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """ArenaParallelEnv for the learner in `seat`; observation, action, reward and info are those of that seat.

    opponents  scripted agents in the other seats: objects, or specs as in arena.agents.registry.make_agent
    seat       of the learner, 0 .. len(opponents)
    forecast   in every seat's observation: a table or a LiveForecast, see ArenaParallelEnv; an opponent that names a
               forecaster of its own reads this one
    market     other arguments of ArenaParallelEnv but num_agents and history_length: scenarios, params, render_mode ...

    An episode ends with the learner's ruin or with the window; opponents that are ruined before just stop trading.
    """

    metadata = ArenaParallelEnv.metadata

    def __init__(
        self,
        opponents: Sequence[Agent | str] = ("equal_weight", "momentum", "rsi"),
        *,
        seat: int = 0,
        forecast: Tensor | LiveForecast | None = None,
        **market: Any,
    ):
        if not 0 <= seat <= len(opponents):
            raise ValueError(f"seat is {seat}, expected 0 .. {len(opponents)} with {len(opponents)} opponents")
        agents = [make_agent(agent) if isinstance(agent, str) else agent for agent in opponents]
        history_length = max((agent.history_length for agent in agents), default=0)
        if forecast is not None and not isinstance(forecast, Tensor):
            history_length = max(history_length, forecast.context_length)
        self._env = ArenaParallelEnv(len(agents) + 1, history_length=history_length, forecast=forecast, **market)
        names = self._env.possible_agents
        self._name = names[seat]
        self._opponents = dict(zip(names[:seat] + names[seat + 1 :], agents))
        self._generator = torch.Generator()
        self.render_mode = self._env.render_mode
        self.observation_space = self._env.observation_space(self._name)
        self.action_space = self._env.action_space(self._name)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, Info]:
        """Begin an episode; seed and options as in ArenaParallelEnv.reset."""
        super().reset(seed=seed)
        self._generator.manual_seed(int(self.np_random.integers(2**32)))
        for agent in self._opponents.values():
            agent.reset()
        obs, infos = self._env.reset(seed, options)
        return obs[self._name], infos[self._name]

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, Info]:
        """One market step with target weights [A] of the learner."""
        if self._name not in self._env.agents:
            raise ValueError("the episode has ended or not begun; call reset() first")
        actions = self._scripted_actions()
        actions[self._name] = action
        obs, reward, terminated, truncated, infos = self._env.step(actions)
        name = self._name
        return obs[name], reward[name], terminated[name], truncated[name], infos[name]

    def render(self) -> Any:
        """As ArenaParallelEnv.render: all seats are shown."""
        return self._env.render()

    def close(self) -> None:
        """Close the window, if there is one."""
        self._env.close()

    @torch.inference_mode()
    def _scripted_actions(self) -> dict[str, np.ndarray]:
        """Weights [A] of every opponent that is still in the market."""
        if not self._opponents:
            return {}
        seen = self._env.observe()
        actions = {}
        for seat, name in enumerate(self._env.possible_agents):
            if name in self._opponents and name in self._env.agents:
                agent = self._opponents[name]
                view = own_view(seen, seat, agent.history_length)
                actions[name] = agent.act(view, self._generator)[0].numpy()
        return actions
