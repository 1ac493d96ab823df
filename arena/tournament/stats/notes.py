"""What a reader must know before trusting a leaderboard, one sentence each."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from arena.tournament.stats.growth import CAUTION_SCENARIOS, MIN_SCENARIOS, ScenarioKind, Scores
from arena.tournament.types import FORFEIT
from arena.tournament.wording import counted

if TYPE_CHECKING:
    import pyarrow as pa


def evidence(results: "pa.Table", scores: Scores, kind: ScenarioKind, cash: str) -> list[str]:
    """How much there is to go by, and who forfeited."""
    found = []
    num, least = len(scores.scenarios), MIN_SCENARIOS[kind]
    if num < least:
        unit = "scenario" if kind == "seed" else "window"
        found.append(f"Only {counted(num, unit)}: descriptive, no growth interval and no claim (from {least} on).")
    elif kind == "seed" and num < CAUTION_SCENARIOS:
        found.append(
            f"{num} scenarios: a loss that happens once in 100 scenarios can be missed, and intervals are then too "
            f"short; use {CAUTION_SCENARIOS} or more, and look at the worst return."
        )
    if kind == "window":
        found.append("Intervals take one window of the history as one observation.")
    if cash not in scores.agents:
        found.append(f"No entrant {cash!r}: growth is absolute, and the rating's zero is a virtual cash entrant.")
    missing = int(np.isnan(scores.values).any(1).sum())
    if missing:
        found.append(f"Unfinished: {missing} of {num} scenarios lack some entrants; comparisons use the others.")
    forfeits = results.filter(np.asarray(results["status"].to_pylist(), dtype=str) == FORFEIT)
    reasons = Counter(zip(forfeits["agent"].to_pylist(), forfeits["reason"].to_pylist()))
    for (agent, reason), count in sorted(reasons.items()):
        found.append(f"{agent} forfeited {count} games, scored as total losses: {reason}.")
    return found


def structure(shape: dict[str, Any], transfers: dict[str, Any] | None) -> list[str]:
    """Circles among entrants, and money that one of them passed to another through the price."""
    found = []
    cycles = shape["transitivity"]["cycles"]
    if cycles:
        a, b, c = cycles[0]
        more = f", and {len(cycles) - 1} more such circles" if len(cycles) > 1 else ""
        found.append(f"No rating can be right about all: {a} beats {b}, {b} beats {c}, {c} beats {a}{more}.")
    if transfers and transfers["flags"]:
        first, num = transfers["flags"][0], len(transfers["flags"])
        more = f"; {num - 1} more such pair{'s' if num > 2 else ''} in leaderboard.json" if num > 1 else ""
        found.append(
            f"Trading by {first['by']} moved prices in favour of {first['agent']} by {-first['net'] * 1e4:.0f} bps a "
            f"game, net{more}. That is how partners would hand money over; it is no proof that they are."
        )
    return found
