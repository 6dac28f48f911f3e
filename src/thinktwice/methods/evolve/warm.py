"""What people wrote before the first round: solutions, and feedback on answers. Every round replays a share of it.

Where the task has a step oracle, a *teacher* writes the feedback: mistakes that could tempt a writer are planted in
right solutions, and the teacher says where. `error` makes it a weak one: so often its verdict is the other one.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from thinktwice.errors import ConfigError, DataError
from thinktwice.methods.evolve.critics import spell
from thinktwice.methods.evolve.feedback import Feedback, Wording, write
from thinktwice.methods.evolve.learning import critique_trace, solution_trace
from thinktwice.methods.evolve.rows import Attempt
from thinktwice.render import Render
from thinktwice.types import Problem, Task, Trace


@dataclass(frozen=True, slots=True)
class Warm:
    """What is learned first."""

    solutions: int = 0
    """Training problems whose own solution is learned."""
    critiques: int = 0
    """Further training problems on whose solution, mostly with a planted mistake, a teacher's feedback is learned."""
    levels: tuple[int, ...] = ()
    """Difficulties of both; empty: all."""
    wrong: float = 0.6
    """How often a mistake is tried, at a line drawn at random: where nothing could tempt a writer there, as at the last
    line, the solution stays right."""
    error: float = 0.0
    """How often the teacher errs: its verdict is then the other one."""

    def __post_init__(self) -> None:
        for name in ("solutions", "critiques"):
            if getattr(self, name) < 0:
                raise ConfigError(f"method.warm.{name} is {getattr(self, name)}; it must be 0 or more.")
        if not (0 <= self.wrong <= 1 and 0 <= self.error < 0.5):
            raise ConfigError(
                f"method.warm: wrong={self.wrong} must be in [0, 1], and error={self.error} below 0.5: chance."
            )

    @property
    def rows(self) -> int:
        """How many training problems it takes."""
        return self.solutions + self.critiques


def warm_problems(warm: Warm, problems: Sequence[Problem]) -> list[Problem]:
    """Return the training problems that the warm start takes, the first of its levels.

    Raises:
        DataError: there are too few.
    """
    found = [p for p in problems if not warm.levels or p.level in warm.levels][: warm.rows]
    if len(found) < warm.rows:
        raise DataError(f"method.warm wants {warm.rows} training problems, and there are {len(found)}. Ask for fewer.")
    return found


def warm_traces(
    warm: Warm, problems: Sequence[Problem], render: Render, task: Task, wording: Wording, seed: int
) -> list[Trace]:
    """Write the warm start down.

    Raises:
        DataError: feedback is wanted of a task without a step oracle, or a problem has no solution.
    """
    chosen = warm_problems(warm, problems)
    unsolved = next((p.id for p in chosen if not p.solution), None)
    if unsolved is not None:
        raise DataError(f"method.warm learns solutions, and problem {unsolved} has none. Set method.warm to 0 of each.")
    if warm.critiques and task.oracle is None:
        raise DataError(f"method.warm.critiques needs a task with a step oracle; {task.name} has none. Set it to 0.")
    rng = random.Random(f"warm/{seed}")
    traces = [solution_trace(p, render) for p in chosen[: warm.solutions]]
    for problem in chosen[warm.solutions :]:
        attempt, feedback = _planted(problem, task, warm, render, rng)
        critique = spell(feedback, attempt, render, wording)
        traces.append(critique_trace(attempt, critique, render, wording))
    return traces


def _planted(problem: Problem, task: Task, warm: Warm, render: Render, rng: random.Random) -> tuple[Attempt, Feedback]:
    """Return a solution, perhaps with a mistake at its end, and what the teacher says of it."""
    assert task.oracle is not None
    assert problem.solution is not None
    lines = problem.solution.splitlines(keepends=True)
    feedback = Feedback("correct", source="human")
    if rng.random() < warm.wrong:
        at = rng.randrange(len(lines))
        errors = list(task.oracle.plausible_errors(problem, "".join(lines[:at])))
        if errors:
            feedback = Feedback("incorrect", step=at + 1, explanation=lines[at].rstrip("\n"), source="human")
            lines = [*lines[:at], rng.choice(errors)]
    if rng.random() < warm.error:
        last = len(lines)
        other = Feedback("incorrect", step=rng.randint(1, last), explanation=lines[-1].rstrip("\n"), source="human")
        feedback = other if feedback.verdict == "correct" else Feedback("correct", source="human")
    ids = tuple(token for line in lines for token in render.encode(line))
    text = "".join(lines)
    return Attempt(problem.id, 0, ids, text, None, "done"), replace(feedback, text=write(feedback))


def is_critique(trace: Trace) -> bool:
    """Say whether a row teaches feedback."""
    return any(step.kind == "critique" for step in trace.steps)
