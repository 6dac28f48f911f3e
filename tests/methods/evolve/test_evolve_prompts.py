import pytest

from thinktwice.errors import DataError
from thinktwice.methods.evolve import feedback as typed
from thinktwice.methods.evolve.prompts import (
    Shot,
    answer_text,
    check_hidden,
    feedback_text,
    refine_text,
    shows,
)

SAID = typed.write(typed.Feedback("incorrect", 0.9, 2, "3 and 4 are 7.", "7"))
SHOTS = (Shot("3 and 4?", "3\n8", SAID), Shot("1 and 1?", "2", "Verdict: correct"))


def headings(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("###")]


def test_a_question_alone_is_asked_as_it_stands() -> None:
    assert answer_text("Ann has 3.\nHow many?") == "Ann has 3.\nHow many?"


def test_sections_stand_in_the_public_code_s_order() -> None:
    example = ["### Task:", "### Answer:"]
    assert headings(answer_text("q", instruction="add", shots=SHOTS)) == [
        "### Context:",
        "### Instruction:",
        "### Examples:",
        *example * 3,
    ]
    judged = ["### Task:", "### Predicted Answer:", "### Feedback:"]
    assert headings(feedback_text("q", "a", instruction="add", shots=SHOTS)) == [
        "### Context:",
        "### Instruction:",
        "### Examples:",
        *judged * 3,
    ]
    assert headings(feedback_text("q", "a")) == ["### Context:", *judged]
    assert headings(refine_text("q", "a", SAID, shots=SHOTS)) == [
        "### Context:",
        "### Examples:",
        *[*judged, "### Answer:"] * 3,
    ]


def test_the_public_code_s_form() -> None:
    """Its examples are headed "###Feedback:" and call what was answered right; until April 2024 they had the gold."""
    shots = (Shot("1 and 1?", "2", "One more than 1 is 2"),)
    text = feedback_text("2 and 2?", "5", instruction="add", shots=shots, compat=True)
    after = text.partition("### Instruction:")[2]
    assert after == (
        "\nadd\n\n### Examples:\n### Task:\n1 and 1?\n\n### Predicted Answer:\n2\n\n###Feedback:\n"
        "One more than 1 is 2. So the answer should be 2\n\n"
        "### Task:\n2 and 2?\n\n### Predicted Answer:\n5\n\n### Feedback:"
    )
    assert "Verdict" not in text
    assert headings(feedback_text("2 and 2?", "5", instruction="add", shots=shots, compat=True, reference="4")) == [
        "### Context:",
        "### Instruction:",
        "### Examples:",
        *["### Task:", "### Standard Answer:", "### Predicted Answer:", "###Feedback:"],
        *["### Task:", "### Standard Answer:", "### Predicted Answer:", "### Feedback:"],
    ]
    asked = answer_text("2 and 2?", instruction="add", shots=shots)
    assert asked.endswith(
        "### Instruction:\nadd\n\n### Examples:\n### Task:\n1 and 1?\n\n### Answer:\n2\n\n"
        "### Task:\n2 and 2?\n\n### Answer:"
    )


def test_what_is_asked_for_is_what_is_read() -> None:
    """Every field that `feedback.write` writes is named in the prompt; words for "nothing" are read as that."""
    text = feedback_text("q", "a")
    for line in SAID.splitlines():
        assert f"\n{line.partition(':')[0]}: " in text
    said = typed.read("Verdict: correct\nFirst wrong step: none\nExplanation: fine\nCorrected answer: unchanged")
    assert (said.verdict, said.step, said.answer) == ("correct", None, None)


def test_examples_are_mentioned_where_there_are_some() -> None:
    assert "examples" in feedback_text("q", "a", shots=SHOTS).partition("### Examples")[0]
    assert "examples" not in feedback_text("q", "a", instruction="add")


def test_an_example_to_refine_ends_with_the_answer_that_its_feedback_states() -> None:
    text = refine_text("q", "a", SAID, shots=SHOTS)
    assert "### Answer:\n7\n\n### Task:\n1 and 1?" in text
    assert "### Feedback:\nVerdict: correct\n\n### Answer:\n2\n\n### Task:\nq" in text


def test_an_example_without_feedback_is_refused() -> None:
    shots = (SHOTS[0], Shot("q", "a"))
    with pytest.raises(DataError, match="example 2 of 2 has no feedback"):
        feedback_text("q", "a", shots=shots)
    with pytest.raises(DataError, match="example 2 of 2 has no feedback"):
        refine_text("q", "a", "f", shots=shots)
    with pytest.raises(DataError, match="neither states an answer nor calls one correct"):
        refine_text("q", "a", "f", shots=(Shot("1 and 1?", "3", "Verdict: incorrect"),))


@pytest.mark.parametrize(
    ("text", "gold", "seen"),
    [
        ("it is 42.", "42", True),
        ("it is 142.", "42", False),
        ("it is 42nd", "42", False),
        ("1,204 eggs", "1204", True),
        ("1204 eggs", "1,204", True),
        ("in New\n york", "new York", True),
        ("(B)", "(B)", True),
        ("anything", "", False),
        ("anything", "  ", False),
    ],
)
def test_shows(text: str, gold: str, seen: bool) -> None:
    assert shows(text, gold) is seen


def test_gold_is_seen_only_where_it_is_handed_over() -> None:
    given = {"question": "6 times 7?", "answer": "6 times 7 is 4", "instruction": "Multiply."}
    hidden = feedback_text(given["question"], given["answer"], instruction="Multiply.", shots=SHOTS)
    check_hidden(hidden, "42", tuple(given.values()), SHOTS)
    shown = feedback_text(given["question"], given["answer"], instruction="Multiply.", shots=SHOTS, reference="42")
    with pytest.raises(DataError, match="gold_visible"):
        check_hidden(shown, "42", tuple(given.values()), SHOTS)
    with pytest.raises(DataError, match="gold_visible"):  # "" is a gold answer of SQuAD's
        check_hidden(feedback_text("q", "a", reference=""), "", ("q", "a"))
    leaked = feedback_text(given["question"], given["answer"], instruction="Multiply. It is 42.", shots=SHOTS)
    with pytest.raises(DataError, match="gold_visible"):
        check_hidden(leaked, "42", tuple(given.values()), SHOTS)


def test_what_was_given_anyway_betrays_nothing() -> None:
    question = "The mill was built in 1843.\nWhen was the mill built?"
    check_hidden(feedback_text(question, "1843"), "1843", (question, "1843"))
    check_hidden(answer_text(question), "1843", (question,))
    check_hidden(refine_text(question, "1840", "1843, it says"), "1843", (question, "1840", "1843, it says"))
    # "1" and "0" stand in the request for a confidence, "unchanged" and "correct" in that for a verdict
    for gold in ("1", "0", "correct", "none", "True"):
        check_hidden(feedback_text("q", "a", shots=SHOTS), gold, ("q", "a"), SHOTS)
    for gold in ("1", "2", "One more than 1 is 2"):
        shots = (Shot("1 and 1?", "2", "One more than 1 is 2"),)
        check_hidden(feedback_text("q", "a", shots=shots, compat=True), gold, ("q", "a"), shots)


def test_a_short_answer_hides_no_longer_one() -> None:
    """The judged answer "4" is not cut out of a "42" that nobody gave."""
    with pytest.raises(DataError, match="gold_visible"):
        check_hidden(feedback_text("6 times 7?", "4", instruction="It is 42"), "42", ("6 times 7?", "4"))
