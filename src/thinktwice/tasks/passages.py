"""Questions about passages. Law: a prompt is its passages, then the question; `question` reads what `ask` wrote.

A model is shown the prompt alone, so what it must read stands there; `Problem.context` holds it once more, for whoever
lays a prompt out in another way.
"""

from collections.abc import Sequence

from thinktwice.types import Problem


def ask(context: Sequence[str], question: str) -> str:
    """Return the prompt of a question about passages, which come first, each on lines of its own."""
    return "\n".join((*context, question))


def question(problem: Problem) -> str:
    """Return a problem's prompt without the passages that it begins with."""
    return problem.prompt.removeprefix(ask(problem.context, "")) if problem.context else problem.prompt
