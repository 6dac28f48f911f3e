"""The language of `arith` and its pretraining text: word problems, of which the solution is learned.

One token for each phrase that the world writes. Phrases end where the next name or number begins ("Leo has as many as
", "Leo: ", " plus 3", " + Ann"), so that what belongs together stands side by side: a model this small learns to look
up a neighbour far sooner than anything else.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from thinktwice.render import Render
from thinktwice.tasks.worlds import arith
from thinktwice.types import Example

PLAIN_WORDS = (
    *(f" {noun}" for noun in arith.NOUNS),
    *(" where ", ", ", " = ", "\n", ". ", ". How many", " does ", " have?", "####"),
)
WORDS = (
    *(f"{name}{after}" for name in arith.NAMES for after in ("", ": ", " has", " has as many as ")),
    *(f"{operator} {right}" for operator in (" plus", " minus", " +", " -") for right in (*arith.NAMES, *range(1, 10))),
    *(f" {number}" for number in range(31)),
    *PLAIN_WORDS,
)


@dataclass(frozen=True)
class Arith:
    """`World` of word problems."""

    operations: tuple[int, int] = (1, 4)
    """Difficulty of the training problems; the headline is two operations beyond."""
    irrelevant: tuple[int, int] = (0, 2)

    @property
    def name(self) -> str:
        """The settings."""
        return f"arith {self.operations} {self.irrelevant}"

    @property
    def rows(self) -> int:
        """Enough for every phrase and a dozen control tokens."""
        return 512

    @property
    def words(self) -> tuple[str, ...]:
        """Names with what follows them, operators with what they add, numbers, and the rest."""
        return WORDS

    @property
    def pattern(self) -> str:
        """One alternative for each kind of phrase, longest first."""
        name = f"(?:{'|'.join(arith.NAMES)})"
        kinds = [
            rf"{name}(?:: | has as many as | has)?",
            rf" (?:plus|minus|\+|-) (?:{name}|[1-9](?!\d))",
            r" (?:[12]?\d|30)(?!\d)",
            *(re.escape(word) for word in sorted(PLAIN_WORDS, key=len, reverse=True)),
        ]
        return "|".join(kinds)

    def examples(self, render: Render, seed: int) -> Iterator[Example]:
        """Yield problems with their solutions for ever."""
        for problem in arith.problems("train", seed, self.operations, self.irrelevant):
            yield render.example(problem, render.solution(problem.solution or ""))
