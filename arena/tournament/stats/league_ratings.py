"""Ratings of a training league's players, by the leaderboard's own fit."""

from collections.abc import Mapping, Sequence

import numpy as np

from arena.tournament.stats import plackett_luce
from arena.tournament.stats.leaderboard import CASH_RATING, ELO


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
