"""GSM8K: grade-school word problems with worked solutions (Cobbe et al. 2021, openai/gsm8k, MIT)."""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from thinktwice.errors import ConfigError, DataError
from thinktwice.scoring import compat, numeric
from thinktwice.tasks import reading
from thinktwice.tasks.steps import ANSWER_LINE
from thinktwice.tasks.verifier import EquationOracle
from thinktwice.types import Problem, Score, Task

HUB = "openai/gsm8k"
_ANNOTATION = re.compile(r"<<[^<>\n]*>>")


def gsm8k(
    path: str | None = None,
    *,
    dev: int = 500,
    train: int | None = None,
    calculator_annotations: bool = False,
    config: str = "main",
    revision: str | None = None,
    quarantine: str | None = None,
    answer_line: str = "#### {answer}",
    compat: bool = False,
) -> Task:
    """Load GSM8K as a task. Law: dev is carved from train by hash; test is the published test set, whole.

    Its step oracle verifies the equations that a solution states; see `tasks.verifier` for how often it errs.

    Args:
        path: a directory with train.jsonl and test.jsonl, a hub id, or None for the published dataset on the hub.
        dev: how many training problems become the dev split.
        train: how many of the others are trained on, from the first; None: all.
        calculator_annotations: keep the `<<48/2=24>>` marks in solutions; by default they are taken out.
        config: the hub configuration.
        revision: the hub revision; pin it where a result is reported.
        quarantine: a directory for the rows that could not be read.
        answer_line: the last line of solutions. The public planning-token code writes "The answer is: {answer}"; with
            any other line than `#### N` there is no step oracle, which reads that one.
        compat: score as the public planning-token code does, see `scoring.compat`; it finds only "The answer is: N".

    Raises:
        DataError: the source cannot be read, or more than 1 % of its rows are bad.

    Example:
        >>> gsm8k("data/gsm8k").splits["test"][0].answer  # doctest: +SKIP
        '18'
    """
    if "{answer}" not in answer_line:
        raise ConfigError(f"task.answer_line={answer_line!r} has no {{answer}}. Write for example {ANSWER_LINE!r}.")
    convert = partial(problem, calculator_annotations=calculator_annotations, answer_line=answer_line)

    def split(name: str) -> reading.Reading:
        aside = Path(quarantine) / f"gsm8k-{name}.jsonl" if quarantine else None
        if path is not None and Path(path).is_dir():
            return reading.read(Path(path) / f"{name}.jsonl", convert, quarantine=aside)
        if path is not None and (Path(path).exists() or path.count("/") != 1 or path.startswith((".", "/", "~"))):
            raise DataError(
                f"no directory {path!r}. Give one with train.jsonl and test.jsonl, or a hub id like {HUB!r}."
            )
        source = path or HUB
        rows = reading.rows_of_hub(source, config, name, revision)
        return reading.collect(rows, convert, source=f"{source}:{name}", quarantine=aside)

    trained, tested = split("train"), split("test")
    rest, held_out = reading.carve(trained.problems, dev, "gsm8k-dev")
    if train is not None and not 0 < train <= len(rest):
        raise DataError(f"task.train={train}, but there are {len(rest)} training problems beside {dev} for dev.")
    splits = {"train": rest[:train], "dev": held_out, "test": tested.problems}
    bad = len(trained.quarantined) + len(tested.quarantined)
    oracle = EquationOracle() if answer_line.startswith("####") else None
    return Task("gsm8k", splits, partial(score, compatible=True) if compat else score, oracle, quarantined=bad)


def problem(
    row: Mapping[str, Any], *, calculator_annotations: bool = False, answer_line: str = "#### {answer}"
) -> Problem:
    """Convert a `{question, answer}` row: the answer's last line is `#### N`, the lines before it are the steps.

    Raises:
        DataError: a field is missing, or the answer does not end with a number after `####`.
    """
    question, solution = reading.text_of(row, "question"), reading.text_of(row, "answer")
    steps, marker, final = solution.rpartition("####")
    value = numeric.number(final)
    if not marker or value is None:
        raise DataError("the answer does not end with '#### ' and a number")
    if not calculator_annotations:
        solution, steps = _ANNOTATION.sub("", solution), _ANNOTATION.sub("", steps)
    if answer_line != "#### {answer}":
        solution = f"{steps.rstrip()}\n{answer_line.replace('{answer}', numeric.write(value))}"
    level = sum(1 for line in steps.splitlines() if line.strip())
    return Problem(reading.content_id("gsm8k", question), question, numeric.write(value), solution, level)


def score(problem: Problem, reply: str, *, compatible: bool = False) -> Score:
    """Judge a reply by the last answer it states (strict), or as the public planning-token code does."""
    if compatible:
        return compat.number(f"Question: {problem.prompt}\n {reply}", problem.answer)
    return numeric.score(reply, problem.answer)
