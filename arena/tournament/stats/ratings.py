"""Plackett-Luce ratings on the Elo scale: of the entrants of a tournament, and of the players of a training league."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from arena.tournament.stats import plackett_luce
from arena.tournament.stats.games import fold_matches
from arena.tournament.stats.growth import CONFIDENCE, Estimate

if TYPE_CHECKING:
    import pyarrow as pa

CASH_RATING = 1000.0
ELO = 400 / math.log(10)  # rating points per unit of Plackett-Luce log worth
MIN_RATED_SCENARIOS = 8  # the interval of the rating covers from here on


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


def rate_players(players: Sequence[str], wins: Mapping[tuple[str, str], float], anchor: str) -> dict[str, float]:
    """Player -> Plackett-Luce rating on the Elo scale, the anchor = 1000, from how often a finished ahead of b.

    Of two-player rankings this is the model of Bradley and Terry. As in `rating_estimates`, one virtual win and loss of
    everyone against the anchor keeps who always wins finite. No intervals: the games of a training share their bars.
    """
    place = {name: index for index, name in enumerate(players)}
    games = {(place[a], place[b]): count for (a, b), count in wins.items() if count > 0}
    rankings = plackett_luce.Rankings(
        order=np.array(list(games), dtype=np.int64).reshape(-1, 2),
        weight=np.array(list(games.values()), dtype=np.float64),
        cluster=np.zeros(len(games), dtype=np.int64),
    )
    skills = plackett_luce.fit(rankings, len(players), place[anchor])
    return {name: float(CASH_RATING + ELO * skill) for name, skill in zip(players, skills.theta)}
