"""Feedback as a value: any text can be read, and what cannot be understood is never taken for a verdict."""

import string
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinktwice.methods.evolve.feedback import VERDICTS, Feedback, read, write

pieces = st.sampled_from(
    [
        "Verdict:", "verdict =", "**Verdict:**", "Confidence:", "First wrong step:", "Explanation:", "correct",
        "incorrect", "not", "n't", "isn’t", "wrong", "right", "unsure", "answer should be", "72", "9" * 5000, "90 %",
        "1e-7", "-1", "٣", "\n", "\u2028", "\x00", "<correct>", "<incorrect>", ".", "none",
    ]
)  # fmt: skip


@given(st.one_of(st.text(), st.lists(pieces, max_size=20).map(" ".join)))
def test_any_text_can_be_read(text):
    found = read(text, "somebody")
    assert found.verdict in VERDICTS
    assert (found.text, found.source) == (text, "somebody")
    assert found.confidence is None or 0 <= found.confidence <= 1
    assert found.step is None or found.step > 0
    assert found.answer is None or found.answer.strip()


words = st.text(string.ascii_letters + string.digits + " ,()-+=é…", max_size=30).map(str.strip)
answers = words.map(lambda text: text.strip(" .*\"'")).filter(lambda text: text.lower() not in {
    "", "-", "none", "n/a", "na", "no", "unchanged",
})  # fmt: skip


@given(
    st.builds(
        Feedback,
        st.sampled_from(VERDICTS),
        st.none() | st.floats(0, 1),
        st.none() | st.integers(1, 999_999),
        st.lists(words, max_size=3).map("\n".join).map(str.strip),
        st.none() | answers,
    )
)
def test_what_was_written_is_read_again(feedback):
    assert replace(read(write(feedback)), text="") == feedback


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("correct", "correct"),
        ("Correct.", "correct"),
        ("The answer was read correctly and is right.", "correct"),
        ("incorrect", "incorrect"),
        ("Incorrectly rounded", "incorrect"),
        ("not correct", "incorrect"),
        ("It is not quite right.", "incorrect"),
        ("This isn't right", "incorrect"),
        ("This isn’t right", "incorrect"),
        ("It doesn't look right.", "incorrect"),
        ("That is not the correct answer.", "incorrect"),
        ("I do not think that it is right.", "incorrect"),
        ("It cannot be correct.", "incorrect"),
        ("It is no longer accurate.", "incorrect"),
        ("There is nothing wrong with it.", "correct"),
        ("It is not wrong.", "correct"),
        ("No, this is correct.", "correct"),
        ("The first line is right and the second one wrong.", "unparsed"),
        ("correct or incorrect", "unparsed"),
        ("I am not sure.", "unsure"),
        ("I am not sure whether it is correct.", "unparsed"),
        ("The correct answer is 72.", "unparsed"),  # what it should be, not that it is
        ("I like turtles.", "unparsed"),
        ("A bright rightful correctness", "unparsed"),
        ("", "unparsed"),
    ],
)
def test_a_verdict_is_what_is_said_and_nothing_else(text, verdict):
    assert read(text).verdict == verdict
    if ":" not in text and "\n" not in text:
        assert read(f"Verdict: {text}").verdict == verdict


def test_sentences_of_the_public_code_are_read():
    found = read("The predicted answer is wrong. Half of 48 is 24. So the answer should be 72.")
    assert (found.verdict, found.answer) == ("incorrect", "72")
    assert found.explanation == "The predicted answer is wrong. Half of 48 is 24. So the"
    assert read("The predicted answer is proper. So the answer should be 72").answer == "72"
    # What it should be may be spelt "correct": that is no verdict.
    assert read("So the answer should be correct").verdict == "unparsed"
    assert read("The predicted answer is wrong.\nThe correct answer is 72").verdict == "incorrect"


def test_fields_are_read_whatever_stands_around_them():
    found = read(
        "Let me see.\n**Verdict:** Incorrect\n- Confidence: 90 %\n> First wrong step: line 2\nExplanation: it says\n"
        "right, but is not\nCorrected answer: '72'.\nVerdict: correct"
    )
    assert (found.verdict, found.confidence, found.step, found.answer) == ("incorrect", 0.9, 2, "72")
    assert found.explanation == "it says\nright, but is not"
    none = read("Verdict: correct\nConfidence: very\nFirst wrong step: none\nCorrected answer: unchanged")
    assert (none.confidence, none.step, none.answer) == (None, None, None)
    assert [read(f"Verdict: correct\nConfidence: {c}").confidence for c in ("1e-07", "-0.5", "7", "120 %", ".5")] == [
        1e-07, None, None, None, None,
    ]  # fmt: skip


def test_without_content_only_the_verdict_is_left():
    found = Feedback("incorrect", 0.5, 2, "why", "72", "as written", "self").without_content()
    assert found == Feedback("incorrect", 0.5, source="self")
