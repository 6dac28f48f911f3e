"""Preferences at one state: a step that went wrong, and a better one from the very same ids.

Mined pairs start where the student itself went wrong (`KINDS`): it asked again for what it had asked, wrote what is no
action, answered before it had read enough, or searched for what does not help. The better step is its own, sampled at
that point, or, where none of its samples is better, the teacher's. Araft's pairs (`previous_steps`) are made of the
teacher's right episodes instead: the step before is rejected, and a constant sentence at the first.

A pair is written down as a trace: the context; a critique, which names the kind; the rejected step, not kept; the
chosen step.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from thinktwice.errors import DataError
from thinktwice.methods.react.distil import Told
from thinktwice.methods.react.episode import ANSWER, OPEN, SEARCH, Episode, Turn
from thinktwice.methods.react.loops import repeated
from thinktwice.methods.react.teacher import visited
from thinktwice.render import Render
from thinktwice.scoring import f1
from thinktwice.tools import Retriever
from thinktwice.types import Example, Pair, Problem, Step, Trace

KINDS = ("loop", "format", "early stop", "wrong hop")
"""What a step can be wrong in."""
PREVIOUS, CONSTANT = "previous step", "constant sentence"
"""The kinds of araft's pairs."""


@dataclass(frozen=True, slots=True)
class Place:
    """A step, and all that stood before it."""

    problem: Problem
    prompt: tuple[int, ...]
    context: tuple[Step, ...]
    """The steps before it, observations included."""
    before: tuple[Turn, ...]
    """The same as turns."""
    turn: Turn
    token_ids: tuple[int, ...]
    """What the model wrote in this step."""

    @property
    def state(self) -> tuple[int, ...]:
        """The ids that the step goes on from."""
        return (*self.prompt, *(i for step in self.context for i in step.token_ids))

    @property
    def seen(self) -> tuple[str, ...]:
        """Titles that were seen before it."""
        return Episode(self.problem.id, self.before, None).sources


@dataclass(frozen=True, slots=True)
class Written:
    """A step that could stand at a place."""

    turn: Turn
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Mined:
    """Two steps at one place, the better first."""

    place: Place
    chosen: Written
    kind: str
    own: bool = False
    """Whether the student wrote the better one itself."""


@dataclass(frozen=True)
class Yield:
    """Where faults went. Law: faults = pairs by the student + pairs by the teacher + without a better step."""

    faults: dict[str, int] = field(default_factory=dict)
    """Kind -> steps that went wrong so."""
    own: dict[str, int] = field(default_factory=dict)
    """Kind -> pairs whose better step the student wrote."""
    taught: dict[str, int] = field(default_factory=dict)
    """Kind -> pairs whose better step is the teacher's."""
    none: dict[str, int] = field(default_factory=dict)
    """Kind -> faults for which there was no better step."""

    def __str__(self) -> str:
        """Tell it, a line for each kind."""
        return "\n".join(
            f"{kind:<17} {count} steps = {self.own.get(kind, 0)} pairs with the student's own better step + "
            f"{self.taught.get(kind, 0)} with the teacher's + {self.none.get(kind, 0)} without one"
            for kind, count in self.faults.items()
        )


def places(told: Told) -> tuple[Place, ...]:
    """Return the steps of an episode with what stood before each; a forced answer is no step of the model's."""
    found: list[Place] = []
    context: list[Step] = []
    written: list[Step] = []
    turns = told.episode.turns
    steps = [step for step in told.attempt.trace.steps if step.kept]
    number = 0
    for index, step in enumerate(steps):
        seen = step.kind == "observation"
        if not seen:
            written.append(step)
        if not (seen or index == len(steps) - 1):
            continue
        if number == len(turns):
            break  # cut in the middle of a step: nothing was done
        ids = tuple(i for part in written for i in part.token_ids)
        if ids and all(part.sampled or part.kind == "action" for part in written):
            before = turns[:number]
            place = Place(told.problem, told.attempt.prompt_ids, tuple(context), before, turns[number], ids)
            found.append(place)
        context += [*written, *([step] if seen else [])]
        written = []
        number += 1
    return tuple(found)


def faults(told: Told, kinds: Sequence[str] = KINDS) -> list[tuple[Place, str]]:
    """Return the first step of each kind that went wrong in an episode.

    "wrong hop" is only known where the problem says which pages support its answer.
    """
    problem, found = told.problem, dict[str, Place]()
    for place in places(told):
        kind = _fault(problem, place)
        if kind in kinds and kind not in found:
            found[kind] = place
    return [(place, kind) for kind, place in found.items()]


def _fault(problem: Problem, place: Place) -> str:
    turn = place.turn
    if turn.tool == ANSWER:
        wrong = f1.score(turn.argument, problem.answer).value < 1
        return "early stop" if wrong and not visited(problem, place.seen) else ""
    if turn.tool not in (SEARCH, OPEN):
        return "format"
    if _repeats(place, turn):
        return "loop"
    wanted = set(problem.support) - set(place.seen)
    return "wrong hop" if problem.support and not turn.error and not wanted & set(turn.sources) else ""


def _repeats(place: Place, turn: Turn) -> bool:
    if turn.tool == SEARCH:
        return bool(repeated(place.before, turn.argument))
    return any((turn.tool, turn.argument) == (old.tool, old.argument) for old in place.before)


def is_better(place: Place, turn: Turn, retriever: Retriever, k: int) -> bool:
    """Say whether a step helps at a place: it finds a page that is needed and was not seen, or it answers right.

    Where the problem does not say which pages it needs, any page that was not seen will do.
    """
    problem, seen = place.problem, set(place.seen)
    if turn.tool == ANSWER:
        right = f1.score(turn.argument, problem.answer).value == 1
        return right and (not problem.support or visited(problem, place.seen))
    if turn.tool == SEARCH:
        titles = tuple(passage.title for passage in retriever.search(turn.argument, k))
    elif turn.tool == OPEN:
        page = retriever.open(turn.argument)
        titles = (page.title,) if page is not None else ()
    else:
        return False
    fresh = set(titles) - seen
    if problem.support:
        fresh &= set(problem.support)
    return bool(fresh) and not _repeats(place, turn)


Siblings = Callable[[Sequence[Place]], list[list[Written]]]
"""Samples steps at places: a list for each."""
Teach = Callable[[Place], Written | None]
"""The teacher's step at a place; None where it has none."""


def mine(
    found: Sequence[tuple[Place, str]],
    siblings: Siblings | None,
    teach: Teach | None,
    retriever: Retriever,
    k: int,
) -> tuple[list[Mined], Yield]:
    """Find a better step for each fault: the student's first that is, else the teacher's."""
    sampled = siblings([place for place, _ in found]) if siblings and found else [[] for _ in found]
    pairs: list[Mined] = []
    counts: dict[str, Counter[str]] = {name: Counter() for name in ("faults", "own", "taught", "none")}
    for (place, kind), own in zip(found, sampled, strict=True):
        counts["faults"][kind] += 1
        better = next((w for w in own if is_better(place, w.turn, retriever, k)), None)
        chosen = better or (teach(place) if teach else None)
        if chosen is None or chosen.token_ids == place.token_ids:
            counts["none"][kind] += 1
            continue
        counts["own" if better else "taught"][kind] += 1
        pairs.append(Mined(place, chosen, kind, better is not None))
    return pairs, Yield(**{name: dict(sorted(count.items())) for name, count in counts.items()})


def previous_steps(told: Sequence[Told], first: Sequence[int]) -> list[Mined]:
    """Make araft's pairs of right episodes: each step is preferred to the one before, the first to `first`."""
    made = []
    for one in told:
        before, kind = tuple(first), CONSTANT
        for place in places(one):
            if before != place.token_ids:
                rejected = replace(place, token_ids=before)
                made.append(Mined(rejected, Written(place.turn, place.token_ids), kind))
            before, kind = place.token_ids, PREVIOUS
    return made


# -- on the disk -------------------------------------------------------------------------------------------------------


def to_trace(mined: Mined, render: Render) -> Trace:
    """Write a pair down."""
    place, chosen = mined.place, mined.chosen.token_ids
    return Trace(
        place.problem.id,
        (
            *place.context,
            Step("critique", mined.kind, sampled=False, kept=False),
            Step("error", render.text(place.token_ids), place.token_ids, kept=False),
            Step("action", render.text(chosen), chosen, sampled=mined.own),
        ),
    )


def is_pair(trace: Trace) -> bool:
    """Say whether a trace is a pair."""
    return any(step.kind == "critique" for step in trace.steps)


def from_trace(trace: Trace, prompt: Sequence[int]) -> Pair:
    """Read a pair; DataError when the trace is none."""
    at = next((i for i, step in enumerate(trace.steps) if step.kind == "critique"), None)
    if at is None or len(trace.steps) != at + 3:
        raise DataError(f"the trace of problem {trace.problem_id} is no pair of steps.")
    context = (*prompt, *(i for step in trace.steps[:at] for i in step.token_ids))
    rejected, chosen = trace.steps[at + 1 :]
    better, worse = (_side(context, step.token_ids, trace.problem_id) for step in (chosen, rejected))
    return Pair(better, worse, trace.steps[at].text)


def _side(context: Sequence[int], step: Sequence[int], problem_id: str) -> Example:
    """Learn the step and nothing before it."""
    ids = (*context, *step)
    weights = (*(0.0,) * (len(context) - 1), *(1.0,) * len(step), 0.0)
    return Example(ids, (*ids[1:], 0), weights, problem_id=problem_id)
