"""Facts about pairs of candidates that make a verifier's number mean less than it seems. Pure, standard library."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from thinktwice.methods.transplant import masking
from thinktwice.methods.transplant.data import Candidate, Item
from thinktwice.scoring import numeric
from thinktwice.scoring.stats import wilson
from thinktwice.tasks.reading import plain


@dataclass(frozen=True, slots=True)
class Fact:
    """A count among so many."""

    name: str
    count: int
    n: int
    note: str = ""
    """What it means for a verifier, in a sentence."""

    @property
    def share(self) -> float:
        """As a fraction; 0 of none."""
        return self.count / self.n if self.n else 0.0

    @property
    def ci(self) -> tuple[float, float]:
        """95 % interval of the share (Wilson)."""
        return wilson(self.count, self.n)


def ends_in(text: str, answer: str) -> bool:
    """Say whether the last number (or numbers) of a text is the answer, exactly; False where there is none."""
    try:
        expected = numeric.references(answer)
    except ValueError:
        return False
    found = numeric.last(text, len(expected))
    return found is not None and set(found) == set(expected)


def template(question: str) -> str:
    """Return a question with every number masked: what two questions of one mould share."""
    return plain(re.sub(r"\d[\d,.]*", "#", question))


def words(text: str) -> list[str]:
    """Return the words and numbers of a text, marks and case apart."""
    return re.findall(r"\w+", text.casefold())


def facts(items: Sequence[Item], test: Sequence[int] = ()) -> list[Fact]:
    """Return what is true of pairs (items of one right and one wrong candidate): noise, leaks, slots.

    `test` are the indices of the test items; with them the overlap between train and test is counted, too.
    """
    both = [_right_wrong(item) for item in items]
    n = len(items)
    found = [
        Fact(
            "questions that occur in more than one pair",
            n - len({item.group for item in items}),
            n,
            "their pairs are no independent evidence; intervals are over questions",
        ),
        Fact(
            "wrong candidate ends in the right number",
            sum(ends_in(wrong.text, item.gold) for item, (_, wrong) in zip(items, both, strict=True)),
            n,
            "label noise: nothing in such a text is wrong, and a verifier that reads it well is counted wrong",
        ),
        Fact(
            "right candidate does not end in the right number",
            sum(not ends_in(right.text, item.gold) for item, (right, _) in zip(items, both, strict=True)),
            n,
            "its answer was stated elsewhere, or a unit or a remark follows it",
        ),
        Fact(
            "the two candidates are the same words",
            sum(words(right.text) == words(wrong.text) for right, wrong in both),
            n,
            "nobody can tell them apart",
        ),
        Fact("right candidate in slot 1", sum(item.right == 0 for item in items), n, "half, where a coin decided"),
    ]
    found += _argued(items)
    if test:
        found += _overlap(items, test)
    return found


def _argued(items: Sequence[Item]) -> list[Fact]:
    """Return what the arguments give away."""
    argued = [item for item in items if item.argued_for is not None]
    if not argued:
        return []
    first = [item for item in argued if item.argued_for == 0]
    second = [item for item in argued if item.argued_for == 1]
    named = [item for item in argued if masking.identifiers(item.argument)]
    return [
        Fact("argument chooses slot 1", len(first), len(argued), "far from half, following it is nearly a constant"),
        Fact("argument for slot 1 is right", sum(i.right == 0 for i in first), len(first)),
        Fact("argument for slot 2 is right", sum(i.right == 1 for i in second), len(second)),
        Fact("argument names a candidate", len(named), len(argued), "unmasked, it states the label it argues for"),
        Fact(
            "first candidate it names is the one it chooses",
            sum(masking.identifiers(i.argument)[0].index == i.argued_for for i in named),
            len(argued),
        ),
        Fact(
            "masked, it still shares more words with its choice",
            sum(_shares_more(item) for item in argued),
            len(argued),
            "far from half, masking leaks which candidate is meant",
        ),
    ]


def _shares_more(item: Item) -> bool:
    """Say whether a masked argument has more words in common with the candidate it chooses than with the other."""
    said = set(words(masking.mask(item.argument)))
    common = [len(said & set(words(c.text))) / max(1, len(set(words(c.text)))) for c in item.candidates]
    return item.argued_for is not None and common[item.argued_for] > common[1 - item.argued_for]


def _overlap(items: Sequence[Item], test: Sequence[int]) -> list[Fact]:
    tested = set(test)
    trained = [item for index, item in enumerate(items) if index not in tested]
    questions, templates = {item.group for item in trained}, {template(item.question) for item in trained}
    held = [items[index] for index in test]
    return [
        Fact("test questions that are in train", sum(i.group in questions for i in held), len(held)),
        Fact(
            "test questions whose template is in train",
            sum(template(i.question) in templates for i in held),
            len(held),
            "the same question with other numbers",
        ),
    ]


def _right_wrong(item: Item) -> tuple[Candidate, Candidate]:
    right = item.right
    assert right is not None  # `pairs` sees to it
    return item.candidates[right], item.candidates[1 - right]
