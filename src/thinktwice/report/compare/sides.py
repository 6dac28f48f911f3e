"""One run as a side of a comparison. Law: what an unfinished run has is used, and is never called its result."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinktwice.config import Headline, Recipe, parse
from thinktwice.errors import ConfigError, RunError
from thinktwice.records import Cell, Summary
from thinktwice.report.compare.text import clip
from thinktwice.run import Run
from thinktwice.scoring import stats


@dataclass(frozen=True, slots=True)
class Answer:
    """What a comparison needs of one answer."""

    level: int
    question: str
    reference: str
    value: float
    """The score."""
    said: str
    """The answer found in the reply, "" when there was none."""
    failure: str
    tokens: int
    """Tokens sampled, retracted ones included."""

    @property
    def problem(self) -> tuple[int, str, str]:
        """What makes two answers answers to one problem, besides the key."""
        return self.level, self.question, self.reference


@dataclass(frozen=True)
class Gain:
    """The headline of one run: arm `a` minus arm `b` at a level, as fractions."""

    plan: Headline
    difference: float
    low: float
    high: float
    n: int
    """Problems both arms answered."""
    final: bool
    """False while the run is unfinished: the problems answered so far."""

    @property
    def named(self) -> tuple[str, str, int]:
        """What is compared with what, where."""
        return self.plan.a, self.plan.b, self.plan.level


@dataclass(frozen=True)
class Side:
    """One run, read."""

    letter: str
    """A, B, C ...: how tables and charts call it."""
    name: str
    """The run directory's name; with its parents where two runs have the same."""
    run: Run
    recipe: Recipe
    summary: Summary | None
    """None while the run is unfinished."""
    answers: Mapping[str, Mapping[str, Answer]]
    """Arm -> key -> answer."""
    cells: Mapping[str, Mapping[int, Cell]]
    """Arm -> level -> accuracy; of an unfinished run, over the problems answered so far."""
    gain: Gain | None

    @property
    def answered(self) -> int:
        """Answers that are in the traces, over all arms."""
        return sum(map(len, self.answers.values()))

    @property
    def expected(self) -> int:
        """Answers the recipe asks for; a level with fewer problems than asked for has fewer."""
        return len(self.recipe.arms) * len(self.recipe.evaluation.levels) * self.recipe.evaluation.problems


def read_sides(runs: Sequence[Run]) -> list[Side]:
    """Read the runs that are compared, in the order they were named.

    Raises:
        ConfigError: fewer than two runs, or the same one twice.
        RunError: a file of a run is damaged, or of another version.
    """
    if len(runs) < 2:
        raise ConfigError("a comparison needs two runs or more; name another one")
    places = [run.root.resolve() for run in runs]
    for i, place in enumerate(places):
        if place in places[:i]:
            raise ConfigError(f"{runs[i].root} is named twice; name each run once")
    names = [place.name for place in places]
    if len(set(names)) < len(names):
        names = [os.path.relpath(place, home(runs)) for place in places]
    return [_read(letters(i), clip(name, 80), run) for i, (name, run) in enumerate(zip(names, runs, strict=True))]


def home(runs: Iterable[Run]) -> Path:
    """Return the directory all runs lie below."""
    return Path(os.path.commonpath([run.root.resolve().parent for run in runs]))


def letters(number: int) -> str:
    """Return A, B, ... Z, AA, AB, ..."""
    return (letters(number // 26 - 1) if number >= 26 else "") + chr(ord("A") + number % 26)


def _read(letter: str, name: str, run: Run) -> Side:
    recipe = parse(Recipe, run.config, str(run.root / "config.json"))
    saved = run.summary()
    summary = None if saved is None else parse(Summary, saved, str(run.root / "summary.json"))
    there = set(run.trace_names())
    answers = {arm: _answers(run, arm) for arm in recipe.arms if arm in there}
    cells = summary.arms if summary else {arm: found for arm, rows in answers.items() if (found := _cells(rows))}
    return Side(letter, name, run, recipe, summary, answers, cells, _gain(recipe, summary, answers))


def _answers(run: Run, arm: str) -> dict[str, Answer]:
    try:
        return {key: _answer(row) for key, row in run.traces(arm).done.items()}
    except (KeyError, TypeError) as error:
        raise RunError(
            f"{run.root}/traces/{arm}.jsonl has a row this version cannot read ({error!r}); was it written by another?"
        ) from None


def _answer(row: Mapping[str, Any]) -> Answer:
    score = row["score"]
    return Answer(
        row["level"],
        row["question"],
        row["reference"],
        float(score["value"]),
        score["answer"] or "",
        row.get("failure", ""),
        sum(len(step["token_ids"]) for step in row["trace"]["steps"] if step["sampled"]),
    )


def _cells(rows: Mapping[str, Answer]) -> dict[int, Cell]:
    cells = {}
    for level in sorted({row.level for row in rows.values()}):
        found = [row for row in rows.values() if row.level == level]
        mean = stats.average([row.value for row in found])
        cells[level] = Cell(len(found), mean.value, mean.ci, 0, sum(row.tokens for row in found) / len(found))
    return cells


def _gain(recipe: Recipe, summary: Summary | None, answers: Mapping[str, Mapping[str, Answer]]) -> Gain | None:
    plan = recipe.headline
    if plan is None:
        return None
    if summary is not None:
        c = summary.headline
        return None if c is None else Gain(plan, c.difference, *c.ci, summary.arms[c.a][c.level].n, True)
    a, b = answers.get(plan.a, {}), answers.get(plan.b, {})
    keys = [key for key, row in a.items() if key in b and row.level == plan.level]
    if not keys:
        return None
    found = stats.paired_difference(
        [a[key].value for key in keys], [b[key].value for key in keys], seed=recipe.evaluation.seed
    )
    return Gain(plan, found.value, found.low, found.high, found.problems, False)
