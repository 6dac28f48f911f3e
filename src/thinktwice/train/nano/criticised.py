"""The language of `arith` again, and criticism: solutions, and solutions with a mistake that a teacher points at.

A critic reads a solution line by line and says after each whether it is right; after the first wrong one it writes the
line that should stand there (`decode.walk`). Mistakes are planted: lines whose inputs are not known yet, which is what
a model of this size gets wrong by itself. The teacher is weak: so often as `error` says, it says the other thing.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

from thinktwice.decode.walk import CORRECT, CRITIQUE, INCORRECT, TOKENS, annotate
from thinktwice.render import Render
from thinktwice.tasks.worlds import arith
from thinktwice.train.nano.arith import Arith
from thinktwice.types import ControlToken, Example, Problem


@dataclass(frozen=True)
class Criticised(Arith):
    """`World` of word problems whose solutions are criticised. A base of it goes on from one of `arith` (`start`)."""

    share: float = 0.6
    """Share of documents that criticise."""
    wrong: float = 0.75
    """How often a mistake is tried, at a line drawn at random: where nothing could tempt a writer there, as at the last
    line, the solution stays right, so that about a third of what is criticised has one."""
    error: float = 0.1
    """How often the teacher errs, a document."""

    @property
    def name(self) -> str:
        """The settings."""
        return str(self)

    @property
    def control_tokens(self) -> tuple[ControlToken, ...]:
        """Where a criticism begins, and its verdicts."""
        return TOKENS

    def examples(self, render: Render, seed: int) -> Iterator[Example]:
        """Yield problems with their solutions, or with criticism, for ever."""
        rng = random.Random(f"criticised/{seed}")
        oracle = arith.StepOracle()
        for problem in arith.problems("train", seed, self.operations, self.irrelevant):
            if rng.random() < self.share:
                yield self._criticism(problem, oracle, render, rng)
            else:
                yield render.example(problem, render.solution(problem.solution or ""))

    def _criticism(self, problem: Problem, oracle: arith.StepOracle, render: Render, rng: random.Random) -> Example:
        lines = (problem.solution or "").splitlines(keepends=True)
        wrong: int | None = None
        instead = ""
        if rng.random() < self.wrong:
            at = rng.randrange(len(lines))
            errors = oracle.plausible_errors(problem, "".join(lines[:at]))
            if errors:
                wrong, instead = at, lines[at].rstrip("\n")
                lines = [*lines[:at], rng.choice(errors)]
        if rng.random() < self.error:  # says of a right line that it is wrong, or nothing of a wrong one
            wrong, instead = (rng.randrange(len(lines)), lines[-1].rstrip("\n")) if wrong is None else (None, "")
        marks = [render.control_id(token.token) for token in (CRITIQUE, CORRECT, INCORRECT)]
        steps = [render.encode(line) for line in lines]
        ids, written = annotate(steps, marks[1], marks[2], wrong, (*render.encode(instead), render.end_id))
        prompt = (*render.prompt(problem), marks[0])
        whole = (*prompt, *ids)
        weights = (*(0.0 for _ in prompt[1:]), *(float(by_critic) for by_critic in written), 0.0)
        return Example(whole, (*whole[1:], 0), weights, problem_id=problem.id)
