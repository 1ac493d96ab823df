"""One market as a PettingZoo environment: the B = 1 view of VectorMarket, in NumPy.

    env = ArenaParallelEnv(num_agents=4)
    observations, infos = env.reset(seed=0)
    while env.agents:
        actions = {agent: env.action_space(agent).sample() for agent in env.agents}
        observations, rewards, terminations, truncations, infos = env.step(actions)

Letters: N agents (seats), A assets, F numbers of an observation.
"""

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import logger
from gymnasium.spaces import Box
from gymnasium.utils import seeding
from pettingzoo import ParallelEnv
from torch import Tensor

from arena.data.synthetic.params import SyntheticParams
from arena.data.types import Scenarios
from arena.data.windows import GivenWindows, SyntheticWindows, Window, WindowSource
from arena.envs.actions import stack_actions
from arena.envs.bounds import action_bound, observation_bounds
from arena.envs.render import RENDER_MODES, Frame, Screen, ansi, rgb_array
from arena.market.presets import sqrt
from arena.market.types import LiveForecast, MarketParams, Observation
from arena.market.vector import VectorMarket

Info = dict[str, Any]  # see ArenaParallelEnv; wrappers of PettingZoo and Gymnasium add to it
WARMUP = 60  # bars before an episode of the synthetic market, more where more history is shown


class ArenaParallelEnv(ParallelEnv[str, np.ndarray, np.ndarray]):
    """Agents trader_0 .. trader_{N-1} in one market.

    Observation  float32 [F], see arena.market.observation.layout for the names; cut to the finite bounds of its Box
    Action       float32 [A], target weights: signed fractions of nav. The Box is +-min(max_asset_weight,
                 max_gross_leverage); anything outside is legal too, the market scales it to its limits. NaN or
                 infinity keeps the position in that asset and is counted in infos["rejected"].
    Reward       change of growth, see arena.market.reward
    Termination  ruin: the agent leaves `agents`, and the market sells what its seat holds
    Truncation   the last bar of the window
    Infos        nav, cost, penalty, financing (currency), rejected (number of weights), position [A] (shares after the
                 step), fills: shares [A] and price [A], one for all; after a reset also window

    num_agents     N
    scenarios      own data (arena.data.scenarios), None: the `synthetic` market, generated from the seed
    forecast       a table [W, T, A, 4] for own data, or a LiveForecast of the displayed bars; see VectorMarket
    params         rules; None: preset `sqrt` for the length of the bars
    history_length  displayed bars in `observe().history`
    compile        torch.compile the step: several times faster, after some 10 s; differs in the last bits and needs a
                   C++ compiler
    market         further arguments of VectorMarket: initial_wealth, half_spread, borrow_rate, wind_down

    reset(seed) makes everything that follows reproducible. reset(options={"window": i}) plays window i of own data, or
    the synthetic market of seed i; other windows are drawn: evenly, or from the seeds kept for training.
    """

    metadata = {  # noqa: RUF012 (PettingZoo reads it from the class)
        "name": "arena_v0",
        "render_modes": list(RENDER_MODES),
        "is_parallelizable": True,
        "render_fps": 10,
    }

    def __init__(
        self,
        num_agents: int = 4,
        *,
        scenarios: Scenarios | None = None,
        synthetic: SyntheticParams | None = None,
        forecast: Tensor | LiveForecast | None = None,
        params: MarketParams | None = None,
        history_length: int = 0,
        compile: bool = False,
        dtype: torch.dtype = torch.float32,
        render_mode: str | None = None,
        **market: Any,
    ):
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise ValueError(f"render_mode is {render_mode!r}, expected None or one of {RENDER_MODES}")
        if scenarios is not None and synthetic is not None:
            raise ValueError("got scenarios and synthetic, expected one of them: own data or the synthetic market")
        table = forecast if isinstance(forecast, Tensor) else None
        self._live = None if isinstance(forecast, Tensor) else forecast
        if scenarios is None and table is not None:
            raise ValueError("got a table of forecasts without scenarios; tables belong to windows of own data")
        if scenarios is None:
            synthetic = synthetic or SyntheticParams()
            self._windows: WindowSource = SyntheticWindows(synthetic, max(WARMUP, history_length))
            num_assets, dt = synthetic.num_assets, synthetic.dt
        else:
            self._windows = GivenWindows(scenarios, table)
            num_assets, dt = scenarios.bars.shape[2], scenarios.dt
        self.params = sqrt(dt) if params is None else params
        if self.params.dt != dt:
            raise ValueError(f"params.dt is {self.params.dt} but the bars last {dt} trading days; set params.dt = {dt}")
        self.render_mode = render_mode
        self._market_options = market | {"history_length": history_length, "compile": compile, "dtype": dtype}
        self._shape = (num_agents, num_assets)
        self._dtype = torch.empty((), dtype=dtype).numpy().dtype

        self.possible_agents = [f"trader_{seat}" for seat in range(num_agents)]
        self.agents: list[str] = []
        self._seats = {agent: seat for seat, agent in enumerate(self.possible_agents)}
        self._low, self._high = observation_bounds(self.params, num_assets)
        bound = action_bound(self.params)
        # A space each: PettingZoo seeds them one by one.
        self.observation_spaces = {agent: Box(self._low, self._high) for agent in self.possible_agents}
        self.action_spaces = {agent: Box(-bound, bound, (num_assets,)) for agent in self.possible_agents}
        self._rng: np.random.Generator | None = None
        self._screen: Screen | None = None
        self._frames: list[Frame] = []
        self._market = self._open(self._windows.get(0))  # reports bad arguments here and not at the first reset

    def observation_space(self, agent: str) -> Box:
        """Box [F]; always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Box:
        """Box [A]; always the same object."""
        return self.action_spaces[agent]

    @torch.inference_mode()
    def reset(
        self, seed: int | None = None, options: Mapping[str, int] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Info]]:
        """Begin an episode. Options: {"window": number}; others are left to wrappers."""
        if seed is not None or self._rng is None:
            self._rng, _ = seeding.np_random(seed)
        named = (options or {}).get("window")
        self._window = self._windows.get(self._windows.draw(self._rng) if named is None else int(named))
        self._market = self._open(self._window)
        self.agents = self.possible_agents[:]
        self._frames = []
        self._show()
        zeros = torch.zeros_like(self._market.state.nav)
        no_shares = torch.zeros_like(self._market.state.position)
        obs, infos = self._obs(self._market.observe().flat), self._infos([zeros] * 4, no_shares, self._market.mid())
        for record in infos.values():
            record["window"] = self._window.number
        return dict(zip(self.agents, obs)), infos

    @torch.inference_mode()
    def step(
        self, actions: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], dict[str, float], dict[str, bool], dict[str, bool], dict[str, Info]]:
        """One market step; `actions` holds target weights [A] of every agent in `agents`."""
        weights = np.zeros((1, *self._shape), self._dtype)  # 0 for seats that were left: the market winds them down
        stack_actions(actions, self.agents, self._seats, weights[0])
        step = self._market.step(torch.from_numpy(weights))
        obs, fills = self._obs(step.obs), step.fills
        infos = self._infos([fills.cost, fills.penalty, fills.financing, fills.rejected], fills.shares, fills.price)
        (reward,), (terminated,), (truncated,) = (x.tolist() for x in (step.reward, step.terminated, step.truncated))
        acting = [(agent, self._seats[agent]) for agent in self.agents]
        self.agents = [agent for agent, seat in acting if not (terminated[seat] or truncated[seat])]
        self._show()
        return (
            {agent: obs[seat] for agent, seat in acting},
            {agent: reward[seat] for agent, seat in acting},
            {agent: terminated[seat] for agent, seat in acting},
            {agent: truncated[seat] for agent, seat in acting},
            infos,
        )

    @torch.inference_mode()
    def observe(self) -> Observation:
        """What all seats see now as named tensors [1, N, ...], uncut: what scripted agents read."""
        return self._market.observe()

    def render(self) -> str | np.ndarray | None:
        """ansi: text; rgb_array: uint8 [H, W, 3]; human: a window, or the text where there is no display."""
        if self.render_mode is None:
            logger.warn("render() shows nothing: give render_mode to the environment")
            return None
        if not self._frames:
            raise ValueError("there is no market to render: call reset() first")
        title = f"window {self._window.number}, step {self._market.steps_taken} of {self._market.episode_length}"
        picture = self.possible_agents, self._frames, title
        if self.render_mode == "rgb_array":
            return rgb_array(*picture)
        if self.render_mode == "ansi":
            return ansi(*picture)
        self._screen = self._screen or Screen()
        if self._screen.opened:
            self._screen.show(*picture)
        else:
            sys.stdout.write(ansi(*picture))
        return None

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._screen is not None:
            self._screen.close()
            self._screen = None

    def _open(self, window: Window) -> VectorMarket:
        """A market of one window; a compiled step is shared by all of them."""
        forecast = window.forecast if self._live is None else self._live
        return VectorMarket(
            self.params, window.scenarios, len(self.possible_agents), forecast=forecast, **self._market_options
        )

    # Tensors become NumPy and plain numbers here and at the top of `step`, once for all agents.

    def _obs(self, flat: Tensor) -> np.ndarray:
        """[1, N, F] of any float dtype -> float32 [N, F] inside the observation space."""
        rows = flat[0].numpy().astype(np.float32, "C", copy=False)
        return np.minimum(np.maximum(rows, self._low), self._high)

    def _infos(self, numbers: list[Tensor], shares: Tensor, price: Tensor) -> dict[str, Info]:
        """Infos of the agents in `agents`; numbers: cost, penalty, financing, rejected [1, N]."""
        rows = torch.cat([self._market.state.nav, *numbers]).T.tolist()
        filled, paid = shares[0].numpy(), price[0].numpy()
        position = self._market.state.position[0].numpy().copy()  # the market goes on with the original
        infos: dict[str, Info] = {}
        for agent in self.agents:
            seat = self._seats[agent]
            nav, cost, penalty, financing, rejected = rows[seat]
            infos[agent] = {
                "nav": nav,
                "cost": cost,
                "penalty": penalty,
                "financing": financing,
                "rejected": rejected,
                "position": position[seat],
                "fills": {"shares": filled[seat], "price": paid},
            }
        return infos

    def _show(self) -> None:
        """Remember the bar for rendering; in the mode `human` also show it."""
        if self.render_mode is None:
            return
        market = self._market
        seen = (market.quotes.ref_price, market.mid(), market.state.position, market.state.nav)
        self._frames.append(Frame(*(x[0].numpy().astype(np.float64) for x in seen)))
        if self.render_mode == "human":
            self.render()
