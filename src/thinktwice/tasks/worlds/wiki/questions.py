"""Questions that are true or false: what they compare and how they are spelled.

Both sides of a question are *terms*: a start and a path of relations to follow from it. "the teacher of Ida Marshby was
born" is (Ida Marshby, teacher, born). A term without a path is a constant. How many facts a question needs is the
length of its paths.

    Was the teacher of Ida Marshby born before Otto Elmson died?
    Is the town of Ida Marshby the same as the capital of Borland?
    Did the friend of Ida Marshby live longer than 62 years?
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from thinktwice.errors import DataError
from thinktwice.tasks.worlds.wiki.encyclopedia import RELATIONS, Relation

Facts = Mapping[tuple[str, str], str]
Form = Literal["order", "same", "length"]
Outcome = Literal["first", "second", "neither"]
"""Which of two values is earlier or longer."""

AGE = "age"
"""Of a person: not stated anywhere; the year of death less the year of birth."""
SAID = {**RELATIONS, AGE: Relation("person", AGE, " lived ", unit=" years")}
FORMS: tuple[Form, ...] = ("order", "same", "length")
_VERBS = {
    "born": ("Was", " born", " was born"),
    "died": ("Did", " die", " died"),
    "founded": ("Was", " founded", " was founded"),
}


@dataclass(frozen=True, slots=True)
class Term:
    """One side of a question."""

    start: str
    """A person or a place, or the value itself where `path` is empty."""
    path: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many facts it takes."""
        return len(self.path) + (self.path[-1:] == (AGE,))

    @property
    def kind(self) -> str:
        """What its value is."""
        return SAID[self.path[-1]].value

    @property
    def derived(self) -> bool:
        """Whether its value takes a step of reasoning; otherwise one fact states it."""
        return self.size > 1

    def describe(self, *, last: bool = True) -> str:
        """Spell it: "the teacher of Ida Marshby"; without its last relation when that one is told by a verb."""
        path = self.path if last else self.path[:-1]
        return "".join(f"the {SAID[r].noun} of " for r in reversed(path)) + self.start

    def claim(self, value: str) -> str:
        """Spell the step that derives its value."""
        relation = SAID[self.path[-1]]
        return f"So {self.describe(last=False)}{relation.phrase}{value}{relation.unit}."

    def walk(self, facts: Facts) -> Iterator[tuple[str, str, str | None]]:
        """Yield the facts on its path as (subject, relation, value), up to the first whose value is not known."""
        at: str | None = self.start
        for relation in self.path:
            assert at is not None
            for one in ("born", "died") if relation == AGE else (relation,):
                value = facts.get((at, one))
                yield at, one, value
                if value is None and one != "born":
                    return
            if value is None:
                return
            at = value

    def value(self, facts: Facts) -> str | None:
        """Follow the path; None where a fact is missing or no age can be made of what is known."""
        if not self.path:
            return self.start
        values = [value for _, _, value in self.walk(facts)]
        if len(values) < self.size or None in values:
            return None
        if self.path[-1] != AGE:
            return values[-1]
        born, died = values[-2:]
        assert born is not None
        assert died is not None
        return str(int(died) - int(born)) if _is_number(born) and _is_number(died) else None


def read_description(text: str) -> Term:
    """Parse "the teacher of the friend of X"; whatever is no such phrase is a start."""
    path: list[str] = []
    while found := _OF.match(text):
        path.insert(0, _NOUNS[found[1]])
        text = text[found.end() :]
    return Term(text, tuple(path))


_NOUNS = {relation.noun: name for name, relation in RELATIONS.items() if relation.noun}
_OF = re.compile(rf"the ({'|'.join(_NOUNS)}) of ")
_NAME, _YEAR, _AGE = re.compile(r"[A-Za-z]+( [A-Z][a-z]+)?"), re.compile(r"\d{4}"), re.compile(r"\d\d")
_ORDER_LEFT = re.compile(r"(Was|Did) (.+) (born|die|founded)")
_ORDER_RIGHT = re.compile(r"(.+) (was born|died|was founded)")
_LENGTH = re.compile(r"Did (.+) live longer than (?:(\d+) years|(.+))\?")


@dataclass(frozen=True, slots=True)
class Question:
    """Two terms and what is asked about them."""

    form: Form
    left: Term
    right: Term

    @property
    def terms(self) -> tuple[Term, Term]:
        """Both sides."""
        return self.left, self.right

    @property
    def level(self) -> int:
        """How many facts it needs."""
        return self.left.size + self.right.size

    @property
    def text(self) -> str:
        """Spell it."""
        if self.form == "same":
            return f"Is {self.left.describe()} the same as {self.right.describe()}?"
        left, right = (term.describe(last=False) for term in self.terms)
        if self.form == "length":
            return f"Did {left} live longer than {right}{'' if self.right.path else ' years'}?"
        asks, after, _ = _VERBS[self.left.path[-1]]
        told = _VERBS[self.right.path[-1]][2] if self.right.path else ""
        return f"{asks} {left}{after} before {right}{told}?"

    @classmethod
    def read(cls, text: str) -> "Question":
        """Parse a question; DataError when it is not one of this world's."""
        question = cls._parse(text)
        if question is None or question.text != text or not question._named():
            raise DataError(f"not a wiki question: {text[:80]!r}. Expected 'Was ... before ...?' or the like.")
        return question

    @classmethod
    def _parse(cls, text: str) -> "Question | None":
        if text.startswith("Is ") and text.endswith("?"):
            left, _, right = text[3:-1].partition(" the same as ")
            return cls("same", read_description(left), read_description(right))
        if found := _LENGTH.fullmatch(text):
            left, years, other = found.groups()
            return cls("length", _extend(left, AGE), Term(years) if years else _extend(other, AGE))
        left, before, right = text.removesuffix("?").partition(" before ")
        asked, told = _ORDER_LEFT.fullmatch(left), _ORDER_RIGHT.fullmatch(right)
        if not (before and asked):
            return None
        first = _extend(asked[2], "died" if asked[3] == "die" else asked[3])
        return cls("order", first, _extend(told[1], told[2].split()[-1]) if told else Term(right))

    def _named(self) -> bool:
        """Say whether both sides start from a name, or the right one is a constant of the right kind."""
        if not self.left.path:
            return False
        constant = {"order": _YEAR, "length": _AGE, "same": _NAME}[self.form]
        patterns = (_NAME, _NAME if self.right.path else constant)
        return all(pattern.fullmatch(term.start) for pattern, term in zip(patterns, self.terms, strict=True))

    def outcome(self, left: str, right: str) -> str | None:
        """Compare two values: first, second or neither; same or different; None when they cannot be compared."""
        if self.form == "same":
            return "same" if left == right else "different"
        if not (_is_number(left) and _is_number(right)):
            return None
        sign = -1 if self.form == "order" else 1
        one, two = sign * int(left), sign * int(right)
        return "neither" if one == two else "first" if one > two else "second"

    def holds(self, outcome: str) -> bool:
        """Say whether an outcome makes the answer True."""
        return outcome in ("first", "same")

    def comparison(self, left: str, right: str, outcome: str) -> str:
        """Spell the step that compares two values."""
        if self.form == "same":
            return f"{left} and {right} are {'the same' if outcome == 'same' else 'different'}."
        which = "neither" if outcome == "neither" else f"the {outcome}"
        return f"Of {left} and {right} {which} is {'earlier' if self.form == 'order' else 'longer'}."

    def answer(self, facts: Facts) -> bool:
        """Answer it from facts that hold all it needs."""
        left, right = (term.value(facts) for term in self.terms)
        assert left is not None
        assert right is not None
        return self.holds(self.outcome(left, right) or "")


def _extend(description: str, relation: str) -> Term:
    term = read_description(description)
    return replace(term, path=(*term.path, relation))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 4
