"""Where mistakes to take back come from. Law: everything is token ids; a mistake never equals what it replaces.

Each source answers one question: at this place in a right solution, what could a writer wrongly put next? It returns an
offset into the right step and the wrong ids that stand there instead.

| source    | what it writes                                                  | after                            |
|-----------|-----------------------------------------------------------------|----------------------------------|
| plausible | the start of a step whose time has not come: the world's own,   | Physics of LMs 2.2, "retry_weak" |
|           | or, without an oracle, a later step of the solution             |                                  |
| number    | another number of the same problem in place of the right one    | GSM-Symbolic alignments          |
| name      | another capitalised word of the same problem                    | GSM-Symbolic alignments          |
| random    | uniformly random ids                                            | the seed's `random_backtrack`    |

On-policy mistakes come from the model itself and are spliced by `first_mistake`.
"""

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from thinktwice.render import Render
from thinktwice.types import Oracle, Problem

Ids = tuple[int, ...]
Source = Literal["plausible", "number", "name", "random", "onpolicy"]


@dataclass(frozen=True)
class Place:
    """The beginning of step `index` in a right solution."""

    problem: Problem
    steps: Sequence[Ids]
    lines: Sequence[str]
    index: int
    render: Render
    oracle: Oracle | None


@dataclass(frozen=True, slots=True)
class Mistake:
    """Wrong ids that stand at `offset` tokens into a right step."""

    offset: int
    token_ids: Ids


def split_at_difference(right: Ids, wrong: Ids, length: int) -> Mistake | None:
    """Return up to `length` ids of `wrong` from where it first differs from `right`; None when it never does."""
    offset = next((i for i, pair in enumerate(zip(right, wrong, strict=False)) if pair[0] != pair[1]), None)
    return None if offset is None else Mistake(offset, wrong[offset : offset + length])


def plausible(place: Place, rng: random.Random, length: int) -> Mistake | None:
    """Begin a step too early: one the oracle calls impossible yet, or, without an oracle, a later step."""
    if place.oracle is not None:
        lines = place.oracle.plausible_errors(place.problem, "".join(place.lines[: place.index]))
        wrong = place.render.encode(rng.choice(lines)) if lines else ()
    else:
        later = place.steps[place.index + 1 :]
        wrong = tuple(i for i in rng.choice(later) if i != place.render.end_id) if later else ()
    return split_at_difference(place.steps[place.index], wrong, length)


def _swap(place: Place, rng: random.Random, length: int, alike: Callable[[str], bool]) -> Mistake | None:
    """Replace one token by another of the same problem that is `alike`; go on with the right step after it."""
    render, right = place.render, place.steps[place.index]
    pool = sorted(
        {i for i in (*render.prompt(place.problem), *(i for s in place.steps for i in s)) if alike(render.text((i,)))}
    )
    offsets = [k for k, i in enumerate(right) if alike(render.text((i,)))]
    if not offsets or len(pool) < 2:
        return None
    offset = rng.choice(offsets)
    other = rng.choice([i for i in pool if i != right[offset]])
    # What follows goes on as if nothing had happened, but never ends the reply.
    tail = tuple(i for i in right[offset + 1 : offset + length] if i != render.end_id)
    return Mistake(offset, (other, *tail))


def number(place: Place, rng: random.Random, length: int) -> Mistake | None:
    """Write another number of the problem."""
    return _swap(place, rng, length, lambda text: text.strip().isdigit())


def name(place: Place, rng: random.Random, length: int) -> Mistake | None:
    """Write another capitalised word of the problem."""
    return _swap(place, rng, length, lambda text: text.strip().isalpha() and text.strip()[:1].isupper())


def random_token(place: Place, rng: random.Random, length: int) -> Mistake | None:
    """Write uniformly random ids (the seed's error; easy to see, so it teaches little)."""
    right = place.steps[place.index]
    offset = rng.randrange(len(right))
    barred = place.render.special_ids | place.render.step_ends  # a mistake stays within its step
    ids: list[int] = []
    while len(ids) < length:
        drawn = rng.randrange(len(place.render.tokenizer))
        if drawn not in barred and not (not ids and drawn == right[offset]):
            ids.append(drawn)
    return Mistake(offset, tuple(ids))


SOURCES: dict[str, Callable[[Place, random.Random, int], Mistake | None]] = {
    "plausible": plausible,
    "number": number,
    "name": name,
    "random": random_token,
}


@dataclass(frozen=True, slots=True)
class Lapse:
    """A model's own first mistake: right lines, the mistake in the next one, and a right ending."""

    lines: tuple[str, ...]
    """A right solution that goes on from what the model got right."""
    index: int
    """The line in which the model went wrong."""
    mistake: Mistake


def first_mistake(
    problem: Problem, reply: Ids, render: Render, oracle: Oracle, length: int, *, whole_line: bool = False
) -> Lapse | None:
    """Find the first wrong step in a reply and splice it onto a right solution; None when there is none to use.

    `whole_line`: where no beginning of the line is provably wrong, the mistake is all of the line.
    """
    text = render.text(reply)
    found = oracle.first_wrong(problem, text)
    if found is None:
        return None
    index = found[0]
    written = text.splitlines(keepends=True)
    before = "".join(written[:index])
    ending = oracle.complete(problem, before)
    if ending is None:
        return None
    lines = (*written[:index], *ending.splitlines(keepends=True))
    right = render.steps("".join(lines))
    start = len(render.encode(before)) if before else 0
    mistake = split_at_difference(right[index], tuple(i for i in reply[start:] if i != render.end_id), len(reply))
    if mistake is None or tuple(i for step in right[:index] for i in step) != tuple(reply[:start]):
        return None  # the model spelled the right part with other tokens; splicing would change what it wrote
    # Keep the tokens up to the first that no right solution shares, and at most `length` more of the same line.
    wrong = reply[start : start + len(render.encode(written[index]))]
    for stop in range(mistake.offset + 1, len(wrong) + 1):
        if not oracle.is_viable(problem, before + render.text(wrong[:stop])):
            stop += length - 1
            break
    else:
        if not whole_line:
            return None
    ids = tuple(itertools.takewhile(lambda i: i not in (render.end_id, *render.step_ends), wrong[:stop]))
    return Lapse(lines, index, Mistake(mistake.offset, ids[mistake.offset :])) if len(ids) > mistake.offset else None
