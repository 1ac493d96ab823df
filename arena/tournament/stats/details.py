"""Parts of a leaderboard that are looked up rather than read: who beats whom in circles, profiles, the best set."""

from typing import TYPE_CHECKING, Any

import numpy as np

from arena.tournament.stats import aggregates, alpha_rank
from arena.tournament.stats.confidence_set import model_confidence_set
from arena.tournament.stats.games import fold_matches
from arena.tournament.stats.growth import ScenarioKind, Scores
from arena.tournament.stats.transitivity import transitivity, win_leads

if TYPE_CHECKING:
    import pyarrow as pa


def structure(results: "pa.Table", ranking: list[str], seed: int) -> dict[str, Any]:
    """What the win shares say beyond a rating; entrants in the order of the ranking.

    {"transitivity": {"explained": share of the log odds of finishing ahead that ratings explain, "p_value": of "all",
                      "cycles": [[a, b, c] each significantly ahead of the next and c of a]},
     "alpha_rank": {"alpha", "population", "mass": {entrant: mass}} or None if some pair never met}
    """
    num = len(ranking)
    leads = win_leads(fold_matches(results, ranking), num)
    found = transitivity(leads, num, np.random.default_rng([seed, 4]))
    cycles = [[ranking[entrant] for entrant in cycle] for cycle in found.cycles]
    board: dict[str, Any] = {
        "transitivity": {"explained": found.explained, "p_value": found.p_value, "cycles": cycles},
        "alpha_rank": None,
    }
    met = ~np.isnan(leads)
    if met.any(0).all():
        payoff = np.zeros((num, num))
        payoff[np.triu_indices(num, 1)] = np.nansum(leads, 0) / met.sum(0)
        alpha, mass = alpha_rank.sweep(payoff - payoff.T)
        masses = dict(zip(ranking, mass.tolist()))
        board["alpha_rank"] = {"alpha": alpha, "population": alpha_rank.POPULATION, "mass": masses}
    return board


def profiles(scores: Scores, ranking: list[str]) -> dict[str, Any]:
    """{"threshold": [K] scores, "share": {entrant: [K] share of scenarios with at least that score}}."""
    columns = {agent: scores.values[:, scores.agents.index(agent)] for agent in ranking}
    thresholds = aggregates.profile_thresholds(list(columns.values()))
    share = {agent: aggregates.performance_profile(column, thresholds) for agent, column in columns.items()}
    return {"threshold": thresholds.tolist(), "share": {agent: values.tolist() for agent, values in share.items()}}


def best_set(scores: Scores, kind: ScenarioKind, ranking: list[str], seed: int) -> list[str] | None:
    """The model confidence set in the order of the ranking; None where it cannot be had."""
    names = model_confidence_set(scores, kind, seed)
    return None if names is None else [agent for agent in ranking if agent in names]
