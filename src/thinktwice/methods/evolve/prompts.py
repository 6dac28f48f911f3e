"""Answers, feedback and refinement as text. Law: a prompt shows the gold answer only where it is handed one.

Sections stand in the public code's order: Context, Instruction, Examples, Task, then Predicted Answer and Feedback, or
Answer. What stands in them is worded here. A text ends with the heading of what is to be written; the line break after
it is the template's (`render.PLAIN`). The nano bases read no English: a question without instruction and examples is
asked as it stands.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from thinktwice.errors import DataError
from thinktwice.methods.evolve import feedback as typed

_ANSWER = "Do the task below. Write what is asked for, and nothing else."
_SAY = "Somebody did the task below. Say whether the predicted answer is right, and why."
_FIELDS = """Write these lines, one of each:
Verdict: correct, incorrect or unsure
Confidence: how sure you are of the verdict, between 0 and 1
First wrong step: which line of the predicted answer is the first wrong one, or none
Explanation: what is wrong there, or what makes the answer right
Corrected answer: what the answer should be, or unchanged"""
_SENTENCES = "Write in sentences, and end with what the answer should be."
_REFINE = "Somebody did the task below, and somebody else says what of it is right. Write the answer that it should be."
_FOLLOW = "Keep to the form of the examples."
_HEADINGS = re.compile(r"^### ?(?:Context|Instruction|Examples|Task|Predicted Answer|Feedback|Answer):$", re.MULTILINE)
_FIXED = (_ANSWER, _SAY, _FIELDS, _SENTENCES, _REFINE, _FOLLOW)


@dataclass(frozen=True, slots=True)
class Shot:
    """A worked example for a prompt."""

    question: str
    answer: str
    """What was answered: in an answer's prompt what is to be followed, in the others what is judged."""
    feedback: str = ""
    """What is said of the answer; with `compat` the reason alone."""


def answer_text(question: str, *, instruction: str = "", shots: Sequence[Shot] = ()) -> str:
    """Return the prompt that asks for an answer; the question as it stands where there is nothing to add.

    The public code's prompt has the same sections, so there is no other wording of it.

    Example:
        >>> answer_text("Ann has 3. How many has Ann?")
        'Ann has 3. How many has Ann?'
    """
    if not instruction and not shots:
        return question
    examples = [(("Task", shot.question), ("Answer", shot.answer)) for shot in shots]
    return _laid_out([_ANSWER], instruction, examples, (("Task", question),), "Answer")


def feedback_text(
    question: str,
    answer: str,
    *,
    instruction: str = "",
    shots: Sequence[Shot] = (),
    reference: str | None = None,
    compat: bool = False,
) -> str:
    """Return the prompt that asks for feedback on an answer, in the lines that `feedback.read` reads.

    Args:
        question: what was asked.
        answer: what was answered.
        instruction: what holds for every question of the task.
        shots: examples, each with feedback.
        reference: the gold answer, where the method declares that the critic sees it (`gold_visible`).
        compat: the public code's form: feedback in sentences; its examples are headed "###Feedback:", and end with
            "So the answer should be" and the answer that was given, so that each of them says that it was right; a
            reference stands in the examples, too (until April 2024).

    Raises:
        DataError: an example has no feedback.
    """
    examples = []
    for shot in _with_feedback(shots):
        gold = (("Standard Answer", shot.answer),) if compat and reference is not None else ()
        said = _sentences(shot) if compat else shot.feedback
        judged = (("Task", shot.question), *gold, ("Predicted Answer", shot.answer))
        examples.append((*judged, ("Feedback", said)))
    gold = (("Standard Answer", reference),) if reference is not None else ()
    asked = (("Task", question), *gold, ("Predicted Answer", answer))
    context = [_SAY, _SENTENCES if compat else _FIELDS]
    return _laid_out(context, instruction, examples, asked, "Feedback", quirk=compat)


def refine_text(question: str, answer: str, feedback: str, *, instruction: str = "", shots: Sequence[Shot] = ()) -> str:
    """Return the prompt that asks for a better answer, given one and feedback on it.

    An example ends with the answer that its feedback states, or with the one that it calls correct.

    Raises:
        DataError: an example has no feedback, or its feedback neither states an answer nor calls one correct.
    """
    examples = [
        (
            ("Task", shot.question),
            ("Predicted Answer", shot.answer),
            ("Feedback", shot.feedback),
            ("Answer", _better(shot)),
        )
        for shot in _with_feedback(shots)
    ]
    asked = (("Task", question), ("Predicted Answer", answer), ("Feedback", feedback))
    return _laid_out([_REFINE], instruction, examples, asked, "Answer")


def _laid_out(
    context: Sequence[str],
    instruction: str,
    examples: Sequence[Sequence[tuple[str, str]]],
    asked: Sequence[tuple[str, str]],
    last: str,
    *,
    quirk: bool = False,
) -> str:
    sections = [("Context", "\n".join((*context, _FOLLOW) if examples else context))]
    sections += [("Instruction", instruction)] if instruction else []
    shown = [
        f"###{'' if quirk and name == 'Feedback' else ' '}{name}:\n{text}" for each in examples for name, text in each
    ]
    parts = [f"### {name}:\n{text}" for name, text in sections]
    if shown:  # the first example follows its heading, as in the public code
        parts.append("### Examples:\n" + "\n\n".join(shown))
    parts += [f"### {name}:\n{text}" for name, text in asked]
    return "\n\n".join((*parts, f"### {last}:"))


def _with_feedback(shots: Sequence[Shot]) -> Sequence[Shot]:
    for place, shot in enumerate(shots, 1):
        if not shot.feedback.strip():
            raise DataError(f"example {place} of {len(shots)} has no feedback; leave it out of this prompt.")
    return shots


def _sentences(shot: Shot) -> str:
    return f"{shot.feedback}. So the answer should be {shot.answer}"


def _better(shot: Shot) -> str:
    said = typed.read(shot.feedback)
    if said.answer is not None:
        return said.answer
    if said.says_right:
        return shot.answer
    raise DataError(
        f"the feedback of the example {shot.question[:40]!r} neither states an answer nor calls one correct; "
        "leave it out of this prompt."
    )


def shows(text: str, gold: str) -> bool:
    """Say whether a text has the gold answer in it, as whole words; case, spacing and commas in numbers don't count.

    Example:
        >>> shows("She sold 1,204 eggs.", "1204"), shows("She sold 1204 eggs.", "120"), shows("anything", "")
        (True, False, False)
    """
    wanted = _plain(gold)
    return bool(wanted) and re.search(rf"(?<!\w){re.escape(wanted)}(?!\w)", _plain(text)) is not None


def check_hidden(text: str, gold: str, given: Sequence[str], shots: Sequence[Shot] = ()) -> None:
    """Refuse a prompt that shows the gold answer. Law: what is given anyway (a passage may hold it) betrays nothing.

    Args:
        text: a prompt of this module.
        gold: the reference answer.
        given: what the prompt was made of: the question, the answer that is judged, feedback, the instruction.
        shots: its examples.

    Raises:
        DataError: it shows the gold answer, or has a place for it, beyond what was given.
    """
    if text in given:
        return
    told = [*given, *(body for shot in shots for body in (shot.question, shot.answer, shot.feedback, _sentences(shot)))]
    rest = text
    for sentence in _FIXED:
        rest = rest.replace(sentence, "")
    for body in sorted(filter(None, told), key=len, reverse=True):
        # Whole sections only: of a given "4" nothing is to be taken out of a "42" that was not given.
        rest = rest.replace(f":\n{body}\n\n###", ":\n\n###")
    rest = _HEADINGS.sub("", rest)  # a gold answer may be "task"
    if shows(rest, gold) or "### Standard Answer:" in rest:
        raise DataError(
            "a prompt shows the gold answer, but method.gold_visible says that it does not; declare who sees it."
        )


def _plain(text: str) -> str:
    return " ".join(re.sub(r"(?<=\d),(?=\d{3}\b)", "", text).casefold().split())
