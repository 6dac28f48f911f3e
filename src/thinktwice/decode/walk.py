"""Showing a finished text to a critic step by step, while it says after each step whether it is right. No torch needed.

The critic draws nothing but verdicts. After "correct" the next step is appended (one forward pass, the cache of all
before it stays); after "incorrect" it may write freely, for example the step that should stand there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thinktwice.types import Append, ControlToken, Edit, RowView, Stop

NEVER = float("-inf")
CRITIQUE = ControlToken("<critique>", "Here begins what somebody says of the answer above.", ("review", "feedback"))
CORRECT = ControlToken("<correct>", "The answer above is right.", ("correct", "right"))
INCORRECT = ControlToken("<incorrect>", "The answer above is wrong.", ("incorrect", "wrong"))
TOKENS = (CRITIQUE, CORRECT, INCORRECT)
"""What a critic adds to a model: where the text begins that it judges, and its two verdicts."""


@dataclass(frozen=True)
class Walk:
    """Appends the step after the one that was just found right, and ends behind the last."""

    steps: Mapping[tuple[int, ...], Sequence[tuple[int, ...]]]
    """A row's prompt (which ends with the first step) -> all steps of the text it judges."""
    correct_id: int

    @property
    def watch(self) -> frozenset[int]:
        """The verdict that goes on."""
        return frozenset((self.correct_id,))

    def edit(self, row: RowView, drawn: int) -> Edit | None:
        """Append or stop where a step was found right."""
        if drawn != self.correct_id:
            return None
        steps = self.steps[tuple(row.token_ids[: row.prompt_length])]
        done = sum(token == self.correct_id for token in row.token_ids[row.prompt_length :]) + 1
        return Append(tuple(steps[done])) if done < len(steps) else Stop()


@dataclass(frozen=True)
class OnlyVerdicts:
    """Until a step was found wrong, only the two verdicts can be drawn; after that, neither."""

    correct_id: int
    incorrect_id: int

    def __call__(self, rows: Sequence[RowView], logits_BV: Any) -> Any:
        """Forbid everything else."""
        verdicts = [self.correct_id, self.incorrect_id]
        for index, row in enumerate(rows):
            if self.incorrect_id in row.token_ids[row.prompt_length :]:
                logits_BV[index, verdicts] = NEVER
                continue
            kept = logits_BV[index, verdicts].clone()
            logits_BV[index] = NEVER
            logits_BV[index, verdicts] = kept
        return logits_BV


def annotate(
    steps: Sequence[Sequence[int]], correct_id: int, incorrect_id: int, wrong: int | None, instead: Sequence[int] = ()
) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Write a critic's walk over a text: (ids, of each whether the critic writes it). Law: what `Walk` would show.

    Args:
        steps: of the text.
        correct_id: the verdict after a right step.
        incorrect_id: the verdict after the first wrong one, behind which nothing is shown.
        wrong: index of that step; None: all are right.
        instead: what the critic writes after it.
    """
    ids: list[int] = []
    written: list[bool] = []
    for index, step in enumerate(steps):
        bad = index == wrong
        ids += (*step, incorrect_id if bad else correct_id)
        written += (*(False for _ in step), True)
        if bad:
            ids += instead
            written += (True,) * len(instead)
            break
    return tuple(ids), tuple(written)


def split_steps(token_ids: Sequence[int], step_ends: frozenset[int]) -> tuple[tuple[int, ...], ...]:
    """Cut ids behind every id that ends a step. Law: joined, they are the ids again."""
    steps: list[tuple[int, ...]] = []
    start = 0
    for index, token in enumerate(token_ids, 1):
        if token in step_ends:
            steps.append(tuple(token_ids[start:index]))
            start = index
    return (*steps, tuple(token_ids[start:])) if start < len(token_ids) else tuple(steps)
