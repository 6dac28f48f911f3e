"""Which answers with their feedback stand in a prompt as examples. Law: never an evaluated question, by id or by text;
and what was left out is counted with its reason.

Every source goes through the same filters and returns the same type, so that arms differ in the choice alone.
"""

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from thinktwice.errors import DataError
from thinktwice.methods.evolve.clusters import clusters, near_others
from thinktwice.methods.evolve.feedback import Feedback, write
from thinktwice.methods.evolve.vectors import Vectors
from thinktwice.scoring.stats import Difference, paired_difference
from thinktwice.tasks.reading import plain

Source = Literal["clustered", "random", "human", "mismatched", "none"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answer with what was said of it, which may become an example."""

    problem_id: str
    question: str
    answer: str
    feedback: Feedback
    agreement: float = 1.0
    """Of the vote that chose the feedback."""

    @property
    def wrong(self) -> bool:
        """Whether the feedback says that the answer is wrong."""
        return self.feedback.says_right is False

    @property
    def text(self) -> str:
        """What is compared with other rows."""
        return f"{self.question}\n{self.answer}\n{self.feedback.text or write(self.feedback)}"


@dataclass(frozen=True)
class Chosen:
    """The examples of a prompt, and how they came to be. Law: considered = rows + everything dropped."""

    source: Source
    rows: tuple[Candidate, ...]
    """In the order in which they stand in the prompt; of clusters, the largest first."""
    considered: int
    """Rows there were to choose from."""
    dropped: tuple[tuple[str, int], ...]
    """Rows that are no examples, by reason."""
    silhouettes: tuple[tuple[int, float], ...] = ()
    """The mean silhouette of each number of clusters that was tried."""
    notes: tuple[str, ...] = ()
    """What is not as it was asked for, in sentences."""


def choose_examples(
    rows: Sequence[Candidate],
    *,
    vectors: Vectors,
    k: int | Literal["silhouette"] = "silhouette",
    at_least_wrong: int = 1,
    least_agreement: float = 0.0,
    forbidden_ids: AbstractSet[str],
    forbidden_texts: Collection[str],
    seed: int,
) -> Chosen:
    """Choose the row nearest the centre of each cluster of the rows' texts. Law: blind to the order of rows, seeded.

    What cannot be an example is left out first: evaluated questions, empty texts, feedback without a verdict, a vote of
    too little agreement, what was said before. Then rows far from every other are set aside, so that no cluster is made
    of one odd row. Examples are of different questions. Where too few of them are said to be wrong, the rows that are
    and lie nearest to a centre take the places that lose least by it.

    Source: the public code clusters into two, without a look at outliers, verdicts or what is evaluated; its
    examples then reach no prompt.

    Args:
        rows: to choose from.
        vectors: of texts.
        k: how many examples; "silhouette": the number of clusters, from 2 to 8, with the largest mean silhouette.
            Never more than there are different rows.
        at_least_wrong: so many of the examples, at least, are of answers said to be wrong, where there are such.
        least_agreement: a row whose vote agreed less is left out.
        forbidden_ids: of problems that are evaluated.
        forbidden_texts: their questions, as they stand.
        seed: of the clusters' starts.

    Raises:
        DataError: k is under 1.
    """
    _check(k)
    usable, dropped = _usable(rows, forbidden_ids, forbidden_texts, least_agreement)
    if not usable:
        return Chosen("clustered", (), len(rows), _told(dropped), notes=_notes((), k, at_least_wrong))
    points = vectors([row.text for row in usable]).astype(np.float64)
    near = near_others(points)
    centres, labels, silhouettes = clusters(points[near], k, seed)
    far = np.stack([np.linalg.norm(points - centre, axis=1) for centre in centres])  # clusters x rows
    picks: dict[int, int] = {}  # of each cluster, the largest first, the row nearest its centre
    for cluster in np.argsort(-np.bincount(labels), kind="stable").tolist():
        members = sorted(np.array(near)[labels == cluster].tolist(), key=lambda row: far[cluster, row])
        asked = {plain(usable[row].question) for row in picks.values()}
        new = [row for row in members if plain(usable[row].question) not in asked]
        if new:
            picks[cluster] = new[0]
    alone = {*range(len(usable))} - {*near}
    losses = sorted(
        # An outlier is better than no wrong answer at all, but the last to be taken.
        (row in alone, float(far[cluster, row] - far[cluster, pick]), slot, row)
        for slot, (cluster, pick) in enumerate(picks.items())
        for row in range(len(usable))
    )
    places = _with_wrong(usable, list(picks.values()), [(slot, row) for *_, slot, row in losses], at_least_wrong)
    dropped["an outlier"] += len(alone - {*places})
    dropped["not nearest a centre"] += len(usable) - len(places) - len(alone - {*places})
    chosen = tuple(usable[row] for row in places)
    return Chosen("clustered", chosen, len(rows), _told(dropped), silhouettes, _notes(chosen, k, at_least_wrong))


def random_examples(
    rows: Sequence[Candidate],
    *,
    k: int,
    at_least_wrong: int = 1,
    least_agreement: float = 0.0,
    forbidden_ids: AbstractSet[str],
    forbidden_texts: Collection[str],
    seed: int,
) -> Chosen:
    """Draw k rows after the filters of `choose_examples`: the control of clustering. Arguments and errors as there."""
    _check(k)
    usable, dropped = _usable(rows, forbidden_ids, forbidden_texts, least_agreement)
    drawn = random.Random(seed).sample(range(len(usable)), len(usable))
    picks = _first_of_each(usable, drawn, k)
    order = [(slot, row) for row in drawn for slot in reversed(range(len(picks)))]
    chosen = tuple(usable[row] for row in _with_wrong(usable, picks, order, at_least_wrong))
    dropped["not drawn"] += len(usable) - len(chosen)
    return Chosen("random", chosen, len(rows), _told(dropped), notes=_notes(chosen, k, at_least_wrong))


def human_examples(
    rows: Sequence[Candidate], *, k: int, forbidden_ids: AbstractSet[str], forbidden_texts: Collection[str]
) -> Chosen:
    """Take the first k of the rows that people wrote, in their order, after the same filters."""
    _check(k)
    usable, dropped = _usable(rows, forbidden_ids, forbidden_texts, 0.0, ordered=True)
    chosen = tuple(usable[row] for row in _first_of_each(usable, range(len(usable)), k))
    dropped["after the first"] += len(usable) - len(chosen)
    return Chosen("human", chosen, len(rows), _told(dropped), notes=_notes(chosen, k, 0))


def mismatched_examples(chosen: Chosen) -> Chosen:
    """Give each example another's question: the public code's ablation. The questions stand in reverse order.

    Of an odd number the middle one keeps its own, as there; a note says so.
    """
    rows = tuple(
        replace(row, problem_id=other.problem_id, question=other.question)
        for row, other in zip(chosen.rows, reversed(chosen.rows), strict=True)
    )
    kept = ("the example in the middle keeps its own question.",) if len(rows) % 2 else ()
    return replace(chosen, source="mismatched", rows=rows, notes=(*chosen.notes, *kept))


def no_examples(rows: Sequence[Candidate] = ()) -> Chosen:
    """Choose nothing: the prompt has no examples."""
    return Chosen("none", (), len(rows), (("no examples are shown", len(rows)),) if rows else ())


@dataclass(frozen=True)
class Adoption:
    """Whether new examples take the place of the old ones, and the numbers that decided it."""

    adopted: bool
    difference: Difference
    """New less old, on the same dev problems."""
    why: str


def adopt(
    candidate: Mapping[str, float],
    current: Mapping[str, float],
    *,
    by: float = 0.0,
    surely: bool = False,
    seed: int = 0,
) -> Adoption:
    """Decide whether new examples are adopted: only when they are better on the same dev problems.

    Args:
        candidate: the score of each dev problem with the new examples, by its id.
        current: with the old ones.
        by: better by more than this, in the unit of the scores.
        surely: whether the lower end of the interval must be so, rather than the mean.
        seed: of the interval's bootstrap.

    Raises:
        DataError: the two were not scored on the same problems, or on none.
    """
    if candidate.keys() != current.keys():
        only = sorted(candidate.keys() ^ current.keys())
        raise DataError(
            f"the two prompts were not scored on the same problems ({len(only)} differ, {only[0]!r} first); "
            "score both on all of them."
        )
    ids = sorted(candidate)
    difference = paired_difference([candidate[i] for i in ids], [current[i] for i in ids], seed=seed)
    adopted = (difference.low if surely else difference.value) > by
    told = f"{difference.value:+.4f} ({difference.low:+.4f} to {difference.high:+.4f}) on {len(ids)} dev problems"
    bar = f"the {'lower end' if surely else 'mean'} must be above {by:+.4f}"
    return Adoption(adopted, difference, f"{'adopted' if adopted else 'kept the old'}: {told}; {bar}.")


def _check(k: int | str) -> None:
    if k != "silhouette" and (not isinstance(k, int) or k < 1):
        raise DataError(f'{k!r} examples cannot be chosen; ask for 1 or more, or for "silhouette".')


def _usable(
    rows: Sequence[Candidate],
    forbidden_ids: AbstractSet[str],
    forbidden_texts: Collection[str],
    least_agreement: float,
    *,
    ordered: bool = False,
) -> tuple[list[Candidate], Counter[str]]:
    """Return the rows that may be examples, sorted by content unless `ordered`, and the others counted by reason."""
    evaluated = {plain(text) for text in forbidden_texts}
    dropped: Counter[str] = Counter()
    usable: dict[tuple[str, str], Candidate] = {}
    # The surest of what was said of one answer stands for it, whatever the order of rows.
    for row in rows if ordered else sorted(rows, key=lambda row: (-row.agreement, repr(row))):
        said = (plain(row.question), plain(row.answer))
        if row.problem_id in forbidden_ids:
            dropped["evaluated, by id"] += 1
        elif said[0] in evaluated:
            dropped["evaluated, by text"] += 1
        elif not all(said):
            dropped["no question or no answer"] += 1
        elif row.feedback.says_right is None:
            dropped["feedback without a verdict"] += 1
        elif row.agreement < least_agreement:
            dropped["too little agreement"] += 1
        elif said in usable:
            dropped["said before"] += 1
        else:
            usable[said] = row
    kept = list(usable.values())
    return (kept if ordered else sorted(kept, key=repr)), dropped


def _first_of_each(usable: Sequence[Candidate], order: Sequence[int], k: int) -> list[int]:
    """Return the first k rows of an order that ask different questions."""
    asked: dict[str, int] = {}
    for row in order:
        asked.setdefault(plain(usable[row].question), row)
    return list(asked.values())[:k]


def _with_wrong(
    usable: Sequence[Candidate], picks: Sequence[int], swaps: Sequence[tuple[int, int]], at_least: int
) -> list[int]:
    """Return the picks, with so many swaps (slot, row), the first first, that enough of them are said to be wrong."""
    places = list(picks)
    for slot, row in swaps:
        if sum(usable[place].wrong for place in places) >= at_least:
            break
        others = {plain(usable[place].question) for index, place in enumerate(places) if index != slot}
        if usable[row].wrong and not usable[places[slot]].wrong and plain(usable[row].question) not in others:
            places[slot] = row
    return places


def _notes(chosen: Sequence[Candidate], k: int | str, at_least_wrong: int) -> tuple[str, ...]:
    wrong, notes = sum(row.wrong for row in chosen), []
    if isinstance(k, int) and len(chosen) < k:
        notes.append(f"{k} examples were asked for, and {len(chosen)} could be had.")
    if wrong < at_least_wrong:
        notes.append(f"{wrong} of the examples are of wrong answers, and not {at_least_wrong} as asked for.")
    return tuple(notes)


def _told(dropped: Counter[str]) -> tuple[tuple[str, int], ...]:
    return tuple((reason, count) for reason, count in dropped.items() if count)
