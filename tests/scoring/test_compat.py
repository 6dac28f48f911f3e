"""The public code's rules, with the faults that the strict scores do not have beside them."""

import pytest

from thinktwice.scoring import choice, compat, math, numeric


def test_the_first_statement_counts_and_strings_are_compared():
    for said, equal in (("18", 1), ("18.", 0), ("18.00", 0), ("1,8", 1)):
        assert compat.number(f"The answer is: {said}", "18").value == equal, said
    for said in ("18", "18.", "18.00"):
        assert numeric.score(f"The answer is: {said}", "18").value == 1, said
    twice = "The answer is: 5\nNo, the answer is: 18"
    assert compat.number(twice, "18").value == 0
    assert numeric.score(twice, "18").value == 1
    assert compat.number("the reply\nThe answer is: 1,234", "1,234").value == 1
    assert compat.number("no answer", "18").answer is None


def test_svamp_trims_zeros():
    assert compat.number("The answer is: 18.0", "18", trim_zeros=True).value == 1
    assert compat.number("The answer is: 18.50", "18.5", trim_zeros=True).value == 1
    assert compat.number("The answer is: 18.", "18", trim_zeros=True).value == 1


def test_case_decides_true_and_false_there_and_not_here():
    assert compat.number("The answer is: true", "True").value == 0
    assert choice.score("The answer is: true", "True", choice.TRUE_FALSE).value == 1


def test_the_gold_letter_is_found_in_garbage():
    garbage = "useRal </tool_call> data x y"
    assert compat.option(garbage, "A").value == 1  # the last A of "data"
    assert choice.score(garbage, "A").value == 0
    assert compat.option("The answer is: Bad luck", "B").value == 1
    assert choice.score("The answer is: Bad luck", "B").value == 0
    assert compat.option("The answer is: ", "B").answer is None
    assert compat.option("xyz", "B").answer is None
    assert compat.option("The answer is: N", "N").value == 0  # only A to E...
    assert compat.option("The answer is: N", "N", "ABCDEFGHIJKLMN").value == 1  # ...but for TruthfulQA


@pytest.mark.parametrize(
    ("text", "reference", "there", "here"),
    [
        ("The answer is: 3.4", "3", 1, 0),
        ("The answer is: 0.51", r"\frac{1}{2}", 1, 0),
        ("The answer is: 0.53", r"\frac{1}{2}", 0, 0),
        ("The answer is: 2/4", r"\frac{1}{2}", 1, 1),
        (r"so \boxed{x+1}", "x + 1", 1, 1),
        (r"so \boxed{1+x}", "x + 1", 0, 1),
        ("it has 7 of them", "7", 1, 0),  # the last number anywhere
        ("The answer is: __import__('os').getcwd()", "7", 0, 0),
    ],
)
def test_four_percent_and_rounding_are_tolerated_there_only(text, reference, there, here):
    assert compat.expression(text, reference).value == there
    assert math.score(text, reference).value == here
