"""A comparison in sentences. Law: a run claims what its recipe fixed; a difference between runs says over what."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from thinktwice.report.claims import NOISE, headline, interval, points
from thinktwice.report.compare import differing
from thinktwice.report.compare.differing import Code, Family, Row
from thinktwice.report.compare.pairing import Contrast, Overlap, gain_contrast, over_runs, titled
from thinktwice.report.compare.sides import Side
from thinktwice.scoring.stats import Difference

Tone = Literal["good", "flat", "warn", "bad"]


@dataclass(frozen=True)
class Say:
    """A sentence and how it is to be taken."""

    text: str
    tone: Tone = "flat"
    note: str = ""
    """What the number allows to say, in a few words."""


def claim(side: Side) -> Say:
    """Return what one run claims; an unfinished run and one without a headline claim nothing, and say so."""
    if side.summary is not None:
        found = headline(side.summary)
        if found is None:
            return Say("Its recipe fixes no headline comparison, so nothing is claimed.")
        return Say(found.sentence, "good" if found.holds else "flat", found.verdict)
    text = f"Unfinished: {side.answered:,} of {side.expected:,} answers are written, and no result is claimed."
    if side.gain is None:
        return Say(text, "warn")
    gain = side.gain
    so_far = f"So far {titled(gain)}: {points(gain.difference)} points ({interval((gain.low, gain.high))})"
    return Say(f"{text} {so_far} on {gain.n} problems.", "warn", "not a result")


def verdict(found: Contrast, what: str) -> Say:
    """Say what the difference of two single runs allows to claim."""
    if found.zero:
        return Say(f"No difference between {what} was shown: the interval contains zero.")
    if abs(found.value) < NOISE:
        return Say("One seed a run, and under 5 points: noise until it is repeated.")
    return Say(
        f"The whole interval lies {'above' if found.low > 0 else 'below'} zero. It is over problems only: one seed a "
        "run says nothing about other seeds.",
        "good",
    )


def opening(sides: Sequence[Side], groups: Sequence[Family]) -> Say:
    """Return the one sentence the page begins with."""
    names = f"{len(sides)} runs side by side"
    gains = [side.gain for side in sides if side.gain is not None]
    if not gains:
        return Say(f"{names}: none has measured its headline", note="")
    if any(not gain.final for gain in gains) or len(gains) < len(sides):
        open_ones = [side.letter for side in sides if side.gain is None or not side.gain.final]
        return Say(f"{names}: {listed(open_ones)} {'has' if len(open_ones) == 1 else 'have'} no final result yet")
    if len({gain.named for gain in gains}) > 1:
        return Say(f"{names}: their headlines differ, so their gains are not compared")
    a, b, level = gains[0].named
    if len(groups) == 1 and len(groups[0].sides) == len(sides) and not groups[0].repeats:
        mean = sum(gain.difference for gain in gains) / len(gains)
        low, high = min(gain.difference for gain in gains), max(gain.difference for gain in gains)
        return Say(
            f"Over {len(sides)} seeds, {a} gains {points(mean)} points over {b} at level {level} on average: "
            f"from {points(low)} to {points(high)}.",
            *_over(over_runs(sides)),
        )
    if len(sides) == 2:
        found = gain_contrast(*sides)
        if isinstance(found, Contrast):
            said = verdict(found, "the gains")
            return Say(
                f"At level {level}, {a} gains {points(gains[0].difference)} points over {b} in {sides[0].name} and "
                f"{points(gains[1].difference)} in {sides[1].name}: {points(found.value)} "
                f"(95 % interval {interval((found.low, found.high))}).",
                said.tone,
                said.text,
            )
    ordered = sorted((gain.difference, side.name) for gain, side in zip(gains, sides, strict=True))
    (low, worst), (high, best) = ordered[0], ordered[-1]
    return Say(
        f"At level {level}, {a} gains between {points(low)} ({worst}) and {points(high)} points ({best}) over {b}, "
        f"in {len(sides)} runs."
    )


def _over(found: Difference | None) -> tuple[Tone, str]:
    if found is None:
        return "flat", "The runs share no problems: no interval over seeds."
    words = f"95 % interval over seeds and problems {interval(found.ci)}"
    if found.low <= 0 <= found.high:
        return "flat", f"{words}: it contains zero."
    return "good", f"{words}: it excludes zero."


def seeds(family: Family) -> Say:
    """Return what several seeds of one recipe say together."""
    letters = listed([side.letter for side in family.sides])
    if family.repeats:
        return Say(f"{letters} have the same recipe and seed: repeats, not replications.", "warn")
    gains = [side.gain for side in family.sides if side.gain is not None and side.gain.final]
    if len(gains) < len(family.sides):
        return Say(f"{letters} have one recipe and different seeds; not all of them are finished.")
    mean = sum(gain.difference for gain in gains) / len(gains)
    spread = points(min(g.difference for g in gains)), points(max(g.difference for g in gains))
    tone, note = _over(over_runs(family.sides))
    return Say(
        f"{letters} have one recipe and the seeds {', '.join(family.seeds)}. Over these {len(gains)} runs the "
        f"mean gain is {points(mean)} points, from {spread[0]} to {spread[1]}.",
        tone,
        note,
    )


def comparable(
    sides: Sequence[Side], overlaps: Sequence[Overlap], codes: Sequence[Code], places: Sequence[Row]
) -> list[Say]:
    """Say, point by point, whether the numbers of these runs may be set against each other."""
    first, others = sides[0], sides[1:]
    said: list[Say] = []
    if all(found.whole and found.first for found in overlaps):
        said.append(Say(f"The same {overlaps[0].first:,} test problems: every difference is paired on them.", "good"))
    else:
        groups: dict[Say, list[str]] = {}
        for side, found in zip(others, overlaps, strict=True):
            groups.setdefault(problems(first, side, found), []).append(side.letter)
        said += [Say(f"{listed(names)} {shared.text}", shared.tone) for shared, names in groups.items()]
    keys = differing.recipe_rows(sides)
    if not keys:
        said.append(Say("The recipes are the same.", "good"))
    elif {row.key for row in keys} <= differing.SEEDS:
        said.append(Say("The recipes differ in nothing but the seed.", "good"))
    else:
        count = f"{len(keys)} keys" if len(keys) > 1 else "one key"
        said.append(Say(f"The recipes differ in {count}: {listed([row.key for row in keys[:6]], len(keys) - 6)}."))
    told = [side.letter for side, c in zip(sides, codes, strict=True) if c.files]
    files = sorted({name for c in codes for name in c.files})
    unknown = [side.letter for side, c in zip(sides, codes, strict=True) if not c.known]
    if unknown:
        said.append(Say(f"{listed(unknown)} did not record the code.", "warn"))
    elif told:
        said.append(
            Say(f"Other code than {first.letter}’s made {listed(told)}: {listed(files[:3], len(files) - 3)}.", "warn")
        )
    else:
        said.append(Say("The same code.", "good"))
    machines = [row.key for row in places if row.differs]
    if machines:
        which = listed(machines[:6], len(machines) - 6)
        said.append(Say(f"Seconds are not comparable: the machines or their settings differ ({which}).", "warn"))
    else:
        said.append(Say("The same machine, packages and settings.", "good"))
    open_ones = [side.letter for side in sides if side.summary is None]
    if open_ones:
        said.append(Say(f"Unfinished: {listed(open_ones)}. The numbers there are what is written so far.", "warn"))
    return said


def problems(first: Side, side: Side, found: Overlap) -> Say:
    """Say which problems a run shares with the first, and what that means: a sentence without its subject."""
    a = first.letter
    keys = differing.problem_keys(first, side) + ([] if side.summary else ["unfinished"])
    because = f" ({'; '.join(keys[:3])}{'; …' if len(keys) > 3 else ''})" if keys else ""
    if not side.answered:
        return Say(f"kept no traces: nothing can be paired with {a}.", "bad")
    if not first.answered:
        return Say(f"cannot be paired with {a}, which kept no traces.", "bad")
    moved = f" {found.changed:,} keys name different problems in the two." if found.changed else ""
    if not found.shared:
        return Say(
            f"answered other problems than {a}{because}: a paired comparison is impossible, so no differences of "
            f"accuracy are given; gains are compared unpaired.{moved}",
            "bad",
        )
    if found.whole:
        return Say(f"answered the same {found.first:,} problems as {a}.", "good")
    return Say(
        f"answered {found.second:,} problems and {a} {found.first:,}{because}; {len(found.shared):,} are shared. "
        f"Differences are paired on the shared ones only.{moved}",
        "warn",
    )


def listed(names: Sequence[str], more: int = 0) -> str:
    """Return "A, B and C", or "A, B, C and 3 more"."""
    if more > 0:
        return f"{', '.join(names)} and {more} more"
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else list(names))
