"""Which line of a GSM8K-like solution first goes wrong, by its equations and the reference solution.

It accuses only what it can prove or compare: an equation that is false, or, where the final answer is wrong, a line
that computes a number the reference never reaches.

Measured on published solutions of GSM8K: of 8,792 references 43 are accused (0.5 %; most do hold a slip of the pen); of
two 6B models' 801 right solutions 8 (1.0 %; seven of them do write something false on the way); of their 1,837 wrong
ones 1,834 get a first wrong step: 114 by a false equation, 1,540 by a number the reference does not have, 180 by their
answer alone. The second kind may accuse a line too early, where a right line takes another way than the reference.
"""

from fractions import Fraction
from typing import Literal

from thinktwice.scoring import numeric
from thinktwice.tasks.equations import equations
from thinktwice.types import Problem

MistakeKind = Literal["wrong_arithmetic", "off_reference", "wrong_answer"]


class EquationOracle:
    """`types.Oracle` for solutions whose lines state equations, against the reference solution."""

    def first_wrong(self, problem: Problem, solution: str) -> tuple[int, MistakeKind] | None:
        """Return (index, kind) of the first line with a false equation.

        Where there is none and the stated answer is wrong: of the first line that computes a number which stands
        nowhere in the reference solution, else of the answer. None when the answer is right, or none is stated.
        """
        lines = solution.splitlines()
        for index, line in enumerate(lines):
            if any(equation.is_false for equation in equations(line + "\n")):
                return index, "wrong_arithmetic"
        answer = numeric.stated(solution)
        if answer is None or answer == numeric.references(problem.answer):
            return None
        known = _numbers(problem)
        for index, line in enumerate(lines):
            if any(equation.value not in known for equation in equations(line)):
                return index, "off_reference"
        return max((i for i, line in enumerate(lines) if numeric.stated(line)), default=len(lines) - 1), "wrong_answer"

    def is_viable(self, problem: Problem, text: str) -> bool:
        """Say whether text, which may stop in the middle of a line, has no false equation and no wrong answer.

        A number at the very end of the text may still grow: `16 - 3 = 1` is viable.
        """
        lines = text.splitlines(keepends=True)
        if any(equation.is_false for line in lines for equation in equations(line)):
            return False
        whole = "".join(line for line in lines if line.endswith("\n"))
        _, marker, last = text[len(whole) :].rpartition("####")
        answer = last.replace(",", "").strip(" .$")
        if marker and not (problem.answer.startswith(answer) or _same(answer, problem)):
            return False
        return "####" not in whole or numeric.stated(whole) == numeric.references(problem.answer)

    def plausible_errors(self, problem: Problem, text: str) -> list[str]:
        """Return the reference's later steps whose number is not derived yet: right, but not their turn."""
        rest = self._rest(problem, text)
        return [line for line in (rest or [])[1:] if equations(line)]

    def complete(self, problem: Problem, text: str) -> str | None:
        """Continue right lines with the reference from the last number that they derived.

        None where they cannot be trusted: a false equation, an answer, a number the reference does not have.
        """
        rest = self._rest(problem, text)
        return "".join(rest) if rest else None

    def _rest(self, problem: Problem, text: str) -> list[str] | None:
        """Return the lines of the reference after the last number derived in `text`."""
        reference = (problem.solution or "").splitlines(keepends=True)
        known = _numbers(problem)
        reached = 0
        for line in text.splitlines():
            for equation in equations(line + "\n"):
                if equation.is_false or equation.value not in known:
                    return None
                later = (i for i in range(reached, len(reference)) if equation.value in _values(reference[i]))
                reached = next(later, reached - 1) + 1
        return None if "####" in text else reference[reached:]


def _values(line: str) -> set[Fraction]:
    return {equation.value for equation in equations(line)}


def _numbers(problem: Problem) -> set[Fraction]:
    """Return every number that the reference writes or passes on the way."""
    lines = (problem.solution or "").splitlines()
    found = {part for line in lines for e in equations(line) for part in (*e.parts, *e.lefts, *e.rights)}
    return found.union(numeric.references(problem.answer))


def _same(answer: str, problem: Problem) -> bool:
    return numeric.number(answer) in numeric.references(problem.answer)
