"""Measures of verifiers: what a constant, a follower and a seer look like, and the seed's logs digit by digit."""

import math
from pathlib import Path

import numpy as np
import pytest

from thinktwice.errors import DataError
from thinktwice.methods.transplant.seed_data import read_arguments, seed_test
from thinktwice.scoring.best_of import Sampled, best_of_n
from thinktwice.scoring.verifier import (
    Verdict,
    auroc,
    brier,
    calibration_error,
    clustered,
    collapsed,
    means_of_batches,
    reliability,
    verification,
)

SEED = Path(__file__).parents[3] / "shared" / "data" / "cot_correctness" / "dataset.csv"
SURE, NOT = math.log(0.9), math.log(0.1)


def both_orders(name, choose, *, argued_for=0, right=0):
    """Verdicts on candidates (0, 1) in both orders; `choose(order)` is the slot chosen."""
    found = []
    for order in ((0, 1), (1, 0)):
        slot = choose(order)
        said = (SURE, NOT) if slot == 0 else (NOT, SURE)
        found.append(Verdict(name, order, said, order.index(right), order.index(argued_for)))
    return found


def run(choose, n=20):
    """Half of the arguments choose the right candidate."""
    return [v for i in range(n) for v in both_orders(f"q{i}", choose, argued_for=i % 2)]


def test_a_constant_is_right_half_of_the_time_and_never_consistent():
    found = verification(run(lambda order: 0))
    assert (found.accuracy.value, found.consistency.value, found.first_slot.value) == (0.5, 0.0, 1.0)
    assert found.collapsed
    assert found.accuracy.n == 40
    assert found.accuracy.questions == 20
    assert found.when_argument_right.value == found.when_argument_wrong.value == 0.5
    assert found.brier == pytest.approx((0.01 + 0.81) / 2)


def test_a_follower_is_told_from_a_seer_by_the_conditionals():
    verdicts = [v for i in range(20) for v in both_orders(f"q{i}", lambda o, i=i: o.index(i % 2), argued_for=i % 2)]
    follower = verification(verdicts)
    assert (follower.accuracy.value, follower.consistency.value, follower.first_slot.value) == (0.5, 1.0, 0.5)
    assert (follower.when_argument_right.value, follower.when_argument_wrong.value) == (1.0, 0.0)
    assert not follower.collapsed
    seer = verification(run(lambda order: order.index(0)))
    assert (seer.accuracy.value, seer.when_argument_wrong.value, seer.when_argument_wrong.n) == (1.0, 1.0, 20)
    assert seer.calibration_error == pytest.approx(0.1)


def test_intervals_count_questions_not_verdicts():
    values = [1.0, 1.0, 0.0, 0.0] * 25
    alone = clustered(values, range(100))
    together = clustered(values, [i // 2 for i in range(100)])
    assert together.ci[1] - together.ci[0] > 1.3 * (alone.ci[1] - alone.ci[0])
    assert clustered([1.0, 0.0, 1.0], ["a", "a", "b"]).value == pytest.approx(2 / 3)


def test_ties_are_shared_out():
    tie = Verdict("q", (0, 1), (math.log(0.5),) * 2, 0)
    assert tie.slot is None
    assert tie.credit == 0.5
    assert not collapsed([tie] * 10)


def test_collapse_begins_at_95_per_cent():
    first, second = Verdict("q", (0, 1), (SURE, NOT), 0), Verdict("q", (0, 1), (NOT, SURE), 0)
    assert collapsed([first] * 19 + [second])
    assert not collapsed([first] * 18 + [second] * 2)


@pytest.mark.skipif(not SEED.exists(), reason="the seed's dataset.csv is not in ../shared/data")
def test_constants_are_the_seeds_logged_evaluations():
    """`f_c .518 f_c_oc .773 f_c_oi 0.0` (eval 3) and `.482 .227 1.0` (eval 1); the true rates are others."""
    items = read_arguments(SEED)
    test = [items[index] for index in seed_test(len(items))]

    def logged(slot):
        said = (SURE, NOT) if slot == 0 else (NOT, SURE)
        return [Verdict(i.id, (0, 1), said, i.right, i.argued_for) for i in test]

    def digits(values):
        return [f"{value:.3}" for value in values]

    assert digits(means_of_batches(logged(0)))[:2] == ["0.518", "0.773"]
    assert digits(means_of_batches(logged(1)))[:2] == ["0.482", "0.227"]
    always_first = verification(logged(0))
    assert round(always_first.accuracy.value, 3) == 0.491
    assert always_first.collapsed
    assert always_first.consistency is None
    assert always_first.when_argument_right.n + always_first.when_argument_wrong.n == 275


def test_auroc():
    assert auroc([0.9, 0.8, 0.1], [True, True, False]) == 1.0
    assert auroc([0.5, 0.5, 0.5], [True, False, True]) == 0.5
    assert auroc([0.1, 0.4, 0.35, 0.8], [False, False, True, True]) == 0.75
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 5, 60).astype(float), rng.random(60) < 0.5
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[labels] for b in scores[~labels]]
    assert auroc(scores, labels) == pytest.approx(np.mean(pairs))
    with pytest.raises(DataError, match="one kind"):
        auroc([0.1], [True])


def test_reliability():
    said, was = [0.05, 0.05, 0.95, 1.0], [0, 1, 1, 1]
    bins = reliability(said, was)
    assert [(b.low, b.n, b.observed) for b in bins] == [(0.0, 2, 0.5), (0.9, 2, 1.0)]
    assert calibration_error(said, was) == pytest.approx((2 * 0.45 + 2 * 0.025) / 4)
    assert brier([0.5, 0.5], [0, 1]) == 0.25


def test_verdicts_that_are_none():
    with pytest.raises(DataError, match="no verdicts"):
        verification([])
    with pytest.raises(DataError, match="best_of_n"):
        verification([Verdict("q", (0, 1, 2), (0.0, 0.0, 0.0), 0)])


# -- best of n ---------------------------------------------------------------------------------------------------------


def sampled(name, answers, gold, scores):
    return Sampled(name, tuple(answers), tuple(a == gold for a in answers), tuple(scores))


def test_best_of_n_against_the_majority_at_equal_samples():
    questions = [
        sampled("minority", "7331", "7", (-0.1, -2, -2, -1)),  # the best score finds what the vote misses
        sampled("majority", "5569", "5", (-3, -3, -0.1, -2)),  # and misses what the vote finds
        sampled("hopeless", "8899", "4", (-1, -1, -1, -1)),
        sampled("tie", "1122", "1", (-1, -1, -1, -1)),
    ]
    found = best_of_n(questions, 4)
    assert found.picked.value == pytest.approx((1 + 0 + 0 + 0.5) / 4)
    assert found.majority.value == pytest.approx((0 + 1 + 0 + 0.5) / 4)
    assert found.passed.value == 0.75
    assert found.one.value == pytest.approx((0.25 + 0.5 + 0 + 0.5) / 4)
    assert found.gain.value == 0.0
    assert found.gain.problems == 4


def test_groups_of_n_count_a_question_once():
    questions = [sampled("a", "1212", "1", (0, -1, 0, -1)), sampled("b", "22", "1", (0, -1))]
    found = best_of_n(questions, 2)
    assert found.picked.value == 0.5
    assert found.majority.value == 0.25
    assert found.picked.problems == 2


def test_samples_without_an_answer_do_not_vote():
    assert best_of_n([sampled("a", ("", "", "", "1"), "1", (0, 0, 0, -5))], 4).majority.value == 1.0
    assert best_of_n([Sampled("a", ("", ""), (False, False), (0.0, 0.0))], 2).majority.value == 0.0


def test_too_few_samples():
    with pytest.raises(DataError, match="'a' has 2 samples, fewer than n=4"):
        best_of_n([sampled("a", "12", "1", (0, 0))], 4)
