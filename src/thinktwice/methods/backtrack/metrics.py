"""Is a retraction right? Counts against the step oracle.

A retraction deletes a span written after some visible text. With `viable(text)` = "can still become a right solution":

* right: the text before it was viable, and with the span it no longer was; precision = right / judged.
* false: the text was still viable with the span.
* late: the text before the span was already wrong; the retraction did not reach back far enough.
* recall = right / (right + replies that ended with a wrong step committed).
* useful: right, and what replaced the span is viable; harmful: false, and what replaced it is not.
* no-op: the same tokens were written again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from thinktwice.records import Retraction
from thinktwice.render import Render
from thinktwice.types import Oracle, Problem, Step, Trace


@dataclass(frozen=True)
class Retractions:
    """Sums over many replies; ratios are None where nothing was counted."""

    replies: int = 0
    with_retraction: int = 0
    retractions: int = 0
    judged: int = 0
    right: int = 0
    false: int = 0
    late: int = 0
    useful: int = 0
    harmful: int = 0
    no_op: int = 0
    wrong_replies: int = 0
    """Replies whose surviving text has a wrong step."""
    deleted_tokens: int = 0
    sampled_tokens: int = 0
    budget_hits: int = 0
    """Replies that used all their retractions, or ran out of sampled tokens."""

    @property
    def precision(self) -> float | None:
        """Right / (right + false)."""
        return self.right / (self.right + self.false) if self.right + self.false else None

    @property
    def recall(self) -> float | None:
        """Right / (right + wrong replies)."""
        return self.right / (self.right + self.wrong_replies) if self.right + self.wrong_replies else None

    def summary(self) -> Retraction:
        """Return the rates a report shows; useful, harmful and no-op are shares of all judged retractions."""
        share = (lambda count: count / self.judged) if self.judged else (lambda count: None)
        return Retraction(
            retractions=self.retractions,
            precision=self.precision,
            recall=self.recall,
            useful=share(self.useful),
            harmful=share(self.harmful),
            no_op=self.no_op / self.retractions if self.retractions else None,
            deleted_tokens=self.deleted_tokens / self.sampled_tokens if self.sampled_tokens else None,
            budget_hits=self.budget_hits,
        )


def spans(steps: Sequence[Step]) -> list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]:
    """List the retractions of a trace as (visible ids before the span, deleted span, ids written in its place).

    The replacement is what survives next, at most as long as the span.
    """
    found = []
    kept: list[int] = []
    for index, step in enumerate(steps):
        if step.kept:
            kept.extend(step.token_ids)
        elif step.kind == "error":
            survivors = [i for later in steps[index + 1 :] if later.kept for i in later.token_ids]
            found.append((tuple(kept), step.token_ids, tuple(survivors[: len(step.token_ids)])))
    return found


def measure(
    problems: Sequence[Problem],
    traces: Iterable[Trace],
    render: Render,
    oracle: Oracle | None,
    *,
    max_retractions: int | None = None,
) -> Retractions:
    """Count retractions and, where there is an oracle, judge them."""
    sums = dict.fromkeys(Retractions.__dataclass_fields__, 0)
    for problem, trace in zip(problems, traces, strict=True):
        if trace.stop == "error":
            continue
        found = spans(trace.steps)
        sums["replies"] += 1
        sums["with_retraction"] += bool(found)
        sums["retractions"] += len(found)
        sums["no_op"] += sum(span == again for _, span, again in found)
        sums["deleted_tokens"] += sum(len(step.token_ids) for step in trace.steps if not step.kept)
        sums["sampled_tokens"] += trace.sampled_tokens
        sums["budget_hits"] += trace.stop == "budget" or (max_retractions is not None and len(found) >= max_retractions)
        if oracle is None:
            continue
        sums["wrong_replies"] += oracle.first_wrong(problem, trace.reply) is not None
        for before, span, again in found:
            text = render.text(before)
            sums["judged"] += 1
            if not oracle.is_viable(problem, text):
                sums["late"] += 1
                continue
            wrong = not oracle.is_viable(problem, render.text((*before, *span)))
            better = oracle.is_viable(problem, render.text((*before, *again)))
            sums["right"] += wrong
            sums["false"] += not wrong
            sums["useful"] += wrong and better
            sums["harmful"] += not wrong and not better
    return Retractions(**sums)
