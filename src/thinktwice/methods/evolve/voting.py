"""Votes on what was said of one answer. Law: the order in which feedback comes decides nothing, and what counts is what
was said: a 3-2 split returns the majority, however the texts are spelt.

The public code calls "major voting" what counts nothing: texts become points, and the point nearest the middle wins.
That vote is here, too (`rule="medoid"`), to be compared with.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from thinktwice.errors import DataError
from thinktwice.methods.evolve.feedback import Feedback, write
from thinktwice.methods.evolve.vectors import HashedWords, Vectors, needs_sklearn
from thinktwice.scoring.exact import normalise

if TYPE_CHECKING:
    from numpy.typing import NDArray

Rule = Literal["verdict", "medoid", "first"]
CONTAMINATION = 0.3
"""Share of the texts that the public code's vote throws out as unlike the rest."""
SAME = 1e-9
"""Weights and distances this much apart, relative to their size, are equal: sums of fractions are not exact."""


@dataclass(frozen=True, slots=True)
class Ballot:
    """The result of one vote."""

    chosen: Feedback | None
    """What stands for the winners; None when the vote abstains. An "unsure" that wins is chosen like any other."""
    agreement: float
    """Share of the weight of all votes that is behind the choice: the same verdict, and no other corrected answer or
    first wrong step. Of a tie, the share behind one of those that tie; 0 where nobody voted."""
    counts: tuple[tuple[str, int], ...]
    """How many said what, unparsed ones included, the most frequent first: ("incorrect, 72, step 2", 3)."""
    why: str
    """How it was decided, or why it was not, in one sentence."""

    @property
    def abstained(self) -> bool:
        """Whether nothing was chosen."""
        return self.chosen is None


@dataclass(frozen=True, slots=True)
class _Vote:
    row: Feedback
    weight: float
    answer: str | None
    """The corrected answer, canonically written."""

    @property
    def key(self) -> str:
        """What votes are ordered by before anything is drawn or computed; those of equal keys are interchangeable."""
        return f"{self.row!r} {self.weight!r}"

    @property
    def text(self) -> str:
        """What is compared: as it was written, or as it would be."""
        return self.row.text or write(self.row)

    @property
    def name(self) -> str:
        """What it says, without its explanation."""
        answer = "" if self.answer is None else f", {self.answer}"
        return f"{self.row.verdict}{answer}" + ("" if self.row.step is None else f", step {self.row.step}")


def vote(
    feedback: Sequence[Feedback],
    *,
    canonical: Callable[[str], str | None] = normalise,
    rule: Rule = "verdict",
    weights: Sequence[float] | None = None,
    by_confidence: bool = False,
    least: float = 0.0,
    vectors: Vectors | None = None,
    seed: int,
) -> Ballot:
    """Vote on what was said of one answer. Law: total, seeded, and (but for "first") blind to the order.

    *verdict*: the verdict with most weight wins; among its votes the corrected answer with most weight, then the first
    wrong step with most weight. A vote that names no answer (no step) leaves that to those that do. Equal weights at
    any of the three abstain. The most central text of the winners, by `vectors`, stands for them.

    *medoid*: the public code's. Vectors of all texts, two principal components, an isolation forest throws out three in
    ten, and the text nearest the mean of the rest is chosen; verdicts and weights play no part. About 0.15 s a vote.

    *first*: the first that can be read; no vote.

    Feedback that is unparsed never votes, and is never chosen. One that weighs nothing does not vote.

    Args:
        feedback: of one answer; none at all abstains.
        canonical: writes equal answers as equal texts; None or "" for what is no answer.
        rule: see above.
        weights: one for each; default: all alike.
        by_confidence: a vote weighs as much as its confidence; one that states none, as much as the mean of those
            that do.
        least: below this agreement the vote abstains.
        vectors: default: hashed words. Asked only where texts differ.
        seed: of the draw between equally central texts, and of the forest.

    Raises:
        DataError: not one weight for each, or one that is negative or not finite.
    """
    cast = _votes(feedback, canonical, weights, by_confidence)
    votes = sorted(cast, key=lambda vote: vote.key)
    counts = tuple(sorted(Counter(vote.name for vote in votes).items(), key=lambda pair: (-pair[1], pair[0])))
    heard = [vote for vote in votes if vote.row.verdict != "unparsed" and vote.weight > 0]
    if not heard:
        readable = any(vote.row.verdict != "unparsed" for vote in votes)
        why = "what can be read weighs nothing" if readable else "none can be read" if votes else "nobody said anything"
        return Ballot(None, 0.0, counts, f"{why}.")
    if rule == "first":
        first = next(vote for vote in cast if vote.row.verdict != "unparsed" and vote.weight > 0)
        return Ballot(first.row, _behind(first, heard), counts, "the first that can be read; no vote was held.")
    embed = vectors or HashedWords()
    if rule == "medoid":
        chosen, why = _in_the_middle(votes, embed, seed), "the text nearest the middle of all."
        if chosen.row.verdict == "unparsed":
            return Ballot(None, 0.0, counts, "the text nearest the middle of all cannot be read.")
    else:
        winners, tie = _winners(heard)
        if tie:
            return Ballot(None, _behind(winners[0], heard), counts, tie)
        chosen, why = _most_central(winners, embed, seed), f"most votes are for {winners[0].name}."
    agreement = _behind(chosen, heard)
    if agreement < least:
        return Ballot(None, agreement, counts, f"{chosen.name} has {agreement:.2f} of the votes, less than {least:g}.")
    return Ballot(chosen.row, agreement, counts, why)


def _votes(
    feedback: Sequence[Feedback],
    canonical: Callable[[str], str | None],
    weights: Sequence[float] | None,
    by_confidence: bool,
) -> list[_Vote]:
    given = [1.0] * len(feedback) if weights is None else [float(weight) for weight in weights]
    if len(given) != len(feedback):
        raise DataError(f"{len(feedback)} votes with {len(given)} weights; give each vote one.")
    if by_confidence:
        stated = [row.confidence for row in feedback if row.confidence is not None and row.verdict != "unparsed"]
        usual = math.fsum(stated) / len(stated) if stated else 1.0
        given = [
            weight * (usual if row.confidence is None else row.confidence)
            for weight, row in zip(given, feedback, strict=True)
        ]
    if not all(math.isfinite(weight) and weight >= 0 for weight in given):
        raise DataError(f"votes weigh {given}; weights and confidences must be finite and not negative.")
    largest = max(given, default=0.0) or 1.0
    given = [weight / largest for weight in given]  # whatever their size, their sums are finite
    answers = [None if row.answer is None else canonical(row.answer) or None for row in feedback]
    return [_Vote(*vote) for vote in zip(feedback, given, answers, strict=True)]


def _winners(votes: Sequence[_Vote]) -> tuple[list[_Vote], str]:
    """Return the votes that won, and "" or the tie that leaves several classes of them."""
    says: dict[str, Callable[[_Vote], Hashable]] = {
        "verdict": lambda vote: vote.row.verdict,
        "corrected answer": lambda vote: vote.answer,
        "first wrong step": lambda vote: vote.row.step,
    }
    left = list(votes)
    for what, of in says.items():
        stated = [vote for vote in left if of(vote) is not None]
        if not stated:
            continue
        weights = {value: math.fsum(v.weight for v in stated if of(v) == value) for value in map(of, stated)}
        most = max(weights.values())
        best = [value for value, weight in weights.items() if weight >= most * (1 - SAME)]
        left = [vote for vote in stated if of(vote) in best]
        if len(best) > 1:
            return left, f"a tie over the {what}: {', '.join(sorted(map(str, best)))}."
    return left, ""


def _behind(chosen: _Vote, heard: Sequence[_Vote]) -> float:
    """Return the share of weight with the same verdict and nothing against the chosen answer and step."""

    def agrees(vote: _Vote) -> bool:
        return (
            vote.row.verdict == chosen.row.verdict
            and (vote.answer is None or chosen.answer in (None, vote.answer))
            and (vote.row.step is None or chosen.row.step in (None, vote.row.step))
        )

    return math.fsum(vote.weight for vote in heard if agrees(vote)) / math.fsum(vote.weight for vote in heard)


def _most_central(winners: Sequence[_Vote], embed: Vectors, seed: int) -> _Vote:
    """Return the vote whose text has the smallest sum of distances to the winners' texts, by their weight."""
    texts = sorted({vote.text for vote in winners})
    if len(texts) == 1:
        return _drawn(winners, seed)
    points = embed(texts).astype(np.float64)
    weights = np.array([math.fsum(v.weight for v in winners if v.text == text) for text in texts])
    far = np.linalg.norm(points[:, None] - points[None], axis=2) @ weights
    central = {texts[index] for index in _smallest(far)}
    return _drawn([vote for vote in winners if vote.text in central], seed)


def _in_the_middle(votes: Sequence[_Vote], embed: Vectors, seed: int) -> _Vote:
    """Return the vote that the public code's procedure ends at."""
    points = embed([vote.text for vote in votes]).astype(np.float64)
    if len(np.unique(points, axis=0)) > 2:  # one or two different points have no plane, and no outliers
        plane = needs_sklearn("decomposition").PCA(min(2, points.shape[1]), svd_solver="full")
        points = plane.fit_transform(points)
        forest = needs_sklearn("ensemble").IsolationForest(contamination=CONTAMINATION, random_state=seed % 2**32)
        inside = forest.fit_predict(points) == 1
        if inside.any():
            votes, points = [vote for vote, kept in zip(votes, inside, strict=True) if kept], points[inside]
    far = np.linalg.norm(points - points.mean(axis=0), axis=1)
    return _drawn([votes[index] for index in _smallest(far)], seed)


def _smallest(values: "NDArray[np.float64]") -> list[int]:
    least = float(values.min())
    return [int(index) for index in np.flatnonzero(values <= least + SAME * (1 + least))]


def _drawn(votes: Sequence[_Vote], seed: int) -> _Vote:
    """Draw one of equals. The draw depends on what they are, so that it is not everywhere the first of the alphabet."""
    digest = hashlib.sha256("\n".join([str(seed), *(vote.key for vote in votes)]).encode()).digest()
    return votes[int.from_bytes(digest[:8], "big") % len(votes)]
