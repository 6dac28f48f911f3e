"""A task of your own in one file, with no registration: sums that have to be worked out from left to right.

In a recipe, or on the command line: `task: {name: examples/add_a_task.py:sums, terms: [2, 3]}`.
"""

import random
from collections.abc import Sequence
from hashlib import sha256

from thinktwice import Problem, Score, Task
from thinktwice.scoring import numeric
from thinktwice.tasks.verifier import EquationOracle


def sums(*, terms: tuple[int, int] = (2, 4), train: int = 2000, per_level: int = 100, seed: int = 0) -> Task:
    """Make sums of several numbers; their level is how many additions they need.

    The keyword arguments are the task's options. `thinktwice run RECIPE task.terms=[2,3]` sets one of them, and one
    that does not exist is refused with the nearest name.

    Args:
        terms: fewest and most numbers of a training problem.
        train: how many training problems.
        per_level: how many dev and how many test problems at each level.
        seed: other seeds, other problems.
    """
    levels = [(n, n) for n in range(terms[0], terms[1] + 1)]
    splits: dict[str, Sequence[Problem]] = {
        "train": draw("train", terms, train, seed),
        "dev": [p for level in levels for p in draw("dev", level, per_level, seed)],
        "test": [p for level in levels for p in draw("test", level, per_level, seed)],
    }
    # The oracle reads equations. It lets `backtrack` plant believable mistakes, and judges what was taken back.
    return Task("sums", splits, score, EquationOracle())


def draw(split: str, terms: tuple[int, int], count: int, seed: int) -> list[Problem]:
    """Draw different problems of one split. A question's own hash decides its split, so that splits never meet."""
    rng = random.Random(f"{split}/{terms}/{seed}")
    found: dict[str, Problem] = {}
    while len(found) < count:
        numbers = [rng.randint(1, 99) for _ in range(rng.randint(*terms))]
        question = f"What is {' + '.join(map(str, numbers))}?"
        part = sha256(question.encode()).digest()[0] % 10
        if split == ("test" if part == 0 else "dev" if part == 1 else "train"):
            found[question] = problem(question, numbers)
    return list(found.values())


def problem(question: str, numbers: Sequence[int]) -> Problem:
    """State a problem: one step a line, and the last line is the answer, as in GSM8K."""
    lines, total = [], numbers[0]
    for number in numbers[1:]:
        lines.append(f"{total} + {number} = {total + number}\n")
        total += number
    return Problem(question, question, str(total), f"{''.join(lines)}#### {total}", level=len(numbers) - 1)


def score(problem: Problem, reply: str) -> Score:
    """Judge a reply's text, and say why."""
    return numeric.score(reply, problem.answer)
