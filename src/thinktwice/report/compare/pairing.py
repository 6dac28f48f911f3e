"""Differences between runs. Law: paired on the same problems (key, level, question and reference), or not at all.

Only the headline gains of two runs may be compared without shared problems: a gain is already paired inside its run.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from thinktwice.errors import DataError
from thinktwice.report.compare.sides import Answer, Gain, Side
from thinktwice.scoring import stats
from thinktwice.scoring.stats import Difference


@dataclass(frozen=True)
class Overlap:
    """The problems of two runs' test sets, laid over each other."""

    shared: frozenset[str]
    """Keys under which both answered the same problem."""
    first: int
    second: int
    """Problems each one answered."""
    changed: int
    """Keys that name different problems in the two runs."""

    @property
    def whole(self) -> bool:
        """True when both answered exactly the same problems."""
        return not self.changed and len(self.shared) == self.first == self.second


@dataclass(frozen=True)
class Contrast:
    """One run minus another: an arm's accuracy, or a gain."""

    value: float
    low: float
    high: float
    """95 % interval, over problems only: one seed a run."""
    n: int
    """Problems shared; 0 when unpaired."""
    p: float | None = None
    """Exact McNemar p-value, where both series are right or wrong."""
    why: str = ""
    """Why it is not paired; empty when it is."""

    @property
    def zero(self) -> bool:
        """True when the interval contains zero."""
        return self.low <= 0 <= self.high


@dataclass(frozen=True)
class Flips:
    """Problems that one run answers and the other doesn't, one arm, one level."""

    won: tuple[str, ...]
    """Keys the second run answers and the first doesn't."""
    lost: tuple[str, ...]
    both: int
    neither: int


def overlap(first: Side, second: Side) -> Overlap:
    """Lay the problems of two runs over each other."""
    one, two = _problems(first), _problems(second)
    common = one.keys() & two.keys()
    shared = frozenset(key for key in common if one[key] == two[key])
    return Overlap(shared, len(one), len(two), len(common) - len(shared))


def _problems(side: Side) -> dict[str, tuple[int, str, str]]:
    return {key: row.problem for rows in side.answers.values() for key, row in rows.items()}


def shared_keys(level: int, *arms: Mapping[str, Answer]) -> list[str]:
    """Return the keys of a level under which all of these answered the same problem, in order."""
    first, others = arms[0], arms[1:]
    return sorted(
        key
        for key, row in first.items()
        if row.level == level and all(key in other and other[key].problem == row.problem for other in others)
    )


def contrast(first: Side, second: Side, arm: str, level: int) -> Contrast | None:
    """Return the accuracy of `second` minus that of `first` on the problems both answered; None when there are none."""
    one, two = first.answers.get(arm, {}), second.answers.get(arm, {})
    keys = shared_keys(level, one, two)
    if not keys:
        return None
    a, b = [two[key].value for key in keys], [one[key].value for key in keys]
    found = stats.paired_difference(a, b, seed=first.recipe.evaluation.seed)
    p = stats.mcnemar(a, b) if {*a, *b} <= {0.0, 1.0} else None
    return Contrast(found.value, found.low, found.high, len(keys), p)


def gain_contrast(first: Side, second: Side) -> Contrast | str:
    """Return the gain of `second` minus that of `first`, or a sentence saying why they cannot be compared.

    Paired on the problems that all four arms answered (a difference of differences). Where no problem is shared the
    two intervals are combined (the "square and add" of Zou & Donner 2008), which takes the runs for independent.
    """
    one, two = first.gain, second.gain
    if one is None or two is None:
        missing = " and ".join(side.letter for side in (first, second) if side.gain is None)
        return f"{missing} measured no headline gain"
    if one.named != two.named:
        return f"the headlines differ: {titled(one)} in {first.letter}, {titled(two)} in {second.letter}"
    a, b, level = one.named
    arms = [side.answers.get(name, {}) for side in (first, second) for name in (a, b)]
    keys = shared_keys(level, *arms)
    if keys:
        before, after = (
            [x[key].value - y[key].value for key in keys] for x, y in ((arms[0], arms[1]), (arms[2], arms[3]))
        )
        found = stats.paired_difference(after, before, seed=first.recipe.evaluation.seed)
        return Contrast(found.value, found.low, found.high, len(keys))
    value = two.difference - one.difference
    low = value - math.hypot(two.difference - two.low, one.high - one.difference)
    high = value + math.hypot(two.high - two.difference, one.difference - one.low)
    lacking = [side.letter for side in (first, second) if not side.answered]
    why = f"{' and '.join(lacking)} kept no traces" if lacking else "they answered different problems"
    return Contrast(value, low, high, 0, None, why)


def titled(gain: Gain) -> str:
    """Return what a gain compares: "backtrack − control, level 6"."""
    a, b, level = gain.named
    return f"{a} − {b}, level {level}"


def flips(first: Side, second: Side, arm: str, level: int) -> Flips:
    """Return the problems of a level that `arm` answers in one run and not in the other."""
    one, two = first.answers.get(arm, {}), second.answers.get(arm, {})
    keys = shared_keys(level, one, two)
    right = {key: (one[key].value == 1, two[key].value == 1) for key in keys}
    return Flips(
        tuple(key for key in keys if right[key] == (False, True)),
        tuple(key for key in keys if right[key] == (True, False)),
        sum(pair == (True, True) for pair in right.values()),
        sum(pair == (False, False) for pair in right.values()),
    )


def over_runs(sides: Sequence[Side]) -> Difference | None:
    """Return the mean gain of runs with one headline, its interval over runs *and* problems; None when not paired."""
    gains = [side.gain for side in sides if side.gain is not None]
    if len(gains) < max(2, len(sides)) or len({gain.named for gain in gains}) > 1:
        return None
    a, b, level = gains[0].named
    keys = shared_keys(level, *(side.answers.get(name, {}) for side in sides for name in (a, b)))
    if not keys:
        return None
    ours, theirs = ([[side.answers[name][key].value for key in keys] for side in sides] for name in (a, b))
    try:
        return stats.replicated_difference(ours, theirs)
    except DataError:  # scores that are not finite
        return None
