"""B markets stepped together: the only object of the core that holds state."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import torch
from torch import Tensor

from arena.cuda_graph import CudaGraph
from arena.data.types import AMOUNT, CLOSE, HIGH, LOW, OPEN, VOLUME, Scenarios
from arena.market.history import DisplayedHistory, displayed_bar
from arena.market.impact import decay, displacement
from arena.market.observation import RETURN_WINDOWS, PublicTape, observe
from arena.market.reward import growth_reward
from arena.market.step import initial_state, step
from arena.market.types import NUM_FORECAST, Fills, LiveForecast, MarketParams, MarketState, Observation, Quotes, Step

# Rows of the tape. The last three are kept only where agents ask for full bars.
TAPE_OPEN, TAPE_CLOSE, TAPE_VOLUME, TAPE_FORECAST_VOLUME, TAPE_TRADABLE, TAPE_HIGH, TAPE_LOW, TAPE_AMOUNT = range(8)
FULL_BAR = (TAPE_OPEN, TAPE_HIGH, TAPE_LOW, TAPE_CLOSE, TAPE_VOLUME, TAPE_AMOUNT)  # in the order of CHANNELS
MIN_WARMUP = max(RETURN_WINDOWS) + 1

_Made = tuple[MarketState, Fills, Tensor, Tensor, Tensor, Tensor]  # by `_transition`


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
        _check_forecast(forecast, scenarios, history_length)
        _check(scenarios, num_agents, history_length, wind_down, num_markets, generator)
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

        # The tape is kept [T, rows, W, A] so that a step reads one block of it.
        bars = scenarios.bars.permute(1, 3, 0, 2)
        bar_volume = scenarios.bar_volume.permute(1, 0, 2).unsqueeze(1)
        tradable = scenarios.tradable.permute(1, 0, 2).unsqueeze(1)
        rows = [bars[:, [OPEN, CLOSE, VOLUME]], bar_volume, tradable]
        if history_length:
            rows.append(bars[:, [HIGH, LOW, AMOUNT]])
        self._tape = self._arrange(torch.cat(rows, 1).to(self._device, dtype))
        self._volatility = self._arrange(scenarios.volatility.to(self._device, dtype))
        self._adv = self._arrange(scenarios.adv.to(self._device, dtype))
        self._table, self._live = None, None
        if isinstance(forecast, Tensor):  # kept [T, 4, W, A], for the same reason
            self._table = self._arrange(forecast.permute(1, 3, 0, 2).to(self._device, dtype))
        elif forecast is not None:
            self._live = forecast
        self._timestamps = None if scenarios.timestamps is None else scenarios.timestamps.to(self._device)
        self._half_spread = torch.as_tensor(half_spread, dtype=dtype, device=self._device).reshape(1, -1)
        self._borrow_rate = torch.as_tensor(borrow_rate, dtype=dtype, device=self._device).reshape(1, -1)
        make = _compiled if compile else partial
        self._transition: Callable = make(_transition, params, self.episode_length)
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
            drawn = torch.randint(self._tape.shape[2], (self.num_markets,), generator=self._generator)
            self.windows = drawn.to(self._device)
        self.steps_taken = 0
        self._episode_volatility = self._pick(self._volatility)
        self._episode_adv = self._pick(self._adv)
        first = self._pick(self._tape[self.warmup - 1])  # [rows, B, A] the last bar of the warm-up
        typical = (self._episode_adv * first[TAPE_CLOSE]).median(-1).values
        self.initial_nav = self._initial_wealth * self.num_assets * typical  # [B]
        cash = self.initial_nav.unsqueeze(-1).expand(-1, self.num_agents)
        state = initial_state(self.params, cash.contiguous(), self.num_assets)
        self.state = _map(state, self.arrange) if self._batch_last else state
        length = max(MIN_WARMUP, self.history_length)
        rows = self._pick(self._tape[self.warmup - length : self.warmup])
        shown = rows[:, FULL_BAR if self.history_length else (TAPE_CLOSE,)]
        self._history = DisplayedHistory(self._arrange(shown))
        self._tape_now: PublicTape | None = PublicTape(
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
            self.state, fills, shown, volume, obs, reward = self._replay(past_closes, weights)
            bar = None
        else:
            self.state, fills, shown, volume, obs, reward = self._play(past_closes, weights)
            bar = self._bar
        close = shown[CLOSE if self.history_length else 0]
        self._played = _PlayedBar(bar, close, past_closes, volume, fills.net_flow)
        self._tape_now = None
        self._history.push(shown)
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
        return Step(obs, reward, terminated, truncated, final_obs, fills)

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
            self._table_row(self.warmup + self.steps_taken - 1) if self._live is None else self._live_forecast,
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

    def _play(self, past_closes: tuple[Tensor, ...], weights: Tensor) -> _Made:
        """The transition of the coming step."""
        return self._transition(
            self.state,
            self.quotes,
            self._bar,
            past_closes,
            self.initial_nav,
            self._step_counts[self.steps_taken + 1],
            self._reduce_only[self.steps_taken + 1],
            self._table_row(self.warmup + self.steps_taken),
            weights,
        )

    def _replay(self, past_closes: tuple[Tensor, ...], weights: Tensor) -> _Made:
        """The same from a graph, which is recorded when it is first needed."""
        state = [field for field in self.state if field is not None]
        episode = [self.windows, self._episode_volatility, self._episode_adv, self.initial_nav]
        inputs = [*state, *past_closes, *episode, self._step_counts[self.steps_taken], weights]
        if self._graph is None:
            self._graph = CudaGraph(self._play_at, inputs)
        *made, shown, volume, obs, reward = self._graph(inputs)
        return MarketState(*made[: len(state)]), Fills(*made[len(state) :]), shown, volume, obs, reward

    def _play_at(self, *inputs: Tensor) -> list[Tensor]:
        """The transition at a step that only the GPU knows: what depends on it is looked up there."""
        *state, windows, volatility, adv, initial_nav, steps_taken, weights = inputs
        num_closes = len(RETURN_WINDOWS)
        now = steps_taken + self._two  # this step and the next
        last_bar, bar = self._pick(self._tape.index_select(0, now + (self.warmup - 1)), windows)
        reduce_only = self._wind_down.index_select(0, now)
        table = None
        if self._table is not None:
            table = self._pick(self._table.index_select(0, now[:1] + self.warmup)[0], windows).movedim(0, -1)
        quotes = self._quotes_of(bar, last_bar[TAPE_CLOSE], reduce_only[0])
        new_state, fills, *rest = self._transition(
            MarketState(*state[:-num_closes]),
            quotes._replace(volatility=volatility, adv=adv),
            bar,
            tuple(state[-num_closes:]),
            initial_nav,
            steps_taken + 1,
            reduce_only[1],
            table,
            weights,
        )
        return [*(field for field in new_state if field is not None), *fills, *rest]

    @property
    def _public(self) -> PublicTape:
        """The record at the close of the last bar."""
        if self._tape_now is None:
            bar, close, past_closes, volume, net_flow = self._played
            if bar is None:
                bar = self._pick(self._tape[self.warmup + self.steps_taken - 1])
            self._tape_now = PublicTape(
                ref_price=bar[TAPE_CLOSE],
                close=close,
                past_closes=past_closes,
                volume=volume,
                expected_volume=bar[TAPE_FORECAST_VOLUME],
                net_flow=net_flow,
            )
        return self._tape_now

    def _next_quotes(self) -> Quotes:
        index = min(self.warmup + self.steps_taken, self._tape.shape[0] - 1)
        bar = self._bar = self._pick(self._tape[index])  # [rows, B, A] of the coming step
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

    def _table_row(self, bar: int) -> Tensor | None:
        """Forecasts [B, A, 4] made at the close of `bar`."""
        return None if self._table is None else self._pick(self._table[bar]).movedim(0, -1)

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

    def _arrange(self, x: Tensor) -> Tensor:
        """Logical [..., W or B, A] in this market's storage order."""
        return x.transpose(-1, -2).contiguous().transpose(-1, -2) if self._batch_last else x.contiguous()

    def _pick(self, x: Tensor, windows: Tensor | None = None) -> Tensor:
        """The windows now played, or those given, [..., W, A] -> [..., B, A]."""
        if self._all_windows:
            return x
        windows = self.windows if windows is None else windows
        if self._batch_last:
            # A tenth of the time of index_select, which is slow along the last axis.
            by_window = x.transpose(-1, -2)
            return by_window.gather(-1, windows.expand(*by_window.shape[:-1], -1)).transpose(-1, -2)
        return x.index_select(-2, windows)


def _transition(
    params: MarketParams,
    episode_length: int,
    state: MarketState,
    quotes: Quotes,
    bar: Tensor,
    past_closes: tuple[Tensor, ...],
    initial_nav: Tensor,
    steps_taken: Tensor,
    reduce_only: Tensor,
    forecast: Tensor | None,
    weights: Tensor,
) -> _Made:
    """Step, show the bar, observe, reward: pure, so that it compiles into few loops over memory.

    bar [5 or 8, B, A]: rows of the tape for the bar of this step; the rest as in VectorMarket.step. Comes back: state,
    fills, displayed bar (all six channels [6, B, A] or the close alone [1, B, A]) and volume [B, A], obs, reward.
    Nothing that went in comes back: a compiled call pays for each tensor it hands over.
    """
    new_state, fills = step(params, state, quotes, weights)
    after = displacement(params, quotes, new_state.imbalance, new_state.impact_scale)
    close = bar[TAPE_CLOSE] * (1.0 + after)
    public = PublicTape(
        ref_price=quotes.next_ref_price,
        close=close,
        past_closes=past_closes,
        volume=bar[TAPE_VOLUME] + fills.net_flow.abs(),
        expected_volume=bar[TAPE_FORECAST_VOLUME],
        net_flow=fills.net_flow,
    )
    if bar.shape[0] > TAPE_HIGH:
        before = displacement(params, quotes, decay(params, state.imbalance), new_state.impact_scale)
        shown = displayed_bar([bar[row] for row in FULL_BAR], before, after, fills)
    else:
        shown = close.unsqueeze(0)
    coming = quotes._replace(reduce_only=reduce_only)
    seen = observe(params, new_state, coming, public, initial_nav, steps_taken, episode_length, forecast)
    reward = growth_reward(state.nav, new_state.nav, initial_nav.unsqueeze(-1))
    return new_state, fills, shown, public.volume, seen.flat, reward


@lru_cache
def _compiled(transition: Callable, params: MarketParams, episode_length: int) -> Callable:
    """Shared by all markets of the same rules: only a market of another size compiles anew.

    Without the checks of sizes that the compiler would put into every call: a twentieth of the step of one market.
    """
    return torch.compile(partial(transition, params, episode_length), dynamic=False, options={"size_asserts": False})


def _map(record: MarketState, function: Callable[[Tensor], Tensor]) -> MarketState:
    return record._replace(**{name: function(x) for name, x in record._asdict().items() if x is not None})


def _check(
    scenarios: Scenarios,
    num_agents: int,
    history_length: int,
    wind_down: int,
    num_markets: int | None,
    generator: torch.Generator | None,
) -> None:
    num_windows, num_bars = scenarios.bars.shape[:2]
    if num_windows < 1 or num_bars <= scenarios.warmup:
        raise ValueError(
            f"scenarios hold {num_windows} windows of {num_bars} bars with a warm-up of {scenarios.warmup}, expected "
            "at least 1 window with bars left to trade; give longer windows or a shorter warm-up"
        )
    if scenarios.warmup < max(MIN_WARMUP, history_length):
        raise ValueError(
            f"warm-up is {scenarios.warmup} bars, expected at least {max(MIN_WARMUP, history_length)} for the "
            "observation's returns and history; cut windows with a longer warm-up"
        )
    if num_agents < 1:
        raise ValueError(f"num_agents is {num_agents}, expected at least 1")
    if not 0 <= wind_down <= num_bars - scenarios.warmup:
        raise ValueError(f"wind_down is {wind_down}, expected 0 to the episode's {num_bars - scenarios.warmup} steps")
    if num_markets is not None and generator is None:
        raise ValueError(
            "num_markets draws windows at random: pass a generator, or leave both out to play every window"
        )
    for name in ("volatility", "adv"):
        if not bool((getattr(scenarios, name) > 0).all()):  # NaN is not > 0 either
            raise ValueError(
                f"scenarios hold a {name} that is not positive; impact divides by it, so leave the asset out"
            )
    if not bool(torch.isfinite(scenarios.bars).all()) or not bool((scenarios.bars[..., :VOLUME] > 0).all()):
        raise ValueError("scenarios hold a non-finite or non-positive price; load bars with a fill policy")


def _check_forecast(forecast: Tensor | LiveForecast | None, scenarios: Scenarios, history_length: int) -> None:
    if isinstance(forecast, Tensor):
        expected = (*scenarios.bars.shape[:3], NUM_FORECAST)
        if tuple(forecast.shape) != expected:
            raise ValueError(
                f"forecast has shape {tuple(forecast.shape)}, expected (windows, bars, assets, {NUM_FORECAST}) = "
                f"{expected}, as the scenarios have"
            )
    elif forecast is not None and history_length < forecast.context_length:
        raise ValueError(
            f"history_length is {history_length}, expected at least {forecast.context_length}: the live forecast looks "
            "at that many displayed bars"
        )
