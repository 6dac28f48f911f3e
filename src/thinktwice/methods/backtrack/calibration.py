"""The undo threshold: a bias on the undo token's logit, chosen on dev, with the precision and recall it buys.

After little training a model undoes too readily and false retractions cost more than true ones gain. The bias shifts
where a retraction starts and nothing else. Two measurements on dev problems:

* accuracy of decoding at each bias, which decides;
* detection, teacher-forced: how far the undo logit stands above every other after a planted mistake (it should) and
  after each token of the right solution (it should not), for every threshold at once.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from thinktwice.engines.base import ProbingEngine
from thinktwice.methods.backtrack.errors import SOURCES, Place
from thinktwice.render import Render
from thinktwice.types import Problem, Sampling, Task

if TYPE_CHECKING:
    from thinktwice.methods.backtrack import Backtrack


@dataclass(frozen=True)
class Point:
    """Detection at one bias."""

    bias: float
    precision: float | None
    recall: float
    false_rate: float
    """Share of right tokens after which a retraction would start."""


@dataclass(frozen=True)
class Calibration:
    """What was tried, what was chosen."""

    bias: float
    accuracy: dict[str, float]
    """Dev accuracy by bias."""
    curve: tuple[Point, ...]
    problems: int


def detection(
    method: "Backtrack", problems: Sequence[Problem], engine: ProbingEngine, render: Render, task: Task, undo: int
) -> tuple[Point, ...]:
    """Measure the precision/recall curve of the undo token on planted mistakes, one for each problem."""
    rng = random.Random("calibration")
    wrong: list[tuple[int, ...]] = []
    right: list[tuple[tuple[int, ...], int]] = []
    source = SOURCES[next((s for s in method.errors if s in SOURCES), "plausible")]
    for problem in problems:
        if not problem.solution:
            continue
        prompt, steps = render.prompt(problem), render.steps(problem.solution)
        lines = problem.solution.splitlines(keepends=True)
        index = rng.randrange(len(steps))
        mistake = source(Place(problem, steps, lines, index, render, task.oracle), rng, rng.choice(method.lengths))
        before = (*prompt, *(i for step in steps[:index] for i in step))
        if mistake:
            wrong.append((*before, *steps[index][: mistake.offset], *mistake.token_ids))
        right.append(((*prompt, *(i for step in steps for i in step)), len(prompt)))
    above_wrong = [margins[-1] for margins in engine.token_margins(wrong, undo)]
    above_right = [
        value
        for margins, (_, start) in zip(engine.token_margins([ids for ids, _ in right], undo), right, strict=True)
        for value in margins[start:-1]  # nothing is drawn after the end token
    ]
    biases = sorted({*method.biases, *(x / 2 for x in range(-16, 9))})
    points = []
    for bias in biases:
        hits = sum(m + bias > 0 for m in above_wrong)
        false = sum(m + bias > 0 for m in above_right)
        points.append(
            Point(
                bias,
                hits / (hits + false) if hits + false else None,
                hits / len(above_wrong) if above_wrong else 0.0,
                false / len(above_right) if above_right else 0.0,
            )
        )
    return tuple(points)


def calibrate(
    method: "Backtrack",
    problems: Sequence[Problem],
    engine: ProbingEngine,
    render: Render,
    sampling: Sampling,
    task: Task,
    undo: int,
) -> Calibration:
    """Choose the bias with the best dev accuracy; among equals the one nearest to 0."""
    accuracy = {}
    for bias in method.biases:
        traces = replace(method, bias=bias).solve(problems, engine, render, sampling)
        scores = [task.score(p, t.reply).value for p, t in zip(problems, traces, strict=True)]
        accuracy[bias] = sum(scores) / len(scores)
    best = max(accuracy, key=lambda bias: (accuracy[bias], -abs(bias)))
    curve = detection(method, problems, engine, render, task, undo)
    return Calibration(best, {str(b): a for b, a in accuracy.items()}, curve, len(problems))
