"""How much of a tournament is kept step by step: it depends on the schedule and on a budget of bytes alone."""

from collections.abc import Sequence

from arena.tournament.types import OF_MARKET, OF_SEAT, PATH_SCHEMA, Unit

FLOAT32_BYTES, FLOAT64_BYTES = 4, 8
MARKET_SHARE = 0.5  # most that market paths take of the budget for paths
MAX_MARKETS = 16  # they are examples to look at; nothing is estimated from them


def num_path_scenarios(unit: Unit, num_steps: int, budget_bytes: int, num_units: int) -> int:
    """How many of the unit's first scenarios may keep their paths, so that all units together stay in the budget.

    A rule of the schedule alone: what is kept depends on no clock, no worker and no other unit.
    """
    num_values = sum(kind == "float32" for kind in PATH_SCHEMA.values())  # keys compress to almost nothing
    num_seats = len(unit.lineup.agents)
    per_scenario = num_seats * (num_steps + 1) * num_values * FLOAT32_BYTES + num_seats**2 * FLOAT64_BYTES
    return min(len(unit.scenarios), budget_bytes // (num_units * per_scenario))


def market_bytes(num_seats: int, num_steps: int, num_assets: int) -> int:
    """Size of one match's market path: values that all seats share are repeated, and compress to one."""
    return num_assets * (num_steps + 1) * (len(OF_MARKET) + num_seats * len(OF_SEAT)) * FLOAT32_BYTES


def sampled_markets(units: Sequence[Unit], size: int, budget_bytes: int) -> frozenset[str]:
    """Names of the first units of the schedule, whose first scenario keeps its market path of `size` bytes each."""
    num_kept = min(MAX_MARKETS, int(MARKET_SHARE * budget_bytes) // size)
    return frozenset(unit.name for unit in units[:num_kept])
