"""What a limit on the length of rows cuts away. Law: nothing is cut unless a recipe says so, and it is counted.

TRL's SFT default keeps the first 1,024 tokens of a row and says nothing. A ReAct row ends with what is to be learned,
so that is what goes: of araft's five fixture rows after the first step none keeps its action whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from thinktwice.errors import DataError
from thinktwice.types import Example

Overflow = Literal["error", "drop", "cut"]
Spans = tuple[tuple[int, int], ...]
"""Where the learned stretches of a row stand, as [from, to) over its tokens."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The lengths of training rows, in tokens, and what a limit does to them."""

    rows: int
    p5: int
    p50: int
    p95: int
    longest: int
    max_length: int | None
    over: int
    """Rows longer than the limit."""
    turns: int
    """Learned stretches (a thought with its action), in all rows."""
    cut: int
    """Those that lose their end."""
    lost: int
    """Those of which nothing is left."""
    tokens_lost: int
    """Learned tokens beyond the limit."""

    def __str__(self) -> str:
        """Tell it, two lines."""
        lines = [f"length  5 %: {self.p5}, median {self.p50}, 95 %: {self.p95}, longest {self.longest} tokens"]
        if self.max_length is not None:
            lines.append(
                f"limit   {self.max_length}: {self.over} of {self.rows} rows are longer; of {self.turns} actions "
                f"{self.lost} are lost whole, {self.cut} lose their end ({self.tokens_lost} learned tokens)"
            )
        return "\n".join(lines)


def measure(rows: Sequence[tuple[int, Spans]], max_length: int | None) -> Budget:
    """Measure rows given as (length, learned stretches)."""
    lengths = sorted(length for length, _ in rows) or [0]
    limit = lengths[-1] if max_length is None else max_length
    spans = [span for _, learned in rows for span in learned]
    return Budget(
        rows=len(rows),
        p5=_quantile(lengths, 0.05),
        p50=_quantile(lengths, 0.5),
        p95=_quantile(lengths, 0.95),
        longest=lengths[-1],
        max_length=max_length,
        over=sum(length > limit for length, _ in rows),
        turns=len(spans),
        cut=sum(start < limit < stop for start, stop in spans),
        lost=sum(start >= limit for start, _ in spans),
        tokens_lost=sum(max(0, stop - max(start, limit)) for start, stop in spans),
    )


def spans_of(example: Example) -> Spans:
    """Return the stretches of tokens whose prediction counts."""
    spans: list[tuple[int, int]] = []
    for index, weight in enumerate(example.weights):
        if weight > 0:  # the token that position `index` predicts stands right after it
            if spans and spans[-1][1] == index + 1:
                spans[-1] = spans[-1][0], index + 2
            else:
                spans.append((index + 1, index + 2))
    return tuple(spans)


def keep_first(example: Example, max_length: int) -> Example | None:
    """Keep the first `max_length` tokens, as TRL does; None when nothing learned is left."""
    if len(example.token_ids) <= max_length:
        return example
    weights = (*example.weights[: max_length - 1], 0.0)
    if not any(weights):
        return None
    return replace(
        example,
        token_ids=example.token_ids[:max_length],
        targets=(*example.targets[: max_length - 1], 0),
        weights=weights,
    )


def fit(rows: Sequence[Example], max_length: int | None, overflow: Overflow) -> tuple[list[Example | None], Budget]:
    """Do with rows that are longer than the limit what was asked for; a row that is gone is None.

    Raises:
        DataError: a row is longer, and neither dropping nor cutting was asked for.
    """
    found = measure([(len(row.token_ids), spans_of(row)) for row in rows], max_length)
    if max_length is None or not found.over:
        return list(rows), found
    if overflow == "error":
        raise DataError(
            f"{found.over} of {found.rows} rows are longer than method.max_length={max_length} tokens (longest "
            f"{found.longest}); cut there, {found.lost} of {found.turns} actions would be lost whole and {found.cut} "
            "would lose their end. Raise method.max_length, shorten method.observation_tokens, or say "
            "method.overflow=drop (or cut, for the control that does)."
        )
    if overflow == "drop":
        return [row if len(row.token_ids) <= max_length else None for row in rows], found
    return [keep_first(row, max_length) for row in rows], found


def keep_last_of_prompt(example: Example, prompt: int, max_prompt: int) -> Example:
    """Keep the last `max_prompt` tokens of a context of `prompt` tokens, as TRL's old `max_prompt_length` did."""
    gone = max(0, prompt - max_prompt)
    return replace(
        example, token_ids=example.token_ids[gone:], targets=example.targets[gone:], weights=example.weights[gone:]
    )


def _quantile(ordered: Sequence[int], share: float) -> int:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
