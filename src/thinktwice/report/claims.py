"""What a run may claim, in sentences. Law 3: every claim names its control and its interval."""

from collections.abc import Sequence
from dataclasses import dataclass

from thinktwice.config import Headline
from thinktwice.records import Cell, Comparison, Summary

NOISE = 0.05
"""A single-seed difference below this is reported as noise."""


@dataclass(frozen=True)
class Claim:
    """The headline, ready to be read."""

    sentence: str
    verdict: str
    """What the interval allows to say."""
    holds: bool
    """True when the gain is above the noise and its interval above zero."""


@dataclass(frozen=True)
class Part:
    """One part of the gain."""

    name: str
    comparison: Comparison
    meaning: str


def percent(fraction: float) -> str:
    """Return a fraction as per cent with one decimal and a space that doesn't break: 0.774 -> "77.4\u00a0%"."""
    return f"{100 * fraction:.1f}\u00a0%"


def points(difference: float, *, sign: bool = True) -> str:
    """Return a difference of fractions in percentage points: 0.222 -> "+22.2"."""
    text = f"{100 * difference:+.1f}" if sign else f"{100 * difference:.1f}"
    return text.replace("-", "−")


def interval(ci: Sequence[float], *, sign: bool = True) -> str:
    """Return an interval of differences in points: "+17.9 to +26.5"."""
    return f"{points(ci[0], sign=sign)} to {points(ci[1], sign=sign)}"


def probability(p: float | None) -> str:
    """Return a p-value: "0.0312", "< 0.0001"; a dash where there is none."""
    return "–" if p is None else "< 0.0001" if p < 0.0001 else f"{p:.4f}"


def cell_text(cell: Cell) -> str:
    """Return an accuracy with its interval: "77.4 % (73.5 to 80.9)"."""
    return f"{percent(cell.accuracy)} ({100 * cell.ci[0]:.1f} to {100 * cell.ci[1]:.1f})"


def find(summary: Summary, a: str, b: str, level: int) -> Comparison | None:
    """Return arm `a` minus arm `b` at a level, turned round where it was stored the other way."""
    for c in summary.comparisons:
        if (c.a, c.b, c.level) == (a, b, level):
            return c
        if (c.a, c.b, c.level) == (b, a, level):
            return Comparison(a, b, level, -c.difference, (-c.ci[1], -c.ci[0]), c.p)
    return None


def verdict(comparison: Comparison) -> tuple[str, bool]:
    """Say what a difference and its interval allow to claim, and whether it is a gain."""
    low, high = comparison.ci
    if low <= 0 <= high:
        return "No difference was shown: the interval contains zero.", False
    if abs(comparison.difference) < NOISE:
        return "From a single seed a difference under 5 points is reported as noise.", False
    if comparison.difference < 0:
        return f"{comparison.a} is worse than its control, and the interval excludes zero.", False
    return f"The whole interval lies above zero, by at least {points(low, sign=False)} points.", True


def measured(summary: Summary) -> str:
    """Return what graded scores are called ("F1"; "score" where nobody says); "" where answers are right or wrong.

    Law: a mean of grades is never called a share of right answers.
    """
    if summary.measure != "accuracy":
        return summary.measure
    return "score" if any(c.p is None for c in summary.comparisons) else ""


def headline(summary: Summary) -> Claim | None:
    """Return the claim of the comparison that the recipe fixed in advance, or None when it fixed none."""
    c = summary.headline
    if c is None:
        return None
    a, b = summary.arms[c.a][c.level], summary.arms[c.b][c.level]
    graded = measured(summary)
    does = (
        f"{c.a} reaches a mean {graded} of {percent(a.accuracy)} on {a.n} test problems"
        if graded
        else f"{c.a} answers {percent(a.accuracy)} of {a.n} test problems correctly"
    )
    sentence = (
        f"At level {c.level}, {does}, its control {'' if c.b == 'control' else c.b + ' '}{percent(b.accuracy)}: "
        f"{points(c.difference)} points (95 % interval {interval(c.ci)})."
    )
    text, holds = verdict(c)
    return Claim(sentence, text, holds)


def split(summary: Summary, plan: Headline | None) -> tuple[Part, Part] | None:
    """Return the two parts of the gain, (learning to detect, acting on it), or None when it isn't split."""
    if plan is None or plan.through is None:
        return None
    detect = find(summary, plan.through, plan.b, plan.level)
    act = find(summary, plan.a, plan.through, plan.level)
    if detect is None or act is None:
        return None
    return (
        Part("learning to detect", detect, f"{plan.through} − {plan.b}: the same weights, retraction disabled"),
        Part("acting on it", act, f"{plan.a} − {plan.through}: retraction enabled"),
    )
