"""The model confidence set: entrants that cannot be told from the best, once all worse ones have been sent away.

A detail beside tiers, which say the same pair by pair. Needs the optional package `arch` (extra `stats`).
"""

import warnings

import numpy as np

from arena.tournament.stats.growth import CONFIDENCE, MIN_SCENARIOS, ScenarioKind, Scores, complete_rows
from arena.tournament.stats.pairwise import paired_leads

NUM_DRAWS = 1000
MAX_AGENTS = 50  # beyond it this detail would cost more than the rest of the ranking


def model_confidence_set(scores: Scores, kind: ScenarioKind, seed: int) -> tuple[str, ...] | None:
    """Names in the 95 % set, sorted; None without `arch`, with too few scenarios or with more than MAX_AGENTS.

    Statistic T_max, scenarios resampled one by one. Entrants with equal scores throughout stand or fall together:
    the difference of two of them has no variance to divide by.
    Hansen, Lunde, Nason (2011), Econometrica 79:453.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the package's own imports
            from arch.bootstrap import MCS
    except ImportError:
        return None
    scores = complete_rows(scores)
    num = len(scores.agents)
    if len(scores.values) < MIN_SCENARIOS[kind] or num > MAX_AGENTS:
        return None
    lead, first, second = paired_leads(scores)
    twin = np.arange(num)  # the first entrant with the same scores
    for i, j in zip(first[(lead == 0).all(0)], second[(lead == 0).all(0)]):
        twin[j] = min(twin[j], twin[i])
    kept = np.flatnonzero(twin == np.arange(num))
    if len(kept) == 1:
        return scores.agents
    tests = MCS(
        -scores.values[:, kept],
        size=1 - CONFIDENCE,
        reps=NUM_DRAWS,
        block_size=1,
        method="max",
        bootstrap="circular",
        seed=seed,
    )
    tests.compute()
    included = {int(kept[int(str(index))]) for index in tests.included}  # typed as any label of a table
    return tuple(agent for agent, represented in zip(scores.agents, twin) if int(represented) in included)
