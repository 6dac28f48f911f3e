"""What choosing among samples by score is worth, at equal samples. Law: paired by question; ties are shared out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from thinktwice.errors import DataError
from thinktwice.scoring.stats import Difference, Mean, paired_difference, repeated_mean


@dataclass(frozen=True, slots=True)
class Sampled:
    """The samples of one question, in the order in which they were drawn."""

    problem_id: str
    answers: tuple[str, ...]
    """The answer each states, written so that equal answers are equal texts; empty where it states none."""
    right: tuple[bool, ...]
    scores: tuple[float, ...]
    """What the verifier gives each; higher is better."""


@dataclass(frozen=True)
class BestOf:
    """Accuracy a question of three ways to use the same n samples, and of one sample alone."""

    n: int
    picked: Mean
    """The sample with the best score."""
    weighted: Mean
    """The answer whose samples' scores, taken as log-probabilities of being right, have the largest sum of
    probabilities."""
    majority: Mean
    """The answer that most samples state; samples without one do not vote."""
    passed: Mean
    """At least one sample is right: what a perfect verifier would reach (pass@n)."""
    one: Mean
    """A sample without choosing."""
    gain: Difference
    """picked - majority, paired bootstrap over questions."""
    weighted_gain: Difference
    """weighted - majority."""


def best_of_n(questions: Sequence[Sampled], n: int) -> BestOf:
    """Return the accuracies at n samples a question.

    A question with more samples is asked several times over disjoint groups of n, whose mean is its value, so that it
    counts once; samples that do not fill a group are left out.

    Raises:
        DataError: no questions, or one with fewer than n samples.
    """
    if not questions or n < 1:
        raise DataError("best-of-n needs questions and at least one sample each.")
    short = next((q for q in questions if len(q.right) < n), None)
    if short is not None:
        raise DataError(f"question {short.problem_id!r} has {len(short.right)} samples, fewer than n={n}.")
    rows = [
        np.mean([_uses(q, start, start + n) for start in range(0, len(q.right) - n + 1, n)], axis=0) for q in questions
    ]
    picked, weighted, most, passed, one = (list(map(float, column)) for column in np.array(rows).T)
    return BestOf(
        n=n,
        picked=repeated_mean([picked]),
        weighted=repeated_mean([weighted]),
        majority=repeated_mean([most]),
        passed=repeated_mean([passed]),
        one=repeated_mean([one]),
        gain=paired_difference(picked, most),
        weighted_gain=paired_difference(weighted, most),
    )


def _uses(question: Sampled, start: int, stop: int) -> tuple[float, float, float, float, float]:
    answers, right = question.answers[start:stop], np.array(question.right[start:stop], dtype=float)
    scores = np.array(question.scores[start:stop], dtype=np.float64)
    if not np.isfinite(scores).all():
        raise DataError(f"question {question.problem_id!r} has a score that is not finite.")
    best = right[scores == scores.max()].mean()
    weights: dict[str, float] = {}
    for answer, score in zip(answers, np.exp(scores - scores.max()), strict=True):
        if answer:
            weights[answer] = weights.get(answer, 0.0) + float(score)
    return (
        float(best),
        _of_answers(weights, answers, right),
        majority(answers, question.right[start:stop]),
        float(right.max()),
        float(right.mean()),
    )


def majority(answers: Sequence[str], right: Sequence[bool]) -> float:
    """Return whether the answer that most samples state is right; ties share, and an empty one does not vote."""
    return _of_answers(Counter(answer for answer in answers if answer), answers, np.array(right, dtype=np.float64))


def _of_answers(votes: Mapping[str, float], answers: Sequence[str], right: NDArray[np.float64]) -> float:
    """Return whether the answer with most votes is right; several share."""
    if not votes:
        return 0.0
    most = max(votes.values())
    winners = [answer for answer, count in votes.items() if count == most]
    verdicts = [float(right[answers.index(answer)]) for answer in winners]
    return sum(verdicts) / len(verdicts)
