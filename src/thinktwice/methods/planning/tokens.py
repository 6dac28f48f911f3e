"""The planning tokens of one setting, and where they stand. Names and strings are those of the public code.

Source: *Guiding Language Model Reasoning with Planning Tokens* (Wang et al. 2024) and *Disentangling Memory and
Reasoning Ability in Large Language Models* (Jin et al. 2025), whose flags `num_general_prefix_tokens` and
`num_special_prefix_tokens` count the tokens of a block.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from thinktwice.types import ControlToken

Placement = Literal["every_step", "only_at_front", "plan_first", "plan_only"]
ANSWER, ASSIGNMENT, PREFIX = "answer", "assignment", "prefix"
"""Keys of the block before the answer, of a step without a type, and of what stands before every block."""

WORDS: dict[str, tuple[str, ...]] = {
    PREFIX: ("step", "next", "plan"),
    ANSWER: ("answer", "result", "therefore"),
    ASSIGNMENT: ("let", "given", "set"),
    "memory": ("memory", "remember", "recall", "fact", "know"),
    "reason": ("reason", "because", "think", "follows", "conclude"),
    "+": ("plus", "add", "sum", "total"),
    "-": ("minus", "subtract", "less", "difference"),
    "*": ("times", "multiply", "product"),
    "/": ("divide", "per", "quotient", "share"),
}
"""Words whose rows a block's tokens start from, in the model's own vocabulary."""


@dataclass(frozen=True, slots=True)
class Line:
    """A block of planning tokens and the text that follows it."""

    plan: tuple[str, ...]
    """Names of the tokens; may be empty."""
    text: str
    """With its line break, where it has one."""
    kind: Literal["text", "answer"] = "text"
    tag: str = ""
    """Stands before the text, encoded by itself."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """`general` tokens before every block, and `special` tokens for each type, for the answer and for no type."""

    general: int
    special: int
    types: tuple[str, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The blocks there are, `prefix` aside, in the order of their tokens."""
        return tuple(dict.fromkeys((ANSWER, ASSIGNMENT, *self.types))) if self.special else ()

    @property
    def prefix(self) -> tuple[str, ...]:
        """The tokens that every block begins with."""
        return tuple(f"<{PREFIX}_{i}>" for i in range(self.general))

    def own(self, key: str) -> tuple[str, ...]:
        """The tokens of one type."""
        return tuple(f"<{key}_{i}>" for i in range(self.special))

    def block(self, types: Sequence[str]) -> tuple[str, ...]:
        """The tokens before a step of these types, in their order; `assignment` stands for none."""
        return (*self.prefix, *(token for key in (types or (ASSIGNMENT,)) for token in self.own(key)))

    @property
    def tokens(self) -> tuple[ControlToken, ...]:
        """Every token, each told what it means."""
        made = [ControlToken(name, "The next step begins.", WORDS[PREFIX]) for name in self.prefix]
        for key in self.keys:
            words = WORDS.get(key, WORDS[PREFIX])
            about = {ANSWER: "Now the answer.", ASSIGNMENT: "A plain step."}.get(key, f"A step of type {words[0]}.")
            made += [ControlToken(name, about, words) for name in self.own(key)]
        return tuple(made)

    def lay_out(
        self, steps: Sequence[str], types: Sequence[Sequence[str]], answer: str, placement: Placement = "every_step"
    ) -> list[Line]:
        """Put the blocks where a placement wants them.

        Args:
            steps: lines without their line break.
            types: one list of types a step.
            answer: the answer line.
            placement: every_step: a block before each step and one before the answer; only_at_front: the prefix once,
                before everything; plan_first: all blocks, then the solution; plan_only: all blocks, then the answer.
        """
        blocks = [self.block(t) for t in types]
        final = self.block((ANSWER,))
        plain = [Line((), f"{step}\n") for step in steps]
        if placement == "every_step":
            typed = [Line(block, f"{step}\n") for block, step in zip(blocks, steps, strict=True)]
            return [*typed, Line(final, answer, "answer")]
        if placement == "only_at_front":
            lines = [*plain, Line((), answer, "answer")]
            return [Line(self.prefix, lines[0].text, lines[0].kind), *lines[1:]]
        plan = [Line(block, "\n") for block in (*blocks, final)]
        return [*plan, *(plain if placement == "plan_first" else ()), Line((), answer, "answer")]


def upstream_text(lines: Sequence[Line]) -> str:
    """Spell a layout exactly as the public code does: a space before every token and before a typed line's text."""
    return "".join(
        "".join(f" {token}" for token in line.plan) + (" " if line.plan and line.text.strip() else "") + line.text
        for line in lines
    )
