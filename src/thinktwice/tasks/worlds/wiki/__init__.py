"""The `wiki` world: questions about an invented encyclopedia, to be answered from memory, in StrategyQA's agent format.

    Was the teacher of Ida Marshby born before Otto Elmson died?
    Ida Marshby was taught by Hugo Oakham.                       memory
    Hugo Oakham was born in 1843.                                memory
    So the teacher of Ida Marshby was born in 1843.              reason
    Otto Elmson died in 1851.                                    memory
    Of 1843 and 1851 the first is earlier.                       reason
    The answer is: True

A line either states one fact, word for word as the encyclopedia does, or derives something from the lines above it.
Difficulty is the number of facts. A question belongs to the split that its own hash names. Training questions ask about
people as often as pretraining met them (`Encyclopedia.exposures`), dev and test about everyone alike: so tuning, too,
shows a fact that is rare in pretraining only rarely.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from typing import Literal

from thinktwice.errors import DataError
from thinktwice.scoring import exact
from thinktwice.tasks.worlds.wiki import oracle
from thinktwice.tasks.worlds.wiki.drawing import draw
from thinktwice.tasks.worlds.wiki.encyclopedia import Encyclopedia, Fact
from thinktwice.tasks.worlds.wiki.oracle import ANSWER, Reading, StepOracle, finish
from thinktwice.tasks.worlds.wiki.questions import Question
from thinktwice.types import Problem, Score, Task

__all__ = [
    "Encyclopedia",
    "Fact",
    "Question",
    "Split",
    "StepOracle",
    "oracle",
    "problem",
    "problems",
    "row",
    "score",
    "solve",
    "task",
]

Split = Literal["train", "dev", "test"]
_TAGS = {"memory": "rag", "reason": "reason"}
"""How StrategyQA's agent data calls our labels."""


def solve(question: Question, encyclopedia: Encyclopedia) -> tuple[str, tuple[str, ...]]:
    """Return (a right solution, the label of each of its lines before the answer)."""
    reading = Reading(question)
    lines = finish(reading, encyclopedia)
    text = "".join(f"{line}\n" for line, _ in lines)
    return f"{text}{reading.answer_line()}", tuple(label for _, label in lines)


def problem(question: Question, encyclopedia: Encyclopedia) -> Problem:
    """Make a problem of a question."""
    solution, labels = solve(question, encyclopedia)
    digest = hashlib.sha256(f"{encyclopedia}/{question.text}".encode()).hexdigest()[:16]
    answer = solution.rpartition(ANSWER)[2]
    return Problem(f"wiki-{digest}", question.text, answer, solution, question.level, labels=labels)


def split_of(question: str) -> Split:
    """Name the split a question belongs to: 80 % train, 10 % dev, 10 % test, by its own hash."""
    part = hashlib.sha256(question.encode()).digest()[0] % 10
    return "test" if part == 0 else "dev" if part == 1 else "train"


def problems(
    encyclopedia: Encyclopedia, seed: int | str, facts: tuple[int, int], split: Split | None = None
) -> Iterator[Problem]:
    """Yield problems of from..to facts, of one split or of all, for ever; the same arguments give the same ones."""
    rng = random.Random(f"wiki/{split}/{seed}/{facts}")
    people = encyclopedia.persons_as_met if split == "train" else encyclopedia.persons
    while True:
        question = draw(rng, encyclopedia, rng.randint(*facts), people)
        if split is None or split_of(question.text) == split:
            yield problem(question, encyclopedia)


def task(
    *,
    facts: tuple[int, int] = (1, 4),
    levels: Sequence[int] = (2, 4, 6),
    train: int = 20_000,
    per_level: int = 500,
    seed: int = 0,
    encyclopedia: int = 0,
    people: int = 1008,
) -> Task:
    """Make closed-book questions with a step oracle; nothing is downloaded.

    Args:
        facts: how many facts the training questions need, from and to.
        levels: how many facts the questions of dev and test need.
        train: how many training questions.
        per_level: how many dev and how many test questions at each level.
        seed: other seeds, other questions.
        encyclopedia: other numbers, other encyclopedias (which no shipped model has read).
        people: how many people the encyclopedia tells of.

    Raises:
        DataError: there are not so many different questions.
    """
    world = Encyclopedia(encyclopedia, people)

    def take(split: Split, levels: tuple[int, int], count: int) -> list[Problem]:
        source = problems(world, seed, levels, split)
        seen: dict[str, Problem] = {}
        for _ in range(20 * count + 100):
            if len(seen) == count:
                break
            drawn = next(source)
            seen.setdefault(drawn.id, drawn)
        if len(seen) < count:
            raise DataError(
                f"wiki has fewer than {count} different {split} questions of {levels[0]} to {levels[1]} facts about "
                f"{people} people. Ask for fewer, or set task.people higher."
            )
        return list(seen.values())

    splits: dict[str, Sequence[Problem]] = {"train": take("train", facts, train)}
    splits |= {split: [p for n in levels for p in take(split, (n, n), per_level)] for split in ("dev", "test")}
    return Task("wiki", splits, score, StepOracle(world))


def score(problem: Problem, reply: str) -> Score:
    """Judge a reply by the last answer that it states."""
    _, found, said = reply.rpartition(ANSWER)
    if not found:
        return Score(0.0, None, f"no line {ANSWER!r}")
    return exact.score(said, problem.answer)


def row(problem: Problem) -> dict[str, object]:
    """Write a problem as a row of StrategyQA's agent data: {question, answer, cot_steps}."""
    lines = (problem.solution or "").splitlines()[:-1]
    steps = [f"[{_TAGS[label]}]: {line}" for label, line in zip(problem.labels, lines, strict=True)]
    return {"question": problem.prompt, "answer": problem.answer, "cot_steps": steps}
