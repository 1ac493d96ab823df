"""Records of the market. Axes: B markets, N agents (seats), A assets, M impact modes."""

from dataclasses import dataclass
from math import inf
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

FORECAST_HORIZONS = (1, 5, 20)  # bars
NUM_FORECAST = len(FORECAST_HORIZONS) + 1  # numbers of a forecast in an observation: expected returns and one spread


@dataclass(frozen=True)
class ImpactMode:
    """One book whose imbalance E displaces the price by coef * sigma * sgn(E) * (|E| / V)**exponent."""

    coef: float  # Y or gamma [-]
    exponent: float  # delta in (0, 1]; a permanent mode must be linear
    half_life: float  # of the imbalance [trading days]; inf = permanent


SQRT_MODES = (ImpactMode(0.35, 0.5, 0.125), ImpactMode(0.35, 0.5, 5.0), ImpactMode(0.3, 1.0, inf))


@dataclass(frozen=True)
class MarketParams:
    """The rules of one market; plain numbers, units inside: fractions, per step, shares, currency.

    Defaults are the preset `sqrt` on daily bars.
    Switches: participation_cap = inf lifts the cap, margin = False drops margin calls, ruin = False drops ruin,
    rates of 0 drop financing, coefficients of 0 drop their friction.
    """

    dt: float = 1.0  # bar length [trading days]
    modes: tuple[ImpactMode, ...] = SQRT_MODES
    temporary_coef: float = 0.142  # eta [-]
    temporary_exponent: float = 0.6  # beta [-]
    fee_rate: float = 0.5e-4  # commission, fraction of notional
    quadratic_cost: float = 0.0  # theta [1/share]: cost theta * S * x**2 on own fills
    participation_cap: float = 0.10  # kappa: share of the forecast bar volume that outsiders take
    max_gross_leverage: float = 2.0  # initial margin: sum |target weight| <= this
    max_asset_weight: float = inf  # cap of |target weight| in one asset
    margin: bool = True
    maintenance_long: float = 0.25  # nav >= 0.25 long + 0.30 short notional, else a margin call
    maintenance_short: float = 0.30
    margin_release: float = 0.35  # a call ends when nav / gross notional >= this
    margin_target: float = (
        0.36  # a forced reduction aims here; the margin above pays its own cost and the next interest
    )
    forced_penalty: float = 10e-4  # of forced notional, to the house
    ruin: bool = True  # nav <= 0 ends a seat for good
    cash_rate: float = 0.0  # credit interest per step
    margin_spread: float = 0.015 / 252  # debit interest above cash_rate, per step
    interest_on_short_proceeds: bool = False  # True: credit on all positive cash
    min_order: float = 1e-6  # orders below this fraction of nav are exactly 0
    varying_liquidity: bool = False  # impact coefficients follow Quotes.impact_scale through the growth limiter
    owners: tuple[int, ...] | None = None  # owner of each seat; None: every seat its own


class Quotes(NamedTuple):
    """What the market needs for the step t -> t+1; tensors broadcastable to the shapes given."""

    ref_price: Tensor  # [B, A] reference close of bar t: sizing, financing
    fill_price: Tensor  # [B, A] reference price the fills of bar t+1 are made at (its open)
    next_ref_price: Tensor  # [B, A] reference close of bar t+1: mark
    volatility: Tensor  # [B, A] [1/sqrt(day)]
    adv: Tensor  # [B, A] [shares/day]
    bar_volume: Tensor  # [B, A] forecast of the volume of bar t+1, made at t [shares]
    half_spread: Tensor  # [B, A] fraction of the reference price
    borrow_rate: Tensor  # [B, A] fraction of short notional per step
    tradable: Tensor  # [B, A] bool, False where bar t+1 is missing or halted
    reduce_only: Tensor  # [B] bool, True in wind-down bars
    dividend: Tensor | None = None  # [B, A] currency per share held over t -> t+1
    impact_scale: Tensor | None = None  # [B, A] raw multiplier of the impact coefficients (varying_liquidity)


class MarketState(NamedTuple):
    """Everything that evolves; a step returns a new one."""

    cash: Tensor  # [B, N] account currency
    position: Tensor  # [B, N, A] signed shares
    imbalance: Tensor  # [B, A, M] shares
    nav: Tensor  # [B, N] at the last mark
    peak_nav: Tensor  # [B, N] running maximum of nav
    margin_call: Tensor  # [B, N] bool, the next step is a forced reduction
    alive: Tensor  # [B, N] bool
    impact_scale: Tensor | None = None  # [B, A, M] limited multiplier (varying_liquidity only)


class Fills(NamedTuple):
    """What one step did."""

    orders: Tensor  # [B, N, A] shares wanted after the market's own rules
    shares: Tensor  # [B, N, A] shares executed
    price: Tensor  # [B, A] one price for all: impact included, half-spread and fee not
    net_flow: Tensor  # [B, A] sum of shares over seats
    cost: Tensor  # [B, N] explicit cost paid to the house, >= 0
    penalty: Tensor  # [B, N] of forced fills, paid to the house, >= 0
    financing: Tensor  # [B, N] received from the house (interest - borrow fee + dividends)
    rejected: Tensor  # [B, N] number of non-finite target weights, replaced by "keep the position" (0 for orders)


class Observation(NamedTuple):
    """What a seat sees at the close of bar t. Leading axes [...]: [B] for one seat, [B, N] for all.

    Prices are displayed ones (reference times 1 + displacement). The first 16 fields, in this order, make `flat`.
    """

    returns: Tensor  # [..., A, R] log returns over RETURN_WINDOWS bars, in units of volatility
    volume: Tensor  # [..., A] log(displayed volume / forecast volume) of bar t
    displacement: Tensor  # [..., A] total, in units of volatility * sqrt(dt)
    mode_displacement: Tensor  # [..., A, M-1] of all modes but the last (total minus these), same unit
    net_flow: Tensor  # [..., A] last net flow / forecast volume of bar t
    weight: Tensor  # [..., A] own position * ref_price / nav
    forecast_return: Tensor  # [..., A, 3] expected return over FORECAST_HORIZONS bars, in units of volatility
    forecast_spread: Tensor  # [..., A] quantile spread, in units of volatility
    cash_weight: Tensor  # [...] cash / nav
    gross_leverage: Tensor  # [...]
    net_leverage: Tensor  # [...]
    drawdown: Tensor  # [...] 1 - nav / peak nav
    growth: Tensor  # [...] log(nav / initial nav), floored as the score is
    time_left: Tensor  # [...] fraction of the episode
    reduce_only: Tensor  # [...] 1 where only reductions are possible (margin call, wind-down, ruin)
    forecast_present: Tensor  # [...] 1 where the forecast fields are filled
    # Not part of `flat`:
    step: Tensor  # [...] int64, steps taken since the episode began
    alive: Tensor  # [...] bool
    volatility: Tensor  # [..., A] [1/sqrt(day)]
    adv_weight: Tensor  # [..., A] average daily notional / nav
    dt: float  # bar length [trading days]
    history: Tensor | None = None  # [..., A, C, 6] displayed bars, oldest first, the last is bar t
    signal: Tensor | None = None  # [..., A] next bar's predictable open-to-close return: only for the oracle

    @property
    def flat(self) -> Tensor:
        """[..., F]: feature-major (each per-asset feature is a run of A numbers), then the per-agent numbers."""
        fields: list[Tensor] = []
        for field in self[:8]:
            fields += [field] if field.dim() == self.weight.dim() else list(field.unbind(-1))
        fields += [field.unsqueeze(-1) for field in self[8:16]]
        # Joined in the memory order of the weights, where runs along the fastest axis stay whole.
        strides = self.weight.stride()
        order = sorted(range(len(strides)), key=lambda axis: -strides[axis])
        joined = torch.cat([field.permute(order) for field in fields], order.index(len(order) - 1))
        return joined.permute([order.index(axis) for axis in range(len(order))])


class Step(NamedTuple):
    """What VectorMarket.step returns."""

    obs: Tensor  # [B, N, F] after an auto-reset where an episode ended
    reward: Tensor  # [B, N]
    terminated: Tensor  # [B, N] bool, ruin
    truncated: Tensor  # [B, N] bool, end of the episode
    final_obs: Tensor  # [B, N, F] before the auto-reset: bootstrap from it
    fills: Fills


class LiveForecast(Protocol):
    """Forecasts the bars that agents see, while the market runs."""

    @property
    def context_length(self) -> int:
        """Displayed bars that it looks at."""

    def __call__(self, history: Tensor, timestamps: Tensor | None) -> Tensor:
        """[B, A, 4] as `observation.observe` takes it, from displayed bars [B, A, context_length, 6] up to now.

        timestamps  of these bars [B, context_length] as in Scenarios, None where they have none
        """
