"""How numbers of a leaderboard read: units of the reader (bps, percent), and the claim in one sentence."""

from collections.abc import Callable, Sequence

from arena.tournament.leaderboard import Leaderboard, PairedDifference

MINUS = "\N{MINUS SIGN}"
EMPTY = "\N{EN DASH}"


def bps(value: float | None, signed: bool = True) -> str:
    """0.0123 -> '+123'; a decimal below 10 bps."""
    if value is None:
        return EMPTY
    return _number(value * 1e4, 1 if abs(value) < 9.95e-4 else 0, signed)


def percent(value: float | None, signed: bool = False) -> str:
    """0.0123 -> '1.2 %'."""
    return EMPTY if value is None else _number(value * 100, 1, signed) + " %"


def chance(value: float | None) -> str:
    """0.9583 -> '0.958'; never a 0 or a 1."""
    if value is None:
        return EMPTY
    return "> 0.999" if value > 0.999 else "< 0.001" if value < 0.001 else f"{value:.3f}"


def number(value: float | None, digits: int = 0) -> str:
    """1016.6 -> '1,017'."""
    return EMPTY if value is None else _number(value, digits, False)


def p_value(value: float) -> str:
    """0.0123 -> '0.012'; never a zero."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def interval(low: str, high: str) -> str:
    """'+1', '+3' -> '+1 to +3'; empty where an end is unknown or, as for cash, nothing varies."""
    return "" if EMPTY in (low, high) or low == high else f"{low} to {high}"


def rank_interval(low: int, high: int) -> str:
    """1, 3 -> '1-3' with an en dash; one rank alone stands for itself."""
    return str(low) if low == high else f"{low}{EMPTY}{high}"


def half_width(low: float | None, high: float | None, form: Callable[[float], str]) -> str:
    """Half the width of a symmetric interval, unsigned; empty where there is none."""
    return "" if low is None or high is None or low == high else form((high - low) / 2).lstrip("+")


def claim(leaderboard: Leaderboard) -> str:
    """Who leads and whether that is more than luck, in one or two sentences."""
    first, leader = leaderboard.standings[0], leaderboard.leader
    name, observed = first.agent, counted(leaderboard.scenarios, unit_of(leaderboard))
    alone = leaderboard.scenarios == 1
    growth = f"{bps(first.growth)} bps a game" + (" above cash" if leaderboard.cash else "")
    if len(leaderboard.standings) == 1:
        return f"{name} is alone in the field: {growth} over {observed}."
    if first.growth_low is None:
        return f"{name} is first at {growth}, but {observed} {'is' if alone else 'are'} too few to claim anything."
    if leader.significant:
        lead = f"{name} leads at {growth}, significantly ahead of every other entrant."
        return lead if name != leaderboard.cash else "Cash leads, significantly ahead of every entrant that trades."
    close = sorted_like(leader.not_separated, leaderboard.ranking)
    sentence = f"{name} is first at {growth}, not significantly ahead of {_listed(close)}."
    if leaderboard.equality_p_value > 0.05:
        sentence += f" The entrants cannot be told apart (p = {leaderboard.equality_p_value:.2f})."
    return sentence


def forecast_claims(leaderboard: Leaderboard) -> list[str]:
    """Whether a forecast earns its place: a sentence for each entrant whose rule also plays on a random walk."""
    return [
        f"{found.agent} {verdict(found)}: {bps(found.growth)} bps a game"
        + (f" ({span})" if (span := interval(bps(found.growth_low), bps(found.growth_high))) else "")
        + f" against {found.against}, the same rule on a random walk."
        for found in leaderboard.forecasts
    ]


def counted(num: int, unit: str) -> str:
    """1, 'window' -> '1 window'; 1024, 'scenario' -> '1,024 scenarios'."""
    return f"{num:,} {unit}{'' if num == 1 else 's'}"


def unit_of(leaderboard: Leaderboard) -> str:
    """What one observation is called."""
    return "scenario" if leaderboard.scenario_kind == "seed" else "window"


def verdict(found: PairedDifference) -> str:
    """Of one paired difference, at the 5 % level."""
    if found.p_value >= 0.05:
        return "is undecided"
    return "pays" if found.growth > 0 else "costs"


def sorted_like(names: Sequence[str], order: Sequence[str]) -> list[str]:
    """Names in the order of the ranking."""
    return [name for name in order if name in names]


def _listed(names: Sequence[str]) -> str:
    if len(names) > 4:
        return ", ".join(names[:3]) + f" and {len(names) - 3} others"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _number(value: float, digits: int, signed: bool) -> str:
    text = f"{value:{'+' if signed else ''},.{digits}f}"
    if not text.strip("+-0.,"):  # a rounded zero has no sign
        text = text.lstrip("+-")
    return text.replace("-", MINUS)
