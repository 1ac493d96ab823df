"""What a seat sees at the close of bar t, and how that becomes one row of numbers.

The default layout has 13 numbers per asset and 8 per seat (one fewer per asset for each mode below three), all
relative: no price level, date or name, so nothing can be looked up. `layout` names every entry, `layout_hash` goes into
checkpoints, `describe` prints a row with its names.
"""

import hashlib
from typing import Any, NamedTuple

import torch
from torch import Tensor

from arena.market.impact import mode_displacements
from arena.market.storage import stack, total
from arena.market.types import FORECAST_HORIZONS, MarketParams, MarketState, Observation, Quotes
from arena.metrics import utility

RETURN_WINDOWS = (1, 5, 20)  # bars
LEVERAGE_BOUND = 100.0  # shown weights and leverages are cut here: after ruin they have no finite meaning


class PublicTape(NamedTuple):
    """The public record at the close of bar t; displayed means reference times (1 + displacement)."""

    ref_price: Tensor  # [B, A] reference close of bar t
    close: Tensor  # [B, A] displayed close of bar t
    past_closes: tuple[Tensor, ...]  # per RETURN_WINDOWS: displayed close of bar t - window [B, A]
    volume: Tensor  # [B, A] displayed volume of bar t [shares]
    expected_volume: Tensor  # [B, A] forecast of that volume made before the bar [shares]
    net_flow: Tensor  # [B, A] net flow in bar t [shares]


def observe(
    params: MarketParams,
    state: MarketState,
    quotes: Quotes,
    tape: PublicTape,
    initial_nav: Tensor,
    steps_taken: Tensor,
    episode_length: int,
    forecast: Tensor | None = None,
) -> Observation:
    """Observation of all seats, fields [B, N, ...].

    quotes       of the coming step: volatility, adv and reduce_only are read     initial_nav [B]
    steps_taken  int64 scalar or [B]
    forecast     [B, A, 4]: expected log returns over FORECAST_HORIZONS bars and a quantile spread over the first of
                 them (fractions); None leaves the slot 0 and its flag 0
    """
    num_seats = state.nav.shape[1]
    bar_volatility = quotes.volatility * params.dt**0.5  # [B, A] of one bar
    inverse_volatility = 1.0 / bar_volatility

    def shared(field: Tensor) -> Tensor:  # [B, A, ...] -> [B, N, A, ...], no copy
        return field.unsqueeze(1).expand(-1, num_seats, *field.shape[1:])

    log_close = torch.log(tape.close)
    returns = [
        (log_close - torch.log(past)) * (inverse_volatility * window**-0.5)
        for window, past in zip(RETURN_WINDOWS, tape.past_closes)
    ]
    modes = mode_displacements(params, quotes, state.imbalance, state.impact_scale)
    modes = [mode * inverse_volatility for mode in modes]
    displacement = torch.zeros_like(inverse_volatility)
    for mode in modes:
        displacement = displacement + mode
    expected_volume = tape.expected_volume.clamp(min=1e-30)
    # The clamp keeps a bar without volume finite: it shows as one thousandth of what was expected.
    volume = torch.log((tape.volume / expected_volume).clamp(1e-3, 1e3))

    solvent = state.nav > 0
    inverse_nav = torch.where(solvent, 1.0 / torch.where(solvent, state.nav, 1.0), 0.0)  # [B, N]
    weight = state.position * (tape.ref_price.unsqueeze(1) * inverse_nav.unsqueeze(-1))
    shown_weight = weight.clamp(-LEVERAGE_BOUND, LEVERAGE_BOUND)
    if forecast is None:
        zero = weight.new_zeros(())
        forecast_return = zero.expand(*weight.shape, len(FORECAST_HORIZONS))
        forecast_spread, present = zero.expand(weight.shape), torch.zeros_like(state.nav)
    else:
        forecast_return, forecast_spread = (shared(field) for field in _forecast_fields(forecast, inverse_volatility))
        present = torch.ones_like(state.nav)
    steps = steps_taken.reshape(-1, 1)
    time_left = (1.0 - steps / episode_length).to(state.nav.dtype).expand(state.nav.shape)
    reduce_only = quotes.reduce_only.unsqueeze(-1) | state.margin_call | ~state.alive
    return Observation(
        returns=shared(stack(returns)),
        volume=shared(volume),
        displacement=shared(displacement),
        mode_displacement=shared(stack(modes[:-1]) if len(modes) > 1 else displacement.unsqueeze(-1)[..., :0]),
        net_flow=shared((tape.net_flow / expected_volume).clamp(-1e3, 1e3)),
        weight=shown_weight,
        forecast_return=forecast_return,
        forecast_spread=forecast_spread,
        cash_weight=(state.cash * inverse_nav).clamp(-LEVERAGE_BOUND, LEVERAGE_BOUND),
        gross_leverage=total(shown_weight.abs(), -1).clamp(max=LEVERAGE_BOUND),
        net_leverage=total(shown_weight, -1).clamp(-LEVERAGE_BOUND, LEVERAGE_BOUND),
        drawdown=1.0 - state.nav / state.peak_nav,
        growth=utility(state.nav / initial_nav.unsqueeze(-1)),
        time_left=time_left,
        reduce_only=reduce_only.to(state.nav.dtype),
        forecast_present=present,
        step=steps.expand(state.nav.shape),
        alive=state.alive,
        volatility=shared(quotes.volatility),
        adv_weight=shared(quotes.adv * tape.ref_price) * inverse_nav.unsqueeze(-1),
        dt=params.dt,
    )


def own_view(observation: Observation, seat: int, history_length: int) -> Observation:
    """What one seat may see of the observation of all seats: its own row and the bars that its agent asks for.

    A market keeps as many bars as the most demanding agent wants. Each view is cut to the `history_length` of its own
    agent (0: no history), so that no agent sees more because of who else plays. Views, no copy.
    """
    view = seat_view(observation, seat)
    if view.history is None or not history_length:
        return view._replace(history=None)
    return view._replace(history=view.history[..., -history_length:, :])


def with_forecast(view: Observation, forecast: Tensor | None) -> Observation:
    """A seat's observation with a forecast of its own, [B, A, 4] as in `observe`; None empties the forecast slot."""
    if forecast is None:
        names = ("forecast_return", "forecast_spread", "forecast_present")
        empty: dict[str, Any] = {name: torch.zeros_like(getattr(view, name)) for name in names}
        return view._replace(**empty)
    inverse_volatility = 1.0 / (view.volatility * view.dt**0.5)
    forecast_return, forecast_spread = _forecast_fields(forecast, inverse_volatility)
    return view._replace(
        forecast_return=forecast_return,
        forecast_spread=forecast_spread,
        forecast_present=torch.ones_like(view.forecast_present),
    )


def _forecast_fields(forecast: Tensor, inverse_volatility: Tensor) -> tuple[Tensor, Tensor]:
    """Expected returns [B, A, 3] and spread [B, A] in units of the volatility of a bar."""
    scaled = forecast * inverse_volatility.unsqueeze(-1)
    return scaled[..., :-1], scaled[..., -1]


def seat_view(observation: Observation, seat: int) -> Observation:
    """One seat's observation, fields [B, ...], from that of all seats [B, N, ...]; views, no copy."""
    views: dict[str, Any] = {
        name: field.select(1, seat) for name, field in observation._asdict().items() if isinstance(field, Tensor)
    }
    return observation._replace(**views)


def layout(params: MarketParams, num_assets: int) -> tuple[str, ...]:
    """Name of every entry of `Observation.flat`, in order; asset a is written [a]."""
    features = [f"return_{window}" for window in RETURN_WINDOWS] + ["volume", "displacement"]
    features += [f"displacement_of_mode_{m}" for m in range(len(params.modes) - 1)]
    features += ["net_flow", "weight"]
    features += [f"forecast_return_{horizon}" for horizon in FORECAST_HORIZONS] + ["forecast_spread"]
    per_asset = [f"{feature}[{asset}]" for feature in features for asset in range(num_assets)]
    return (*per_asset, *Observation._fields[8:16])


def layout_hash(params: MarketParams, num_assets: int) -> str:
    """Short fingerprint of the layout: a policy may only be fed the layout it was trained on."""
    return hashlib.sha256("\n".join(layout(params, num_assets)).encode()).hexdigest()[:16]


def describe(params: MarketParams, obs: Tensor) -> dict[str, float]:
    """One row `obs` [F] as {name: value}; ValueError if its length fits no number of assets."""
    per_asset = len(layout(params, 1)) - 8
    num_assets, rest = divmod(obs.numel() - 8, per_asset)
    if obs.dim() != 1 or rest or num_assets < 1:
        raise ValueError(
            f"obs has shape {tuple(obs.shape)}, expected one row of {per_asset} numbers per asset and 8 per agent; "
            "pass obs[market, agent]"
        )
    return dict(zip(layout(params, num_assets), obs.tolist()))
