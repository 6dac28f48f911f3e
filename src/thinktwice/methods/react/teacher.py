"""A teacher that needs no model: it knows which pages hold the answer, and reads them one by one.

    Who is the teacher of the friend of Ida Marshby?
                                               search Ida Marshby
    Ida Marshby befriended Otto Elmson.        search Otto Elmson
    Otto Elmson was taught by Hugo Oakham.     answer Hugo Oakham

A thought repeats what the page just read says; in the `wiki` world it is the page's own sentence. So that filters have
work, it can be made imperfect at given rates. Law: a plan is a pure function of problem, seed and sample.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from thinktwice.errors import ConfigError, DataError
from thinktwice.methods.react.episode import ANSWER, SEARCH, Turn
from thinktwice.scoring.exact import normalise
from thinktwice.tasks.worlds.wiki import hops
from thinktwice.tasks.worlds.wiki.encyclopedia import RELATIONS, Fact
from thinktwice.tools import Retriever
from thinktwice.types import Problem

_PAGES = ("person", "town", "country")
"""Kinds of values that have a page of their own."""


@dataclass(frozen=True)
class Teacher:
    """How the scripted teacher goes about it; rates are probabilities at each page that it reads."""

    detours: float = 0.0
    """It first reads a page that the last one names and that does not matter."""
    useless: float = 0.0
    """It first searches for the whole question."""
    repeats: float = 0.0
    """It searches for the same once more."""
    early: float = 0.0
    """It answers with what it has read last, although there is more to read."""

    def __post_init__(self) -> None:
        for name in ("detours", "useless", "repeats", "early"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"method.teacher.{name}={getattr(self, name)} is no probability.")

    def plan(self, problem: Problem, retriever: Retriever, seed: int, sample: int = 0) -> tuple[Turn, ...]:
        """Return what it thinks, searches for and answers, without the observations.

        Raises:
            DataError: the problem does not say which pages support its answer.
        """
        rng = random.Random(f"{seed}/{sample}/{problem.id}")
        turns: list[Turn] = []
        for index, title in enumerate(problem.support):
            thought = _read(problem, index - 1)
            if index and rng.random() < self.early:
                return (*turns, Turn(thought, ANSWER, _last_value(problem, index - 1)))
            if rng.random() < self.useless:
                turns.append(Turn(thought, SEARCH, problem.prompt))
                thought = ""
            if index and rng.random() < self.detours:
                aside = _detour(problem, index - 1, retriever, rng)
                if aside is not None:
                    turns.append(aside)
                    thought = ""
            turns.append(Turn(thought, SEARCH, title))
            if rng.random() < self.repeats:
                turns.append(Turn("", SEARCH, title))
        return (*turns, next_turn(problem, problem.support))


def next_turn(problem: Problem, seen: Sequence[str]) -> Turn:
    """Return what the teacher does when it has seen these pages: read the first that is missing, or answer.

    Raises:
        DataError: the problem does not say which pages support its answer.
    """
    if not problem.support:
        raise DataError(
            f"problem {problem.id} does not say which pages support its answer, so the scripted teacher cannot read "
            "them. Take wiki_hops or HotpotQA with supporting facts, or method.teacher=model."
        )
    missing = next((i for i, title in enumerate(problem.support) if title not in seen), None)
    if missing is not None:
        return Turn(_read(problem, missing - 1), SEARCH, problem.support[missing])
    lines = (problem.solution or "").splitlines()[len(problem.support) : -1]  # what follows from the pages
    thoughts = [_read(problem, len(problem.support) - 1), *lines]
    return Turn("\n".join(filter(None, thoughts)), ANSWER, problem.answer)


def visited(problem: Problem, sources: Sequence[str]) -> bool:
    """Say whether every page that supports the answer was seen, where the problem says which those are."""
    return bool(problem.support) and set(problem.support) <= set(sources)


def _read(problem: Problem, index: int) -> str:
    """Return what the page at a place in the chain says that matters; empty before the first."""
    facts = _facts(problem)
    return facts[index].statement if 0 <= index < len(facts) else ""


def _facts(problem: Problem) -> tuple[Fact, ...]:
    """Return the world's facts behind a question; none for a question of the real world."""
    return hops.chain(problem) if problem.labels else ()


def _last_value(problem: Problem, index: int) -> str:
    facts = _facts(problem)
    return facts[index].value if facts else problem.support[index]


def _detour(problem: Problem, index: int, retriever: Retriever, rng: random.Random) -> Turn | None:
    """Return a search for something that the page at a place in the chain names and that no answer needs."""
    page = retriever.open(problem.support[index])
    stated = [Fact.read(line) for line in page.text.splitlines()] if page else []
    aside = [
        fact
        for fact in stated
        if fact is not None
        and RELATIONS[fact.relation].value in _PAGES
        and fact.value not in problem.support
        and normalise(fact.value) != normalise(problem.answer)
    ]
    if not aside:
        return None
    fact = rng.choice(aside)
    return Turn(fact.statement, SEARCH, fact.value)
