"""Replay of the statistics of a ranking: Sharpe ratios of one path of returns, Plackett-Luce skills, alpha-rank."""

import re
from collections.abc import Iterator

import numpy as np
import torch

from arena.tournament.stats import cycles, plackett_luce, ratios
from tools.verify.physics.checks import Check, compare
from tools.verify.physics.truth import Entry, TruthError

# Skills are the end of an iteration: two of them agree as far as each had converged.
SKILL_TOLERANCE = 1e-8
# Masses of a stationary law add to 1: an eigenvector knows the small ones to some roundings of 1 only.
UNIT_SUM = 1.0


def check_statistics(truth: Entry) -> Iterator[Check]:
    """Every number of the file, through the functions that make a leaderboard."""
    yield from _sharpe(truth)
    yield from _plackett_luce(truth.entry("plackett_luce"))
    yield from _alpha_rank(truth.entry("alpha_rank"))


def _sharpe(truth: Entry) -> Iterator[Check]:
    from scipy import stats

    returns = truth.tensor("returns", (-1,)).numpy()
    num_trials, variance = int(truth.number("n_trials")), truth.number("var_of_trial_sharpes")
    values = {
        "sharpe_per_period": ratios.sharpe_ratio(returns),
        "skew_biased": float(stats.skew(returns)),
        "kurtosis_pearson": float(stats.kurtosis(returns, fisher=False)),
        "expected_max_sharpe": ratios.expected_max_sharpe(variance, num_trials),
        "dsr": ratios.deflated_sharpe(returns, variance, num_trials),
    }
    for key in truth:
        if found := re.fullmatch(r"psr_vs_(\d+(?:p\d+)?)", key):  # psr_vs_0p02 is against a ratio of 0.02
            values[key] = ratios.probabilistic_sharpe(returns, _decimal(found[1]))
        elif found := re.fullmatch(r"min_track_record_length_(\d+)", key):
            values[key] = ratios.min_track_record_length(returns, confidence=float(f"0.{found[1]}"))
    for key, value in values.items():
        yield compare(f"g.{key}", value, truth.number(key))


def _plackett_luce(truth: Entry) -> Iterator[Check]:
    order = truth.tensor("rankings_best_first", (-1, -1)).long().numpy()
    rankings = plackett_luce.Rankings(order, np.ones(len(order)), np.arange(len(order)))
    theta = plackett_luce.fit(rankings, order.max() + 1, anchor=0, ridge=0.0).theta
    centred = theta - theta.mean()
    worth = np.exp(centred) / np.exp(centred).sum()
    for key, value in (("log_worth_centered", centred), ("worth", worth)):
        expected = truth.tensor(key, (len(value),))
        yield compare(f"g.plackett_luce.{key}", torch.from_numpy(value), expected, tolerance=SKILL_TOLERANCE)


def _alpha_rank(truth: Entry) -> Iterator[Check]:
    """Keys NAME hold payoffs, NAME_result_alphaX or NAME_result_alphaX_mY the masses."""
    results = [(key, re.fullmatch(r"(.+)_result_alpha(\d+(?:p\d+)?)(?:_m(\d+))?", key)) for key in truth]
    for key, found in results:
        if found is None:
            if not any(other and other[1] == key for _, other in results):
                raise TruthError(f"{truth.where} has payoffs {key!r} without a result")
            continue
        payoff = truth.tensor(found[1], (-1, -1)).numpy()
        mass = cycles.alpha_rank(payoff, _decimal(found[2]), int(found[3] or cycles.POPULATION))
        expected = truth.tensor(key, (len(payoff),))
        yield compare(f"g.cycles.{key}", torch.from_numpy(mass), expected, scale=UNIT_SUM)


def _decimal(text: str) -> float:
    """The number in a key: 0p02 is 0.02."""
    return float(text.replace("p", "."))
