"""A teacher answers questions; what is good enough is kept to learn from. Law: counts in = kept + dropped + open.

Every episode that was finished is in the store, failed ones too: they are what preferences are mined from. An episode
that failed because a server or a tool did is open: it is not stored, and the same command asks again.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from thinktwice.errors import ConfigError, DataError, EngineError
from thinktwice.methods.react.episode import Episode
from thinktwice.methods.react.filters import Filters, select
from thinktwice.methods.react.store import Attempt, Key, Store
from thinktwice.scoring import f1
from thinktwice.types import Problem, Trace

log = logging.getLogger(__name__)

CHUNK = 64
"""Questions between two writes to the store: what a kill can cost."""
FREE_FAILURES = 20
"""So many episodes may be open before their share counts."""
MAX_OPEN = 0.2
"""Share of episodes that may be open before the work stops."""


class Player(Protocol):
    """Who writes episodes, and how they are read."""

    def key(self, problem: Problem, sample: int) -> Key:
        """Return what decides an episode."""
        ...

    def prompt(self, problem: Problem) -> tuple[int, ...]:
        """Return the ids that an episode begins with."""
        ...

    def play(self, problems: Sequence[Problem], sample: int) -> list[Trace]:
        """Write one episode for each problem."""
        ...

    def read(self, trace: Trace) -> Episode:
        """Read an episode back."""
        ...


@dataclass(frozen=True)
class Work:
    """Which questions are asked, and how often."""

    start: int = 0
    """The first question."""
    stop: int | None = None
    """The question before which it ends; None: after the last."""
    quantity: int | None = None
    """Episodes that are wanted: it ends when so many are kept; None: all."""
    samples: int = 1
    """Episodes of each question."""

    def __post_init__(self) -> None:
        if self.start < 0 or (self.stop is not None and self.stop < self.start):
            raise ConfigError(f"start={self.start} and stop={self.stop} name no questions; 0 <= start <= stop.")
        if self.samples < 1 or (self.quantity is not None and self.quantity < 1):
            raise ConfigError(f"samples={self.samples} and quantity={self.quantity} must be at least 1.")


@dataclass(frozen=True)
class Told:
    """An episode with its problem, and why it was dropped (empty: kept)."""

    problem: Problem
    attempt: Attempt
    episode: Episode
    reason: str
    ordinal: int = 0
    """Which question it was, counted from 0."""


@dataclass(frozen=True)
class Summary:
    """Where everything went."""

    start: int
    """The first question that was asked."""
    stop: int
    """The first that was not."""
    episodes: int
    """Finished, from the store or fresh."""
    kept: int
    dropped: dict[str, int] = field(default_factory=dict)
    """Reason -> episodes."""
    open: dict[str, int] = field(default_factory=dict)
    """What a server or a tool failed on -> episodes; the same command asks again."""
    fresh: int = 0
    """Episodes written now; the others were in the store."""

    def __str__(self) -> str:
        """Tell it, a line each."""
        whole = self.episodes + sum(self.open.values())
        lines = [
            f"questions {self.start} to {self.stop} (exclusive), {self.fresh} episodes new",
            f"{whole} episodes = {self.kept} kept + {sum(self.dropped.values())} dropped",
        ]
        lines[1] += f" + {sum(self.open.values())} open" if self.open else ""
        lines += [f"  dropped {count}: {reason}" for reason, count in self.dropped.items()]
        lines += [
            f"  open {count}: {reason.rstrip('.')}; the same command asks again" for reason, count in self.open.items()
        ]
        return "\n".join(lines)


@dataclass(frozen=True)
class Distilled:
    """Every finished episode with its verdict, in the order of questions, and the counts."""

    told: tuple[Told, ...]
    summary: Summary

    @property
    def kept(self) -> tuple[Told, ...]:
        """Those to learn from."""
        return tuple(one for one in self.told if not one.reason)


def distil(
    problems: Sequence[Problem],
    player: Player,
    store: Store,
    filters: Filters,
    work: Work | None = None,
    *,
    listener: Callable[[Summary], None] | None = None,
) -> Distilled:
    """Have questions answered, those that the store has not seen, and choose among the answers.

    Questions are asked in order; with a quantity it ends after the question that fills it.

    Raises:
        DataError: there are no such questions, or one stands twice.
        EngineError: too many episodes failed for other reasons than their own.
    """
    work = work or Work()
    asked = problems[work.start : work.stop]
    if not asked:
        raise DataError(f"there are no questions from {work.start} to {work.stop}; there are {len(problems)}.")
    twice = [name for name, count in Counter(p.id for p in asked).items() if count > 1]
    if twice:
        raise DataError(f"question {twice[0]} stands twice; give each once.")
    told: list[Told] = []
    opened: Counter[str] = Counter()
    fresh = at = 0
    for at in range(0, len(asked), CHUNK):
        chunk = asked[at : at + CHUNK]
        keys = [[player.key(problem, sample) for sample in range(work.samples)] for problem in chunk]
        attempts, new, failed = _attempts(chunk, keys, player, store)
        fresh += new
        opened += failed
        told += _judge(chunk, keys, attempts, player, filters, work.start + at)
        found = _summary(told, work.start, work.start + at + len(chunk), opened, fresh)
        if listener is not None:
            listener(found)
        _check(found)
        if work.quantity is not None and found.kept >= work.quantity:
            told, found = _filled(told, work, found)
            return Distilled(tuple(told), found)
    return Distilled(tuple(told), found)


def _attempts(
    problems: Sequence[Problem], keys: Sequence[Sequence[Key]], player: Player, store: Store
) -> tuple[dict[Key, Attempt], int, Counter[str]]:
    """Return the episodes, those that are missing written now; how many are new; and what the others failed on."""
    missing = set(store.missing([key for row in keys for key in row]))
    found = store.find([key for row in keys for key in row if key not in missing])
    new, opened = 0, Counter[str]()
    for sample in range(len(keys[0])):
        asked = [(row[sample], p) for row, p in zip(keys, problems, strict=True) if row[sample] in missing]
        traces = player.play([problem for _, problem in asked], sample) if asked else []
        rows: list[tuple[Key, Attempt]] = []
        for (key, problem), trace in zip(asked, traces, strict=True):
            if trace.stop == "error":
                opened[trace.error or "no reason given"] += 1
                continue
            answer = player.read(trace).answer
            value = f1.score(answer, problem.answer).value
            rows.append((key, Attempt(trace, value, answer, player.prompt(problem), sample)))
        new += store.add(rows)
        found |= dict(rows)
    return found, new, opened


def _judge(
    problems: Sequence[Problem],
    keys: Sequence[Sequence[Key]],
    attempts: dict[Key, Attempt],
    player: Player,
    filters: Filters,
    first: int,
) -> list[Told]:
    told = []
    for ordinal, (problem, row) in enumerate(zip(problems, keys, strict=True), first):
        for attempt in (attempts[key] for key in row if key in attempts):
            episode = player.read(attempt.trace)
            reason = filters.reason(problem, episode, attempt.f1)
            told.append(Told(problem, attempt, episode, reason, ordinal))
    chosen = select(
        [one.problem.id for one in told],
        [one.episode for one in told],
        [one.reason for one in told],
        filters.per_question,
    )
    return [replace(one, reason=reason) for one, reason in zip(told, chosen.reasons, strict=True)]


def _filled(told: Sequence[Told], work: Work, found: Summary) -> tuple[list[Told], Summary]:
    """Take back the questions after the one that filled the quantity; they stay in the store."""
    kept = [one.ordinal for one in told if not one.reason]
    assert work.quantity is not None
    last = kept[work.quantity - 1]
    left = [one for one in told if one.ordinal <= last]
    return left, _summary(left, work.start, last + 1, Counter(found.open), found.fresh)


def _summary(told: Sequence[Told], start: int, stop: int, opened: Counter[str], fresh: int) -> Summary:
    dropped = Counter(one.reason for one in told if one.reason)
    kept = len(told) - dropped.total()
    return Summary(start, stop, len(told), kept, dict(dropped.most_common()), dict(opened.most_common()), fresh)


def _check(found: Summary) -> None:
    lost = sum(found.open.values())
    if lost <= max(FREE_FAILURES, MAX_OPEN * (found.episodes + lost)):
        return
    reason, times = next(iter(found.open.items()))
    raise EngineError(
        f"{lost} of {found.episodes + lost} episodes failed for reasons that are not their own; most often ({times} "
        f"times): {reason.rstrip('.')}. What was finished is kept. Mend that and give the same command again."
    )
