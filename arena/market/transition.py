"""One step with what agents see of it: pure, so that it compiles into few loops over memory."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import torch
from torch import Tensor

from arena.market.history import displayed_bar
from arena.market.impact import decay, displacement
from arena.market.observation import PublicTape, observe
from arena.market.reward import growth_reward
from arena.market.step import step
from arena.market.tape import FULL_BAR, TAPE_CLOSE, TAPE_FORECAST_VOLUME, TAPE_HIGH, TAPE_VOLUME
from arena.market.types import Fills, MarketParams, MarketState, Quotes


class StepInputs(NamedTuple):
    """What a step needs beside state and action."""

    quotes: Quotes  # of this step
    bar: Tensor  # [rows, B, A] of the tape, played in this step
    past_closes: tuple[Tensor, ...]  # per RETURN_WINDOWS: displayed close so many bars before this one [B, A]
    initial_nav: Tensor  # [B]
    steps_taken: Tensor  # int64 scalar, this step included
    reduce_only: Tensor  # [B] bool, in the next step
    forecast: Tensor | None  # [B, A, 4] made at the close of this bar


class Transition(NamedTuple):
    """What a step makes; no tensor that went in comes back, as a compiled call pays for each that it hands over."""

    state: MarketState
    fills: Fills
    shown: Tensor  # displayed bar: all six channels [6, B, A], or the close alone [1, B, A]
    volume: Tensor  # [B, A] displayed
    obs: Tensor  # [B, N, F]
    reward: Tensor  # [B, N]


def transition(
    params: MarketParams, episode_length: int, state: MarketState, inputs: StepInputs, weights: Tensor
) -> Transition:
    """Step towards target weights [B, N, A], show the bar, observe, reward."""
    quotes, bar, past_closes, initial_nav, steps_taken, reduce_only, forecast = inputs
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
    return Transition(new_state, fills, shown, public.volume, seen.flat, reward)


@lru_cache
def compiled_transition(params: MarketParams, episode_length: int) -> Callable[..., Transition]:
    """`transition` under these rules, compiled.

    Shared by all markets of the same rules: only a market of another size compiles anew.
    Without the checks of sizes that the compiler would put into every call: a twentieth of the step of one market.
    """
    return torch.compile(partial(transition, params, episode_length), dynamic=False, options={"size_asserts": False})
