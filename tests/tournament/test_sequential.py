"""Looking after every batch must not raise the error; decisions, intervals and Holm agree with each other."""

import numpy as np
import pytest

from arena.tournament.stats import sequential
from arena.tournament.stats.sequential import BETTER, BURN_IN, EQUAL, UNDECIDED, WORSE, Bets

SD = 0.05  # of a paired difference in log growth


def t3(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return SD * generator.standard_t(3, shape) / np.sqrt(3)


def skewed(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A loss in 5 % of the scenarios pays for small gains in the others; mean 0."""
    return SD * (0.3 * generator.normal(size=shape) + np.where(generator.random(shape) < 0.05, -4.36, 0.2295))


def played(differences: np.ndarray, margin: float = 0.0, batch: int = 25) -> tuple[Bets, np.ndarray]:
    """The state at the end, and p-values [looks, P] after every batch."""
    bets, looks = sequential.start(differences[:BURN_IN], margin), []
    for first in range(BURN_IN, len(differences), batch):
        bets = sequential.advance(bets, differences[first : first + batch])
        looks.append(sequential.p_values(bets))
    return bets, np.array(looks)


def naive_rejections(differences: np.ndarray, batch: int = 25) -> int:
    """Columns that a z test at 5 % rejects at one look or another."""
    num = np.arange(1, len(differences) + 1)[:, None]
    mean = differences.cumsum(0) / num
    variance = (np.square(differences).cumsum(0) / num - np.square(mean)) * num / np.maximum(num - 1, 1)
    looks = slice(BURN_IN - 1, None, batch)
    return int((np.abs(mean[looks]) > 1.96 * np.sqrt(variance[looks] / num[looks])).any(0).sum())


@pytest.mark.parametrize("law", [t3, skewed])
def test_error_under_the_null_whatever_the_number_of_looks(law) -> None:
    """2000 runs of at most 2000 scenarios: 100 rejections allowed, 131 with 3 standard errors; naive looks fail."""
    differences = law(np.random.default_rng(1), (2000, 2000))
    bets, looks = played(differences)
    assert (looks[-1] <= 0.05).sum() <= 131
    assert naive_rejections(differences) >= 500
    assert (np.diff(looks, axis=0) <= 0).all(), "a decision stands"
    assert set(sequential.verdicts(bets)) == {UNDECIDED}, "2000 pairs adjusted for each other"


@pytest.mark.parametrize(("edge", "most"), [(0.1, 2000), (0.2, 900), (0.5, 400)])
def test_an_edge_is_found_in_the_right_direction(edge: float, most: int) -> None:
    """Scenarios until the median run decides, edges in standard deviations."""
    differences = t3(np.random.default_rng(2), (3000, 200)) + edge * SD
    bets, looks = played(differences)
    needed = BURN_IN + 25 * (1 + (looks <= 0.05).argmax(0))
    assert np.median(np.where(looks[-1] <= 0.05, needed, np.inf)) <= most
    one = bets._replace(bound=bets.bound[:1], log_fortune=bets.log_fortune[:, :1], log_peak=bets.log_peak[:, :1])
    assert sequential.verdicts(one).tolist() == [BETTER]


def test_mirrored_differences_mirror_everything() -> None:
    differences = t3(np.random.default_rng(3), (900, 3)) + np.array([0.03, 0.0, -0.002])
    bets, looks = played(differences, margin=0.01)
    mirrored, same = played(-differences, margin=0.01)
    np.testing.assert_allclose(looks, same, rtol=1e-12)
    swap = {BETTER: WORSE, WORSE: BETTER, EQUAL: EQUAL, UNDECIDED: UNDECIDED}
    assert [swap[said] for said in sequential.verdicts(bets)] == sequential.verdicts(mirrored).tolist()
    low, high = sequential.interval(differences[BURN_IN:], bets.bound, 3)
    np.testing.assert_allclose(sequential.interval(-differences[BURN_IN:], bets.bound, 3), (-high, -low), atol=1e-12)


def test_the_size_of_batches_changes_no_fortune() -> None:
    differences = t3(np.random.default_rng(4), (450, 2)) + 0.01
    whole, pieces = played(differences, batch=400)[0], played(differences, batch=10)[0]
    np.testing.assert_allclose(whole.log_fortune, pieces.log_fortune, atol=1e-9)
    assert (pieces.log_peak >= whole.log_peak - 1e-9).all(), "more looks, never less evidence"


def test_one_fortune_by_hand() -> None:
    """K+ of two differences is the plain average of plain products."""
    burn_in = np.full((BURN_IN, 1), 0.01)
    bets = sequential.advance(sequential.start(burn_in, 0.0), np.array([[0.25], [-2.0]]))
    assert bets.bound.tolist() == [0.5]
    fortune = np.mean([(1 + stake * 0.5) * (1 - stake) for stake in sequential.STAKES])  # -2 counts as -0.5
    assert sequential._log_mean(bets.log_fortune)[0, 0] == pytest.approx(np.log(fortune))
    spread = np.tile([[0.2], [-0.2]], (BURN_IN // 2, 1))
    assert sequential.start(spread, 0.0).bound[0] == pytest.approx(10 * spread.std(ddof=1))


def test_equal_within_the_margin_is_a_claim_of_its_own() -> None:
    """Means 0, just at the margin and clearly beyond it: equality is claimed of the first and never of the others."""
    generator = np.random.default_rng(5)
    margin, runs = 0.5 * SD, 200
    for mean, claim in ((0.0, EQUAL), (margin, BETTER), (2 * margin, BETTER)):
        bets, _ = played(t3(generator, (2500, runs)) + mean, margin)
        claimed = np.array([BETTER, WORSE, EQUAL])[bets.log_peak.argmax(0)][sequential.p_values(bets) <= 0.05]
        assert (claimed == claim).sum() > 0.9 * runs
        assert (claimed != claim).sum() <= 0.05 * runs
    assert (played(t3(generator, (900, 50)))[0].log_peak[2] <= 0).all(), "without a margin nothing is equal"


def test_holm_lets_later_pairs_decide_sooner() -> None:
    """At 5 %: 3 pairs need 1/60, then 1/40, then 1/20."""

    def verdicts_of(*p: float) -> list[str]:
        log_peak = np.zeros((3, len(p)))
        log_peak[0] = -np.log(p)
        shape = (4, len(p), len(sequential.STAKES))
        return sequential.verdicts(Bets(np.ones(len(p)), 0.0, np.zeros(shape), log_peak)).tolist()

    assert verdicts_of(1 / 61, 1 / 41, 1 / 21) == [BETTER] * 3
    assert verdicts_of(1 / 59, 1 / 41, 1 / 21) == [UNDECIDED] * 3
    assert verdicts_of(1 / 61, 1 / 39, 1 / 21) == [BETTER, UNDECIDED, UNDECIDED]
    assert verdicts_of(1 / 61) == [BETTER]


def test_intervals_hold_the_mean_and_agree_with_the_bets() -> None:
    generator = np.random.default_rng(6)
    mean = 0.02
    differences = t3(generator, (1200, 120)) + mean
    bets, _ = played(differences)
    low, high = sequential.interval(differences[BURN_IN:], bets.bound, 1)
    assert ((low <= mean) & (mean <= high)).mean() >= 0.95
    assert np.median(high - low) < 0.7 * SD
    # An interval excludes 0 exactly where the fortune of one direction is beyond its threshold.
    fortune = sequential._log_mean(bets.log_fortune)[:2]
    np.testing.assert_array_equal((low > 0) | (high < 0), fortune.max(0) >= np.log(2 / 0.05))
    wider = sequential.interval(differences[BURN_IN:], bets.bound, 10)
    assert (wider[0] <= low).all()
    assert (wider[1] >= high).all()


def test_no_data_excludes_nothing_within_the_bound() -> None:
    bound = np.array([0.5, 2.0])
    low, high = sequential.interval(np.empty((0, 2)), bound, 1)
    assert (low.tolist(), high.tolist()) == ((-bound).tolist(), bound.tolist())


def test_identical_entrants_stay_undecided_or_become_equal() -> None:
    nothing = np.zeros((2000, 1))
    assert sequential.verdicts(played(nothing)[0]).tolist() == [UNDECIDED]
    assert sequential.verdicts(played(nothing, margin=0.01)[0]).tolist() == [EQUAL]


def test_bad_input_is_explained() -> None:
    with pytest.raises(ValueError, match=r"burn_in has shape \(49, 2\), expected \(50, pairs\)"):
        sequential.start(np.zeros((49, 2)), 0.0)
    with pytest.raises(ValueError, match="margin is -1"):
        sequential.start(np.zeros((50, 2)), -1.0)


def test_decisions_come_in_scenario_order_and_stand() -> None:
    """Three pairs at once: what is decided after n batches is what a longer run had decided by then."""
    differences = t3(np.random.default_rng(7), (1500, 3)) + SD * np.array([0.5, -0.3, 0.0])
    final = sequential.decide(differences, 0.4 * SD, 25)
    assert [decision.verdict for decision in final] == [BETTER, WORSE, EQUAL]
    for num in (60, 200, 333, 700, 1200):
        for decision, end in zip(sequential.decide(differences[:num], 0.4 * SD, 25), final):
            if end.scenarios <= num:
                assert decision[:2] == end[:2]
            else:
                assert decision[:2] == (UNDECIDED, BURN_IN + (num - BURN_IN) // 25 * 25)
    assert sequential.decide(differences[:1499], 0.4 * SD, 25) == sequential.decide(differences[:1475], 0.4 * SD, 25)
    for decision, mean in zip(final, SD * np.array([0.5, -0.3, 0.0])):
        assert decision.low < mean < decision.high


def test_nothing_is_decided_before_the_bound_is_known_or_from_holes() -> None:
    differences = t3(np.random.default_rng(8), (200, 2)) + SD
    assert sequential.decide(differences[:49], 0.0, 25) == [(UNDECIDED, 0, -np.inf, np.inf)] * 2
    differences[199] = np.nan  # in a batch that is not complete
    assert sequential.decide(differences[:200], 0.0, 40)[0].verdict == BETTER
    differences[100] = np.nan
    with pytest.raises(ValueError, match="only when both have played"):
        sequential.decide(differences, 0.0, 40)


def test_claims_about_a_field_are_jointly_right() -> None:
    """200 fields of six pairs, half of them equal: a wrong claim in 10 allowed, 19 with 3 standard errors."""
    generator, wrong = np.random.default_rng(9), 0
    means = SD * np.array([0.0, 0.0, 0.0, 0.3, -0.3, 0.15])
    for _ in range(200):
        found = sequential.decide(t3(generator, (600, 6)) + means, 0.0, 50)
        claims = np.array([{BETTER: 1, WORSE: -1}.get(decision.verdict, 0) for decision in found])
        wrong += bool(((claims != 0) & (claims != np.sign(means))).any())
    assert wrong <= 19
