"""Metaorders bought in equal child orders: cost, peak, decay and the exponents of the square-root law."""

import math
import re
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from arena.market.impact import decay, displacement, mode_displacements
from arena.market.types import ImpactMode, MarketParams, Quotes
from tools.verify.physics.checks import Check, compare, skip
from tools.verify.physics.replay import bare_rules, flat_quotes, replay
from tools.verify.physics.truth import Entry, TruthError

SQUARE_ROOT = 0.5  # the delta of every transient mode in these tables
# In units of volume this much smaller than the faintest imbalance, the smoothing of |E| near rest is out of sight.
FAINTEST = 1e6
LARGEST = 1e120  # volume in those units: its square must stay far below the largest float64


def check_square_root_law(truth: Entry) -> Iterator[Check]:
    """Every table: a name `<modes>_K<child orders>` and rows of different size, replayed as one batch of markets."""
    tables = truth.entry("tables")
    for name in tables:
        yield from _check_table(f"c.{name}", name, tables.entry(name), truth.entry("params"))


def _check_table(prefix: str, name: str, table: Entry, given: Entry) -> Iterator[Check]:
    rows = table.entries("rows")
    if not rows:
        yield skip(prefix, "has no rows")
        return
    found = re.fullmatch(r"(.+)_K(\d+)", name)
    if not found or found[1] not in ("sqrt_single_mode", "sqrt_two_modes", "default_full"):
        raise TruthError(
            f"{table.where} is not a known table, expected sqrt_single_mode_K<n>, sqrt_two_modes_K<n> or "
            "default_full_K<n>"
        )
    price, adv, num_children = given.number("S0"), given.number("V"), int(found[2])
    params = _rules(found[1], given)
    quotes = flat_quotes(price, adv, given.number("sigma"))
    size = torch.tensor([row.number("Q_over_V") for row in rows], dtype=torch.float64)  # [B]
    shares = size * adv
    bought = replay(params, quotes, (shares / num_children).reshape(-1, 1, 1).expand(-1, 1, num_children))
    cost = -bought.state.cash[:, 0] - price * shares  # [B]
    cost_bps = 1e4 * cost / (price * shares)
    peak = displacement(params, quotes, bought.state.imbalance)[:, 0]
    days = _days_after(rows[0])
    for index, row in enumerate(rows):
        label = f"{prefix}.rows[{index}]"
        yield compare(f"{label}.cost_currency", cost[index], row.number("cost_currency"), price * shares[index])
        yield compare(f"{label}.cost_bps", cost_bps[index], row.number("cost_bps"), scale=1e4)
        yield compare(f"{label}.peak_impact", peak[index], row.number("peak_impact"))
        if row["exec_prices"] is not None:
            yield compare(f"{label}.exec_prices", bought.price[index], row.tensor("exec_prices"))
        if found[1] == "sqrt_single_mode" and num_children == 1:
            block = price * given.number("Yf") * given.number("sigma") * size[index].sqrt() * shares[index] * 2 / 3
            yield compare(f"{label}.closed_form_block", cost[index], block, price * shares[index])
    yield from _check_decay(prefix, rows, days, params, quotes, bought.state.imbalance)
    for key, values in (("fitted_cost_exponent", cost_bps), ("fitted_peak_exponent", peak)):
        if len(size.unique()) < 2:
            yield skip(f"{prefix}.{key}", "a slope needs rows of two sizes")
        else:
            yield compare(f"{prefix}.{key}", _slope(size.log(), values.log()), table.number(key))


def _rules(modes_name: str, given: Entry) -> MarketParams:
    modes = [ImpactMode(given.number("Yf"), SQUARE_ROOT, given.number("hlf"))]
    if modes_name != "sqrt_single_mode":
        modes.append(ImpactMode(given.number("Ys"), SQUARE_ROOT, given.number("hls")))
    if modes_name != "default_full":
        return bare_rules(tuple(modes), given.number("dt"))
    modes.append(ImpactMode(given.number("gamma"), 1.0, math.inf))
    eta, beta = given.number("eta"), given.number("beta")
    return bare_rules(tuple(modes), given.number("dt"), temporary_coef=eta, temporary_exponent=beta)


def _check_decay(
    prefix: str, rows: list[Entry], days: list[float], params: MarketParams, quotes: Quotes, imbalance: Tensor
) -> Iterator[Check]:
    """Displacement some days after the last child order, each reached by the shipped decay over that many days.

    Near rest the market smooths |E| at 1e-12 of a day's volume, so displacements of imbalances below that differ from
    the pure power law. They are compared twice: as mid prices in the market as given, and as displacements in the same
    market with volume counted in a unit so small that no imbalance comes near the smoothing.
    """
    key = _decay_key(rows[0])
    half_lives = [mode.half_life for mode in params.modes if mode.exponent != 1.0]
    smallest = min(row.number("Q_over_V") for row in rows)
    faintest = smallest * 2.0 ** (-max(days) / min(half_lives))
    largest = max(row.number("Q_over_V") for row in rows)
    unit = min(1.0, max(faintest / FAINTEST, largest / LARGEST))  # of the average daily volume
    fine_params, fine_quotes = _in_unit(params, quotes, unit)
    for column, day in enumerate(days):
        rested = decay(replace(params, dt=day), imbalance)
        expected = torch.stack([row.tensor(key, (len(days),))[column] for row in rows])
        mid = 1.0 + displacement(params, quotes, rested)[:, 0]
        slack = _smoothing_error(params, quotes, rested)
        yield compare(f"{prefix}.mid_over_S0_after_{day:g}_days", mid, 1.0 + expected, slack=slack)
        fine = displacement(fine_params, fine_quotes, rested)[:, 0]
        slack = _smoothing_error(fine_params, fine_quotes, rested)
        for index in range(len(rows)):
            label = f"{prefix}.rows[{index}].impact_after_{day:g}_days"
            yield compare(label, fine[index], expected[index], slack=slack[index])


def _in_unit(params: MarketParams, quotes: Quotes, unit: float) -> tuple[MarketParams, Quotes]:
    """The same displacements and prices with volume counted in `unit` average daily volumes."""
    modes = tuple(replace(mode, coef=mode.coef * unit**mode.exponent) for mode in params.modes)
    return replace(params, modes=modes), quotes._replace(adv=quotes.adv * unit)


def _smoothing_error(params: MarketParams, quotes: Quotes, imbalance: Tensor) -> Tensor:
    """By how much each market's displacement [B] may differ from the pure power law Y sigma |E / V|**delta."""
    error = torch.zeros(len(imbalance), dtype=imbalance.dtype)
    for index, (mode, found) in enumerate(zip(params.modes, mode_displacements(params, quotes, imbalance, None))):
        pure = mode.coef * quotes.volatility * (imbalance[..., index] / quotes.adv).abs() ** mode.exponent
        error = error + (pure - found.abs()).abs()[:, 0]
    return error


def _decay_key(row: Entry) -> str:
    keys = [key for key in row if key.startswith("impact_after_days_")]
    return keys[0] if keys else "impact_after_days_1_5_20_50"  # the reader names it as missing


def _days_after(row: Entry) -> list[float]:
    """1, 5, 20, 50 of `impact_after_days_1_5_20_50`."""
    return [float(day) for day in _decay_key(row).removeprefix("impact_after_days_").split("_")]


def _slope(x: Tensor, y: Tensor) -> Tensor:
    """Of the least-squares line."""
    x = x - x.mean()
    return (x * y).sum() / (x * x).sum()
