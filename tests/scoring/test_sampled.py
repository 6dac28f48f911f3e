"""Measures of several samples a problem: by hand, by enumeration, and what they refuse."""

import itertools
import math

import pytest

from thinktwice.errors import DataError
from thinktwice.scoring.sampled import Drawn, entropy, flips, measure_samples, pass_at


def drawn(name, answers, gold, texts=None, lengths=None):
    k = len(answers)
    return Drawn(name, tuple(answers), tuple(a == gold for a in answers), texts or tuple(answers), lengths or (5,) * k)


@pytest.mark.parametrize(("samples", "right"), [(5, 0), (5, 1), (5, 2), (6, 4), (4, 4)])
def test_pass_at_k_is_the_mean_over_all_choices_of_k_samples(samples, right):
    which = [index < right for index in range(samples)]
    for k in range(1, samples + 1):
        every = [any(choice) for choice in itertools.combinations(which, k)]
        assert pass_at(k, samples, right) == pytest.approx(sum(every) / len(every))


@pytest.mark.parametrize(("k", "samples", "right"), [(0, 4, 1), (5, 4, 1), (2, 4, 5), (2, 4, -1)])
def test_pass_at_k_needs_k_samples(k, samples, right):
    with pytest.raises(DataError, match="cannot be told"):
        pass_at(k, samples, right)


def test_the_numbers_of_four_problems():
    problems = [
        drawn("agreed", ["7", "7", "7", "7"], "7", texts=("a", "a", "a", "b"), lengths=(1, 2, 3, 2)),
        drawn("minority", ["9", "9", "8", "7"], "7"),
        drawn("tie", ["7", "7", "8", "8"], "7"),
        drawn("silent", ["", "", "", "7"], "7"),
    ]
    found = measure_samples(problems)
    assert (found.k, found.problems) == (4, 4)
    assert found.one.value == pytest.approx((1 + 0.25 + 0.5 + 0.25) / 4)
    assert found.majority.value == pytest.approx((1 + 0 + 0.5 + 1) / 4)
    assert [k for k, _ in found.passed] == [1, 2, 4]
    passed = dict(found.passed)
    assert passed[1].value == pytest.approx(found.one.value)
    assert passed[2].value == pytest.approx((1 + 0.5 + 5 / 6 + 0.5) / 4)
    assert passed[4].value == 1.0
    assert found.distinct.value == pytest.approx((1 + 3 + 2 + 1) / 4)
    assert found.entropy.value == pytest.approx((0 + 1.5 + 1 + 0) / 4)
    assert found.unanswered.value == pytest.approx(3 / 16)
    assert found.unique_texts.value == pytest.approx((2 + 3 + 2 + 2) / 16)
    assert found.length.value == pytest.approx((2 + 5 + 5 + 5) / 4)
    assert found.one.low < found.one.value < found.one.high


def test_k_itself_is_measured_when_it_is_no_power_of_two():
    found = measure_samples([drawn("a", ["7"] * 6, "7"), drawn("b", ["8"] * 6, "7")])
    assert [k for k, _ in found.passed] == [1, 2, 4, 6]
    assert [k for k, _ in measure_samples([drawn("a", ["7"], "7")]).passed] == [1]


def test_a_model_that_answers_alike_gains_at_one_and_loses_at_k():
    wide = [drawn(f"p{i}", ["7", "1", "2", "3"], "7") for i in range(10)]
    sure = [drawn(f"p{i}", ["7"] * 4 if i < 4 else ["1"] * 4, "7") for i in range(10)]
    before, after = measure_samples(wide), measure_samples(sure)
    assert after.one.value > before.one.value
    assert dict(after.passed)[4].value < dict(before.passed)[4].value
    assert after.entropy.value == 0.0
    assert before.entropy.value == 2.0


def test_intervals_count_problems_not_samples():
    few = measure_samples([drawn(f"p{i}", ["7"] * 32 if i % 2 else ["1"] * 32, "7") for i in range(10)])
    assert few.one.high - few.one.low > 0.5


def test_entropy():
    assert entropy([]) == entropy(["", ""]) == entropy(["a", "a", ""]) == 0.0
    assert entropy(["a", "b", "", ""]) == 1.0
    assert entropy("aaab") == pytest.approx(0.25 * 2 + 0.75 * math.log2(4 / 3))


@pytest.mark.parametrize(
    ("problems", "message"),
    [
        ([], "no samples"),
        ([drawn("a", [], "7")], "no samples"),
        ([drawn("a", ["7"], "7"), drawn("b", ["7", "7"], "7")], r"problem b has \[2\] samples, the first problem 1"),
        ([Drawn("a", ("7", "7"), (True, True), ("x",), (1, 1))], r"problem a has \[1, 2\] samples"),
    ],
)
def test_samples_that_cannot_be_compared_are_refused(problems, message):
    with pytest.raises(DataError, match=message):
        measure_samples(problems)


def test_flips_both_ways():
    before = {f"p{i}": i < 10 for i in range(40)}
    after = {f"p{39 - i}": 4 <= 39 - i < 22 for i in range(40)}  # in another order
    found = flips(before, after)
    assert (found.right_to_wrong, found.wrong_to_right, found.stayed_right, found.stayed_wrong) == (4, 12, 6, 18)
    assert found.difference.value == pytest.approx(8 / 40)
    assert found.p == pytest.approx(2 * sum(math.comb(16, i) for i in range(5)) / 2**16)
    back = flips(after, before)
    assert (back.right_to_wrong, back.wrong_to_right, back.difference.value) == (12, 4, pytest.approx(-0.2))


def test_flips_need_the_same_problems():
    with pytest.raises(DataError, match="1 were answered once, 'b' first"):
        flips({"a": True, "b": False}, {"a": True})
    with pytest.raises(DataError):
        flips({}, {})
