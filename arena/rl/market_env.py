"""The market as a training environment: some seats learn, scripted agents and frozen policies play the others.

Markets are split into groups. A group has rules and windows of bars of its own, drawn anew every few episodes, and in
every episode opponents drawn from a pool. Learners sit in the first seats; only their rows are returned. The last of
the learners may be exploiters, who are paid for doing better than the other learners in their market.

Axes: B markets, N learners, O opponents, A assets, F features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import torch
from torch import Tensor

from arena.agents.policies.policy import NUM_SEAT_FEATURES, policy_obs, target_weights
from arena.agents.types import Agent
from arena.data.types import Scenarios
from arena.forecast.loading import load_forecaster
from arena.forecast.serving.live import NS_PER_US
from arena.forecast.table import TableRequest, build_tables
from arena.forecast.types import Forecaster
from arena.market.observation import layout, own_view, with_forecast
from arena.market.reward import surprise
from arena.market.types import MarketParams, Observation
from arena.market.vector import VectorMarket
from arena.rl.league.outcomes import LEARNER, Scoreboard, Wins
from arena.rl.league.pool import Pool, by_name, check_weights
from arena.rl.rewards import RewardParams, begin_episode, exploiters_reward, step_reward
from arena.rl.types import EnvStep
from arena.rl.windows import WindowSource

Range = tuple[float, float]
Opponents = Sequence[Agent] | Mapping[str, Agent]  # by name, where who won against whom is of interest


@dataclass(frozen=True)
class Domain:
    """What differs from group to group: factors drawn evenly in their logarithm from (low, high)."""

    impact: Range = (1.0, 1.0)  # on every impact coefficient
    cost: Range = (1.0, 1.0)  # on fee and half-spread
    wealth: Range = (1.0, 1.0)  # on the seats' initial wealth, hence on how large their orders are for the market

    def __post_init__(self) -> None:
        for name in ("impact", "cost", "wealth"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"domain.{name} is {low, high}, expected 0 < low <= high")


@dataclass(frozen=True)
class EnvParams:
    """Plain numbers; see PolicyManifest for reach, speed, history_length and forecaster."""

    num_markets: int = 256  # B
    num_learners: int = 1  # N
    num_exploiters: int = 0  # of the N, the last: paid their reward less the mean reward of the others in the market
    num_opponents: int = 0  # O
    num_groups: int = 1
    num_windows: int = 256  # that a group draws its episodes from
    refresh: int = 0  # episodes after which a group gets new windows and rules; 0 = never
    reach: float = 4.0
    speed: float = 1.0
    history_length: int = 0
    forecaster: str = ""
    context_length: int = 64  # bars a forecaster looks at
    initial_wealth: float = 0.02
    half_spread: float = 1.5e-4
    borrow_rate: float = 0.01 / 252
    wind_down: int = 3
    reward: RewardParams = field(default_factory=RewardParams)
    domain: Domain = field(default_factory=Domain)

    def __post_init__(self) -> None:
        if self.num_markets % self.num_groups:
            raise ValueError(
                f"num_markets is {self.num_markets}, expected a multiple of the {self.num_groups} groups of markets"
            )
        if self.num_learners < 1 or self.num_opponents < 0 or self.num_windows < 1 or self.refresh < 0:
            raise ValueError("expected num_learners and num_windows >= 1, num_opponents and refresh >= 0")
        if not 0 <= self.num_exploiters < self.num_learners:
            raise ValueError(
                f"num_exploiters is {self.num_exploiters}, expected 0 to {self.num_learners - 1}: they are of the "
                f"{self.num_learners} learners, and one at least must be there to be exploited"
            )


class MarketEnv:
    """arena.rl.types.TensorEnv over VectorMarket, float32.

    params     of the environment      market  the rules, before `params.domain` changes them
    source     of the windows of bars
    opponents  the pool: an episode seats `num_opponents` of them, each once while there are enough, all as likely
    seed       of windows, rules, opponents and their random numbers
    compile    torch.compile the step, and on a GPU replay it as a CUDA graph; the rules then stay those of the first
               draw, as each would compile anew
    """

    def __init__(
        self,
        params: EnvParams,
        market: MarketParams,
        source: WindowSource,
        opponents: Opponents = (),
        *,
        seed: int = 0,
        compile: bool = False,
        device: torch.device | str = "cpu",
    ) -> None:
        self.params = params
        generator = torch.Generator().manual_seed(seed)
        pool = by_name(opponents)
        _check_pool(params, pool)
        self._board = Scoreboard(device)
        self._groups = [
            _Group(params, market, source, pool, generator, self._board, compile, device)
            for _ in range(params.num_groups)
        ]
        self.num_markets, self.num_agents = params.num_markets, params.num_learners
        self.num_assets, self.episode_length = self._groups[0].num_assets, self._groups[0].episode_length
        self.num_asset_features = len(layout(market, 1)) - NUM_SEAT_FEATURES + params.history_length
        self.obs_dim = self.num_asset_features * self.num_assets + NUM_SEAT_FEATURES

    def set_opponents(self, opponents: Opponents, weights: Mapping[str, float] | None = None) -> None:
        """Another pool; who plays now plays on until the episode ends.

        weights  by name, in proportion to which they are drawn; None: all alike
        """
        pool = by_name(opponents)
        _check_pool(self.params, pool)
        check_weights(pool, weights)
        for group in self._groups:
            group.pool.set(pool, weights)

    def outcomes(self) -> Wins:
        """Who finished ahead of whom in the episodes that ended since the last call: all pairs of seats of a market.

        The learners are one player, LEARNER, the exploiters are exploiter_0 ...; without opponents and exploiters
        there is nothing to compare.
        """
        return self._board.drain()

    def reset(self) -> Tensor:
        """Begin an episode in every market: obs [B, N, F]."""
        return torch.cat([group.reset() for group in self._groups])

    def step(self, action: Tensor) -> EnvStep:
        """Act with unbounded numbers u [B, N, A]; arena.agents.policies.policy.target_weights makes weights of them."""
        parts = action.tensor_split(len(self._groups))
        steps = [group.step(part) for group, part in zip(self._groups, parts)]
        whole = EnvStep(*(torch.cat(column) for column in zip(*steps)))
        # All groups end their episodes in the same step, and only then is final_obs another object.
        return whole if steps[0].final_obs is not steps[0].obs else whole._replace(final_obs=whole.obs)


class _Group:
    """Markets that share rules, windows and opponents."""

    def __init__(
        self,
        params: EnvParams,
        market: MarketParams,
        source: WindowSource,
        opponents: Mapping[str, Agent],
        generator: torch.Generator,
        board: Scoreboard,
        compile: bool,
        device: torch.device | str,
    ) -> None:
        self._params, self._rules, self._source, self._board = params, market, source, board
        self._generator, self._compile, self._device = generator, compile, device
        self._factors = self._draw_factors()
        self._episodes = 0
        self.pool = Pool()
        self.pool.set(opponents, None)
        self._scenarios = source.draw(params.num_windows, generator)
        self._build()
        self.num_assets, self.episode_length = self._market.num_assets, self._market.episode_length

    def reset(self) -> Tensor:
        """obs [B / G, N, F]."""
        refresh = self._params.refresh
        if refresh and self._episodes and self._episodes % refresh == 0:
            self._scenarios = self._source.draw(self._params.num_windows, self._generator)
            if not self._compile:
                self._factors = self._draw_factors()
            self._build()
        elif self._needs() != self._built_for:
            self._build()
        else:
            self._market.reset()
        self._episodes += 1
        self._seat_opponents()
        self._reward_state = begin_episode(self._params.reward, self._wealth())
        return self._obs()

    def step(self, action: Tensor) -> EnvStep:
        """Action of the learners [B / G, N, A]."""
        market, learners = self._market, self._params.num_learners
        before, quotes, wealth = market.state, market.quotes, self._wealth()
        weights = self._weights(action)
        bar = market.warmup + market.steps_taken
        made = market.step(weights)
        luck = None
        if self._means:
            expected = (mean[market.windows, bar] for mean in self._means)  # [B, A] of the open and of the close
            luck = surprise(before, quotes, market.state, *expected)[:, :learners] / market.initial_nav.unsqueeze(-1)
        reward, self._reward_state = step_reward(self._params.reward, self._reward_state, wealth, self._wealth(), luck)
        reward = exploiters_reward(reward, self._params.num_exploiters)
        terminated = made.terminated[:, :learners]
        final_obs = obs = self._obs() if self._params.history_length else made.obs[:, :learners]
        ended = market.steps_taken == market.episode_length
        if ended:
            if len(set(self._players)) > 1:
                self._board.add(self._players, market.state.nav)
            obs = self.reset()
        truncated = torch.full_like(terminated, ended)
        return EnvStep(obs, reward, terminated, truncated, final_obs, self._market.state.alive[:, :learners])

    def _weights(self, action: Tensor) -> Tensor:
        """Target weights of all seats [B / G, N + O, A]."""
        params, market, learners = self._params, self._market, self._params.num_learners
        if not self._opponents and params.speed == 1.0:
            return target_weights(action, action, params.reach, 1.0)
        seen = market.observe()
        weights = torch.empty_like(seen.weight)
        weights[:, :learners] = target_weights(action, seen.weight[:, :learners], params.reach, params.speed)
        for seat, agent in enumerate(self._opponents, learners):
            weights[:, seat] = agent.act(self._view(seen, seat, agent), self._generator)
        return weights

    def _view(self, seen: Observation, seat: int, agent: Agent) -> Observation:
        """What a match would show the agent: its own forecaster's opinion and as much history as it asks for."""
        view, spec = own_view(seen, seat, agent.history_length), _forecaster(agent)
        if spec == self._params.forecaster:
            return view
        bar = self._market.warmup + self._market.steps_taken - 1
        return with_forecast(view, self._tables[spec][self._market.windows, bar] if spec else None)

    def _obs(self) -> Tensor:
        """What the learners see [B / G, N, F]."""
        return policy_obs(self._market.observe(), self._params.history_length)[:, : self._params.num_learners]

    def _wealth(self) -> Tensor:
        """nav / initial nav of the learners [B / G, N]."""
        return self._market.state.nav[:, : self._params.num_learners] / self._market.initial_nav.unsqueeze(-1)

    def _seat_opponents(self) -> None:
        """Draw who plays this episode."""
        params = self._params
        names, self._opponents = self.pool.draw(params.num_opponents, self._generator)
        exploiters = [f"exploiter_{number}" for number in range(params.num_exploiters)]
        self._players = [LEARNER] * (params.num_learners - params.num_exploiters) + exploiters + names
        for agent in self._opponents:
            agent.reset()

    def _needs(self) -> tuple[int, tuple[str, ...]]:
        """Displayed bars and forecasters that learners and pool ask for."""
        own = self._params.history_length
        lengths = [own + 1 if own else 0, *(agent.history_length for agent in self.pool.agents)]
        specs = {self._params.forecaster, *(_forecaster(agent) for agent in self.pool.agents)} - {""}
        return max(lengths), tuple(sorted(specs))

    def _build(self) -> None:
        """A market over the present windows, with the present rules."""
        params, scenarios = self._params, self._scenarios
        history_length, specs = self._built_for = self._needs()
        tables = _tables(specs, scenarios, params.context_length)
        self._tables = {spec: table.to(self._device) for spec, table in zip(specs, tables)}
        impact, cost, wealth = self._factors
        rules = self._rules
        modes = tuple(replace(mode, coef=mode.coef * impact) for mode in rules.modes)
        self._market = VectorMarket(
            replace(rules, modes=modes, temporary_coef=rules.temporary_coef * impact, fee_rate=rules.fee_rate * cost),
            scenarios,
            params.num_learners + params.num_opponents,
            num_markets=params.num_markets // params.num_groups,
            initial_wealth=params.initial_wealth * wealth,
            half_spread=params.half_spread * cost,
            borrow_rate=params.borrow_rate,
            wind_down=params.wind_down,
            forecast=self._tables.get(params.forecaster),
            history_length=history_length,
            compile=self._compile,
            capture=self._compile and torch.device(self._device).type == "cuda",
            dtype=torch.float32,
            device=self._device,
            generator=self._generator,
        )
        means = scenarios.expected_open, scenarios.expected_close
        self._means = [mean.to(self._device, torch.float32) for mean in means if mean is not None]

    def _draw_factors(self) -> list[float]:
        """Of impact, cost and wealth."""
        domain = self._params.domain
        shares = torch.rand(3, generator=self._generator).tolist()
        ranges = (domain.impact, domain.cost, domain.wealth)
        return [low * (high / low) ** share for (low, high), share in zip(ranges, shares)]


def _tables(specs: Sequence[str], scenarios: Scenarios, context_length: int) -> list[Tensor]:
    """Forecasts of the reference bars [W, T, A, 4] by each forecaster."""
    if not specs:
        return []
    stamps = None if scenarios.timestamps is None else scenarios.timestamps * NS_PER_US
    request = TableRequest(scenarios.bars, scenarios.warmup - 1, context_length, stamps)
    return build_tables([_loaded(spec) for spec in specs], request)


@cache
def _loaded(spec: str) -> Forecaster:
    return load_forecaster(spec)


def _forecaster(agent: Agent) -> str:
    return getattr(agent, "forecaster", "")


def _check_pool(params: EnvParams, opponents: Mapping[str, Agent]) -> None:
    if params.num_opponents and not opponents:
        raise ValueError(f"num_opponents is {params.num_opponents}, expected at least one agent to play them")
