"""What an agent must beat: answering from memory, and answering after one search for the question itself.

Both are plain prompts: the method writes the answer at once, with no turn in between. An agent that does no better than
one search has gained nothing from choosing its own (in public tables the difference is often under two points).
"""

from thinktwice.tools import Passage, Retriever
from thinktwice.types import Problem


def closed_book_prompt(problem: Problem) -> str:
    """Return the question alone: what is answered then was known."""
    return problem.prompt


def one_shot_prompt(problem: Problem, retriever: Retriever, k: int = 3) -> str:
    """Return the k passages that fit the question best, the best first, one a paragraph, and then the question.

    Where nothing is found this is the question alone. `retriever.search(problem.prompt, k)` says which pages those are.
    """
    return "\n".join([*map(_paragraph, retriever.search(problem.prompt, k)), problem.prompt])


def _paragraph(passage: Passage) -> str:
    """Return a passage as text; a title with which its text begins is not said twice."""
    text = passage.text.strip()
    return text if text.startswith(passage.title) else f"{passage.title}: {text}"
