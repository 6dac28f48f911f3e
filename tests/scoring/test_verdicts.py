"""Measures of critics: what a constant, a coin, a silent one and a seer look like, and which of them pass the gate."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinktwice.errors import DataError
from thinktwice.scoring.verdicts import Judgement, above_chance, balanced_accuracy, measure_critic


def judged(*kinds, start=0):
    """Judgements, one a problem: (right, says, how many[, score])."""
    rows = [(right, says, *rest) for right, says, count, *rest in kinds for _ in range(count)]
    return [Judgement(f"p{start + i}", *row) for i, row in enumerate(rows)]


def test_the_numbers_of_one_table():
    rows = judged((True, "correct", 40), (True, "incorrect", 20), (False, "incorrect", 24), (False, "correct", 16))
    found = measure_critic(rows)
    assert (found.n, found.problems) == (100, 100)
    assert found.accuracy.value == 0.64
    assert found.sensitivity.value == pytest.approx(2 / 3)
    assert found.specificity.value == 0.6
    assert found.balanced_accuracy.value == pytest.approx((2 / 3 + 0.6) / 2)
    assert found.mcc.value == pytest.approx((40 * 24 - 16 * 20) / math.sqrt(56 * 60 * 40 * 44))
    assert (found.base_rate.value, found.says_correct.value) == (0.6, 0.56)
    assert (found.auroc, found.brier, found.calibration_error, found.reliability) == (None, None, None, ())
    for rate in (found.accuracy, found.sensitivity, found.specificity, found.balanced_accuracy, found.mcc):
        assert rate.ci[0] < rate.value < rate.ci[1]
    assert measure_critic(rows) == found


def test_a_constant_is_right_as_often_as_the_answers_and_at_chance():
    found = measure_critic(judged((True, "correct", 90), (False, "correct", 30)))
    assert found.accuracy.value == 0.75
    assert found.balanced_accuracy.value == 0.5
    assert found.mcc.value == 0.0
    gate = above_chance(found)
    assert not gate.passed
    assert gate.why.startswith("balanced accuracy 0.500 (0.4")
    assert gate.why.endswith("on 120 problems: not surely above chance.")


def test_silence_is_wrong_in_accuracy_and_apart_elsewhere():
    spoken = judged((True, "correct", 30), (False, "incorrect", 30))
    silent = judged((True, "unparsed", 10), (True, "unsure", 5), (False, "abstained", 15), start=60)
    found, alone = measure_critic(spoken + silent), measure_critic(spoken)
    assert found.sensitivity.value == pytest.approx(30 / 45)
    assert found.specificity.value == pytest.approx(30 / 45)
    assert found.balanced_accuracy.value == found.accuracy.value == pytest.approx(2 / 3)
    assert (found.mcc.value, found.mcc.n) == (alone.mcc.value, 60) == (1.0, 60)
    assert found.unparsed.value == pytest.approx(10 / 90)
    assert found.unsure.value == pytest.approx(20 / 90)


def test_scores_are_measured_where_there_are_any():
    rows = judged(
        (True, "correct", 3, 0.9), (False, "correct", 1, 0.9), (False, "incorrect", 2, 0.1),
        (True, "incorrect", 2, 0.5), (False, "unsure", 1, 0.5), (True, "correct", 4),
    )  # fmt: skip
    found = measure_critic(rows)
    pairs = [(a > b) + 0.5 * (a == b) for a in [0.9] * 3 + [0.5] * 2 for b in (0.9, 0.1, 0.1, 0.5)]
    assert found.auroc.value == pytest.approx(np.mean(pairs))  # ties are half
    assert found.auroc.n == 9
    errors = [0.01] * 3 + [0.81] + [0.01] * 2 + [0.25] * 3
    assert found.brier.value == pytest.approx(np.mean(errors))
    expected = (4 * abs(0.9 - 0.75) + 2 * 0.1 + 3 * abs(0.5 - 2 / 3)) / 9
    assert found.calibration_error.value == pytest.approx(expected)
    assert [(b.n, b.observed) for b in found.reliability] == [(2, 0.0), (3, pytest.approx(2 / 3)), (4, 0.75)]


def test_intervals_are_over_problems():
    rng = np.random.default_rng(0)
    rows = []
    for problem in range(40):
        seen = rng.random() < 0.7  # whether the critic understands the problem at all
        for sample in range(16):
            right = sample % 2 == 0
            rows.append(Judgement(f"p{problem}", right, "correct" if right == seen else "incorrect", right == seen))
    together = measure_critic(rows)
    apart = measure_critic([Judgement(f"q{i}", r.right, r.says, r.score) for i, r in enumerate(rows)])
    for name in ("balanced_accuracy", "accuracy", "sensitivity", "specificity", "mcc", "auroc", "brier"):
        one, other = getattr(together, name), getattr(apart, name)
        assert one.value == pytest.approx(other.value)
        assert one.ci[1] - one.ci[0] > 2.5 * (other.ci[1] - other.ci[0]), name
    assert (together.sensitivity.n, together.sensitivity.questions) == (320, 40)


def test_a_bootstrap_interval_of_the_balanced_accuracy_is_the_known_one():
    rows = judged((True, "correct", 140), (True, "incorrect", 60), (False, "incorrect", 60), (False, "correct", 40))
    found = balanced_accuracy(rows)
    half = 1.96 * math.sqrt(0.7 * 0.3 / 200 + 0.6 * 0.4 / 100) / 2
    assert found.value == pytest.approx(0.65)
    assert found.ci == pytest.approx((0.65 - half, 0.65 + half), abs=0.006)


def test_right_on_all_of_a_few_is_not_certain():
    few = balanced_accuracy(judged((True, "correct", 3), (False, "incorrect", 3)))
    assert few.value == 1.0
    assert few.ci[0] < 0.7  # a bootstrap alone would say 1.0 to 1.0
    same = [Judgement("p", right, "correct" if right else "incorrect") for right in (True, False) for _ in range(50)]
    assert balanced_accuracy(same).ci[0] < 0.5  # fifty answers to one problem are one problem


def test_few_problems_do_not_pass_the_gate():
    found = measure_critic(judged((True, "correct", 200), (False, "incorrect", 9)))
    gate = above_chance(found)
    assert not gate.passed
    assert gate.why.startswith("200 problems have right answers and 9 wrong ones; it takes 10 of each")
    assert above_chance(found, fewest=9).passed
    assert not above_chance(measure_critic(judged((True, "correct", 50)))).passed


def test_a_weak_critic_passes_and_a_coin_seldom_does():
    rng = np.random.default_rng(1)

    def passes(sees, trials=60):
        count = 0
        for _ in range(trials):
            rows = []
            for problem in range(60):
                for right in (True, False):  # one right and one wrong answer a problem
                    called = right == (rng.random() < sees)
                    rows.append(Judgement(f"p{problem}", right, "correct" if called else "incorrect"))
            found = balanced_accuracy(rows)
            count += found is not None and found.ci[0] > 0.5
        return count / trials

    assert passes(0.5) <= 0.1
    assert passes(0.68) >= 0.85


def test_one_kind_of_answer_leaves_numbers_undefined():
    found = measure_critic(judged((True, "correct", 5, 0.9), (True, "unparsed", 5)))
    assert found.accuracy.value == found.sensitivity.value == 0.5
    assert (found.specificity, found.balanced_accuracy, found.mcc, found.auroc) == (None, None, None, None)
    assert found.brier.value == pytest.approx(0.01)


@given(
    st.lists(
        st.builds(
            Judgement,
            st.sampled_from("pqrs"),
            st.booleans(),
            st.sampled_from(["correct", "incorrect", "unsure", "abstained", "unparsed"]),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_any_judgements_have_numbers_within_their_intervals(rows):
    found = measure_critic(rows)
    for rate in (found.accuracy, found.sensitivity, found.specificity, found.balanced_accuracy, found.unparsed):
        if rate is not None:
            assert 0 <= rate.ci[0] <= rate.value + 1e-9
            assert rate.value - 1e-9 <= rate.ci[1] <= 1
    assert found.mcc is None or -1 <= found.mcc.value <= 1
    assert (found.balanced_accuracy is None) == (len({row.right for row in rows}) < 2)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no judgements"),
        ([Judgement("p7", True, "right")], "problem p7: 'right' is no verdict"),
        ([Judgement("p7", True, "correct", 1.2)], r"problem p7: the score 1.2 is no probability"),
        ([Judgement("p7", True, "correct", float("nan"))], "no probability"),
    ],
)
def test_what_is_no_judgement_is_refused(rows, message):
    with pytest.raises(DataError, match=message):
        measure_critic(rows)
