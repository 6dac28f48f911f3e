"""SQuAD, v1.1 and v2.0: questions answered by a span of a passage of Wikipedia (Rajpurkar et al. 2016, 2018).

Half of v2.0's questions have no answer in their passage: `Problem.answer` is "" there, and a reply must say
"unanswerable" (or "no answer") to be right. `Problem.kind` is "answerable" or "unanswerable". The published test set is
secret, so the dev set is what is tested on; dev problems carved from train share passages with train. (CC BY-SA 4.0)
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, get_args

from thinktwice.errors import ConfigError, DataError, nearest
from thinktwice.scoring import squad as scoring
from thinktwice.tasks import passages, reading, steps
from thinktwice.tasks.sources import Rows, Source, read_splits
from thinktwice.types import Problem, Score, Task

ANSWERABLE, UNANSWERABLE = "answerable", "unanswerable"
MEASURES = {"em": "EM", "f1": "F1"}


def rows_of(path: Path) -> Rows:
    """Yield the questions of an official file, each with its passage; of another file, its rows.

    Raises:
        DataError: the file cannot be read.
    """
    document = reading.document_of(path) if path.suffix == ".json" else None
    return questions(document, str(path)) if isinstance(document, Mapping) else reading.rows_of(path)


def questions(document: Mapping[str, Any], told: str) -> Rows:
    """Yield the questions of `{data: [{title, paragraphs: [{context, qas}]}]}`, numbered from 1.

    Raises:
        DataError: it has another shape; `told` is what to call it.
    """
    try:
        whole = [
            (paragraph["context"], asked)
            for article in document["data"]
            for paragraph in article["paragraphs"]
            for asked in paragraph["qas"]
        ]
    except (KeyError, TypeError):
        raise DataError(f"{told} is no SQuAD file. Expected {{data: [{{paragraphs: [{{context, qas}}]}}]}}.") from None
    for place, (context, asked) in enumerate(whole, 1):
        if isinstance(asked, Mapping):
            yield place, {"context": context, **asked}
        else:
            yield place, reading.BadRow(place, "not a JSON object", repr(asked))


SOURCE = Source(
    "squad",
    {
        "train": ("train-v2.0.json", "train-v1.1.json"),
        "dev": ("validation-v2.0.json", "validation-v1.1.json"),
        "test": ("dev-v2.0.json", "dev-v1.1.json"),
    },
    "rajpurkar/squad_v2",
    hub_splits={"train": "train", "test": "validation"},
    rows=rows_of,
)


def squad(
    path: str | None = None,
    *,
    measure: scoring.Measure = "f1",
    dev: int | None = 500,
    train: int | None = None,
    revision: str | None = None,
    quarantine: str | None = None,
) -> Task:
    """SQuAD v1.1 or v2.0, whichever the files are: official EM or F1; "unanswerable" must be said in so many words.

    Args:
        path: a directory with train-v2.0.json and dev-v2.0.json (or v1.1), a file (all of it is test), a hub id
            ("rajpurkar/squad" is v1.1), or None for v2.0 on the hub.
        measure: "f1" or "em": the value of a score.
        dev: how many training problems become the dev split; None: those of validation-v2.0.json (or v1.1).
        train: how many of the others are trained on; None: all.
        revision: the hub revision; pin it where a result is reported.
        quarantine: a directory for the rows that could not be read.

    Raises:
        ConfigError: an unknown measure.
        DataError: the source cannot be read, or more than 1 % of its rows are bad.
    """
    judge = scored_by(measure)
    found = read_splits(SOURCE, problem, path=path, dev=dev, train=train, revision=revision, quarantine=quarantine)
    return Task("squad", found.problems, judge, quarantined=found.quarantined, measure=MEASURES[measure])


def problem(row: Mapping[str, Any]) -> Problem:
    """Convert `{id, context, question, answers, is_impossible}`; `answers` as in the files or in the hub's columns.

    Raises:
        DataError: a field is missing, an answer does not stand where it is said to, or there are answers to a question
            that is said to have none.
    """
    question = steps.one_line(reading.text_of(row, "question"))
    reading.text_of(row, "context")
    passage: str = row["context"]  # as it stands: places of answers are counted in it
    answers = _answers(row.get("answers"), passage)
    if bool(row.get("is_impossible", not answers)) == bool(answers):
        raise DataError(f"'is_impossible' is {row.get('is_impossible')!r}, and there are {len(answers)} answers")
    name = row.get("id")
    return Problem(
        name if isinstance(name, str) and name else reading.content_id("squad", passage, question),
        passages.ask((passage,), question),
        answers[0] if answers else "",
        steps.ANSWER_LINE.format(answer=steps.one_line(answers[0]) if answers else scoring.UNANSWERABLE),
        context=(passage,),
        kind=ANSWERABLE if answers else UNANSWERABLE,
        answers=answers if len(answers) > 1 else (),
    )


def _answers(given: Any, passage: str) -> tuple[str, ...]:
    """Return the different answers of a row, each found in the passage."""
    try:
        pairs = (
            [*zip(given["text"], given["answer_start"], strict=True)]
            if isinstance(given, Mapping)
            else [(answer["text"], answer["answer_start"]) for answer in given]
        )
    except (KeyError, TypeError, ValueError):
        raise DataError("'answers' is no list of {text, answer_start}") from None
    for text, start in pairs:
        if not (isinstance(text, str) and text.strip() and isinstance(start, int) and passage.startswith(text, start)):
            raise DataError(f"the answer {text!r} does not stand at {start!r} of its passage")
    return tuple(dict.fromkeys(text.strip() for text, _ in pairs))


def scored_by(measure: scoring.Measure) -> partial[Score]:
    """Return the score of a measure.

    Raises:
        ConfigError: there is no such measure.
    """
    if measure not in get_args(scoring.Measure):
        raise ConfigError(f"task.measure={measure!r} must be 'em' or 'f1'.{nearest(measure, MEASURES)}")
    return partial(score, measure=measure)


def score(problem: Problem, reply: str, *, measure: scoring.Measure = "f1") -> Score:
    """Judge the answer that a reply states last as the official script does; one that states none is unparsed."""
    return scoring.score(reply, problem.references, measure)
