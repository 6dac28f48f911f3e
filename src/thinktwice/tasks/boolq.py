"""BoolQ: yes/no questions that people asked, each with a passage of Wikipedia (Clark et al. 2019, CC BY-SA 3.0).

62 % of the published answers are True, so a scorer that takes what it cannot read for True gives a mute model 62 %:
here a reply without a verdict is unparsed, counted as such, and wrong. The answers of the published test set are
secret, so the dev set is what is tested on.
"""

import re
from collections.abc import Mapping
from typing import Any

from thinktwice.errors import DataError
from thinktwice.scoring import choice
from thinktwice.tasks import passages, reading, steps
from thinktwice.tasks.sources import Source, read_splits
from thinktwice.types import Problem, Score, Task

SOURCE = Source(
    "boolq",
    {"train": ("train.jsonl",), "dev": ("validation.jsonl",), "test": ("dev.jsonl",)},
    "google/boolq",
    hub_splits={"train": "train", "test": "validation"},
)
VERDICTS = {"True": "True", "Yes": "True", "False": "False", "No": "False"}
"""What may be stated -> the answer."""
_OPENING = re.compile(
    r"\W*(?P<verdict>true|false|yes|no)[*_)\]]*(?:\s*$|[ \t]*\n|[.,;:!](?!\W*(?:true|false|yes|no)\b))", re.IGNORECASE
)
"""A verdict that a reply begins with, and that is over there: neither "No one" nor "Yes, no"."""


def boolq(
    path: str | None = None,
    *,
    dev: int | None = 500,
    train: int | None = None,
    revision: str | None = None,
    quarantine: str | None = None,
) -> Task:
    """BoolQ: True or False, about a passage; a reply without a verdict is wrong. Test is the published dev set.

    Args:
        path: a directory with train.jsonl and dev.jsonl, a file (all of it is test), a hub id, or None for the
            published dataset.
        dev: how many training problems become the dev split; None: those of validation.jsonl.
        train: how many of the others are trained on; None: all.
        revision: the hub revision; pin it where a result is reported.
        quarantine: a directory for the rows that could not be read.

    Raises:
        DataError: the source cannot be read, or more than 1 % of its rows are bad.
    """
    found = read_splits(SOURCE, problem, path=path, dev=dev, train=train, revision=revision, quarantine=quarantine)
    return Task("boolq", found.problems, score, quarantined=found.quarantined)


def problem(row: Mapping[str, Any]) -> Problem:
    """Convert `{question, passage, answer}`.

    Raises:
        DataError: a field is missing, or the answer is neither true nor false.
    """
    question, passage = steps.one_line(reading.text_of(row, "question")), reading.text_of(row, "passage")
    if not isinstance(answer := row.get("answer"), bool):
        raise DataError(f"the answer {answer!r} is neither true nor false")
    return Problem(
        reading.content_id("boolq", passage, question),
        passages.ask((passage,), question),
        str(answer),
        steps.ANSWER_LINE.format(answer=answer),
        context=(passage,),
    )


def verdict(reply: str) -> str | None:
    r"""Return "True" or "False" as a reply states it last, or begins with; "True or False" for both, None for neither.

    Example:
        >>> verdict("So it does.\nThe answer is: yes"), verdict("No, it is not."), verdict("")
        ('True', 'False', None)
    """
    stated = choice.stated(reply, tuple(VERDICTS))
    if stated is None and (opening := _OPENING.match(reply)):
        stated = (opening["verdict"].capitalize(),)
    return None if stated is None else " or ".join(dict.fromkeys(VERDICTS[said] for said in stated))


def score(problem: Problem, reply: str) -> Score:
    """Judge a reply by its verdict. Law: what states none is unparsed and worth 0, whatever the answer is."""
    said = verdict(reply)
    if said is None:
        return Score(0.0, None, f"unparsed: no verdict is stated (`The answer is: True`); expected {problem.answer}")
    if said == problem.answer:
        return Score(1.0, said, f"stated {said}")
    return Score(0.0, said, f"stated {said}; expected {problem.answer}")
