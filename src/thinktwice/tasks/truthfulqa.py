"""TruthfulQA, one right answer of several (Lin et al. 2022, Apache-2.0). Never a headline: it can be gamed.

A linear model with ten features of the options, which never sees the question, is right on 111 of the agent's 164 test
questions (67.7 %, see its test; another such model on 106; chance is 22 %), and published trees reach 79.6 %. What a
model gains on it by tuning may be the habits of those who wrote the options. 164 questions can show a difference of 8.5
points at best, and six of them are nearly the same as a training question. Report it beside something else, with a
question-blind baseline.
"""

import logging
import random
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

from thinktwice.errors import DataError
from thinktwice.scoring import choice, compat
from thinktwice.tasks import options, reading
from thinktwice.tasks.commonsenseqa import agent_problem
from thinktwice.tasks.sources import Source, read_splits
from thinktwice.types import Problem, Score, Task

log = logging.getLogger(__name__)

HUB = "truthfulqa/truthful_qa"
PLAIN = Source("truthfulqa", {"test": ("mc_task.json",)}, HUB, ("multiple_choice",), {"test": "validation"})
AGENT = Source(
    "truthfulqa",
    {
        "train": ("truthful_qa_train_clean_CC.json", "truthful_qa_train.json"),
        "test": ("truthful_qa_test_clean_CC.json", "truthful_qa_test.json"),
    },
)


def load(
    source: Source,
    path: str | None = None,
    *,
    dev: int = 60,
    train: int | None = None,
    revision: str | None = None,
    quarantine: str | None = None,
    compat: bool = False,
) -> Task:
    """TruthfulQA (MC1): GAMEABLE, two in three are right without the question; (agent) with `[rag]`/`[reason]` steps.

    The published set has one split, which is test. Its right answer always comes first, so options are shuffled, by the
    question's own hash. The agent's files are those of Jin et al. 2025.

    Args:
        source: PLAIN as published, or AGENT.
        path: mc_task.json, a directory with it (agent: truthful_qa_train_clean_CC.json and
            truthful_qa_test_clean_CC.json), or a hub id.
        dev: how many training problems become the dev split, where there are any.
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
        log.warning("truthfulqa: %d %s", count, what)
    return Task("truthfulqa", found.problems, partial(score, compatible=compat), quarantined=found.quarantined)


def problem(row: Mapping[str, Any], *, counts: Counter[str] | None = None) -> Problem:
    """Convert `{question, mc1_targets}` (as published: {option: 0 or 1}; the hub's columns) or an agent's row.

    Raises:
        DataError: a field is missing, or there is not exactly one right option.
    """
    question = reading.text_of(row, "question")
    if "cot_steps" in row:
        return agent_problem("truthfulqa", question, row, Counter() if counts is None else counts)
    given = row.get("mc1_targets")
    if not isinstance(given, Mapping):
        raise DataError("'mc1_targets' is missing")
    right = dict(zip(given["choices"], given["labels"], strict=False)) if "choices" in given else dict(given)
    texts = sorted(right)
    random.Random(reading.content_id("truthfulqa-options", question)).shuffle(texts)
    if sorted(right.values()) != [0] * (len(right) - 1) + [1] or not 2 <= len(texts) <= len(choice.LETTERS):
        raise DataError("there is not exactly one right option")
    answer = choice.letter(next(i for i, text in enumerate(texts) if right[text] == 1))
    prompt = options.ask(question, texts)
    return Problem(reading.content_id("truthfulqa", prompt), prompt, answer, choices=tuple(texts))


def score(problem: Problem, reply: str, *, compatible: bool = False) -> Score:
    """Judge a reply by the last option it states (strict), or as the public code does."""
    if compatible:
        return compat.option(f"Question: {problem.prompt}\n {reply}", problem.answer, "ABCDEFGHIJKLMN")
    return choice.score(reply, problem.answer)


truthfulqa = partial(load, PLAIN)
truthfulqa_agent = partial(load, AGENT)
