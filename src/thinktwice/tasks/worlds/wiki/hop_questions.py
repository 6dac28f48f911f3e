"""Questions of `wiki_hops`: paths over pages, how they are spelled, and what must be read to answer them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from thinktwice.errors import DataError
from thinktwice.tasks.worlds.wiki.encyclopedia import RELATIONS, Fact
from thinktwice.tasks.worlds.wiki.questions import Facts, Question, Term, read_description

Form = Literal["span", "order", "same"]
_WHEN = {"born": ("When was ", " born?"), "died": ("When did ", " die?"), "founded": ("When was ", " founded?")}
FIRST = {"born": "Who was born first, ", "founded": "Which was founded first, "}


@dataclass(frozen=True, slots=True)
class HopQuestion:
    """A path to follow, or two whose ends are compared."""

    form: Form
    left: Term
    right: Term | None = None

    @property
    def terms(self) -> tuple[Term, ...]:
        """Its paths, in the order in which they are followed."""
        return (self.left,) if self.right is None else (self.left, self.right)

    @property
    def hops(self) -> int:
        """How many pages it takes."""
        return sum(len(term.path) for term in self.terms)

    @property
    def text(self) -> str:
        """Spell it."""
        last = self.left.path[-1]
        if self.form == "same":
            return f"Is {' the same as '.join(term.describe() for term in self.terms)}?"
        described = " or ".join(term.describe(last=False) for term in self.terms)
        if self.form == "order":
            return f"{FIRST[last]}{described}?"
        if last in _WHEN:
            return described.join(_WHEN[last])
        return f"{'Who' if RELATIONS[last].value == 'person' else 'What'} is {self.left.describe()}?"

    @classmethod
    def read(cls, text: str) -> "HopQuestion":
        """Parse a question; DataError when it is not one of this task's."""
        for question in _readings(text):
            named = all(term.path and _NAME.fullmatch(term.start) for term in question.terms)
            if named and question.text == text:
                return question
        raise DataError(f"not a wiki_hops question: {text[:80]!r}. Expected 'Who is the teacher of …?' or the like.")

    def chain(self, facts: Facts) -> list[Fact]:
        """Return what must be read, page by page; it ends early where something is not known."""
        walks = (step for term in self.terms for step in term.walk(facts))
        return [Fact(subject, relation, value) for subject, relation, value in walks if value is not None]

    def comparison(self, facts: Facts) -> tuple[str, str]:
        """Return (the answer, the line that finds it); the line is empty where nothing is compared."""
        values = [term.value(facts) or "" for term in self.terms]
        if self.right is None:
            return values[0], ""
        asked = Question("same" if self.form == "same" else "order", self.left, self.right)
        outcome = asked.outcome(values[0], values[1]) or "neither"
        line = asked.comparison(values[0], values[1], outcome)
        if self.form == "same":
            return ("yes" if outcome == "same" else "no"), line
        ends = [replace(term, path=term.path[:-1]).value(facts) or "" for term in self.terms]
        return (ends[0] if outcome == "first" else ends[1]), line


_NAME = re.compile(r"[A-Za-z]+( [A-Z][a-z]+)?")


def _readings(text: str) -> Iterator[HopQuestion]:
    """Yield what a text may ask; `read` keeps what is spelled the same."""
    for relation, (before, after) in _WHEN.items():
        yield HopQuestion("span", _extend(text.removeprefix(before).removesuffix(after), relation))
    bare = text.removesuffix("?")
    for relation, before in FIRST.items():
        one, _, other = bare.removeprefix(before).partition(" or ")
        yield HopQuestion("order", _extend(one, relation), _extend(other, relation))
    one, _, other = bare.removeprefix("Is ").partition(" the same as ")
    yield HopQuestion("same", read_description(one), read_description(other))
    yield HopQuestion("span", read_description(bare.removeprefix("Who is ").removeprefix("What is ")))


def _extend(description: str, relation: str) -> Term:
    term = read_description(description)
    return replace(term, path=(*term.path, relation))
