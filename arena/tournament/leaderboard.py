"""A leaderboard as a record: one Standing per entrant, one Pair per two entrants, and what else its file holds.

Numbers are fractions; column_dictionary has the unit and the meaning of each. None stands for an unknown number. Fields
stand in the order of leaderboard.json, whose keys they are; `standings` is there called "agents".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NotRequired, Self, TypedDict

ScenarioKind = Literal["seed", "window"]  # independent synthetic universes, or disjoint windows of real bars


class Transitivity(TypedDict):
    """How far one rating per entrant explains who finishes ahead of whom."""

    explained: float | None  # share of the log odds of finishing ahead that ratings explain
    p_value: float | None  # of "ratings explain all of it"
    cycles: list[list[str]]  # each three entrants: the first significantly ahead of the second, and so on round


class AlphaRank(TypedDict):
    """Long-run shares of a population that imitates those who win."""

    alpha: float
    population: int
    mass: dict[str, float]  # by entrant


class Profiles(TypedDict):
    """Performance profiles."""

    threshold: list[float]  # [K] scores
    share: dict[str, list[float]]  # entrant -> [K] share of scenarios with at least that score


class TransferFlag(TypedDict):
    """A pair whose transfer through impact stands out."""

    agent: str  # served
    by: str  # whose flow
    cost: float
    net: float


class Transfers(TypedDict):
    """Who paid whom through impact."""

    agents: list[str]  # by rank
    games: int  # number of sampled matches
    cost: list[list[float | None]]  # mean per game that the row paid because of the column; None if they never met
    flags: list[TransferFlag]  # the largest net transfer first


class WinShares(TypedDict):
    """Share of matches that the row ended ahead of the column."""

    agents: list[str]
    share: list[list[float | None]]  # None if they never met


class CrowdEffect(TypedDict):
    """Growth of an entrant alone, and among copies of itself."""

    agent: str
    copies: int
    alone: float
    alone_low: float | None
    alone_high: float | None
    crowded: float
    crowded_low: float | None
    crowded_high: float | None
    change: float
    change_low: float | None
    change_high: float | None
    p_value: float  # of the change, Holm-adjusted


class ContinuousPath(TypedDict):
    """One backtest per entrant over all windows of real bars; only `reason` is there if there is none."""

    reason: str | None  # why there is none
    windows: NotRequired[int]
    steps: NotRequired[int]
    trials: NotRequired[int]  # entrants that trade
    trial_variance: NotRequired[float]  # of their ratios per step
    luck: NotRequired[float]  # ratio per sqrt(year) that the best of so many without skill is expected to show
    agents: NotRequired[dict[str, dict[str, float | None]]]
    missing: NotRequired[dict[str, str]]  # entrant -> why it has no path
    begins: NotRequired[list[str]]  # time of the first bar of each window
    ends: NotRequired[str]


class StopDecision(TypedDict):
    """What the stop rule knows of one opponent."""

    verdict: str
    scenarios: int
    low: float
    high: float


class StopFinding(TypedDict):
    """What the stop rule found of one entrant against every other."""

    agent: str
    scenarios: int
    decided: bool
    bound: float
    beyond: int
    against: dict[str, StopDecision]
    margin: float


@dataclass(frozen=True)
class Standing:
    """One entrant."""

    agent: str
    rank: int
    rank_low: int
    rank_high: int
    tier: int
    growth: float
    growth_low: float | None
    growth_high: float | None
    rating: float
    rating_low: float | None
    rating_high: float | None
    growth_raw: float
    growth_raw_low: float | None
    growth_raw_high: float | None
    growth_cv: float | None
    growth_cv_low: float | None
    growth_cv_high: float | None
    sharpe: float | None
    sharpe_low: float | None
    sharpe_high: float | None
    iqm: float | None
    iqm_low: float | None
    iqm_high: float | None
    prob_better: float | None
    prob_better_low: float | None
    prob_better_high: float | None
    alpha_rank: float | None
    games: int
    forfeits: int
    median_return: float
    worst_return: float
    max_drawdown: float
    turnover: float
    cost: float
    penalty: float
    impact_cost: float
    financing: float
    margin_calls: int
    ruined: int
    rejected: int
    flag: str | None
    # Older runs do not know these.
    sortino: float | None = None
    sortino_low: float | None = None
    sortino_high: float | None = None
    calmar: float | None = None
    mean_return: float | None = None
    spread: float | None = None
    fee: float | None = None

    def number(self, name: str) -> float | None:
        """The number in a column."""
        value: float | None = getattr(self, name)
        return value

    def ends(self, name: str) -> tuple[float | None, float | None]:
        """Ends of the 95 % interval of a number."""
        return self.number(f"{name}_low"), self.number(f"{name}_high")

    def to_json(self) -> dict[str, Any]:
        """As in leaderboard.json, and a line of leaderboard.csv."""
        return vars(self).copy()

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Self:
        """Older runs kept no fees apart from the spread: all of the explicit cost is then spread."""
        return cls(**_known(cls, {"spread": row.get("cost"), **row}))


@dataclass(frozen=True)
class PairedDifference:
    """How much better `agent` scores than `against` in the same scenarios."""

    agent: str
    against: str
    growth: float  # mean
    growth_low: float | None  # 95 %
    growth_high: float | None
    p_value: float  # two-sided, adjusted over all pairs that were tested together


@dataclass(frozen=True)
class Pair:
    """Two entrants of the ranking, the higher one first; the interval is of this pair alone."""

    agent: str
    against: str
    growth: float | None  # mean lead of agent over against; None if no scenario has both
    growth_low: float | None  # 95 %
    growth_high: float | None
    p_value: float  # two-sided, adjusted over all pairs
    verdict: str  # what `agent` is compared with `against`


@dataclass(frozen=True)
class Leader:
    """Is the first significantly ahead?"""

    agent: str
    significant: bool  # ahead of all others at the 5 % level, jointly
    p_values: dict[str, float]  # other entrant -> two-sided p, adjusted over all pairs
    not_separated: list[str]  # others the first is not significantly ahead of


@dataclass(frozen=True)
class Leaderboard:
    """What a run found. A board of the final of a swiss tournament has no final, stop or population of its own."""

    standings: list[Standing]  # best growth first
    seed: int
    scenarios: int
    digest: str
    headline: str  # the column of results that growth is: growth_cv or growth_raw
    scenario_kind: ScenarioKind
    cash: str | None  # the baseline entrant; None if it did not play
    confidence: float
    leader: Leader
    equality_p_value: float  # of one test that all entrants are equal
    pairs: list[Pair]
    transitivity: Transitivity
    alpha_rank: AlphaRank | None  # None if some pair never met
    profiles: Profiles
    confidence_set: list[str] | None
    transfers: Transfers | None  # None without sampled matches
    forecasts: list[PairedDifference]  # followers of a forecast against the same rule on a random walk
    wins: WinShares
    notes: list[str]
    lineups: tuple[int, int] = (0, 0)  # first and last of the rows
    data: list[str] = field(default_factory=list)  # what is known of the bars
    continuous: ContinuousPath | None = None  # older runs have none
    final: "Leaderboard | None" = None
    stop: StopFinding | None = None
    population: list[CrowdEffect] | None = None

    @property
    def ranking(self) -> list[str]:
        """Names of the entrants, best first."""
        return [standing.agent for standing in self.standings]

    def to_json(self, of_final: bool = False) -> dict[str, Any]:
        """What leaderboard.json holds. That of a final lacks the keys final, stop and population."""
        content = {("agents" if name == "standings" else name): value for name, value in vars(self).items()}
        if of_final:
            for name in ("final", "stop", "population"):
                del content[name]
        else:
            content["final"] = None if self.final is None else self.final.to_json(of_final=True)
        for name in ("agents", "pairs", "forecasts"):
            content[name] = [vars(item).copy() for item in content[name]]
        return content | {"leader": vars(self.leader).copy(), "lineups": list(self.lineups)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Of leaderboard.json, also of an older one; KeyError or TypeError where something is missing."""
        read = _known(cls, content)
        read["standings"] = [Standing.from_json(row) for row in content["agents"]]
        read["pairs"] = [Pair(**_known(Pair, row)) for row in content["pairs"]]
        read["forecasts"] = [PairedDifference(**_known(PairedDifference, row)) for row in content["forecasts"]]
        read["leader"] = Leader(**_known(Leader, content["leader"]))
        read["lineups"] = tuple(content["lineups"])
        read["final"] = cls.from_json(content["final"]) if content.get("final") else None
        return cls(**read)


def _known(record: type, content: Mapping[str, Any]) -> dict[str, Any]:
    """What a record has a field for: a newer version may have written more."""
    names = {field.name for field in fields(record)}
    return {name: value for name, value in content.items() if name in names}
