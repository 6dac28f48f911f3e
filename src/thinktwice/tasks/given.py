"""No problems at all: for a method that brings its own (a verifier that reads solutions from a file)."""

from thinktwice.scoring import numeric
from thinktwice.types import Task


def given() -> Task:
    """Load nothing: the method poses the problems, from a file that somebody wrote. Answers are numbers."""
    return Task(
        "given", {"train": (), "dev": (), "test": ()}, lambda problem, reply: numeric.score(reply, problem.answer)
    )
