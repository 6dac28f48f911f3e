"""Votes over a round's feedback. Law: what stands for the majority keeps the ids that wrote it."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from thinktwice.methods.evolve.rows import Critique, Voted
from thinktwice.methods.evolve.voting import vote
from thinktwice.scoring.exact import normalise
from thinktwice.types import Problem, Task

if TYPE_CHECKING:
    from thinktwice.methods.evolve import Evolve


def tally(method: "Evolve", critiques: Sequence[Critique], task: Task, seed: int) -> list[Voted]:
    """Vote on each answer's feedback, in the order in which answers come.

    Args:
        method: names the rule.
        critiques: of all answers.
        task: reads corrected answers as it reads any, so that equal ones are equal texts.
        seed: of draws between equals.
    """
    by_answer: dict[str, list[Critique]] = defaultdict(list)
    for critique in critiques:
        by_answer[critique.key].append(critique)

    def canonical(text: str) -> str | None:
        return task.score(Problem("", "", text), text).answer or normalise(text) or None

    found = []
    for key, own in by_answer.items():
        ballot = vote([c.feedback for c in own], canonical=canonical, rule=method.vote, seed=seed)
        chosen = next((c for c in own if c.feedback is ballot.chosen), None)
        known = [c.sure for c in own if c.sure is not None]
        sure = sum(known) / len(known) if known else 0.5  # nobody said anything that can be read
        readable = any(c.feedback.verdict != "unparsed" for c in own)
        verdict = chosen.feedback.verdict if chosen else "abstained" if readable else "unparsed"
        found.append(Voted(key, verdict, chosen, ballot.agreement, sure, ballot.why))
    return found
