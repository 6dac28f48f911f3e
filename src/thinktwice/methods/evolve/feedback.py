"""Feedback on an answer, as a typed value. Law: `read` makes it of any text and never fails; what cannot be read is
`unparsed`, a class that is counted and never taken for a verdict.

Two wordings. *plain*, for models that read English, is what is read and written here:

    Verdict: incorrect
    Confidence: 0.9
    First wrong step: 2
    Explanation: Half of 48 is 24.
    Corrected answer: 72

Sentences as the public code asked for them ("The predicted answer is wrong. ... So the answer should be 72") are read,
too. *bare*, for nano bases, which know names, numbers and marks, is tokens and no text: a verdict after each line of
the answer, and after the first wrong one the line that should stand there (`critics.spell`, `decode.walk`).
"""

import re
from dataclasses import dataclass, replace
from typing import Literal

Verdict = Literal["correct", "incorrect", "unsure", "unparsed"]
VERDICTS: tuple[Verdict, ...] = ("correct", "incorrect", "unsure", "unparsed")
Wording = Literal["plain", "bare"]


@dataclass(frozen=True, slots=True)
class Feedback:
    """What somebody says of one answer."""

    verdict: Verdict
    confidence: float | None = None
    """How sure of the verdict, in [0, 1]; None where it is not said."""
    step: int | None = None
    """The first wrong step, counted from 1; None where none is named."""
    explanation: str = ""
    """Why; in the bare wording, the line that should stand in the place of the first wrong one."""
    answer: str | None = None
    """What the answer should be; None where it is not said."""
    text: str = ""
    """As it was written."""
    source: str = ""
    """Who wrote it: "self", "human", "oracle", ..."""

    @property
    def says_right(self) -> bool | None:
        """True or False where there is a verdict, None where there is none."""
        return {"correct": True, "incorrect": False}.get(self.verdict)

    def without_content(self) -> "Feedback":
        """Return the verdict alone: the control that tells what the content is worth."""
        return Feedback(self.verdict, self.confidence, source=self.source)


_FIELD = re.compile(
    r"^[ \t>*#-]*(?P<name>verdict|confidence|first wrong step|explanation|corrected answer)"
    r"[ \t*]*[:=][ \t*]*(?P<value>.*)$",
    re.IGNORECASE | re.MULTILINE,
)
# Up to four words stand between a negation and what it denies ("I do not think that it is right"), in one sentence.
_NOT = r"(?:\b(?:not|cannot|never|hardly|nothing|no longer)|n['’]t)(?:[ \t]+[\w'’]+){0,4}?[ \t]+"
_WRONGS = r"(?:incorrect(?:ly)?|wrong(?:ly)?|improper(?:ly)?|inaccurate(?:ly)?|mistaken(?:ly)?)\b"
_RIGHTS = r"(?:correct(?:ly)?|right(?:ly)?|proper(?:ly)?|accurate(?:ly)?)\b"
_NOT_WRONG = re.compile(rf"(?:{_NOT}|\bno ){_WRONGS}", re.IGNORECASE)
_WRONG = re.compile(rf"\b{_WRONGS}|{_NOT}{_RIGHTS}", re.IGNORECASE)
_RIGHT = re.compile(rf"\b{_RIGHTS}", re.IGNORECASE)
_UNSURE = re.compile(r"\b(?:unsure|uncertain|not sure|cannot tell|can['’]t tell|unclear)\b", re.IGNORECASE)
_SHOULD_BE = re.compile(
    # "The correct answer is 72" says what it should be, and not that the answer which was given is correct.
    r"\b(?:answer (?:should be|ought to be|must be)|(?:correct|right|proper) answer (?:is|was|would be|should be)):?"
    r"[ \t]*(?P<answer>[^\n]*)",
    re.IGNORECASE,
)
_NONE = {"", "-", "none", "n/a", "na", "no", "unchanged"}


def read(text: str, source: str = "") -> Feedback:
    r"""Read feedback. Law: total; a text that says both, or neither, is `unparsed`.

    Example:
        >>> read("Verdict: incorrect\nFirst wrong step: 2\nCorrected answer: 72").answer
        '72'
        >>> read("I like turtles.").verdict
        'unparsed'
    """
    return replace(_read(text), text=text, source=source)


def _read(text: str) -> Feedback:
    fields: dict[str, str] = {}
    starts = [*_FIELD.finditer(text)]
    for index, match in enumerate(starts):
        end = starts[index + 1].start() if index + 1 < len(starts) else len(text)
        name = match["name"].lower()
        # Explanations may run over several lines; of what is said twice the first counts.
        fields.setdefault(
            name, text[match.start("value") : end if name == "explanation" else match.end()].strip(" *\n\t")
        )
    if "verdict" not in fields:
        should = _SHOULD_BE.search(text)
        before = text[: should.start()] if should else text
        return Feedback(
            _verdict(before), explanation=before.strip(), answer=_stated(should["answer"] if should else "")
        )
    return Feedback(
        _verdict(fields["verdict"]),
        _confidence(fields.get("confidence", "")),
        _step(fields.get("first wrong step", "")),
        fields.get("explanation", ""),
        _stated(fields.get("corrected answer", "")),
    )


def _verdict(text: str) -> Verdict:
    said = _SHOULD_BE.sub(" ", text)
    unsure = _UNSURE.search(said) is not None
    rest = _UNSURE.sub(" ", said)
    without = _NOT_WRONG.sub(" ", rest)
    wrong = _WRONG.search(without) is not None
    right = without != rest or _RIGHT.search(_WRONG.sub(" ", without)) is not None
    if unsure + wrong + right != 1:
        return "unparsed"
    return "unsure" if unsure else "incorrect" if wrong else "correct"


def _confidence(text: str) -> float | None:
    found = re.search(r"(?P<sign>-?)(?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?)[ \t]*(?P<percent>%?)", text, re.IGNORECASE)
    if found is None or found["sign"]:
        return None
    value = float(found["number"]) / (100 if found["percent"] else 1)
    return value if 0 <= value <= 1 else None


def _step(text: str) -> int | None:
    found = re.search(r"\d+", text)
    # No answer has a million lines, and `int` refuses a number of thousands of digits.
    return int(found[0]) if found and len(found[0]) < 7 and int(found[0]) > 0 else None


def _stated(text: str) -> str | None:
    said = text.strip().rstrip(".").strip(" *\"'")
    return None if said.lower() in _NONE else said


def write(feedback: Feedback) -> str:
    """Write feedback as `read` reads it. Law: what is written and read again is the same, but for `text` and `source`.

    So it is of an explanation without lines that look like fields, and of an answer of one line, without what `read`
    takes off its ends.
    """
    said = [f"Verdict: {feedback.verdict}"]
    if feedback.confidence is not None:
        said.append(f"Confidence: {feedback.confidence!r}")
    if feedback.step is not None:
        said.append(f"First wrong step: {feedback.step}")
    if feedback.explanation:
        said.append(f"Explanation: {feedback.explanation}")
    if feedback.answer is not None:
        said.append(f"Corrected answer: {feedback.answer}")
    return "\n".join(said)
