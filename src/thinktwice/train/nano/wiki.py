"""The language of `wiki` and its pretraining text: what the encyclopedia states, and reasoning about strangers.

Two kinds of documents. *Statements*: facts of all pages in random order, each as often as its exposure says; only
values are learned, since who is spoken of next is chance. *Reasoning*: a question about strangers, the facts it needs,
and the steps from them; the facts are given, the rest is learned. So a base knows the encyclopedia in part and can
reason from facts that stand there; it has never answered a question about anyone whom it knows.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, count
from typing import TYPE_CHECKING

from thinktwice.render import Render
from thinktwice.tasks.worlds import wiki
from thinktwice.tasks.worlds.wiki import names
from thinktwice.tasks.worlds.wiki.encyclopedia import RELATIONS
from thinktwice.types import Example, Problem

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_NAMES = (*(f"{name} " for name in names.GIVEN), *names.FAMILIES)
_PLACES = (*names.TOWNS, *names.COUNTRIES, *names.FIELDS)
_PHRASES = (
    *(relation.phrase for relation in RELATIONS.values()),
    *(f"the {relation.noun} of " for relation in RELATIONS.values() if relation.noun),
    *(f" {verb} before " for verb in ("born", "die", "founded")),
    *(" lived ", " live longer than ", " the same as ", " and ", "Of "),
    *(f" the {which} is {more}.\n" for which in ("first", "second") for more in ("earlier", "longer")),
    *(" are the same.\n", " are different.\n", " years.\n", " years?\n", " was born?\n", " died?\n", " was founded?\n"),
    *("?\n", ".\n", "Was ", "Did ", "Is ", "So ", "The answer is: ", "True", "False"),
)
TAGS = ("[memory] ", "[reason] ")
"""A step's kind as plain text, for the arm that has it so. Never met in pretraining."""
HOPS = (
    *("Who is ", "What is ", "When was ", "When did ", " born?\n", " die?\n", " founded?\n"),
    *("Who was born first, ", "Which was founded first, ", " or ", "yes", "no"),
)
"""What questions with a span for an answer say besides (`wiki_hops`). Never met in pretraining. Law: what is added goes
to the end, so that every id stays what it was."""
MARKS = ("- ", "* ", "> ", "~ ")
"""What may stand before a line and means nothing, as in lists and quotations."""
WORDS = (*_NAMES, *_PLACES, *(f"{number:02}" for number in range(100)), *_PHRASES, *TAGS, *HOPS, *MARKS)
"""No phrase begins or ends inside a name; a year is two tokens, its century and the rest."""
MOST_MARKS = 4


@dataclass(frozen=True)
class Wiki:
    """`World` of an encyclopedia."""

    encyclopedia: int = 0
    """Which one; as `encyclopedia` of the task."""
    people: int = 1008
    facts: tuple[int, int] = (1, 6)
    """How many facts the questions about strangers need, from and to."""
    statements: int = 8
    """Facts in a document of statements."""
    reasoning: float = 0.75
    """Share of documents that reason."""
    marked: float = 0.5
    """Share of reasoning documents whose lines begin with up to four marks each, which are not learned: a model that
    finds what it needs by counting tokens would be lost as soon as a method puts tokens of its own before a line."""
    plan: bool = True
    """Whether reasoning also teaches which fact to state next (never its value)."""

    @property
    def name(self) -> str:
        """The settings."""
        return str(self)

    @property
    def rows(self) -> int:
        """Enough for every phrase and some sixty control tokens."""
        return 960

    @property
    def words(self) -> tuple[str, ...]:
        """Names, places, numbers of two digits, and phrases."""
        return WORDS

    @property
    def pattern(self) -> str:
        """One alternative for each kind of phrase, longest first."""
        longest_first = sorted((*_PHRASES, *TAGS, *HOPS, *MARKS, *_NAMES, *_PLACES), key=len, reverse=True)
        return "|".join([*map(re.escape, longest_first), r"\d\d"])

    @cached_property
    def pages(self) -> wiki.Encyclopedia:
        """The encyclopedia that is read."""
        return wiki.Encyclopedia(self.encyclopedia, self.people)

    def examples(self, render: Render, seed: int) -> Iterator[Example]:
        """Yield documents for ever."""
        rng = random.Random(f"wiki/{seed}")
        facts = [fact for page in self.pages.pages.values() for fact in page]
        spelled = [(render.encode(fact.head), render.encode(f"{fact.value}.\n")) for fact in facts]
        weights = list(accumulate(self.pages.exposures(fact) for fact in facts))
        for crowd in count(seed * 1000):
            strangers = self.pages.strangers(crowd)
            asked = wiki.problems(strangers, f"{seed}/{crowd}", self.facts)
            for _ in range(50):
                if rng.random() < self.reasoning:
                    yield self._reasoning(render, next(asked), rng if rng.random() < self.marked else None)
                else:
                    yield _statements(rng.choices(spelled, cum_weights=weights, k=self.statements))

    def _reasoning(self, render: Render, problem: Problem, marking: random.Random | None) -> Example:
        ids, weights = [*render.prompt(problem)], []
        weights = [0.0] * len(ids)
        lines = (problem.solution or "").splitlines(keepends=True)
        for line, label in zip(lines, (*problem.labels, "answer"), strict=True):
            if marking:
                marks = render.encode("".join(marking.choices(MARKS, k=marking.randint(0, MOST_MARKS))))
                ids += marks
                weights += [0.0] * len(marks)
            fact = wiki.Fact.read(line.strip()) if label == "memory" else None
            parts = (line,) if fact is None else (fact.head, f"{fact.value}.\n")
            for part, learned in zip(parts, (fact is None or self.plan, False), strict=False):
                spelled = render.encode(part)
                ids += spelled
                weights += [float(learned)] * len(spelled)
        return _example((*ids, render.end_id), (*weights, 1.0), problem.id)


def _statements(facts: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> Example:
    ids = [i for head, value in facts for i in (*head, *value)]
    weights = [learned for head, value in facts for learned in (*[0.0] * len(head), *[1.0] * len(value))]
    return _example(tuple(ids), tuple(weights), "statements")


def _example(ids: tuple[int, ...], weights: tuple[float, ...], name: str) -> Example:
    """Make a plain causal example; `weights[i]` is how much token i counts, and moves to where it is predicted."""
    return Example(ids, (*ids[1:], 0), (*weights[1:], 0.0), problem_id=name)


def recall(model: "PreTrainedModel", render: Render, facts: Sequence[wiki.Fact]) -> list[bool]:
    """Say of each fact whether a model knows it: shown the head alone, every token of the value is its first choice.

    Example: `recall(engine.model, render, [f for page in wiki.Encyclopedia().pages.values() for f in page])`.
    """
    import torch

    shapes: dict[tuple[int, int], list[tuple[int, tuple[int, ...]]]] = {}
    for index, fact in enumerate(facts):
        head, value = render.encode(fact.head), render.encode(f"{fact.value}.\n")
        shapes.setdefault((len(head), len(value)), []).append((index, (*head, *value)))
    known = [False] * len(facts)
    training = model.training
    model.train(False)
    for (head_length, _), members in shapes.items():
        for start in range(0, len(members), 256):
            part = members[start : start + 256]
            ids_BT = torch.tensor([ids for _, ids in part], device=model.device)
            with torch.inference_mode():
                chosen_BT = model(input_ids=ids_BT).logits[:, head_length - 1 : -1].argmax(-1)
            right_B = (chosen_BT == ids_BT[:, head_length:]).all(1)
            for (index, _), right in zip(part, right_B.tolist(), strict=True):
                known[index] = right
    model.train(training)
    return known
