"""Types that need no fitting: the dataset's labels, the operators of a step, one type for all, and chance."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from thinktwice.config import parse, to_dict
from thinktwice.errors import DataError
from thinktwice.methods.planning.typers.artefact import FILE, write_typer
from thinktwice.methods.planning.typers.embedding import Embed, Solution

OPERATORS = ("+", "-", "*", "/")


@dataclass(frozen=True, slots=True)
class _Given:
    """A typer that is its own fit."""

    types: tuple[str, ...]
    kind: ClassVar[str]

    def fit(self, solutions: Sequence[Solution], embed: Embed | None, seed: int) -> Self:
        """Return the typer as it is."""
        return self

    def save(self, directory: Path) -> None:
        """Write its fields."""
        write_typer(directory, self.kind, to_dict(self))

    @classmethod
    def load(cls, saved: dict[str, Any], directory: Path) -> Self:
        """Read its fields.

        Raises:
            ConfigError: one is unknown, missing or of a wrong type.
        """
        return parse(cls, saved["fields"], str(directory / FILE))


@dataclass(frozen=True, slots=True)
class General(_Given):
    """No step has a type of its own: the tokens mean "a step begins" and nothing else."""

    kind: ClassVar[str] = "general"

    @classmethod
    def build(cls, num_types: int, labels: tuple[str, ...]) -> Self:
        """Return the typer."""
        return cls(())

    def predict(self, solutions: Sequence[Solution], embed: Embed | None) -> list[list[tuple[str, ...]]]:
        """Give no step a type."""
        return [[()] * len(s.steps) for s in solutions]


@dataclass(frozen=True, slots=True)
class Labels(_Given):
    """The dataset's own labels, such as memory and reason."""

    kind: ClassVar[str] = "memory"

    @classmethod
    def build(cls, num_types: int, labels: tuple[str, ...]) -> Self:
        """Return the typer for these labels."""
        return cls(labels)

    def predict(self, solutions: Sequence[Solution], embed: Embed | None) -> list[list[tuple[str, ...]]]:
        """Return the labels.

        Raises:
            DataError: a problem without labels, or with one that is not among the types. Dropping it would shift
                every later label.
        """
        for solution in solutions:
            if len(solution.labels) != len(solution.steps):
                raise DataError(
                    f"problem {solution.problem_id} has {len(solution.steps)} steps and {len(solution.labels)} labels. "
                    "Use a dataset with labels, label it with the data agent, or choose other types."
                )
            unknown = [name for name in solution.labels if name not in self.types]
            if unknown:
                raise DataError(
                    f"problem {solution.problem_id} has the label {unknown[0]!r}; method.labels has {list(self.types)}."
                )
        return [[(name,) for name in s.labels] for s in solutions]


@dataclass(frozen=True, slots=True)
class Operators(_Given):
    """The arithmetic of a step: every operator in it, in order, repeated ones too.

    See `operators` for what is one.
    """

    kind: ClassVar[str] = "+-*/"

    @classmethod
    def build(cls, num_types: int, labels: tuple[str, ...]) -> Self:
        """Return the typer for the four operators."""
        return cls(OPERATORS)

    def predict(self, solutions: Sequence[Solution], embed: Embed | None) -> list[list[tuple[str, ...]]]:
        """Return the operators of each step."""
        return [[operators(step) for step in s.steps] for s in solutions]


_SIGN = re.compile(r"[-+*/×÷−–]|(?<=[\d\s)%])[xX](?=\s*[$€£(.\d])")
_SPELLED = {"×": "*", "x": "*", "X": "*", "÷": "/", "−": "-", "–": "-"}
_NUMBER_BEFORE = re.compile(r"[\d)\]%]$")
_NUMBER_AFTER = re.compile(r"[-+]?[$€£(\[]*[-+]?\.?\d")
_CALCULATED_BEFORE = re.compile(r"[-+*/×÷−–xX=(]\s*[$€£]?[\d.,]+%?$")
_CALCULATED_AFTER = re.compile(r"[$€£(]*[\d.,]+%?\)*\s*[-+*/×÷−–xX=]")
_NEAR = 40
"""Characters on either side of a sign that are looked at."""


def operators(step: str) -> tuple[str, ...]:
    """Return the operators of a step, in order, repeated ones too; "x" between quantities is one.

    Where the step marks its calculations, those alone are read. A sign of a number, a hyphen in a word, a range, a date
    and a fraction that nothing is done with are none. On the 23,716 steps of GSM8K's training split that have marks,
    the text without them gives the same operators in 97 %.

    Example:
        >>> operators("Half of 48-page books: <<48/2=24>>24, then 24 + 3 - 1 = 26"), operators("a 48-page book")
        (('/',), ())
    """
    marked = re.findall(r"<<([^<>]*)>>", step)
    found = [sign for text in (marked or [step]) for sign in _signs(text)]
    return tuple(_SPELLED.get(sign, sign) for sign in found)


def _signs(text: str) -> list[str]:
    equals = text.rfind("=")
    found = []
    for match in _SIGN.finditer(text):
        start, end = match.span()
        if _between(match[0], text[max(0, start - _NEAR) : start], text[end : end + _NEAR], end <= equals):
            found.append(match[0])
    return found


def _between(sign: str, before: str, after: str, calculated: bool) -> bool:
    """Say whether a sign stands between two operands; `calculated`: an equals sign follows somewhere."""
    left, right = before.rstrip(), after.lstrip()
    if not left or not right:
        return False
    tight, spaced = before == left and after == right, before != left and after != right
    number_left, number_right = _NUMBER_BEFORE.search(left) is not None, _NUMBER_AFTER.match(right) is not None
    if number_left and number_right:
        if not tight or sign in "+*×÷":
            return True
        # 3/4 of them, 2-3 days, 4x4: only beside another sign, or an equals sign, is it a calculation
        return calculated and bool(_CALCULATED_BEFORE.search(left) or _CALCULATED_AFTER.match(right))
    if not (left[-1].isalnum() or number_left) or not (right[0].isalnum() or number_right):
        return False
    return calculated and (spaced or (number_right and sign == "/"))


@dataclass(frozen=True, slots=True)
class Random(_Given):
    """Control: a type by chance, the same for the same step of the same problem."""

    seed: int = 0
    kind: ClassVar[str] = "random"

    @classmethod
    def build(cls, num_types: int, labels: tuple[str, ...]) -> Self:
        """Return the typer that draws among the labels, or among numbered types."""
        return cls(labels if labels else tuple(f"random{i}" for i in range(num_types)))

    def fit(self, solutions: Sequence[Solution], embed: Embed | None, seed: int) -> Self:
        """Take the seed."""
        return type(self)(self.types, seed)

    def predict(self, solutions: Sequence[Solution], embed: Embed | None) -> list[list[tuple[str, ...]]]:
        """Draw."""
        return [
            [
                (random.Random(f"{self.seed}/{s.problem_id}/{index}").choice(self.types),)
                for index in range(len(s.steps))
            ]
            for s in solutions
        ]
