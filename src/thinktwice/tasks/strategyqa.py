"""StrategyQA: yes/no questions whose facts must be recalled and combined (Geva et al. 2021, MIT)."""

import logging
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

from thinktwice.errors import DataError
from thinktwice.scoring import choice, compat
from thinktwice.tasks import reading, steps
from thinktwice.tasks.sources import Source, read_splits
from thinktwice.types import Problem, Score, Task

log = logging.getLogger(__name__)

PLAIN = Source(
    "strategyqa",
    {
        "train": ("train.json", "train.jsonl", "strategyqa_train.json"),
        "test": ("test.json", "test.jsonl", "strategyqa_test.json"),
    },
    "ChilleD/StrategyQA",
)
AGENT = Source(
    "strategyqa",
    {
        "train": ("StrategyQA_train_clean.json", "StrategyQA_train.json", "train.json"),
        "test": ("StrategyQA_test_clean.json", "StrategyQA_test.json", "test.json"),
    },
)


def load(
    source: Source,
    path: str | None = None,
    *,
    dev: int = 200,
    train: int | None = None,
    revision: str | None = None,
    quarantine: str | None = None,
    compat: bool = False,
) -> Task:
    """StrategyQA: true/false questions; steps are its facts, or (agent) `[rag]` and `[reason]` steps with their labels.

    The agent's files are those of Jin et al. 2025, whose code spells the name "stratgeqa".

    Args:
        source: PLAIN as published, or AGENT.
        path: a directory with train.json and test.json (agent: StrategyQA_train_clean.json and
            StrategyQA_test_clean.json), a file (all of it is test), or a hub id.
        dev: how many training problems become the dev split.
        train: how many of the others are trained on; None: all.
        revision: the hub revision; pin it where a result is reported.
        quarantine: a directory for the rows that could not be read.
        compat: score as the public code does, see `scoring.compat`.

    Raises:
        DataError: the source cannot be read, or more than 1 % of its rows are bad.
    """
    counts: Counter[str] = Counter()
    found = read_splits(
        source,
        partial(problem, counts=counts),
        path=path,
        dev=dev,
        train=train,
        revision=revision,
        quarantine=quarantine,
    )
    for what, count in sorted(counts.items()):
        log.warning("strategyqa: %d %s", count, what)
    return Task("strategyqa", found.problems, partial(score, compatible=compat), quarantined=found.quarantined)


def problem(row: Mapping[str, Any], *, counts: Counter[str] | None = None) -> Problem:
    """Convert `{question, answer, cot_steps}` (agent) or `{question, answer, facts}` (facts: a text or a list).

    Raises:
        DataError: a field is missing, or the answer is neither true nor false.
    """
    question, answer = reading.text_of(row, "question"), row.get("answer")
    said = {True: "True", False: "False"}.get(answer) if isinstance(answer, bool) else str(answer).strip().capitalize()
    if said not in choice.TRUE_FALSE:
        raise DataError(f"the answer {answer!r} is neither true nor false")
    if "cot_steps" in row:
        lines, labels = steps.labelled(row["cot_steps"], Counter() if counts is None else counts)
    else:
        facts = row.get("facts") or ()
        lines = steps.sentences(facts) if isinstance(facts, str) else tuple(map(steps.one_line, map(str, facts)))
        labels = (steps.MEMORY,) * len(lines)
    solution = steps.solution(lines, said)
    return Problem(reading.content_id("strategyqa", question), question, said, solution, labels=labels)


def score(problem: Problem, reply: str, *, compatible: bool = False) -> Score:
    """Judge a reply by the last True or False it states (strict), or as the public code does."""
    if compatible:
        return compat.number(f"Question: {problem.prompt}\n {reply}", problem.answer)
    return choice.score(reply, problem.answer, choice.TRUE_FALSE)


strategyqa = partial(load, PLAIN)
strategyqa_agent = partial(load, AGENT)
