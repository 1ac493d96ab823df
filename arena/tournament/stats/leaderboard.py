"""From result rows to the leaderboard: everything a report shows is inferred here, nothing is stored but the rows.

Keys of the leaderboard:
agents                  one entry per entrant, best growth first; its keys are in column_dictionary, table leaderboard
pairs                   every pair, the higher ranked first; its keys are there too, table pairs
leader                  agent, significant, p_values, not_separated: the pairs of the first
equality_p_value        of one test that all entrants are equal
transitivity, alpha_rank, profiles, confidence_set    see details
transfers               who paid whom through impact, see collusion.transfer_table; None without sampled matches
forecasts               paired differences of followers of forecasts and of the same rule on a random walk
wins                    share of matches that the row ended ahead of the column
seed, scenarios, scenario_kind, headline, cash, confidence, digest, notes
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from arena.tournament.stats import aggregates, comparison, details, growth, notes, pairwise, plackett_luce, risk_ratios
from arena.tournament.stats.collusion import transfer_table
from arena.tournament.stats.games import by_agent, describe_games, fold_matches, mean_parts, win_matrix
from arena.tournament.stats.growth import CONFIDENCE, Estimate, ScenarioKind
from arena.tournament.store.digest import digest, sort_rows

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
    transfers: "pa.Table | None" = None,
) -> dict[str, Any]:
    """Result rows (types.SCHEMA) -> a JSON-ready leaderboard; every number that cannot be known is None.

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
    shape = details.structure(results, ranking, seed)

    rows = by_agent(results)
    entries = []
    for rank, agent in enumerate(ranking, start=1):
        place = places[agent]
        entry: dict[str, Any] = {"agent": agent, "rank": rank}
        entry |= {"rank_low": place.low, "rank_high": place.high, "tier": place.tier}
        entry |= _fields("growth", estimates[headline][agent]) | _fields("rating", ratings[agent])
        entry |= _fields("growth_raw", estimates["growth_raw"][agent])
        entry |= _fields("growth_cv", estimates["growth_cv"][agent])
        entry |= _fields("sharpe", growth.pooled_sharpe(rows[agent], agent, periods_per_year, kind))
        mine = above_cash.values[:, scores.agents.index(agent)]
        entry |= _fields("iqm", aggregates.interquartile_mean(mine, kind))
        entry |= _fields("prob_better", _against_next(scores, ranking[rank - 1 : rank + 1], kind))
        entry["alpha_rank"] = shape["alpha_rank"] and shape["alpha_rank"]["mass"][agent]
        entry |= describe_games(rows[agent], agent)
        # Who never trades finishes ahead of losers only, and promises nothing.
        idle = entry["median_return"] == entry["worst_return"] == 0
        entry["flag"] = WINS_OFTEN if agent in flagged and not idle else None
        entry |= _fields("sortino", risk_ratios.pooled_sortino(rows[agent], agent, periods_per_year, kind))
        entry["calmar"] = _known(risk_ratios.median_calmar(rows[agent], agent, periods_per_year))
        entry |= mean_parts(rows[agent], agent)
        entries.append(entry)

    pairs = [pair for pair in pairs if set(pair) <= set(agents)]
    moved = None if transfers is None else transfer_table(transfers, ranking, np.random.default_rng([seed, 5]))
    return {
        "agents": entries,
        "seed": seed,
        "scenarios": len(scores.scenarios),
        "digest": digest(results),
        "headline": headline,
        "scenario_kind": kind,
        "cash": cash if cash in agents else None,
        "confidence": CONFIDENCE,
        "leader": pairwise.leader_of(compared, ranking)._asdict(),
        "equality_p_value": comparison.equality_p_value(scores, np.random.default_rng([seed, 2])),
        "pairs": pairwise.pair_rows(compared, ranking),
        **shape,
        "profiles": details.profiles(above_cash, ranking),
        "confidence_set": details.best_set(scores, kind, ranking, seed),
        "transfers": moved,
        "forecasts": [found._asdict() for found in comparison.paired_differences(scores, pairs, kind)],
        "wins": win_matrix(results, ranking),
        "notes": notes.evidence(results, scores, kind, cash) + notes.structure(shape, moved),
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


def _against_next(scores: growth.Scores, pair: list[str], kind: ScenarioKind) -> Estimate:
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
