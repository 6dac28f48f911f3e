"""Episodes and preferences as what the trainer learns. Law: what the model wrote is learned, observations are seen.

The ids are those of the trace, never encoded again: what training shows is what decoding showed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from thinktwice.errors import DataError
from thinktwice.methods.react import pairs
from thinktwice.methods.react.budget import Budget, Overflow, fit, keep_last_of_prompt
from thinktwice.types import Example, Pair, Step, Trace


@dataclass(frozen=True, slots=True)
class Layout:
    """How rows are made of traces."""

    by_step: bool = False
    """One row for each step instead of one for an episode."""
    max_length: int | None = None
    overflow: Overflow = "error"
    max_prompt: int | None = None
    """Keep only the last so many tokens before a step."""


def is_learned(step: Step) -> bool:
    """Say whether a step is learned: what the model wrote, and an action's end that replaced a token."""
    return step.sampled or step.kind == "action"


def trajectory(trace: Trace, prompt: Sequence[int]) -> Example:
    """Make one row of an episode: the model's own tokens are learned, all others seen."""
    ids, learned = [*prompt], [False] * len(prompt)
    for step in trace.steps:
        if step.kept:
            ids += step.token_ids
            learned += [is_learned(step)] * len(step.token_ids)
    return _example(ids, learned, trace.problem_id)


def steps(trace: Trace, prompt: Sequence[int]) -> list[Example]:
    """Make a row of each step: what stood before it is seen, the step learned."""
    made = []
    ids, learned = [*prompt], [False] * len(prompt)
    for index, step in enumerate(kept := trace.kept):
        ids += step.token_ids
        learned += [is_learned(step)] * len(step.token_ids)
        last = index == len(kept) - 1 or kept[index + 1].kind == "observation"
        if last and step.kind != "observation" and any(learned):
            made.append(_example(ids, learned, trace.problem_id))
        if step.kind == "observation":
            learned = [False] * len(ids)
    return made


def _example(ids: Sequence[int], learned: Sequence[bool], problem_id: str) -> Example:
    weights = (*(float(value) for value in learned[1:]), 0.0)
    return Example(tuple(ids), (*ids[1:], 0), weights, problem_id=problem_id)


def examples(
    traces: Sequence[Trace], prompts: Sequence[Sequence[int]], layout: Layout
) -> tuple[list[Example] | list[Pair], Budget]:
    """Make rows, or pairs where the traces are pairs, within the limits, and say what those cut.

    Raises:
        DataError: rows are too long, or nothing is left; episodes and pairs are mixed.
    """
    paired = [pairs.is_pair(trace) for trace in traces]
    if any(paired) and not all(paired):
        raise DataError("episodes and pairs cannot be learned together; collect one or the other.")
    made: list[Example] | list[Pair]
    if any(paired):
        made, budget = _pairs(traces, prompts, layout)
    else:
        rows: list[Example] = []
        for trace, prompt in zip(traces, prompts, strict=True):
            rows += steps(trace, prompt) if layout.by_step else [trajectory(trace, prompt)]
        if layout.by_step:
            rows = [_shorten(row, layout.max_prompt) for row in rows]
        fitted, budget = fit(rows, layout.max_length, layout.overflow)
        made = [row for row in fitted if row is not None]
    if not made:
        raise DataError(f"nothing is left to learn within the limits.\n{budget}")
    return made, budget


def _pairs(traces: Sequence[Trace], prompts: Sequence[Sequence[int]], layout: Layout) -> tuple[list[Pair], Budget]:
    whole = [pairs.from_trace(trace, prompt) for trace, prompt in zip(traces, prompts, strict=True)]
    sides = [_shorten(side, layout.max_prompt) for pair in whole for side in (pair.chosen, pair.rejected)]
    fitted, budget = fit(sides, layout.max_length, layout.overflow)
    made = []
    for pair, chosen, rejected in zip(whole, fitted[::2], fitted[1::2], strict=True):
        if chosen is not None and rejected is not None and chosen != rejected:
            made.append(replace(pair, chosen=chosen, rejected=rejected))
    return made, budget


def _shorten(row: Example, max_prompt: int | None) -> Example:
    """Keep the last tokens before what a row of one step learns; TRL 0.7 did so before it cut the end."""
    if max_prompt is None:
        return row
    first = next(i for i, weight in enumerate(row.weights) if weight > 0) + 1
    return keep_last_of_prompt(row, first, max_prompt)
