import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinktwice.scoring import choice
from thinktwice.scoring.choice import LETTERS, TRUE_FALSE


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("It sank.\nThe answer is: True", ("True",)),
        ("The answer is: true.", ("True",)),
        ("the answer is FALSE", ("False",)),
        ("The answer is: **False**", ("False",)),
        ("Final answer: True", ("True",)),
        (r"\boxed{\text{False}}", ("False",)),
        ("The answer is: True\nNo. The answer is: False", ("False",)),  # the last statement, not the first
        ("The answer is: True\nthe answer is hard to defend", ("True",)),
        ("The answer is: True or False", ("True", "False")),
        ("The answer is: True/False", ("True", "False")),
        ("The answer is: Truely", None),
        ("The answer is: not true", None),
        ("The answer is:\nTrue", None),
        ("True", None),
        ("It is false that it sank. Yes.", None),
        ("", None),
    ],
)
def test_true_or_false(reply, found):
    assert choice.stated(reply, TRUE_FALSE) == found


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("The answer is: B", ("B",)),
        ("The answer is: (B) a bank", ("B",)),
        ("The answer is: B. a bank", ("B",)),
        ("The answer is: B) a bank", ("B",)),
        ("The answer is: b", ("B",)),
        ("The answer is: (b)", ("B",)),
        ("The answer is option B.", ("B",)),
        (r"The answer is: $\boxed{\text{(B)}}$", ("B",)),
        ("The answer is: B, because a bank has money", ("B",)),
        ("The answer is: A. bank", ("A",)),
        ("The answer is: A", ("A",)),
        ("The answer is: A bank", None),
        ("The answer is: a bank", None),
        ("The answer is: I do not know", None),
        ("The answer is: I'm not sure", None),
        ("The answer is: Bad luck", None),  # the public rule reads B
        ("The answer is: A or B", ("A", "B")),
        ("The answer is: (A) and (C)", ("A", "C")),
        ("The answer is: B2", None),
        ("So B it is, as A and C are wrong", None),  # a letter in the text is no statement
    ],
)
def test_letters(reply, found):
    assert choice.stated(reply, LETTERS) == found


def test_hedging_is_wrong_and_no_answer_says_so():
    right, hedged, none, wrong = (
        choice.score(reply, "B") for reply in ("The answer is: B", "The answer is: A or B", "B!", "The answer is: C")
    )
    assert [s.value for s in (right, hedged, none, wrong)] == [1, 0, 0, 0]
    assert (hedged.answer, wrong.answer, none.answer, none.scored) == ("A or B", "C", None, True)
    assert "no answer found" in none.why
    assert wrong.why == "stated C; expected B"


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "bomb", ["answer: " * 40_000, "The answer is: " + "(" * 300_000, "answer is: A" + " or" * 90_000]
)
def test_no_reply_is_a_bomb(bomb):
    assert choice.score(bomb, "B").value == 0


@given(st.text(alphabet="The answer is: TrueFalseABIor(){}.*\n", max_size=60))
def test_any_text_is_scored(text):
    assert choice.score("The answer is: " + text, "A").value in (0.0, 1.0)
    assert choice.score(text, "True", TRUE_FALSE).value in (0.0, 1.0)


@given(st.sampled_from(LETTERS), st.sampled_from(["{}", "({})", "{}.", "**{}**", "[{}]", r"\boxed{{{}}}"]))
def test_every_letter_in_every_dress_is_read(letter, dress):
    assert choice.stated("So.\nThe answer is: " + dress.format(letter)) == (letter,)
