r"""MATH: competition problems with worked solutions whose answer is boxed (Hendrycks et al. 2021, MIT)."""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from thinktwice.errors import ConfigError, DataError, nearest
from thinktwice.scoring import compat
from thinktwice.scoring import math as exact
from thinktwice.tasks import reading, steps
from thinktwice.tasks.sources import Source, read_splits
from thinktwice.types import Problem, Score, Task

SUBJECTS = (
    *("algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory", "prealgebra"),
    "precalculus",
)
SOURCE = Source(
    "math",
    {"train": ("train.jsonl", "train.json"), "test": ("test.jsonl", "test.json")},
    "EleutherAI/hendrycks_math",
    SUBJECTS,
)


def math(
    path: str | None = None,
    *,
    dev: int = 500,
    train: int | None = None,
    subject: str | None = None,
    revision: str | None = None,
    quarantine: str | None = None,
    compat: bool = False,
) -> Task:
    """MATH: competition mathematics, levels 1 to 5; answers are compared exactly, as expressions.

    Args:
        path: a directory with train.jsonl and test.jsonl, or the published train/ and test/ trees, or a hub id.
        dev: how many training problems become the dev split.
        train: how many of the others are trained on; None: all.
        subject: only this one, for example algebra.
        revision: the hub revision; pin it where a result is reported.
        quarantine: a directory for the rows that could not be read.
        compat: score as the public planning-token code does (4 % tolerance and worse), see `scoring.compat`.

    Raises:
        ConfigError: an unknown subject.
        DataError: the source cannot be read, or more than 1 % of its rows are bad.
    """
    if subject is not None and subject not in SUBJECTS:
        raise ConfigError(f"task.subject={subject!r} is no subject of MATH.{nearest(subject, SUBJECTS)}")
    source = Source(SOURCE.name, SOURCE.files, SOURCE.hub, SUBJECTS if subject is None else (subject,))
    convert = partial(problem, subject=subject)
    found = read_splits(
        source, convert, path=path, dev=dev, train=train, revision=revision, quarantine=quarantine, tree=rows_of_tree
    )
    return Task("math", found.problems, partial(score, compatible=compat), quarantined=found.quarantined)


def rows_of_tree(directory: Path) -> Iterator[tuple[int, Mapping[str, Any] | reading.BadRow]]:
    """Yield the problems of MATH's own layout, subject/number.json, in the order of their paths."""
    for number, file in enumerate(sorted(directory.glob("*/*.json")), 1):
        try:
            row = json.loads(file.read_bytes())
        except ValueError as error:
            row = None
            reason = f"{file.parent.name}/{file.name} is not JSON ({error})"
        else:
            reason = f"{file.parent.name}/{file.name} is no JSON object"
        yield number, row if isinstance(row, dict) else reading.BadRow(number, reason)


def problem(row: Mapping[str, Any], *, subject: str | None = None) -> Problem:
    r"""Convert `{problem, solution, level, type}`: the answer is the solution's last `\boxed{...}`, braces balanced.

    Raises:
        DataError: a field is missing, or nothing is boxed.
        Omitted: another subject than the one asked for.
    """
    question, worked = reading.text_of(row, "problem"), reading.text_of(row, "solution")
    kind = str(row.get("type") or row.get("subject") or "")
    if subject is not None and kind and kind.casefold().replace(" & ", "_and_").replace(" ", "_") != subject:
        raise reading.Omitted("of another subject")
    answer = exact.boxed(worked)
    if not answer:
        raise DataError(r"the solution has no \boxed answer")
    level = str(row.get("level", "")).removeprefix("Level").strip()
    lines = steps.solution(steps.sentences(worked, latex=True), answer)
    number = int(level) if level.isdigit() else 0
    return Problem(reading.content_id("math", question), question, steps.one_line(answer), lines, number)


def score(problem: Problem, reply: str, *, compatible: bool = False) -> Score:
    """Judge a reply by the last expression it states, exactly, or as the public code does."""
    if compatible:
        return compat.expression(f"Question: {problem.prompt}\n {reply}", problem.answer)
    return exact.score(reply, problem.answer)
