"""Ends a tournament as soon as what was asked is decided, by the bets of `arena.tournament.stats.sequential`.

Asked is one entrant (the leader or the newcomer) against every other. Scenarios count in the order of the schedule, a
batch when all its units are there: so the end depends on results alone, and not on which unit was finished first. What
has been played beyond the end is thrown away.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from arena.config.tournament import TournamentConfig
from arena.tournament.leaderboard import StopDecision, StopFinding
from arena.tournament.schedule.formats import Schedule, newcomer
from arena.tournament.stats.growth import Floats, score_table
from arena.tournament.stats.sequential import (
    BETTER,
    BURN_IN,
    EQUAL,
    UNDECIDED,
    WORSE,
    Bets,
    Decision,
    advance,
    interval,
    start,
    verdicts,
)
from arena.tournament.types import Unit
from arena.units import BPS

if TYPE_CHECKING:
    import pyarrow as pa

COLUMN = "growth_cv"  # of synthetic scenarios, the only ones that may be cut short


class StopRule(NamedTuple):
    """What must be decided."""

    newcomer: str | None  # None: the leader, whoever that is
    margin: float  # log growth that counts as equal; 0 = none


def stop_rule(config: TournamentConfig) -> StopRule | None:
    """What must be decided for the tournament to end early."""
    stop = config.tournament.stop
    if stop.when == "never":
        return None
    chosen = newcomer(config.field, config.tournament) if stop.when == "newcomer" else None
    return StopRule(chosen, stop.margin_bps * BPS)


class Finding(NamedTuple):
    """What the bets say of the one against every other entrant."""

    agent: str  # the leader by mean score, or the newcomer
    scenarios: int  # consumed
    decided: bool  # against all
    bound: float  # log growth: the bets count a difference beyond it as it; the smallest M of the one's pairs
    beyond: int  # consumed scenarios in which a pair of the one had a difference beyond its M
    against: dict[str, Decision]

    def to_json(self, margin: float) -> StopFinding:
        """For the leaderboard; `margin` is that of the rule."""
        against = {
            other: StopDecision(verdict=said.verdict, scenarios=said.scenarios, low=said.low, high=said.high)
            for other, said in self.against.items()
        }
        return StopFinding(
            agent=self.agent,
            scenarios=self.scenarios,
            decided=self.decided,
            bound=self.bound,
            beyond=self.beyond,
            against=against,
            margin=margin,
        )


class StopMonitor:
    """Consumes finished units in any order, and knows when it is enough."""

    def __init__(self, rule: StopRule, schedule: Schedule, units: Sequence[Unit]):
        self._rule, self._schedule = rule, schedule
        self._waiting: dict[tuple[int, ...], set[str]] = {}  # batch, in the order of the schedule -> units it lacks
        for unit in units:
            self._waiting.setdefault(unit.scenarios, set()).add(unit.name)
        self._units = tuple(units)
        self._tables: dict[tuple[int, ...], list[pa.Table]] = {batch: [] for batch in self._waiting}
        self._agents: tuple[str, ...] = ()
        self._scores: list[Floats] = []  # [S, m] of each consumed batch
        self._needed = np.empty(0, dtype=np.int64)  # scenarios consumed when each pair was decided
        self._bets: Bets | None = None
        self.decided = False

    def add(self, unit: Unit, results: "pa.Table") -> None:
        """Count a finished unit, once; consumes all batches that are complete now, until it is decided."""
        self._waiting[unit.scenarios].discard(unit.name)
        self._tables[unit.scenarios].append(results)
        while self._tables and not self.decided:
            batch = next(iter(self._tables))
            if self._waiting[batch]:
                break
            self._consume(self._tables.pop(batch))

    def surplus_units(self) -> list[Unit]:
        """Units that no longer count; none before it is decided."""
        return [unit for unit in self._units if unit.scenarios in self._tables] if self.decided else []

    def finding(self) -> Finding | None:
        """None before there is anything to say."""
        if self._bets is None:
            return None
        mine, said = self._one(), verdicts(self._bets)
        differences, bound = self._differences(), self._bets.bound
        low, high = interval(differences[BURN_IN:], bound, len(said))
        own = np.array([mine in pair for pair in zip(*self._pairs())])
        clipped = (np.abs(differences) > bound)[:, own].any(1)
        columns = (
            self._row(mine, said, _mirrored(said)).tolist(),
            self._row(mine, self._needed, self._needed).tolist(),
            self._row(mine, low, -high).tolist(),
            self._row(mine, high, -low).tolist(),
        )
        others = [agent for agent in self._agents if agent != self._agents[mine]]
        against = {other: Decision(*numbers) for other, *numbers in zip(others, *columns)}
        return Finding(
            self._agents[mine],
            sum(map(len, self._scores)),
            self.decided,
            float(bound[own].min()),
            int(clipped.sum()),
            against,
        )

    def _consume(self, tables: "list[pa.Table]") -> None:
        import pyarrow as pa

        scores = score_table(self._schedule.ranked(pa.concat_tables(tables)), COLUMN)
        self._agents = scores.agents
        self._scores.append(scores.values)
        played = sum(map(len, self._scores))
        batch = self._differences()[played - len(scores.values) :]
        if self._bets is None:
            if played < BURN_IN:
                return
            differences = self._differences()
            self._bets, batch = start(differences[:BURN_IN], self._rule.margin), differences[BURN_IN:]
            self._needed = np.full(differences.shape[1], played)
        self._needed[verdicts(self._bets) == UNDECIDED] = played
        self._bets = advance(self._bets, batch)
        said = verdicts(self._bets)
        self.decided = len(said) > 0 and bool((self._row(self._one(), said, said) != UNDECIDED).all())

    def _pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Index of the one and of the other of each pair that is tested: all of them, since anyone may come to lead."""
        num = len(self._agents)
        if self._rule.newcomer is None:
            first, second = np.triu_indices(num, 1)
            return first, second
        mine = self._agents.index(self._rule.newcomer)
        return np.full(num - 1, mine), np.delete(np.arange(num), mine)

    def _differences(self) -> Floats:
        """[S, P] of all consumed scenarios."""
        first, second = self._pairs()
        scores = np.concatenate(self._scores)
        return scores[:, first] - scores[:, second]

    def _one(self) -> int:
        """Index of the entrant that is asked for."""
        if self._rule.newcomer is not None:
            return self._agents.index(self._rule.newcomer)
        return int(np.argmax(np.concatenate(self._scores).mean(0)))

    def _row(self, mine: int, forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
        """[m - 1] values of one entrant against the others, from those of pairs [P] and of the same pairs reversed."""
        first, second = self._pairs()
        matrix = np.empty((len(self._agents),) * 2, dtype=forward.dtype)
        matrix[first, second], matrix[second, first] = forward, backward
        return np.delete(matrix[mine], mine)


def _mirrored(said: np.ndarray) -> np.ndarray:
    """Verdicts as the other side of each pair reads them."""
    return np.where(said == BETTER, WORSE, np.where(said == WORSE, BETTER, said))


def sentences(finding: Finding, margin: float, planned: int) -> list[str]:
    """What the reader must know of a run that could stop early; the end of its notes."""
    agent, played = finding.agent, finding.scenarios
    if finding.decided:
        first = (
            f"Stopped after {played} of {planned} scenarios: {agent} is decided against everyone, by bets that stay "
            "valid however often one looks; all claims together are wrong with at most 5 %."
        )
    else:
        first = f"After {played} of {planned} scenarios {agent} is not decided against everyone, by always-valid bets."
    equal = f"within {margin * 1e4:g} bps of"
    words = {BETTER: "better than", WORSE: "worse than", EQUAL: equal, UNDECIDED: "undecided against"}
    parts = []
    for said, word in words.items():
        names = [other for other, decision in finding.against.items() if decision.verdict == said]
        if names:
            parts.append(f"{word} {', '.join(names)}")
    found = [first, f"{agent} is {'; '.join(parts)}."]
    decided_by_difference = any(decision.verdict in (BETTER, WORSE) for decision in finding.against.values())
    if decided_by_difference:
        seen = f"{finding.beyond} of them had" if finding.beyond else "none of them had"
        found.append(
            f"The bets count a difference of more than {finding.bound:.2g} in log growth as that much ({seen} a larger "
            "one): against a ruin too rare to have been seen they do not insure."
        )
    if finding.decided:
        found.append("Other intervals and p-values take the number of scenarios as fixed beforehand; it was not.")
    return found
