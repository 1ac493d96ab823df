"""Cash, marks and margin of the seats. Everything a seat owns is valued at what it alone could get from rest."""

import torch
from torch import Tensor

from arena.market.impact import modes_by_exponent, rest_average, smooth_power
from arena.market.storage import total
from arena.market.types import MarketParams, Quotes


def financing(params: MarketParams, quotes: Quotes, cash: Tensor, position: Tensor) -> Tensor:
    """What the house pays each seat for carrying cash and position over one bar [B, N], currency; may be negative.

        r_c max(cash - short, 0) - (r_c + r_m) max(-cash, 0) - sum_a b_a short_a + sum_a h_a div_a

    short = notional of short positions at ref_price: by default their proceeds earn nothing. Rates are per step.
    """
    short = (-position).clamp(min=0.0) * quotes.ref_price.unsqueeze(-2)  # [B, N, A]
    lendable = cash if params.interest_on_short_proceeds else cash - total(short, -1)
    received = params.cash_rate * lendable.clamp(min=0.0)
    received = received - (params.cash_rate + params.margin_spread) * (-cash).clamp(min=0.0)
    received = received - total(quotes.borrow_rate.unsqueeze(-2) * short, -1)
    if quotes.dividend is not None:
        received = received + total(position * quotes.dividend.unsqueeze(-2), -1)
    return received


def explicit_cost(params: MarketParams, quotes: Quotes, shares: Tensor) -> Tensor:
    """Half-spread, commission and quadratic cost of each seat's own fills [B, N], currency, paid to the house.

    cost = S^x |x| (s/2 + f) + theta S^x x**2, summed over assets; shares x [B, N, A], S^x the fill's reference price.
    """
    rate = (quotes.half_spread + params.fee_rate).unsqueeze(-2)
    per_share = rate * shares.abs() + params.quadratic_cost * shares * shares
    return total(quotes.fill_price.unsqueeze(-2) * per_share, -1)


def exit_cost(params: MarketParams, quotes: Quotes, position: Tensor, price: Tensor) -> Tensor:
    """What selling `position` [B, N, A] as one block into a market at rest costs at `price` [B, A]; [B, N, A] >= 0.

        S U(h) + S |h| tau(|h|) + S |h| (s/2 + f) + theta S h**2,   U = sum of the modes' potentials

    Impact coefficients are the unscaled ones, so that the mark depends on own position and reference price alone.
    """
    volatility, inverse_adv = quotes.volatility.unsqueeze(-2), (1.0 / quotes.adv).unsqueeze(-2)
    volume = position * inverse_adv  # divisions are dear: one per asset, not one per seat
    impact = rest_average(volume, modes_by_exponent(params.modes))
    if params.temporary_coef:
        impact = impact + params.temporary_coef * smooth_power(volume * (1.0 / params.dt), params.temporary_exponent)
    rate = (quotes.half_spread + params.fee_rate).unsqueeze(-2)
    per_share = volatility * position * impact + rate * position.abs() + params.quadratic_cost * position * position
    return price.unsqueeze(-2) * per_share


def nav(params: MarketParams, quotes: Quotes, cash: Tensor, position: Tensor, price: Tensor) -> Tensor:
    """V_rest [B, N]: cash + position * price - exit cost from rest, price [B, A] a reference price.

    Caccioli, Bouchaud, Farmer (2012), arXiv:1204.0922, with the reference price in place of the displaced quote: it
    depends on own cash and position only, so marks cannot be pumped and margin cannot be hunted.
    """
    value = position * price.unsqueeze(-2) - exit_cost(params, quotes, position, price)
    return cash + total(value, -1)


def mark_value(cash: Tensor, position: Tensor, mid: Tensor) -> Tensor:
    """cash + position at the displaced mid [B, A]: for display only, since own buying raises it."""
    return cash + total(position * mid.unsqueeze(-2), -1)


def margin_call(params: MarketParams, was_called: Tensor, nav: Tensor, position: Tensor, price: Tensor) -> Tensor:
    """Seats [B, N] whose next orders the market takes over.

    A call starts when nav < 0.25 long + 0.30 short notional (FINRA rule 4210) and ends when nav >= 0.35 gross notional;
    notional at the reference price [B, A].
    """
    notional = position * price.unsqueeze(-2)
    long, short = total(notional.clamp(min=0.0), -1), total((-notional).clamp(min=0.0), -1)
    breach = nav < params.maintenance_long * long + params.maintenance_short * short
    return breach | (was_called & (nav < params.margin_release * (long + short)))


def forced_fraction(params: MarketParams, quotes: Quotes, nav: Tensor, position: Tensor) -> Tensor:
    """Share of every tradable position that a margin call closes in the coming bar [B, N].

        phi = clip((G - nav / 0.36) / G_tradable, 0, 1),   G = gross notional at the reference close

    The same share of each asset, so the portfolio keeps its shape; halted assets are left out of G_tradable and the
    others make up for them. The aim lies above the 0.35 that ends a call: aimed at 0.35 itself, penalty and interest
    would leave a passive seat a hair below, in a call without end. Fills are rationed like any flow, so a call may last
    several bars.
    """
    notional = position.abs() * quotes.ref_price.unsqueeze(-2)
    gross = total(notional, -1)
    reachable = total(torch.where(quotes.tradable.unsqueeze(-2), notional, 0.0), -1)
    excess = gross - nav.clamp(min=0.0) / params.margin_target
    return (excess / torch.where(reachable > 0, reachable, 1.0)).clamp(0.0, 1.0)
