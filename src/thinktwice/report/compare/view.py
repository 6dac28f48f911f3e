"""A comparison, ready to be laid out: every number computed, every text shortened and made printable."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from thinktwice.records import Cell
from thinktwice.report.claims import interval, measured, points
from thinktwice.report.compare import charts, cost, differing, pairing, words
from thinktwice.report.compare.differing import Code, Row
from thinktwice.report.compare.pairing import Contrast, Flips
from thinktwice.report.compare.sides import Answer, Side
from thinktwice.report.compare.text import clip
from thinktwice.report.compare.words import Say
from thinktwice.run import Run

QUESTION, ANSWER = 600, 40
"""Characters that are shown of a question and of an answer."""
LISTED = 30
"""Flipped problems that are listed each way."""


@dataclass(frozen=True)
class Column:
    """One run's heading, wherever it is named."""

    letter: str
    name: str
    tone: int
    href: str | None
    """Its page; None where there is none yet."""
    said: Say
    facts: str
    command: str
    made_by: str
    """The command that made it."""


@dataclass(frozen=True)
class Entry:
    """One arm in one run at one level."""

    cell: Cell | None
    contrast: Contrast | None
    """Against the first run; None in the first run, and where nothing is shared."""


@dataclass(frozen=True)
class Level:
    """The results at one level."""

    level: int
    headline: bool
    arms: tuple[tuple[str, bool, tuple[Entry, ...]], ...]
    """(arm, whether the headline is about it, one entry a run)."""
    notes: tuple[str, ...]
    """How many problems each difference is on, where it is not all of them."""


@dataclass(frozen=True)
class GainRow:
    """One interval of the forest plot."""

    label: str
    column: Column | None
    value: float
    low: float
    high: float
    bar: charts.Bar
    note: str


@dataclass(frozen=True)
class Flip:
    """One problem that changed sides."""

    key: str
    question: str
    reference: str
    before: str
    after: str


@dataclass(frozen=True)
class FlipTable:
    """What changed between the first run and another one, for one arm."""

    column: Column
    arm: str
    level: int
    counts: Flips
    said: str
    """The difference in a sentence."""
    won: tuple[Flip, ...]
    lost: tuple[Flip, ...]


@dataclass(frozen=True)
class View:
    """Everything the template shows."""

    title: str
    opening: Say
    columns: tuple[Column, ...]
    checks: tuple[Say, ...]
    recipe: tuple[Row, ...]
    codes: tuple[Code, ...]
    machines: tuple[Row, ...]
    gains: tuple[GainRow, ...]
    gain_differences: tuple[GainRow, ...]
    gain_title: str
    axis: charts.Axis
    gain_notes: tuple[str, ...]
    families: tuple[Say, ...]
    charts: tuple[tuple[str, Markup], ...]
    levels: tuple[Level, ...]
    flips: tuple[FlipTable, ...]
    no_flips: str
    """Why there are none; empty where there are."""
    cost: cost.Cost
    command: str
    measure: str
    """What the scores are: accuracy, or the mean of what grades them."""


def view(sides: Sequence[Side], link: Callable[[Run], str | None]) -> View:
    """Compute everything the page shows of these runs."""
    first, others = sides[0], sides[1:]
    overlaps = [pairing.overlap(first, side) for side in others]
    codes, places, groups = differing.code(sides), differing.machine_rows(sides), differing.families(sides)
    columns = tuple(_column(i, side, link) for i, side in enumerate(sides))
    rows, differences, notes, axis = _gains(sides, columns)
    titles = {pairing.titled(side.gain) for side in sides if side.gain}
    tables, no_flips = _flips(sides, columns)
    roots = " ".join(shlex.quote(str(side.run.root)) for side in sides)
    return View(
        words.listed([side.name for side in sides[:3]], len(sides) - 3),
        words.opening(sides, groups),
        columns,
        tuple(words.comparable(sides, overlaps, codes, places)),
        tuple(differing.recipe_rows(sides)),
        tuple(codes),
        tuple(places),
        rows,
        differences,
        titles.pop() if len(titles) == 1 else "",
        axis,
        notes,
        tuple(words.seeds(group) for group in groups if group.repeats or len(group.sides) < len(sides)),
        tuple(_charts(sides)),
        tuple(_levels(sides)),
        tables,
        no_flips,
        cost.cost(sides),
        f"thinktwice report {roots}",
        _measure(sides),
    )


def _measure(sides: Sequence[Side]) -> str:
    names = {measured(side.summary) for side in sides if side.summary is not None}
    if names <= {""}:
        return "Accuracy"
    return f"Mean {names.pop()}" if len(names) == 1 else "Mean score"


def _column(number: int, side: Side, link: Callable[[Run], str | None]) -> Column:
    recipe, made = side.recipe, side.run.environment.get("command", [])
    facts = f"{recipe.method.name} on {recipe.task.name} · base {recipe.model.path} · seed {recipe.seed}"
    again = f"thinktwice run {shlex.quote(str(side.run.root / 'config.json'))} --runs again"
    command = clip(shlex.join(["thinktwice", *made[1:]]), 400) if made else ""
    return Column(
        side.letter, side.name, number % 8, link(side.run), words.claim(side), clip(facts, 200), again, command
    )


def _gains(
    sides: Sequence[Side], columns: Sequence[Column]
) -> tuple[tuple[GainRow, ...], tuple[GainRow, ...], tuple[str, ...], charts.Axis]:
    """Return the forest: the runs' gains, each one minus the first's, what is missing, and the axis of them all."""
    known = [(column, side.gain) for column, side in zip(columns, sides, strict=True) if side.gain]
    notes = [f"{side.letter} has no headline gain." for side in sides if side.gain is None]
    against: list[tuple[Column, Contrast, bool]] = []
    for column, side in zip(columns[1:], sides[1:], strict=True):
        found = pairing.gain_contrast(sides[0], side)
        if isinstance(found, Contrast):
            against.append((column, found, all(x.summary is not None for x in (side, sides[0]))))
            if found.why:
                notes.append(f"{side.letter} − {sides[0].letter} is not paired: {found.why}.")
        elif side.gain is not None:
            notes.append(f"{side.letter} − {sides[0].letter} is not given: {found}.")
    axis = charts.axis([(g.low, g.high) for _, g in known] + [(c.low, c.high) for _, c, _ in against])
    rows = [
        GainRow(
            pairing.titled(gain), column, gain.difference, gain.low, gain.high,
            axis.bar(gain.difference, gain.low, gain.high, settled=gain.final),
            f"{gain.n} problems" + ("" if gain.final else ", so far"),
        )
        for column, gain in known
    ]  # fmt: skip
    differences = [
        GainRow(
            f"{column.letter} − {sides[0].letter}", column, c.value, c.low, c.high,
            axis.bar(c.value, c.low, c.high, settled=settled),
            (f"paired on {c.n} problems" if c.n else "not paired") + ("" if settled else ", so far"),
        )
        for column, c, settled in against
    ]  # fmt: skip
    return tuple(rows), tuple(differences), tuple(notes), axis


def _levels(sides: Sequence[Side]) -> list[Level]:
    """Return the tables of results, the headline's level first, the others from hard to easy."""
    plans = [side.recipe.headline for side in sides if side.recipe.headline]
    first = plans[0] if plans else None
    levels = sorted({level for side in sides for cells in side.cells.values() for level in cells}, reverse=True)
    if first is not None:
        levels.sort(key=lambda level: level != first.level)
    about = {first.a, first.b} if first else set[str]()
    arms = arm_names(sides)
    found = []
    for level in levels:
        table, shared = [], dict[tuple[str, int], None]()
        for arm in arms:
            entries = []
            for side in sides:
                cell = side.cells.get(arm, {}).get(level)
                c = None if side is sides[0] else pairing.contrast(sides[0], side, arm, level)
                entries.append(Entry(cell, c))
                whole = sides[0].cells.get(arm, {}).get(level)
                if c and cell and whole and not c.n == cell.n == whole.n:
                    shared[side.letter, c.n] = None
            if any(entry.cell for entry in entries):
                table.append((arm, arm in about, tuple(entries)))
        notes = tuple(f"{letter} − {sides[0].letter} is on the {n} problems both answered" for letter, n in shared)
        found.append(Level(level, first is not None and level == first.level, tuple(table), notes))
    return found


def arm_names(sides: Sequence[Side]) -> list[str]:
    """Return every arm of any run, those of the first headline first."""
    plan = next((side.recipe.headline for side in sides if side.recipe.headline), None)
    first = [plan.a, plan.b] if plan else []
    return list(dict.fromkeys([*first, *(arm for side in sides for arm in side.recipe.arms)]))


def _charts(sides: Sequence[Side]) -> list[tuple[str, Markup]]:
    """Return one chart an arm that two runs or more have at two levels or more."""
    tones = {side.letter: i % 8 for i, side in enumerate(sides)}
    plan = next((side.recipe.headline for side in sides if side.recipe.headline), None)
    floor = charts.lowest([cell for side in sides for cells in side.cells.values() for cell in cells.values()])
    drawn = []
    for arm in arm_names(sides):
        lines: dict[str, Mapping[int, Cell]] = {side.letter: side.cells[arm] for side in sides if side.cells.get(arm)}
        if len({level for cells in lines.values() for level in cells}) > 1:
            drawn.append((arm, charts.accuracy(arm, lines, tones, plan.level if plan else None, floor)))
    return drawn


def _flips(sides: Sequence[Side], columns: Sequence[Column]) -> tuple[tuple[FlipTable, ...], str]:
    first = sides[0]
    plan = first.recipe.headline
    if plan is None:
        return (), f"The recipe of {first.letter} fixes no headline, so no arm is singled out."
    tables = []
    for side, column in zip(sides[1:], columns[1:], strict=True):
        found = pairing.contrast(first, side, plan.a, plan.level)
        if found is None:
            continue
        one, two = first.answers[plan.a], side.answers[plan.a]
        counts = pairing.flips(first, side, plan.a, plan.level)
        said = f"{points(found.value)} points ({interval((found.low, found.high))})"
        tables.append(
            FlipTable(
                column, plan.a, plan.level, counts, said,
                tuple(_flip(key, one[key], two[key]) for key in counts.won[:LISTED]),
                tuple(_flip(key, one[key], two[key]) for key in counts.lost[:LISTED]),
            )
        )  # fmt: skip
    why = "" if tables else f"No run shares problems at level {plan.level} with {first.letter} for the arm {plan.a}."
    return tuple(tables), why


def _flip(key: str, before: Answer, after: Answer) -> Flip:
    return Flip(key, clip(before.question, QUESTION), clip(before.reference, ANSWER), _stated(before), _stated(after))


def _stated(answer: Answer) -> str:
    said = clip(answer.said, ANSWER) or "no answer"
    return said if answer.value == 1 or not answer.failure else f"{said} ({clip(answer.failure, ANSWER)})"
