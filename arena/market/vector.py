"""B markets stepped together: the only object of the core that holds state."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from arena.cuda_graph import CudaGraph
from arena.data.types import CLOSE, Scenarios
from arena.market.history import DisplayedHistory
from arena.market.observation import RETURN_WINDOWS, PublicTape, observe
from arena.market.step import initial_state
from arena.market.tape import (
    FULL_BAR,
    TAPE_CLOSE,
    TAPE_FORECAST_VOLUME,
    TAPE_OPEN,
    TAPE_TRADABLE,
    TAPE_VOLUME,
    Tape,
)
from arena.market.transition import StepInputs, Transition, compiled_transition, transition
from arena.market.types import Fills, LiveForecast, MarketParams, MarketState, Observation, Quotes, Step
from arena.market.validation import MIN_WARMUP, check_forecast, check_market


class _PlayedBar(NamedTuple):
    """The last bar."""

    bar: Tensor | None  # [rows, B, A] of the tape; None: it has been looked up by a graph alone
    close: Tensor  # [B, A], displayed, as what follows
    past_closes: tuple[Tensor, ...]
    volume: Tensor
    net_flow: Tensor


class VectorMarket:
    """Markets that replay windows of bars, all at the same step of their episode.

    params        the rules                            scenarios  W windows of bars
    num_agents    seats per market                     num_markets  B; None: one market per window, in order
    initial_wealth  nav_0 of every seat = initial_wealth * A * median over assets of adv * price
    half_spread   fraction of price, a number or [A]   borrow_rate  of short notional per step, a number or [A]
    wind_down     last bars of an episode in which positions can only be reduced
    forecast      None; a table [W, T, A, 4] of the reference bars, made at the close of bar t (observation.observe);
                  or a LiveForecast, asked in every step about the displayed bars (and one more observation a step)
    history_length  displayed bars in Observation.history; 0 = none
    auto_reset    start the next episode in the step that ends one (training); never in scored matches
    compile       torch.compile the step; results then differ in the last bits
    capture       replay the step as a CUDA graph: a GPU waits for launches otherwise, below some ten thousand markets
    batch_last    storage with B contiguous (faster for few assets); None: chosen by the number of assets
    generator     draws the windows at a reset when B is not "all windows in order"
    """

    def __init__(
        self,
        params: MarketParams,
        scenarios: Scenarios,
        num_agents: int,
        *,
        num_markets: int | None = None,
        initial_wealth: float = 0.02,
        half_spread: float | Tensor = 1.5e-4,
        borrow_rate: float | Tensor = 0.01 / 252,
        wind_down: int = 3,
        forecast: Tensor | LiveForecast | None = None,
        history_length: int = 0,
        auto_reset: bool = False,
        compile: bool = False,
        capture: bool = False,
        batch_last: bool | None = None,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
        generator: torch.Generator | None = None,
    ):
        num_windows, num_bars, num_assets, _ = scenarios.bars.shape
        check_forecast(forecast, scenarios, history_length)
        check_market(scenarios, num_agents, history_length, wind_down, num_markets, generator)
        self.params, self.num_agents, self.num_assets = params, num_agents, num_assets
        self.num_markets = num_windows if num_markets is None else num_markets
        self.warmup, self.episode_length = scenarios.warmup, num_bars - scenarios.warmup
        self.history_length = history_length
        self._all_windows = num_markets is None
        self._auto_reset, self._generator = auto_reset, generator
        self._initial_wealth = initial_wealth
        self._batch_last = num_assets < 16 if batch_last is None else batch_last
        self._dtype, self._device = dtype, torch.device(device)
        if capture and self._device.type != "cuda":
            raise ValueError(
                f"capture is set and device is {self._device}, expected a CUDA device: it makes a CUDA graph"
            )
        self._capture = capture
        self._graph: CudaGraph | None = None

        table = forecast if isinstance(forecast, Tensor) else None
        self._live = None if isinstance(forecast, Tensor) else forecast
        self._tape = Tape(
            scenarios,
            full_bars=history_length > 0,
            batch_last=self._batch_last,
            forecast=table,
            dtype=dtype,
            device=self._device,
        )
        self._timestamps = None if scenarios.timestamps is None else scenarios.timestamps.to(self._device)
        self._half_spread = torch.as_tensor(half_spread, dtype=dtype, device=self._device).reshape(1, -1)
        self._borrow_rate = torch.as_tensor(borrow_rate, dtype=dtype, device=self._device).reshape(1, -1)
        make = compiled_transition if compile else partial(partial, transition)
        self._transition: Callable[..., Transition] = make(params, self.episode_length)
        # One tensor per step, made once: a new one a step is a copy to the device, and with one market a visible share.
        self._step_counts = torch.arange(self.episode_length + 1, device=self._device).unbind()
        is_wind_down = torch.stack(self._step_counts) >= self.episode_length - wind_down
        self._wind_down = is_wind_down.unsqueeze(-1).repeat(1, self.num_markets)  # [T + 1, B]
        self._reduce_only = self._wind_down.unbind()
        self._two = torch.arange(2, device=self._device)
        self.windows = torch.arange(num_windows, device=self._device)
        self.reset()

    def reset(self) -> Tensor:
        """Begin an episode in every market; returns obs [B, N, F]."""
        if not self._all_windows:
            drawn = torch.randint(self._tape.num_windows, (self.num_markets,), generator=self._generator)
            self.windows = drawn.to(self._device)
        self.steps_taken = 0
        self._episode_volatility, self._episode_adv = self._tape.features(self._picked)
        first = self._tape.bar(self.warmup - 1, self._picked)  # [rows, B, A] the last bar of the warm-up
        typical = (self._episode_adv * first[TAPE_CLOSE]).median(-1).values
        self.initial_nav = self._initial_wealth * self.num_assets * typical  # [B]
        cash = self.initial_nav.unsqueeze(-1).expand(-1, self.num_agents)
        state = initial_state(self.params, cash.contiguous(), self.num_assets)
        self.state = _map(state, self.arrange) if self._batch_last else state
        length = max(MIN_WARMUP, self.history_length)
        rows = self._tape.bars(self.warmup - length, self.warmup, self._picked)
        shown = rows[:, FULL_BAR if self.history_length else (TAPE_CLOSE,)]
        self._history = DisplayedHistory(self._tape.arrange(shown))
        self._public_now: PublicTape | None = PublicTape(
            ref_price=first[TAPE_CLOSE],
            close=first[TAPE_CLOSE],
            past_closes=self._past_closes(0),
            volume=first[TAPE_VOLUME],
            expected_volume=first[TAPE_FORECAST_VOLUME],
            net_flow=torch.zeros_like(first[TAPE_CLOSE]),
        )
        self._quotes: Quotes | None = None
        self._ask_live()
        return self.observe().flat

    def step(self, weights: Tensor) -> Step:
        """Trade towards target `weights` [B, N, A]; see arena.market.step for the order of events."""
        expected = (self.num_markets, self.num_agents, self.num_assets)
        if tuple(weights.shape) != expected:
            raise ValueError(
                f"action has shape {tuple(weights.shape)}, expected (num_markets={expected[0]}, "
                f"num_agents={expected[1]}, num_assets={expected[2]})"
            )
        if self.steps_taken >= self.episode_length:
            raise ValueError(f"the episode ended after {self.episode_length} steps; call reset() first")
        past_closes = self._past_closes(1)
        weights = self.arrange(weights.to(self._device, self._dtype))
        # Not the first step of an episode: the state's memory is laid out as the step leaves it from the second on.
        if self._capture and self.steps_taken:
            made, bar = self._replay(past_closes, weights), None
        else:
            made, bar = self._play(past_closes, weights), self._bar
        self.state, obs = made.state, made.obs
        close = made.shown[CLOSE if self.history_length else 0]
        self._played = _PlayedBar(bar, close, past_closes, made.volume, made.fills.net_flow)
        self._public_now = None
        self._history.push(made.shown)
        self.steps_taken += 1
        self._quotes = None
        if self._live is not None:  # it looks at the bar that the step has just made
            self._ask_live()
            obs = self.observe().flat
        ended = self.steps_taken == self.episode_length
        truncated = torch.full_like(self.state.alive, ended)
        final_obs = obs
        terminated = ~self.state.alive
        if ended and self._auto_reset:
            obs = self.reset()
        return Step(obs, made.reward, terminated, truncated, final_obs, made.fills)

    @property
    def quotes(self) -> Quotes:
        """Of the coming step; after the last one the final bar stands in, so that observe() still works."""
        if self._quotes is None:
            self._quotes = self._next_quotes()
        return self._quotes

    def observe(self) -> Observation:
        """What all seats see now, fields [B, N, ...]; `history` is a view that the next steps overwrite."""
        observation = observe(
            self.params,
            self.state,
            self.quotes,
            self._public,
            self.initial_nav,
            self._step_counts[self.steps_taken],
            self.episode_length,
            self._tape.forecast(self.warmup + self.steps_taken - 1, self._picked)
            if self._live is None
            else self._live_forecast,
        )
        if not self.history_length:
            return observation
        history = self._history.last(self.history_length).unsqueeze(1)
        return observation._replace(history=history.expand(-1, self.num_agents, -1, -1, -1))

    def displayed_bar(self) -> Tensor:
        """The last displayed bar [B, A, 6]; needs history_length > 0."""
        return self._history.last(1)[:, :, 0]

    def mid(self) -> Tensor:
        """Displayed close of the last bar [B, A]."""
        return self._public.close

    def arrange(self, x: Tensor) -> Tensor:
        """x [B, ...] in this market's storage order; actions that come in it save a copy a step."""
        return x.movedim(0, -1).contiguous().movedim(-1, 0) if self._batch_last else x.contiguous()

    @property
    def _picked(self) -> Tensor | None:
        """The window of each market [B]; None: all windows in order."""
        return None if self._all_windows else self.windows

    def _play(self, past_closes: tuple[Tensor, ...], weights: Tensor) -> Transition:
        """The transition of the coming step."""
        quotes = self.quotes  # looks up the bar
        inputs = StepInputs(
            quotes=quotes,
            bar=self._bar,
            past_closes=past_closes,
            initial_nav=self.initial_nav,
            steps_taken=self._step_counts[self.steps_taken + 1],
            reduce_only=self._reduce_only[self.steps_taken + 1],
            forecast=self._tape.forecast(self.warmup + self.steps_taken, self._picked),
        )
        return self._transition(self.state, inputs, weights)

    def _replay(self, past_closes: tuple[Tensor, ...], weights: Tensor) -> Transition:
        """The same from a graph, which is recorded when it is first needed."""
        state = [field for field in self.state if field is not None]
        episode = [self.windows, self._episode_volatility, self._episode_adv, self.initial_nav]
        inputs = [*state, *past_closes, *episode, self._step_counts[self.steps_taken], weights]
        if self._graph is None:
            self._graph = CudaGraph(self._play_at, inputs)
        *made, shown, volume, obs, reward = self._graph(inputs)
        new_state, fills = MarketState(*made[: len(state)]), Fills(*made[len(state) :])
        return Transition(new_state, fills, shown, volume, obs, reward)

    def _play_at(self, *inputs: Tensor) -> list[Tensor]:
        """The transition at a step that only the GPU knows: what depends on it is looked up there."""
        *state, windows, volatility, adv, initial_nav, steps_taken, weights = inputs
        picked = None if self._all_windows else windows
        num_closes = len(RETURN_WINDOWS)
        now = steps_taken + self._two  # this step and the next
        last_bar, bar = self._tape.bars_at(now + (self.warmup - 1), picked)
        reduce_only = self._wind_down.index_select(0, now)
        quotes = self._quotes_of(bar, last_bar[TAPE_CLOSE], reduce_only[0])
        step_inputs = StepInputs(
            quotes=quotes._replace(volatility=volatility, adv=adv),
            bar=bar,
            past_closes=tuple(state[-num_closes:]),
            initial_nav=initial_nav,
            steps_taken=steps_taken + 1,
            reduce_only=reduce_only[1],
            forecast=self._tape.forecast_at(now[:1] + self.warmup, picked),
        )
        new_state, fills, *rest = self._transition(MarketState(*state[:-num_closes]), step_inputs, weights)
        return [*(field for field in new_state if field is not None), *fills, *rest]

    @property
    def _public(self) -> PublicTape:
        """The record at the close of the last bar."""
        if self._public_now is None:
            bar, close, past_closes, volume, net_flow = self._played
            if bar is None:
                bar = self._tape.bar(self.warmup + self.steps_taken - 1, self._picked)
            self._public_now = PublicTape(
                ref_price=bar[TAPE_CLOSE],
                close=close,
                past_closes=past_closes,
                volume=volume,
                expected_volume=bar[TAPE_FORECAST_VOLUME],
                net_flow=net_flow,
            )
        return self._public_now

    def _next_quotes(self) -> Quotes:
        index = min(self.warmup + self.steps_taken, self._tape.num_bars - 1)
        bar = self._bar = self._tape.bar(index, self._picked)  # [rows, B, A] of the coming step
        return self._quotes_of(bar, self._public.ref_price, self._reduce_only[self.steps_taken])

    def _quotes_of(self, bar: Tensor, ref_price: Tensor, reduce_only: Tensor) -> Quotes:
        """Quotes of the step that plays `bar` [rows, B, A]; ref_price is the close before it [B, A]."""
        return Quotes(
            ref_price=ref_price,
            fill_price=bar[TAPE_OPEN],
            next_ref_price=bar[TAPE_CLOSE],
            volatility=self._episode_volatility,
            adv=self._episode_adv,
            bar_volume=bar[TAPE_FORECAST_VOLUME],
            half_spread=self._half_spread,
            borrow_rate=self._borrow_rate,
            tradable=bar[TAPE_TRADABLE] > 0,
            reduce_only=reduce_only,
        )

    def _ask_live(self) -> None:
        """Have the displayed bars up to now forecast, once: a model is slow."""
        if self._live is not None:
            length, end = self._live.context_length, self.warmup + self.steps_taken
            times = None if self._timestamps is None else self._timestamps[self.windows, end - length : end]
            forecast = self._live(self._history.last(length), times)
            self._live_forecast = self.arrange(forecast.to(self._device, self._dtype))

    def _past_closes(self, shift: int) -> tuple[Tensor, ...]:
        """Displayed closes `window - shift` bars back; shift 1 looks from the bar about to be shown."""
        close = CLOSE if self.history_length else 0  # channel of a displayed bar
        return tuple(self._history.row(window - shift)[close] for window in RETURN_WINDOWS)


def _map(record: MarketState, function: Callable[[Tensor], Tensor]) -> MarketState:
    return record._replace(**{name: function(x) for name, x in record._asdict().items() if x is not None})
