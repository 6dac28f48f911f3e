"""SQuAD's answer scores, v1.1 and v2.0: exact match and F1 of words, best over the golds. Law: as the scripts count.

Sources: `evaluate-v1.1.py` (Rajpurkar et al. 2016) and `evaluate-v2.0.py` (Rajpurkar et al. 2018). Words are compared
as `exact.normalise` leaves them. What has no answer has the gold "", which only the empty prediction matches: so who
says nothing anywhere has 50 % of v2.0's dev set right. `prediction` is therefore strict about who says *that*: the
words "unanswerable" or "no answer" and nothing else. A reply that states nothing is no such claim, and no answer is
too short to be one ("5", "No", "War").
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from thinktwice.errors import DataError
from thinktwice.scoring import f1
from thinktwice.scoring.exact import normalise
from thinktwice.types import Score

UNANSWERABLE = "unanswerable"
"""How a reply says that there is no answer, and what a model is taught to say."""
NO_ANSWER = (UNANSWERABLE, "no answer")
"""What is read as that, after `normalise`: the whole stated answer, never a part of it."""
Measure = Literal["em", "f1"]


@dataclass(frozen=True, slots=True)
class Marks:
    """How well one answer fits: both in [0, 1]."""

    em: float
    f1: float


@dataclass(frozen=True, slots=True)
class Totals:
    """Means over questions, in per cent."""

    n: int
    em: float
    f1: float


@dataclass(frozen=True, slots=True)
class Report:
    """What the official script prints."""

    all: Totals
    answerable: Totals | None
    """Questions that have an answer ("HasAns"); None where there are none."""
    unanswerable: Totals | None
    """Questions that have none ("NoAns")."""
    missing: tuple[str, ...] = ()
    """Questions without a prediction: left out of the means by v2.0's script, wrong by v1.1's."""


def match(prediction: str, reference: str) -> Marks:
    """Compare a prediction with one gold answer. Law: pure; where either is empty, F1 is 1 only if both are.

    Example:
        >>> match("the Eiffel Tower in Paris", "Eiffel Tower")
        Marks(em=0.0, f1=0.6666666666666666)
    """
    found, wanted = normalise(prediction).split(), normalise(reference).split()
    em = float(found == wanted)
    shared = (Counter(found) & Counter(wanted)).total()
    if not shared:
        return Marks(em, em)  # both empty, or nothing in common
    precision, recall = shared / len(found), shared / len(wanted)
    return Marks(em, 2 * precision * recall / (precision + recall))


def best(prediction: str, references: Sequence[str]) -> Marks:
    """Compare a prediction with all golds and keep the best EM and the best F1; none, or only empty ones, are "".

    Golds of which normalising leaves nothing ("the") are not counted, as v2.0's script has it.
    """
    found = [match(prediction, reference) for reference in references if normalise(reference)]
    found = found or [match(prediction, "")]
    return Marks(max(marks.em for marks in found), max(marks.f1 for marks in found))


def evaluate(
    golds: Mapping[str, Sequence[str]], predictions: Mapping[str, str], *, version: Literal["1.1", "2.0"] = "2.0"
) -> Report:
    """Score a file of predictions as the official script of a version does.

    Args:
        golds: question id -> its gold answers; none: it has no answer.
        predictions: question id -> the answer, "" where the model says that there is none.
        version: "2.0" leaves a question without a prediction out (and names it), "1.1" counts it as wrong. (Where
            gold and prediction are articles only, the F1 of v1.1's script is 0; here it is 1 in both.)

    Raises:
        DataError: nothing is left to score.
    """
    missing = tuple(name for name in golds if name not in predictions)
    marks = {name: best(predictions[name], answers) for name, answers in golds.items() if name in predictions}
    if version == "1.1":
        marks = {name: marks.get(name, Marks(0.0, 0.0)) for name in golds}
    if not marks:
        raise DataError("no question has a prediction. Check that the ids of both files are the same.")
    answerable = {name for name in marks if any(map(normalise, golds[name]))}
    yes = [found for name, found in marks.items() if name in answerable]
    no = [found for name, found in marks.items() if name not in answerable]
    return Report(_totals([*marks.values()]), _totals(yes) if yes else None, _totals(no) if no else None, missing)


def _totals(marks: Sequence[Marks]) -> Totals:
    em, words = 0.0, 0.0
    for (
        found
    ) in marks:  # one by one: Python's sum() has rounded differently since 3.12, and the last digits are compared
        em, words = em + found.em, words + found.f1
    return Totals(len(marks), 100.0 * em / len(marks), 100.0 * words / len(marks))


def prediction(reply: str) -> str | None:
    """Return the answer that a reply states last, "" where it says that there is none; None where it states nothing.

    Example:
        >>> prediction("The answer is: unanswerable"), prediction("5"), prediction("")
        ('', '5', None)
    """
    said = f1.stated(reply)
    return "" if said is not None and normalise(said) in NO_ANSWER else said


def score(reply: str, references: Sequence[str], measure: Measure = "f1") -> Score:
    """Judge a reply by EM or F1, and name both. Law: pure; a reply that states no answer is unparsed and worth 0.

    Args:
        reply: the visible text of a reply, without its prompt.
        references: the gold answers; none, or only "", where the question has no answer.
        measure: which of the two is the value.
    """
    said = prediction(reply)
    expected = next((repr(text) for text in references if normalise(text)), UNANSWERABLE)
    if said is None:
        return Score(0.0, None, f"unparsed: no answer is stated; expected {expected}")
    marks = best(said, references)
    told = said or UNANSWERABLE
    why = f"EM {marks.em:.0f}, F1 {marks.f1:.2f}: said {told!r}"
    return Score(marks.em if measure == "em" else marks.f1, told, why if marks.em else f"{why}; expected {expected}")
