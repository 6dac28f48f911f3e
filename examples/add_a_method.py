"""A method of your own in one file, with no registration: think again where the model was least sure.

Answer greedily. Where a token was drawn with a probability below `sure`, go back to the least likely one, ban it there,
write on, and keep the reply whose later tokens were likelier. Nothing is trained: `solve` is all there is to write.

In a recipe: `method: {name: examples/add_a_method.py:SecondThought, sure: 0.7}`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from thinktwice import Completion, Engine, Problem, Render, Rewind, Sampling, Step, Trace
from thinktwice.types import Fate, RowView

Ids = tuple[int, ...]


@dataclass(frozen=True)
class Instead:
    """A control: at each of these places in a text, one token may not be drawn."""

    places: Mapping[Ids, int]
    """What stands before the place (prompt included) -> the token that is banned there."""
    watch: frozenset[int] = frozenset()
    """Wakes after every token."""

    def edit(self, row: RowView, drawn: int) -> Rewind | None:
        """Throw the banned token away, and draw again without it."""
        banned = self.places.get(tuple(row.token_ids))
        return Rewind(0, ban=(drawn,), reject=True) if drawn == banned else None


@dataclass(frozen=True)
class SecondThought:
    """Go back to the least likely token, write on from there without it, keep the likelier of the two replies."""

    sure: float = 0.7
    """Replies whose least likely token is at least this likely stand as they are."""

    def solve(self, problems: Sequence[Problem], engine: Engine, render: Render, sampling: Sampling) -> list[Trace]:
        """Return one trace for each problem, in order."""
        prompts = [render.prompt(p) for p in problems]
        first = engine.generate(prompts, sampling, keys=[p.key for p in problems])
        doubts = [place_of_doubt(reply, self.sure) for reply in first]
        unsure = [i for i, place in enumerate(doubts) if place is not None]
        before = [(*prompts[i], *first[i].token_ids[: doubts[i]]) for i in unsure]
        banned = {ids: first[i].token_ids[len(ids) - len(prompts[i])] for i, ids in zip(unsure, before, strict=True)}
        second = engine.generate(before, sampling, controls=[Instead(banned)], keys=[problems[i].key for i in unsure])
        traces = [render.trace(p.id, reply) for p, reply in zip(problems, first, strict=True)]
        for i, ids, other in zip(unsure, before, second, strict=True):
            traces[i] = likelier(traces[i], first[i], len(ids) - len(prompts[i]), other, render)
        return traces


def place_of_doubt(reply: Completion, sure: float) -> int | None:
    """Return where the least likely token stands, or None when the model was sure of every token."""
    lowest = min(reply.logprobs, default=0.0)
    return reply.logprobs.index(lowest) if lowest < math.log(sure) else None


def likelier(trace: Trace, first: Completion, place: int, other: Completion, render: Render) -> Trace:
    """Return the likelier reply as a trace that shows, and pays for, both."""
    kept = [p for p, fate in zip(other.logprobs, other.fates, strict=True) if fate == "kept"]
    if other.stop == "error" or mean(kept[1:]) <= mean(first.logprobs[place + 1 :]):  # the place itself had no choice
        lost = Step("text", render.text(other.token_ids), other.token_ids, kept=False, logprobs=other.logprobs)
        return replace(trace, steps=(lost, *trace.steps))
    length = len(first.token_ids)
    deleted: Fate = "deleted"
    both = Completion(
        (*first.token_ids, *other.token_ids),
        (*first.fates[:place], *(deleted,) * (length - place), *other.fates),
        (*first.logprobs, *other.logprobs),
        other.stop,
        rewinds=((length, Rewind(length - place, ban=(first.token_ids[place],))),),
    )
    return render.trace(trace.problem_id, both)


def mean(values: Sequence[float]) -> float:
    """Return the mean of log-probabilities; where there is nothing, nothing is in doubt."""
    return sum(values) / len(values) if values else 0.0
