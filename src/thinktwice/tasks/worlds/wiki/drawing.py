"""How questions are drawn. Law: of every shape as many are true as false, so no word of a question tells the answer."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from thinktwice.errors import DataError
from thinktwice.tasks.worlds.wiki.encyclopedia import Encyclopedia
from thinktwice.tasks.worlds.wiki.questions import AGE, FORMS, SAID, Form, Question, Term

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
_TRIES = 60

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """Everything of a question but whom it is about."""

    form: Form
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
    return tuple(form for form in FORMS if form != "length" or (left > 1 and right != 1))


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
            return Shape(form, rng.choice(kinds[kind]), rng.choice(options), source)


def draw(rng: random.Random, encyclopedia: Encyclopedia, level: int, people: Sequence[str] | None = None) -> Question:
    """Draw a question that needs `level` facts, starting from some of `people` (default: everyone alike).

    Law: no fact is needed twice, and a shape is used only where both a true and a false question were found for it.

    Raises:
        DataError: no such level.
    """
    if not 1 <= level <= MOST_FACTS:
        raise DataError(f"wiki has questions of 1 to {MOST_FACTS} facts; got {level}.")
    while True:
        shape = draw_shape(rng, level)
        pair = [_find(rng, encyclopedia, people or encyclopedia.persons, shape, truth) for truth in (True, False)]
        chosen = rng.choice(pair)
        if chosen is not None and None not in pair:
            return chosen


def _find(
    rng: random.Random, encyclopedia: Encyclopedia, people: Sequence[str], shape: Shape, truth: bool
) -> Question | None:
    """Draw whom a question of some shape is about, so that its answer is `truth`; None after some fruitless tries."""
    facts = encyclopedia.facts
    for _ in range(_TRIES):
        left = Term(rng.choice(people), shape.left)
        right = Term(*_right(rng, encyclopedia, people, shape, left, truth))
        value, other = left.value(facts), right.value(facts)
        if value is None or other is None or left.start == right.start:
            continue
        question = Question(shape.form, left, right)
        if shape.form != "same" and not 0 < abs(int(value) - int(other)) <= NEAR[shape.form]:
            continue
        needed = [(subject, relation) for term in question.terms for subject, relation, _ in term.walk(facts)]
        if question.answer(facts) == truth and len(set(needed)) == question.level:
            return question
    return None


def _right(
    rng: random.Random, encyclopedia: Encyclopedia, people: Sequence[str], shape: Shape, left: Term, truth: bool
) -> tuple[str, Path]:
    """Draw a right side: start and path. It need not fit yet, but where chance would hardly ever fit it does."""
    value = left.value(encyclopedia.facts) or ""
    starts = people if shape.source == "person" else encyclopedia.places[shape.source]
    if shape.form == "same" and truth:
        if not shape.right:
            return value, ()
        same = {value}
        for relation in reversed(shape.right):
            same = {subject for one in same for subject in encyclopedia.subjects.get((relation, one), ())}
        starts = tuple(sorted(same - {left.start})) or starts
    elif shape.form == "same" and not shape.right:
        other = replace(left, start=rng.choice(people))
        return other.value(encyclopedia.facts) or "", ()
    elif not shape.right:
        by = rng.randint(1, NEAR[shape.form])
        return str(int(value) + (-by if truth == (shape.form == "length") else by)), ()
    return rng.choice(starts), shape.right
