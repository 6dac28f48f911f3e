"""CommonsenseQA: questions with five options, about what everybody knows (Talmor et al. 2019, MIT)."""

import logging
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

from thinktwice.errors import DataError
from thinktwice.scoring import choice, compat
from thinktwice.tasks import options, reading, steps
from thinktwice.tasks.sources import Source, read_splits
from thinktwice.types import Problem, Score, Task

log = logging.getLogger(__name__)

PLAIN = Source(
    "commonsenseqa",
    {"train": ("train_rand_split.jsonl",), "test": ("dev_rand_split.jsonl",)},
    "tau/commonsense_qa",
    hub_splits={"train": "train", "test": "validation"},
)
AGENT = Source(
    "commonsenseqa",
    {
        "train": ("commonsense_qa_train_clean_CC.json", "commonsense_qa_train.json"),
        "test": ("commonsense_qa_test_clean_CC.json", "commonsense_qa_test.json"),
    },
)


def load(
    source: Source,
    path: str | None = None,
    *,
    dev: int = 500,
    train: int | None = None,
    revision: str | None = None,
    quarantine: str | None = None,
    compat: bool = False,
) -> Task:
    """CommonsenseQA: five options; test is the published dev set; (agent) with `[rag]` and `[reason]` steps.

    The published test set has no answers, so the field scores dev. The agent's files are those of Jin et al. 2025;
    their train file was never published with the code.

    Without a train file only test is served, and a warning says so. The plain form has no worked solutions: nothing can
    be learned from it, it is scored.

    Args:
        source: PLAIN as published, or AGENT.
        path: a directory with train_rand_split.jsonl and dev_rand_split.jsonl (agent:
            commonsense_qa_train_clean_CC.json and commonsense_qa_test_clean_CC.json), a file (all of it is test), or a
            hub id.
        dev: how many training problems become the dev split.
        train: how many of the others are trained on; None: all.
        revision: the hub revision; pin it where a result is reported.
        quarantine: a directory for the rows that could not be read.
        compat: score as the public code does, see `scoring.compat`.

    Raises:
        DataError: the source cannot be read, or more than 1 % of its rows are bad.
    """
    counts: Counter[str] = Counter()
    convert = partial(problem, counts=counts)
    found = read_splits(source, convert, path=path, dev=dev, train=train, revision=revision, quarantine=quarantine)
    for what, count in sorted(counts.items()):
        log.warning("commonsenseqa: %d %s", count, what)
    return Task("commonsenseqa", found.problems, partial(score, compatible=compat), quarantined=found.quarantined)


def problem(row: Mapping[str, Any], *, counts: Counter[str] | None = None) -> Problem:
    """Convert `{question: {stem, choices}, answerKey}` (published), the hub's flat form, or an agent's row.

    Raises:
        DataError: a field is missing, or the answer is none of the options.
    """
    if "cot_steps" in row:
        prompt = reading.text_of(row, "question").removeprefix("Question:").strip()
        return agent_problem("commonsenseqa", prompt, row, Counter() if counts is None else counts)
    nested = row.get("question")
    whole = {**row, **nested, "question": nested.get("stem")} if isinstance(nested, Mapping) else row
    question, answer, given = (
        reading.text_of(whole, "question"),
        reading.text_of(whole, "answerKey"),
        whole.get("choices"),
    )
    if isinstance(given, Mapping):  # the hub's columns
        given = [{"label": a, "text": b} for a, b in zip(given.get("label", ()), given.get("text", ()), strict=False)]
    if not isinstance(given, list) or not all(isinstance(option, Mapping) for option in given):
        raise DataError("'choices' is no list of options")
    texts = tuple(steps.one_line(reading.text_of(option, "text")) for option in given)
    if [option.get("label") for option in given] != [choice.letter(i) for i in range(len(texts))]:
        raise DataError("the options are not labelled A, B, C... in order")
    if answer not in choice.LETTERS[: len(texts)]:
        raise DataError(f"the answer {answer!r} is none of the {len(texts)} options")
    name = (
        f"commonsenseqa-{row['id']}"
        if isinstance(row.get("id"), str)
        else reading.content_id("commonsenseqa", question)
    )
    return Problem(name, options.ask(question, texts), answer, choices=texts)


def agent_problem(name: str, prompt: str, row: Mapping[str, Any], counts: Counter[str]) -> Problem:
    """Convert an agent's row whose options stand in the question.

    Raises:
        DataError: no options are found, or the answer is none of them.
    """
    answer, texts = reading.text_of(row, "answer").upper(), options.find(prompt)
    if answer not in choice.LETTERS[: len(texts)]:
        raise DataError(f"the answer {answer!r} is none of the {len(texts)} options in the question")
    lines, labels = steps.labelled(row["cot_steps"], counts)
    solution = steps.solution(lines, answer)
    return Problem(reading.content_id(name, prompt), prompt, answer, solution, choices=texts, labels=labels)


def score(problem: Problem, reply: str, *, compatible: bool = False) -> Score:
    """Judge a reply by the last option it states (strict), or as the public code does."""
    if compatible:
        return compat.option(f"Question: {problem.prompt}\n {reply}", problem.answer)
    return choice.score(reply, problem.answer)


commonsenseqa = partial(load, PLAIN)
commonsenseqa_agent = partial(load, AGENT)
