import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinktwice.errors import DataError
from thinktwice.scoring import numeric

SOLUTIONS = Path(__file__).parents[2] / "../shared/data/gsm8k/example_model_solutions_6b.jsonl"


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("model", ["6b_finetuning", "6b_verification"])
def test_agrees_with_every_published_gsm8k_label(model, strict):
    if not SOLUTIONS.exists():
        pytest.skip("shared/data is not here")
    rows = [json.loads(line) for line in SOLUTIONS.read_text(encoding="utf-8").splitlines()]
    wrong = [
        row["question"]
        for row in rows
        if bool(
            numeric.score(row[model]["solution"], row["ground_truth"].rsplit("A:", 1)[1].strip(), strict=strict).value
        )
        != row[model]["is_correct"]
    ]
    assert len(rows) == 1319
    assert wrong == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("18", 18),
        ("$18.00", 18),
        ("5.0", 5),
        ("-5", -5),
        ("\u22125", -5),
        ("-$5", -5),
        ("$-5", -5),
        ("+5", 5),
        ("1,234", 1234),
        ("1,00,000", 100_000),
        ("1\u202f234", None),
        ("1/2", Fraction(1, 2)),
        ("-1/2", Fraction(-1, 2)),
        ("1 1/2", Fraction(3, 2)),
        ("-1 1/2", Fraction(-3, 2)),
        (r"\frac{1}{2}", Fraction(1, 2)),
        (".5", Fraction(1, 2)),
        ("5.", 5),
        ("1.5e3", 1500),
        ("50 %", 50),
        ("3 apples", 3),
        ("2 million", 2_000_000),
        ("1/0", None),
        ("10-5", None),
        ("1,2", None),
        ("1.2.3", None),
        ("1/2/3", None),
        ("1e999999999", None),
        ("9" * 101, None),
        ("nan", None),
        ("inf", None),
        ("", None),
    ],
)
def test_number(text, value):
    assert numeric.number(text) == value


@pytest.mark.parametrize(
    ("reply", "values"),
    [
        ("She has 3.\n#### 5", [5]),
        ("#### $1,234 dollars", [1234]),
        ("####5", [5]),
        ("so\nA: 5", [5]),
        ("The answer is 5.", [5]),
        ("The answer is **$1,234**.", [1234]),
        ("Final answer: x = 5", [5]),
        (r"so $$\boxed{\frac{3}{4}}$$", [Fraction(3, 4)]),
        (r"\boxed{\$18\text{ in all}}", [18]),
        ("#### 5 + 3 = 8", [8]),
        ("The answer is 16 - 3 = 13", [13]),
        ("#### 5 + 3", None),
        ("#### 5-6", None),
        ("#### 5 or 6", [5, 6]),
        ("The answer is 5, not", [5]),
        ("#### 4\n#### 7", [7]),
        ("#### 4\nthe answer is hard to find", [4]),
        ("16 - 3 = 13", None),
        ("a: b A: 5", None),
        ("#### " + "9" * 200, None),
        ("", None),
    ],
)
def test_strict_takes_the_last_statement(reply, values):
    assert numeric.stated(reply) == values


@pytest.mark.parametrize(
    ("reply", "value"), [("16-3", 3), ("16 - 3 = 13.", 13), ("7/2.", Fraction(7, 2)), ("a -4", -4), ("none", None)]
)
def test_flexible_takes_the_last_number(reply, value):
    assert numeric.last(reply) == (None if value is None else [value])


def test_exact_means_no_tolerance():
    assert numeric.score("#### 0.3333333333333333", "1/3").value == 0
    assert numeric.score("#### 2/6", "1/3").value == 1
    assert numeric.score("#### 3.14", "3.140").value == 1


def test_hedging_is_not_an_answer():
    assert numeric.score("#### 5 or 6", "5").value == 0
    assert numeric.score("#### 5 or 6", "6").value == 0


def test_several_numbers_are_all_needed_in_any_order():
    assert numeric.score("#### 24 and 14", "14; 24").value == 1
    assert numeric.score("#### 14 cartons of 2 and 24 of 3", "14; 24").value == 0  # which two are meant?
    assert numeric.score("#### 14 cartons and 24 boxes", "14; 24").value == 1
    assert numeric.score("#### x = 14, y = 24", "14; 24").value == 1
    assert numeric.score("#### 14", "14; 24").value == 0
    assert numeric.score("#### 14, 14", "14; 24").value == 0
    assert numeric.score("#### 14, 24, 3", "14; 24").value == 0
    assert numeric.score("first 24, then 14", "14; 24", strict=False).value == 1


def test_score_says_why():
    right, wrong, none = (numeric.score(reply, "18") for reply in ("#### 18.0", "#### -0.125", "eighteen"))
    assert (right.value, right.answer) == (1.0, "18")
    assert (wrong.value, wrong.answer, wrong.why) == (0.0, "-0.125", "stated -0.125; expected 18")
    assert (none.value, none.answer, none.scored) == (0.0, None, True)
    assert "no answer is stated" in none.why


def test_a_reference_that_is_no_number_is_an_error_not_a_zero():
    with pytest.raises(DataError, match="not a number"):
        numeric.score("#### 5", "five")


@pytest.mark.parametrize(
    "bomb",
    [
        "9" * 300_000,
        "11," * 100_000,
        "1/1" * 100_000,
        "1 " * 100_000,
        "#### " * 20_000,
        r"\boxed{" * 20_000,
        "#### " + "(" * 300_000,
        "#### " + "ab = " * 60_000,
        "#### 5" + " or" * 60_000,
        "answer" + " " * 300_000,
    ],
    ids=lambda bomb: bomb[:8],
)
@pytest.mark.timeout(30)
def test_no_reply_is_a_bomb(bomb):
    """Quadratic scanning of these would take minutes to hours."""
    numeric.score(bomb, "5")
    numeric.score(bomb, "5", strict=False)


@given(st.fractions(max_denominator=10**6).filter(lambda f: abs(f) < 10**12))
def test_what_we_write_we_read(value):
    assert numeric.number(numeric.write(value)) == value
    assert numeric.score(f"#### {numeric.write(value)}", numeric.write(value)).value == 1


@given(st.text(max_size=60))
def test_any_text_is_scored(text):
    for strict in (True, False):
        assert numeric.score("#### " + text, "5", strict=strict).value in (0.0, 1.0)
