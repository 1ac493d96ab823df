"""Named sets of market rules."""

from math import inf

from arena.market.types import SQRT_MODES, ImpactMode, MarketParams


def sqrt(dt: float = 1.0) -> MarketParams:
    """Default: two square-root books (hours, days) and a small linear permanent part, US large-cap costs."""
    return MarketParams(dt=dt, modes=SQRT_MODES, margin_spread=0.015 * dt / 252)


def linear_ow(dt: float = 1.0) -> MarketParams:
    """Linear permanent and transient impact of Obizhaeva & Wang (2013): the market of the closed-form games."""
    modes = (ImpactMode(0.3, 1.0, inf), ImpactMode(0.7, 1.0, 0.5))
    return MarketParams(dt=dt, modes=modes, temporary_coef=0.0, margin_spread=0.015 * dt / 252)


def athl(dt: float = 1.0, shares_outstanding_per_adv: float = 200.0) -> MarketParams:
    """Almgren, Thum, Hauptmann, Li (2005), Risk 18:57: linear permanent and 3/5-power temporary impact only.

    Their permanent coefficient is 0.314 (shares outstanding / ADV)**(1/4); 200 days is typical of a US large cap.
    """
    modes = (ImpactMode(0.314 * shares_outstanding_per_adv**0.25, 1.0, inf),)
    return MarketParams(dt=dt, modes=modes, margin_spread=0.015 * dt / 252)


def frictionless(dt: float = 1.0) -> MarketParams:
    """Nobody moves the price, nothing costs, nothing is capped but leverage."""
    return MarketParams(
        dt=dt,
        modes=(),
        temporary_coef=0.0,
        fee_rate=0.0,
        participation_cap=inf,
        margin_spread=0.0,
        forced_penalty=0.0,
    )


PRESETS = {"sqrt": sqrt, "linear_ow": linear_ow, "athl": athl, "frictionless": frictionless}


def preset(name: str, dt: float = 1.0) -> MarketParams:
    """Rules by name for bars of `dt` trading days; ValueError lists the names."""
    if name not in PRESETS:
        raise ValueError(f"unknown market preset {name!r}, expected one of {', '.join(PRESETS)}")
    return PRESETS[name](dt)
