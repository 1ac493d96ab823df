"""The lineups of each format, and the schedule that plays them in units.

Common to all: every lineup of a format plays the same scenarios, and nothing but the config, the seed and stored
results says who plays whom, so that any process at any time comes to the same units.
    all         balanced lineups of `seats` entrants, every pair meets about equally often
    pairs       every pair alone in its market. It is not filled up: cash never trades, so that with it the market would
                be the same, and a reference field of traders would make it what `all` is
    gauntlet    the newcomer with balanced lineups of the others
    population  the whole field, and once more for every entrant with copies of it: each copy is an owner of its own
Swiss rounds, which need results to go on, are in `arena.tournament.schedule.swiss`.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from arena.config.schedule import ScheduleConfig
from arena.tournament.schedule.lineups import build_lineups, build_units
from arena.tournament.types import Lineup, Unit

if TYPE_CHECKING:
    import pyarrow as pa

COPIES = 4  # of an entrant in one market of a population, if not told
COPY_MARK = "~"  # no name of a config holds it


class Schedule(Protocol):
    """Units stage by stage: those of a stage are known once all earlier ones have results."""

    @property
    def num_units(self) -> int:
        """Of all stages."""

    @property
    def sampled(self) -> Sequence[Unit]:
        """Units to take examples from, most wanted first; only their names and numbers of seats need be right."""

    def stage(self, index: int, results: "pa.Table | None") -> list[Unit]:
        """Units of a stage, from the sorted rows of all earlier ones (None for the first); empty after the last."""

    def ranked(self, results: "pa.Table") -> "pa.Table":
        """The rows that rank the field."""

    def finale(self, results: "pa.Table") -> "pa.Table | None":
        """The rows that rank the best among themselves; None if the format has no final, or it was not played yet."""


class FixedSchedule(NamedTuple):
    """All units are known from the beginning."""

    units: list[Unit]
    agents: frozenset[str]  # the field, without copies that a population adds

    @property
    def num_units(self) -> int:
        """Of the one stage."""
        return len(self.units)

    @property
    def sampled(self) -> Sequence[Unit]:
        """In the order to play them."""
        return self.units

    def stage(self, index: int, results: "pa.Table | None") -> list[Unit]:
        """Everything at once."""
        return self.units if index == 0 else []

    def ranked(self, results: "pa.Table") -> "pa.Table":
        """The field's rows. A first copy plays in every lineup, the others only where its crowd does."""
        return results.filter(np.isin(np.asarray(results["agent"].to_pylist(), dtype=str), sorted(self.agents)))

    def finale(self, results: "pa.Table") -> "pa.Table | None":
        """There is none."""
        return None


def fixed_schedule(agents: Sequence[str], config: ScheduleConfig, seed: int, scenarios: Sequence[int]) -> FixedSchedule:
    """The schedule of every format but swiss."""
    lineups = fixed_lineups(agents, config, seed)
    return FixedSchedule(build_units(lineups, scenarios, config.batch_size), frozenset(agents))


def fixed_lineups(agents: Sequence[str], config: ScheduleConfig, seed: int) -> list[Lineup]:
    """Lineups of every format but swiss."""
    if config.format == "pairs":
        return pairs(agents, seed)
    if config.format == "gauntlet":
        return gauntlet(agents, newcomer(agents, config), config.seats or len(agents), seed, config.lineups)
    if config.format == "population":
        return population(agents, config.copies or COPIES)
    return build_lineups(agents, config.seats or len(agents), seed, config.lineups)


def newcomer(agents: Sequence[str], config: ScheduleConfig) -> str:
    """Who runs the gauntlet: the last of the field, if not told."""
    return config.newcomer or agents[-1]


def pairs(agents: Sequence[str], seed: int) -> list[Lineup]:
    """Every two entrants once, seats balanced."""
    if len(agents) < 2:
        raise ValueError(f"pairs need two entrants, the field has {len(agents)}")
    return build_lineups(agents, 2, seed, math.comb(len(agents), 2))


def gauntlet(
    agents: Sequence[str], chosen: str, num_seats: int, seed: int, num_lineups: int | None = None
) -> list[Lineup]:
    """The newcomer in every lineup, in turn in every seat; it meets the others about equally often, as they do."""
    others = [agent for agent in agents if agent != chosen]
    if not others:
        raise ValueError("a gauntlet needs somebody to meet the newcomer")
    lineups = []
    for lineup, members in build_lineups(others, num_seats - 1, seed, num_lineups):
        seat = lineup % num_seats
        lineups.append(Lineup(lineup, (*members[:seat], chosen, *members[seat:])))
    return lineups


def population(agents: Sequence[str], num_copies: int) -> list[Lineup]:
    """The field alone, then with `num_copies` of each entrant in turn, cash included: the crowd that does nothing.

    The field keeps its seats, the further copies sit behind it.
    """
    crowds = [tuple(copies_of(agent, num_copies)[1:]) for agent in agents]
    return [Lineup(index, (*agents, *crowd)) for index, crowd in enumerate([(), *crowds])]


def copies_of(agent: str, num_copies: int) -> list[str]:
    """Names of an entrant and its further copies: a, a~2, a~3 ..."""
    return [agent, *(f"{agent}{COPY_MARK}{copy}" for copy in range(2, num_copies + 1))]
