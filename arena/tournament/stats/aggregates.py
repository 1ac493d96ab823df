"""Summaries of scores that one outlier cannot move, with intervals by scenario. S scenarios, K thresholds.

Agarwal, Schwarzer, Castro, Courville, Bellemare (2021), "Deep RL at the Edge of the Statistical Precipice", NeurIPS.
"""

import math
from collections.abc import Sequence

import numpy as np

from arena.metrics import TIE_TOLERANCE
from arena.tournament.leaderboard import Profiles
from arena.tournament.stats.growth import CONFIDENCE, MIN_SCENARIOS, Estimate, Floats, ScenarioKind, Scores

TRIM = 0.25  # of the scores, at each end
NUM_THRESHOLDS = 41  # of a performance profile
PROFILE_RANGE = (0.01, 0.99)  # quantiles of all scores between which it is drawn


def interquartile_mean(sample: Floats, kind: ScenarioKind) -> Estimate:
    """[S] scores (NaN = missing) -> mean of the middle half, with a symmetric t interval; None below MIN_SCENARIOS.

        se = s_w / ((1 - 2 trim) sqrt(S)),   h - 1 degrees of freedom

    s_w, h  standard deviation after the dropped scores are moved to the ends of the middle; number of scores kept

    Tukey, McLaughlin (1963), Sankhya A 25:331.
    """
    from scipy import stats
    from scipy.stats import mstats

    sample = sample[~np.isnan(sample)]
    if len(sample) == 0:
        return Estimate(math.nan, None, None)
    value = float(stats.trim_mean(sample, TRIM))
    if len(sample) < MIN_SCENARIOS[kind]:
        return Estimate(value, None, None)
    kept = len(sample) - 2 * int(TRIM * len(sample))
    spread = float(np.asarray(mstats.winsorize(sample, (TRIM, TRIM))).std(ddof=1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, kept - 1)) * spread / ((1 - 2 * TRIM) * math.sqrt(len(sample)))
    return Estimate(value, value - half, value + half)


def probability_of_improvement(mine: Floats, theirs: Floats, kind: ScenarioKind) -> Estimate:
    """[S] scores in the same scenarios (NaN = missing) -> chance to score higher, a tie counting half.

        (p + z^2 / 2S +- z sqrt(p (1 - p) / S + z^2 / 4S^2)) / (1 + z^2 / S)

    None below MIN_SCENARIOS; with ties the interval is longer than it need be.
    Wilson (1927), J. Am. Stat. Assoc. 22:209.
    """
    from scipy import stats

    lead = mine - theirs
    lead = lead[~np.isnan(lead)]
    num = len(lead)
    if num == 0:
        return Estimate(math.nan, None, None)
    size = max(np.nanmax(np.abs(mine)), np.nanmax(np.abs(theirs)))
    sign = np.where(np.abs(lead) <= TIE_TOLERANCE * size, 0.0, np.sign(lead))
    p = float((1 + sign).mean() / 2)
    if num < MIN_SCENARIOS[kind]:
        return Estimate(p, None, None)
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    center, half = p + z**2 / (2 * num), z * math.sqrt(p * (1 - p) / num + z**2 / (4 * num**2))
    scale = 1 + z**2 / num
    # An end that is 0 or 1 exactly must not become -1e-17.
    return Estimate(p, min(p, max(0.0, (center - half) / scale)), max(p, min(1.0, (center + half) / scale)))


def performance_profile(sample: Floats, thresholds: Floats) -> Floats:
    """[S] scores (NaN = missing) -> [K] share of scenarios with a score of at least each threshold; NaN without scores.

    Dolan, More (2002), Math. Program. 91:201.
    """
    ordered = np.sort(sample[~np.isnan(sample)])
    if len(ordered) == 0:
        return np.full(len(thresholds), np.nan)
    return 1 - np.searchsorted(ordered, thresholds, side="left") / len(ordered)


def profile_thresholds(samples: Sequence[Floats]) -> Floats:
    """[NUM_THRESHOLDS] thresholds that span the scores of a field."""
    scores = np.concatenate(samples)
    low, high = np.quantile(scores[~np.isnan(scores)], PROFILE_RANGE)
    return np.linspace(low, high, NUM_THRESHOLDS)


def profiles(scores: Scores, ranking: list[str]) -> Profiles:
    """Share of scenarios with at least each of K scores, by entrant."""
    columns = {agent: scores.values[:, scores.agents.index(agent)] for agent in ranking}
    thresholds = profile_thresholds(list(columns.values()))
    share = {agent: performance_profile(column, thresholds) for agent, column in columns.items()}
    return {"threshold": thresholds.tolist(), "share": {agent: values.tolist() for agent, values in share.items()}}
