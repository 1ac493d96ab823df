"""From result rows to the leaderboard: everything a report shows is inferred here, nothing is stored but the rows."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from arena.tournament.leaderboard import Leaderboard, Standing, Transfers
from arena.tournament.stats import aggregates, cycles, growth, paired_tests, pairwise, ratios
from arena.tournament.stats.collusion import transfer_table
from arena.tournament.stats.games import by_agent, describe_games, mean_parts, win_matrix
from arena.tournament.stats.growth import CAUTION_SCENARIOS, CONFIDENCE, MIN_SCENARIOS, Estimate, ScenarioKind, Scores
from arena.tournament.stats.ratings import rating_estimates
from arena.tournament.store.digest import digest, sort_rows
from arena.tournament.types import FORFEIT
from arena.tournament.wording import counted

if TYPE_CHECKING:
    import pyarrow as pa

WINS_OFTEN = "wins often, earns little"


def leaderboard(
    results: "pa.Table",
    *,
    seed: int,
    periods_per_year: float,
    kind: ScenarioKind = "seed",
    cash: str = "cash",
    pairs: Sequence[tuple[str, str]] = (),
    transfers: "pa.Table | None" = None,
) -> Leaderboard:
    """Result rows (types.SCHEMA) -> leaderboard; every number that cannot be known is None.

    seed              of the tournament; also keys tie-breaks, permutations and resampling
    periods_per_year  steps per year, for the Sharpe ratio only
    kind              "seed": scenarios are independent universes; "window": disjoint windows of one history
    cash              name of the baseline entrant; without it growth is not measured against anything
    pairs             (follower of a forecast, the same rule on a random walk), compared where both have played
    transfers         rows of types.TRANSFER_SCHEMA of the sampled matches
    """
    results = sort_rows(results)
    if results.num_rows == 0:
        raise ValueError("there is no result to rank: no unit of work has been finished")
    agents = sorted(set(results["agent"].to_pylist()))
    estimates = {column: growth.growth_estimates(results, column, cash, kind) for column in ("growth_raw", "growth_cv")}
    headline = "growth_raw" if np.isnan(results["growth_cv"].to_numpy()).any() else "growth_cv"
    ratings = rating_estimates(results, np.random.default_rng([seed, 1]), cash)
    ranking = list(estimates[headline])
    scores = growth.score_table(results, headline)
    above_cash = growth.excess(scores, cash)
    compared = pairwise.compare_all(scores, kind, np.random.default_rng([seed, 3]))
    places = pairwise.places(compared, ranking)
    flagged = wins_often_earns_little(compared, ratings)
    transitivity, alpha_rank = cycles.structure(results, ranking, seed)

    rows = by_agent(results)
    entries = []
    for rank, agent in enumerate(ranking, start=1):
        place = places[agent]
        entry: dict[str, Any] = {"agent": agent, "rank": rank}
        entry |= {"rank_low": place.low, "rank_high": place.high, "tier": place.tier}
        entry |= _fields("growth", estimates[headline][agent]) | _fields("rating", ratings[agent])
        entry |= _fields("growth_raw", estimates["growth_raw"][agent])
        entry |= _fields("growth_cv", estimates["growth_cv"][agent])
        entry |= _fields("sharpe", ratios.pooled_sharpe(rows[agent], agent, periods_per_year, kind))
        mine = above_cash.values[:, scores.agents.index(agent)]
        entry |= _fields("iqm", aggregates.interquartile_mean(mine, kind))
        entry |= _fields("prob_better", _against_next(scores, ranking[rank - 1 : rank + 1], kind))
        entry["alpha_rank"] = None if alpha_rank is None else alpha_rank["mass"][agent]
        entry |= describe_games(rows[agent], agent)
        # Who never trades finishes ahead of losers only, and promises nothing.
        idle = entry["median_return"] == entry["worst_return"] == 0
        entry["flag"] = WINS_OFTEN if agent in flagged and not idle else None
        entry |= _fields("sortino", ratios.pooled_sortino(rows[agent], agent, periods_per_year, kind))
        entry["calmar"] = _known(ratios.median_calmar(rows[agent], agent, periods_per_year))
        entry |= mean_parts(rows[agent], agent)
        entries.append(entry)

    pairs = [pair for pair in pairs if set(pair) <= set(agents)]
    moved = None if transfers is None else transfer_table(transfers, ranking, np.random.default_rng([seed, 5]))
    return Leaderboard(
        standings=[Standing(**entry) for entry in entries],
        seed=seed,
        scenarios=len(scores.scenarios),
        digest=digest(results),
        headline=headline,
        scenario_kind=kind,
        cash=cash if cash in agents else None,
        confidence=CONFIDENCE,
        leader=pairwise.leader_of(compared, ranking),
        equality_p_value=paired_tests.equality_p_value(scores, np.random.default_rng([seed, 2])),
        pairs=pairwise.pair_rows(compared, ranking),
        transitivity=transitivity,
        alpha_rank=alpha_rank,
        profiles=aggregates.profiles(above_cash, ranking),
        confidence_set=pairwise.best_set(scores, kind, ranking, seed),
        transfers=moved,
        forecasts=paired_tests.paired_differences(scores, pairs, kind),
        wins=win_matrix(results, ranking),
        notes=_evidence(results, scores, kind, cash) + _structure_notes(transitivity["cycles"], moved),
    )


def wins_often_earns_little(compared: pairwise.Pairwise, ratings: dict[str, Estimate]) -> set[str]:
    """Entrants rated above another, intervals apart, that nevertheless grow significantly less than that other.

    An insurer that wins 19 episodes of 20 and loses it all in the twentieth is the pattern. Less by chance alone is
    not: in a large field everybody grows a little less than somebody that is rated below.
    """
    flagged = set()
    for worse, better in np.argwhere(compared.verdict == pairwise.WORSE):
        mine, theirs = ratings[compared.agents[worse]], ratings[compared.agents[better]]
        if mine.low is not None and theirs.high is not None and mine.low > theirs.high:
            flagged.add(compared.agents[worse])
    return flagged


def _against_next(scores: Scores, pair: list[str], kind: ScenarioKind) -> Estimate:
    """Chance of the first of the pair to score higher than the second; unknown for the last of the ranking."""
    if len(pair) < 2:
        return Estimate(math.nan, None, None)
    mine, theirs = (scores.values[:, scores.agents.index(agent)] for agent in pair)
    return aggregates.probability_of_improvement(mine, theirs, kind)


def _fields(name: str, estimate: Estimate) -> dict[str, float | None]:
    low, high = (None if end is None else _known(end) for end in (estimate.low, estimate.high))
    return {name: _known(estimate.value), f"{name}_low": low, f"{name}_high": high}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _evidence(results: "pa.Table", scores: Scores, kind: ScenarioKind, cash: str) -> list[str]:
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


def _structure_notes(circles: list[list[str]], transfers: Transfers | None) -> list[str]:
    """Circles among entrants, and money that one of them passed to another through the price."""
    found = []
    if circles:
        a, b, c = circles[0]
        more = f", and {len(circles) - 1} more such circles" if len(circles) > 1 else ""
        found.append(f"No rating can be right about all: {a} beats {b}, {b} beats {c}, {c} beats {a}{more}.")
    if transfers and transfers["flags"]:
        first, num = transfers["flags"][0], len(transfers["flags"])
        more = f"; {num - 1} more such pair{'s' if num > 2 else ''} in leaderboard.json" if num > 1 else ""
        found.append(
            f"Trading by {first['by']} moved prices in favour of {first['agent']} by {-first['net'] * 1e4:.0f} bps a "
            f"game, net{more}. That is how partners would hand money over; it is no proof that they are."
        )
    return found
