"""What an answer may be, and when two are equal: a value, or a group of answers (a set, a tuple, an equation)."""

from collections.abc import Sequence
from dataclasses import dataclass

from thinktwice.scoring import algebra
from thinktwice.scoring.algebra import Value


@dataclass(frozen=True)
class Group:
    """Several answers in one: a set, a tuple, an interval, a matrix, an equation, a list."""

    kind: str
    """"list" and "set" (without order), "()", "[)"... (tuples and intervals, brackets matter), "row", "matrix",
    "union", and the relations."""
    items: tuple["Answer", ...]


Answer = Value | Group


def same(a: Answer, b: Answer) -> bool:
    """Say whether two answers are equal, exactly.

    `x = 5` equals `5`; two equations need equal sides; the order of lists, sets and unions does not matter, that of
    tuples, and the brackets of intervals, do.
    """
    a, b = _right_side(a, b), _right_side(b, a)
    if isinstance(a, Value) or isinstance(b, Value):
        return isinstance(a, Value) and isinstance(b, Value) and algebra.same(a, b)
    kinds = {a.kind, b.kind}
    if (
        kinds == {"list", "set"}
        or kinds <= {"list"}
        or kinds <= {"set"}
        or kinds <= {"union"}
        or kinds in ({"="}, {"!="})
    ):
        one, other = _different(a.items), _different(b.items)
        return len(one) == len(other) and all(any(same(item, found) for found in other) for item in one)
    return a.kind == b.kind and len(a.items) == len(b.items) and all(map(same, a.items, b.items))


def _right_side(a: Answer, b: Answer) -> Answer:
    """Return what `a` sets a symbol equal to, where `b` is no equation."""
    if isinstance(a, Group) and a.kind == "=" and not (isinstance(b, Group) and b.kind == "="):
        left, right = a.items
        return right if isinstance(left, Value) and left.symbol else a
    return a


def _different(items: Sequence[Answer]) -> list[Answer]:
    kept: list[Answer] = []
    for item in items:
        if not any(same(item, known) for known in kept):
            kept.append(item)
    return kept
