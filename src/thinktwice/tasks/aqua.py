"""AQuA-RAT: algebraic word problems with five options and a rationale (Ling et al. 2017, Apache-2.0)."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from thinktwice.errors import DataError
from thinktwice.scoring import choice, compat
from thinktwice.tasks import options, reading, steps
from thinktwice.tasks.sources import Source, read_splits
from thinktwice.types import Problem, Score, Task

SOURCE = Source(
    "aqua",
    {"train": ("train.json", "train.jsonl"), "dev": ("dev.json", "dev.jsonl"), "test": ("test.json", "test.jsonl")},
    "deepmind/aqua_rat",
    ("raw",),
    {"train": "train", "dev": "validation", "test": "test"},
)

_OPTION = re.compile(r"\s*\(?([A-E])\s*[).]\s*(.*)", re.DOTALL)
_HEADING = re.compile(r"(?:explanations?|solution|sol)\s*[:.\-]*\s*", re.IGNORECASE)
_TAIL = re.compile(
    r"[\s.,;]+(?:(?:the )?(?:correct )?(?:ans|answer|option)(?: is)?|ans\.)\s*[:=\-]*\s*\(?[A-E]\)?\.?$", re.IGNORECASE
)
_ANSWER_WORDS = frozenset(
    ("the", "correct", "right", "answer", "ans", "is", "option", "choice", "hence", "so", "thus", "therefore", "this")
)


def aqua(
    path: str | None = None,
    *,
    dev: int | None = None,
    train: int | None = None,
    revision: str | None = None,
    quarantine: str | None = None,
    compat: bool = False,
) -> Task:
    """AQuA: algebra word problems with options A to E and rationales.

    Args:
        path: a directory with train.json, dev.json, test.json (what is missing is empty), a file, or a hub id.
        dev: how many training problems become dev; None: the published dev file.
        train: how many training problems are used; None: all.
        revision: the hub revision; pin it where a result is reported.
        quarantine: a directory for the rows that could not be read.
        compat: score as the public planning-token code does, see `scoring.compat`.

    Raises:
        DataError: the source cannot be read, or more than 1 % of its rows are bad.
    """
    found = read_splits(SOURCE, problem, path=path, dev=dev, train=train, revision=revision, quarantine=quarantine)
    return Task("aqua", found.problems, partial(score, compatible=compat), quarantined=found.quarantined)


def problem(row: Mapping[str, Any]) -> Problem:
    """Convert `{question, options, rationale, correct}`; the prompt ends with the options, as in the public code.

    Raises:
        DataError: a field is missing, or `correct` is none of the options.
    """
    question, correct, raw = (
        reading.text_of(row, "question"),
        reading.text_of(row, "correct").upper(),
        row.get("options"),
    )
    found = [_OPTION.fullmatch(option) for option in raw] if isinstance(raw, list | tuple) else []
    names = [match.group(1) for match in found if match is not None]
    texts = tuple(steps.one_line(match.group(2)) for match in found if match is not None)
    if len(names) < len(found) or "".join(names) != "ABCDE"[: len(names)] or correct not in names:
        raise DataError(f"'options' {raw!r} are not A) to E) with the correct one, {correct!r}, among them")
    prompt = options.ask(question, texts)
    solution = steps.solution(rationale(str(row.get("rationale") or "")), correct)
    return Problem(reading.content_id("aqua", prompt), prompt, correct, solution, choices=texts)


def rationale(text: str) -> tuple[str, ...]:
    """Split a rationale into steps, without the heading and without a last one that only names the option."""
    found = list(steps.sentences(text.replace("\r\n", "\n")))
    if found and (heading := _HEADING.match(found[0])) and (heading.end() == len(found[0]) or ":" in heading.group()):
        found[0] = found[0][heading.end() :]
    found = [step for step in found if step]
    if found and _only_names_an_option(found[-1]):
        found.pop()
    elif found and (tail := _TAIL.search(found[-1])):
        found[-1] = found[-1][: tail.start()] + "."
    return tuple(found)


def _only_names_an_option(step: str) -> bool:
    words = re.findall(r"[A-Za-z]+|\d", step)
    named = [word for word in words if word in ("A", "B", "C", "D", "E")]
    rest = [word for word in words if word not in ("A", "B", "C", "D", "E")]
    return len(named) == 1 and all(word.casefold() in _ANSWER_WORDS for word in rest)


def score(problem: Problem, reply: str, *, compatible: bool = False) -> Score:
    """Judge a reply by the last option it states (strict), or as the public code does."""
    if compatible:
        return compat.option(f"Question: {problem.prompt}\n {reply}", problem.answer)
    return choice.score(reply, problem.answer, choice.LETTERS)
