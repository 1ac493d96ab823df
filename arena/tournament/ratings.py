"""From result rows to the leaderboard: everything a report shows is inferred here, nothing is stored but the rows."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from arena.tournament import comparison, growth, plackett_luce
from arena.tournament.digest import digest, sort_rows
from arena.tournament.games import describe_games, fold_matches, win_matrix
from arena.tournament.growth import CAUTION_SCENARIOS, CONFIDENCE, MIN_SCENARIOS, Estimate, ScenarioKind
from arena.tournament.types import FORFEIT

if TYPE_CHECKING:
    import pyarrow as pa

CASH_RATING = 1000.0
ELO = 400 / math.log(10)  # rating points per unit of Plackett-Luce log worth
MIN_RATED_SCENARIOS = 8  # the interval of the rating covers from here on
WINS_OFTEN = "wins often, earns little"


def leaderboard(
    results: "pa.Table",
    *,
    seed: int,
    periods_per_year: float,
    kind: ScenarioKind = "seed",
    cash: str = "cash",
    pairs: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Result rows (types.SCHEMA) -> a JSON-ready leaderboard; every number that cannot be known is None.

    seed              of the tournament; also keys tie-breaks and the permutation test
    periods_per_year  steps per year, for the Sharpe ratio only
    kind              "seed": scenarios are independent universes; "window": disjoint windows of one history
    cash              name of the baseline entrant; without it growth is not measured against anything
    pairs             (follower of a forecast, the same rule on a random walk), compared where both have played
    """
    results = sort_rows(results)
    if results.num_rows == 0:
        raise ValueError("there is no result to rank: no unit of work has been finished")
    agents = sorted(set(results["agent"].to_pylist()))
    estimates = {column: growth.growth_estimates(results, column, cash, kind) for column in ("growth_raw", "growth_cv")}
    headline = "growth_raw" if np.isnan(results["growth_cv"].to_numpy()).any() else "growth_cv"
    ratings = rating_estimates(results, np.random.default_rng([seed, 1]), cash)
    flagged = wins_often_earns_little(estimates[headline], ratings)

    entries = []
    for rank, agent in enumerate(estimates[headline], start=1):
        entry: dict[str, Any] = {"agent": agent, "rank": rank}
        entry |= _fields("growth", estimates[headline][agent]) | _fields("rating", ratings[agent])
        entry |= _fields("growth_raw", estimates["growth_raw"][agent])
        entry |= _fields("growth_cv", estimates["growth_cv"][agent])
        entry |= _fields("sharpe", growth.pooled_sharpe(results, agent, periods_per_year, kind))
        entry |= describe_games(results, agent)
        # Who never trades finishes ahead of losers only, and promises nothing.
        idle = entry["median_return"] == entry["worst_return"] == 0
        entry["flag"] = WINS_OFTEN if agent in flagged and not idle else None
        entries.append(entry)

    scores = growth.score_table(results, headline)
    pairs = [pair for pair in pairs if set(pair) <= set(agents)]
    leader = comparison.leader_test(scores, entries[0]["agent"], kind)
    return {
        "agents": entries,
        "seed": seed,
        "scenarios": len(scores.scenarios),
        "digest": digest(results),
        "headline": headline,
        "scenario_kind": kind,
        "cash": cash if cash in agents else None,
        "confidence": CONFIDENCE,
        "leader": leader._asdict(),
        "equality_p_value": comparison.equality_p_value(scores, np.random.default_rng([seed, 2])),
        "forecasts": [found._asdict() for found in comparison.paired_differences(scores, pairs, kind)],
        "wins": win_matrix(results, [entry["agent"] for entry in entries]),
        "notes": notes(results, scores, kind, cash),
    }


def rating_estimates(results: "pa.Table", generator: np.random.Generator, cash: str = "cash") -> dict[str, Estimate]:
    """Entrant -> Plackett-Luce rating on the Elo scale, cash = 1000, with its t(S-1) interval by scenario.

        rating = 1000 + 400/ln 10 (theta - theta_cash)

    Ridge: one virtual win and loss of everyone against cash, which also anchors a field without a cash entrant.
    """
    from scipy import stats

    played = set(results["agent"].to_pylist())
    names = sorted({*played, cash})
    matches = fold_matches(results, names)
    _, cluster = np.unique(matches.scenario, return_inverse=True)
    rankings = plackett_luce.spread_ties(matches.rank, matches.item, cluster, generator)
    skills = plackett_luce.fit(rankings, len(names), names.index(cash))
    value = CASH_RATING + ELO * skills.theta
    if skills.covariance is None or skills.num_clusters < MIN_RATED_SCENARIOS:
        estimates = [Estimate(float(rating), None, None) for rating in value]
    else:
        quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, skills.num_clusters - 1))
        half = quantile * ELO * np.sqrt(np.diag(skills.covariance))
        estimates = [Estimate(float(r), float(r - h), float(r + h)) for r, h in zip(value, half)]
    return {name: estimate for name, estimate in zip(names, estimates) if name in played}


def wins_often_earns_little(growths: dict[str, Estimate], ratings: dict[str, Estimate]) -> set[str]:
    """Entrants rated above another, intervals apart, that nevertheless grow less than that other.

    An insurer that wins 19 episodes of 20 and loses it all in the twentieth is the pattern.
    """
    flagged = set()
    for agent, mine in ratings.items():
        for other, theirs in ratings.items():
            apart = mine.low is not None and theirs.high is not None and mine.low > theirs.high
            if apart and growths[agent].value < growths[other].value:
                flagged.add(agent)
    return flagged


def notes(results: "pa.Table", scores: growth.Scores, kind: ScenarioKind, cash: str) -> list[str]:
    """What a reader must know before trusting the table, one sentence each."""
    found = []
    num, least = len(scores.scenarios), MIN_SCENARIOS[kind]
    if num < least:
        unit = "scenarios" if kind == "seed" else "windows"
        found.append(f"Only {num} {unit}: descriptive, no growth interval and no claim (from {least} on).")
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


def _fields(name: str, estimate: Estimate) -> dict[str, float | None]:
    low, high = (None if end is None else _known(end) for end in (estimate.low, estimate.high))
    return {name: _known(estimate.value), f"{name}_low": low, f"{name}_high": high}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
