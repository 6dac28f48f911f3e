"""How questions are drawn. Law: of every shape as many are true as false, so no word of a question tells the answer."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from thinktwice.errors import DataError
from thinktwice.tasks.worlds.wiki.encyclopedia import Encyclopedia
from thinktwice.tasks.worlds.wiki.questions import AGE, SAID, WORDS, Form, Question, Term

NEAR: dict[Form, int] = {"order": 20, "length": 10}
"""Values that are compared differ by at most so much, so that one of them alone does not tell the answer."""
MOST_FACTS = 6
LONGEST = 3
"""Most facts on one side."""
_ENDS: dict[Form, tuple[str, ...]] = {
    "order": ("year",),
    "same": ("person", "town", "country", "field"),
    "length": (AGE,),
}
_SOURCES = ("person", "person", "person", "town", "country")
_TRIES = 8

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """Everything of a question but whom it is about."""

    form: Form
    word: str
    left: Path
    right: Path
    source: str
    """The kind of thing that the right side starts from, where it has a path."""


@cache
def paths(kind: str, size: int) -> dict[str, list[Path]]:
    """Return every path of `size` facts from a kind of thing, by the kind of value it ends at."""
    found: dict[str, list[Path]] = {}
    for name, relation in SAID.items():
        cost = 2 if name == AGE else 1
        if relation.subject != kind:
            continue
        if cost == size:
            found.setdefault(relation.value, []).append((name,))
        elif size > 1:
            for value, rest in paths(relation.value, size - 1).items():
                found.setdefault(value, []).extend((name, *path) for path in rest)
    return found


@cache
def _forms(left: int, right: int) -> tuple[Form, ...]:
    return tuple(form for form in WORDS if form != "length" or (left > 1 and right != 1))


def draw_shape(rng: random.Random, level: int) -> Shape:
    """Draw the shape of a question that needs `level` facts."""
    sizes = [(a, level - a) for a in range(1, LONGEST + 1) if 0 <= level - a <= LONGEST]
    while True:
        a, b = rng.choice(sizes)
        form = rng.choice(_forms(a, b))
        kinds = paths("person", a)
        kind = rng.choice([end for end in _ENDS[form] if end in kinds])
        source = rng.choice(_SOURCES)
        options = paths(source, b).get(kind, []) if b else [()]
        if options:
            return Shape(form, rng.choice(WORDS[form]), rng.choice(kinds[kind]), rng.choice(options), source)


def draw(rng: random.Random, encyclopedia: Encyclopedia, people: Sequence[str], level: int) -> Question:
    """Draw a question about some of `people` that needs `level` facts.

    Law: no fact is needed twice, and a shape is used only where both a true and a false question were found for it.

    Raises:
        DataError: no such level.
    """
    if not 1 <= level <= MOST_FACTS:
        raise DataError(f"wiki has questions of 1 to {MOST_FACTS} facts; got {level}.")
    while True:
        shape = draw_shape(rng, level)
        pair = [_find(rng, encyclopedia, people, shape, truth) for truth in (True, False)]
        chosen = rng.choice(pair)
        if chosen is not None and None not in pair:
            return chosen


def _find(
    rng: random.Random, encyclopedia: Encyclopedia, people: Sequence[str], shape: Shape, truth: bool
) -> Question | None:
    """Draw whom a question of some shape is about, so that its answer is `truth`; None after a few fruitless tries."""
    facts = encyclopedia.facts
    for _ in range(_TRIES):
        left = Term(rng.choice(people), shape.left)
        value = left.value(facts)
        assert value is not None
        for right in _rights(rng, encyclopedia, people, shape, left, value, truth):
            question = Question(shape.form, shape.word, left, right)
            other = right.value(facts)
            assert other is not None
            if shape.form != "same" and abs(int(value) - int(other)) > NEAR[shape.form]:
                continue
            alike = other == value
            if alike != (truth and shape.form == "same") or (not alike and question.answer(facts) != truth):
                continue
            needed = [(subject, relation) for term in question.terms for subject, relation, _ in term.walk(facts)]
            if len(set(needed)) == question.level and left.start != right.start:
                return question
    return None


def _rights(
    rng: random.Random,
    encyclopedia: Encyclopedia,
    people: Sequence[str],
    shape: Shape,
    left: Term,
    value: str,
    truth: bool,
) -> Iterable[Term]:
    """Yield candidates for the right side in random order."""
    if shape.right:
        starts = people if shape.source == "person" else encyclopedia.places(shape.source)
        for start in rng.sample(starts, len(starts)):
            yield Term(start, shape.right)
    elif shape.form == "same":
        for person in rng.sample(people, len(people)):
            other = Term(person, shape.left).value(encyclopedia.facts)
            assert other is not None
            yield Term(value if truth else other)
    else:
        by = rng.randint(1, NEAR[shape.form])
        earlier = truth == (shape.word in ("after", "longer"))
        yield Term(str(int(value) + (-by if earlier else by)))
