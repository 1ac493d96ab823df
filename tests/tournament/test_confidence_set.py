"""The model confidence set keeps the best and its equals; without its package it says nothing."""

import sys

import numpy as np
import pytest

from arena.tournament.stats.growth import Scores
from arena.tournament.stats.pairwise import model_confidence_set

NAMES = ("a", "b", "c", "d")


def scores_of(means: list[float], num: int = 200, seed: int = 0) -> Scores:
    generator = np.random.default_rng(seed)
    values = np.array(means) + generator.normal(size=(num, len(means))) + 3 * generator.normal(size=(num, 1))
    return Scores(np.arange(num), NAMES[: len(means)], values)


@pytest.fixture
def _arch() -> None:
    pytest.importorskip("arch", reason="the optional package arch (extra stats) is not installed")


@pytest.mark.usefixtures("_arch")
def test_the_best_stays_and_the_clearly_worse_go() -> None:
    assert model_confidence_set(scores_of([0.0, 1.0, -1.0, 1.0]), "seed", 1) == ("b", "d")
    assert model_confidence_set(scores_of([0.0, 2.0, -1.0, 1.0]), "seed", 1) == ("b",)


@pytest.mark.usefixtures("_arch")
def test_equals_stay_together() -> None:
    """95 % of null fields keep all; 40 fields keep at most 6 short (3 standard errors)."""
    short = sum(len(model_confidence_set(scores_of([0.0] * 4, 100, seed), "seed", 1) or ()) < 4 for seed in range(40))
    assert short <= 6


@pytest.mark.usefixtures("_arch")
def test_copies_stand_or_fall_together() -> None:
    scores = scores_of([1.0, 1.0, -1.0, -1.0])
    scores.values[:, 1], scores.values[:, 3] = scores.values[:, 0], scores.values[:, 2]
    assert model_confidence_set(scores, "seed", 1) == ("a", "b")
    same = scores._replace(values=np.repeat(scores.values[:, :1], 4, 1))
    assert model_confidence_set(same, "seed", 1) == NAMES


@pytest.mark.usefixtures("_arch")
def test_too_few_scenarios_say_nothing() -> None:
    assert model_confidence_set(scores_of([0.0, 1.0], num=49), "seed", 1) is None


def test_without_the_package_there_is_no_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "arch.bootstrap", None)
    assert model_confidence_set(scores_of([0.0, 1.0]), "seed", 1) is None
