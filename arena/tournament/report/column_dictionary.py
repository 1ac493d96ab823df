"""Unit and meaning of every column of every table of a run. Reports and help texts take their words from here.

Numbers are fractions, never bps or percent: formatted output alone uses those.
"""

from collections.abc import Iterable
from typing import NamedTuple

from arena.tournament.types import MARKET_COLUMNS, PATH_COLUMNS, RESULT_COLUMNS, TRANSFER_COLUMNS, Column

LOG_GROWTH, ANNUAL, PER_GAME = "log growth per game", "per sqrt(year)", "nav_0 per game"


class Entry(NamedTuple):
    """One column of one table."""

    table: str
    column: str
    unit: str  # "" for names, ranks, counts and flags
    meaning: str


def _estimate(name: str, unit: str, meaning: str) -> list[tuple[str, str, str]]:
    """A number and the ends of its interval."""
    ends = (("low", "lower"), ("high", "upper"))
    intervals = [(f"{name}_{end}", unit, f"{word} end of the 95 % interval of {name}") for end, word in ends]
    return [(name, unit, meaning), *intervals]


_LEADERBOARD = (
    ("agent", "", "name of the entrant"),
    ("rank", "", "place by growth, 1 is best"),
    ("rank_low", "", "best possible rank (95 %): 1 + number of entrants that are significantly better"),
    ("rank_high", "", "worst possible rank (95 %): number of entrants minus those that are significantly worse"),
    (
        "tier",
        "",
        "no entrant of a tier is significantly worse than the first of it; an entrant whose results vary much can "
        "stand below the first of a later tier and still be in an earlier one",
    ),
    *_estimate(
        "growth",
        LOG_GROWTH,
        "mean log growth of wealth per game after all costs, above the entrant cash if there is one; it decides the "
        "ranking",
    ),
    *_estimate(
        "rating",
        "Elo",
        "Plackett-Luce rating: how often the entrant finishes ahead of others, whatever the margin; cash = 1,000",
    ),
    *_estimate("growth_raw", LOG_GROWTH, "growth with market luck left in"),
    *_estimate("growth_cv", LOG_GROWTH, "growth with market luck removed; empty for bars"),
    *_estimate("sharpe", ANNUAL, "mean return over its standard deviation, of all steps of all games pooled"),
    *_estimate(
        "iqm",
        LOG_GROWTH,
        "mean of the middle half of the scores, which no outlier can move (interquartile mean)",
    ),
    *_estimate(
        "prob_better",
        "probability",
        "chance to score higher than the next of the ranking in a scenario; a tie counts half",
    ),
    (
        "alpha_rank",
        "fraction",
        "share in the long run of a population that imitates those who win; circles of winners share it; empty if "
        "some pair never met",
    ),
    ("games", "games", "number of matches played"),
    ("forfeits", "games", "games that the agent lost by an error, a time limit or an invalid answer"),
    ("median_return", "fraction", "return of a game, median over the games"),
    ("worst_return", "fraction", "return of the worst game"),
    ("max_drawdown", "fraction", "deepest drawdown of a game, median over the games"),
    ("turnover", "nav per game", "one-way turnover per game"),
    ("cost", PER_GAME, "spread and fees per game; impact is not included"),
    ("penalty", PER_GAME, "cost of forced trades"),
    ("impact_cost", PER_GAME, "cost of impact, paid through the execution price"),
    ("financing", PER_GAME, "received: interest - borrow fee + dividends"),
    ("margin_calls", "steps", "steps that began under a margin call, over all games"),
    ("ruined", "games", "games that ended without wealth"),
    ("rejected", "", "number of target weights that were NaN or infinite, over all games"),
    ("flag", "", "a warning such as: wins often, earns little; empty if there is none"),
    *_estimate(
        "sortino",
        ANNUAL,
        "mean return over downside deviation, of all steps pooled as for Sharpe: only losses are risk",
    ),
    (
        "calmar",
        "per year",
        "return of a game, compounded to a year, over its deepest drawdown: the median of all games; a year has deeper "
        "drawdowns than a game, so compare it within this table only",
    ),
    ("mean_return", "fraction", "return of a game, mean over the games; market luck is included"),
    ("spread", PER_GAME, "half-spread and quadratic term, a part of cost"),
    ("fee", PER_GAME, "commission, a part of cost"),
)

_PAIRS = (
    ("agent", "", "entrant that ranks higher"),
    ("against", "", "entrant that ranks lower"),
    *_estimate("growth", LOG_GROWTH, "mean lead of agent over against in the scenarios that both played"),
    ("p_value", "probability", "of the lead, two-sided, adjusted over all pairs"),
    ("verdict", "", "what agent is, compared with against: better, worse, not separated, identical or undecided"),
)


def _stored(table: str, columns: Iterable[Column]) -> list[Entry]:
    return [Entry(table, column.name, column.unit, column.meaning) for column in columns]


ENTRIES = (
    *(Entry("leaderboard", *column) for column in _LEADERBOARD),
    *(Entry("pairs", *column) for column in _PAIRS),
    *_stored("results", RESULT_COLUMNS),
    *_stored("paths", PATH_COLUMNS),
    *_stored("markets", MARKET_COLUMNS),
    *_stored("transfers", TRANSFER_COLUMNS),
)

_MEANINGS = {(entry.table, entry.column): entry.meaning for entry in ENTRIES}


def meaning(column: str, table: str = "leaderboard") -> str:
    """What the column of a table means."""
    return _MEANINGS[table, column]
