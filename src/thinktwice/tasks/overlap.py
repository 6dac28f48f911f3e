"""Whether a question was asked before: by id, by its text, or by nearly the same words. Law: fails closed.

What a model was trained on elsewhere is known only by its file; a test question in it measures memory.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from thinktwice.errors import DataError
from thinktwice.scoring.exact import normalise
from thinktwice.tasks import reading
from thinktwice.types import Problem

NEAR = 0.8
"""Questions that share at least this part of all their words (Jaccard) are nearly the same."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """A problem that was asked before."""

    problem: str
    """Its id."""
    question: str
    """The question as it was asked before."""
    how: str
    """"id", "text" (case and white space apart) or "near" (nearly the same words)."""


@dataclass(frozen=True)
class Asked:
    """Questions that were asked before, ready to be looked up. Law: `find` gives the closest way in which one was."""

    questions: tuple[tuple[str, str], ...]
    """(id or "", text)."""

    def find(self, problem: Problem) -> Overlap | None:
        """Return how a problem was asked before; None when it was not."""
        if (known := self._ids.get(problem.id)) is not None:
            return Overlap(problem.id, known, "id")
        if (known := self._texts.get(reading.plain(problem.prompt))) is not None:
            return Overlap(problem.id, known, "text")
        words = _words(problem.prompt)
        for index in sorted({i for word in self._rarest(words) for i in self._with.get(word, ())}):
            other = self._bags[index]
            if len(words & other) >= NEAR * len(words | other):
                return Overlap(problem.id, self.questions[index][1], "near")
        return None

    def overlaps(self, problems: Iterable[Problem]) -> list[Overlap]:
        """Return every problem that was asked before."""
        return [found for problem in problems if (found := self.find(problem)) is not None]

    @cached_property
    def _ids(self) -> dict[str, str]:
        return {name: text for name, text in self.questions if name}

    @cached_property
    def _texts(self) -> dict[str, str]:
        return {reading.plain(text): text for _, text in self.questions}

    @cached_property
    def _bags(self) -> list[frozenset[str]]:
        return [_words(text) for _, text in self.questions]

    @cached_property
    def _counts(self) -> Counter[str]:
        return Counter(word for bag in self._bags for word in bag)

    @cached_property
    def _with(self) -> dict[str, list[int]]:
        """The questions that have a word among their rarest."""
        found: dict[str, list[int]] = {}
        for index, bag in enumerate(self._bags):
            for word in self._rarest(bag):
                found.setdefault(word, []).append(index)
        return found

    def _rarest(self, words: frozenset[str]) -> list[str]:
        """Return so many of the rarest words that nearly the same questions must share one of them."""
        ranked = sorted(words, key=lambda word: (self._counts[word], word))
        return ranked[: len(ranked) - math.ceil(NEAR * len(ranked)) + 1]


def asked_in(paths: Sequence[str | Path]) -> Asked:
    """Read the questions of files that a model was trained on.

    A row has its question as `question`, as the first user message of `messages` or `conversations`, or as `prompt`;
    its id, where it has one, as `_id` or `id`.

    Raises:
        DataError: a file cannot be read, or a row of it has no question: what cannot be checked is not passed.
    """
    return Asked(tuple(_question(path, number, row) for path in paths for number, row in reading.rows_of(Path(path))))


def told(overlaps: Sequence[Overlap]) -> str:
    """Count overlaps by kind and quote the first three."""
    kinds = Counter(found.how for found in overlaps)
    shown = "; ".join(f"{found.problem}: {found.question[:80]!r}" for found in overlaps[:3])
    return f"{', '.join(f'{count} by {how}' for how, count in kinds.items())} ({shown}{'; …' if overlaps[3:] else ''})"


def _question(path: str | Path, number: int, row: Any) -> tuple[str, str]:
    if isinstance(row, reading.BadRow):
        raise DataError(f"{path}, line {number}: {row.reason}. Mend it: its question cannot be checked for overlap.")
    messages = row.get("messages", row.get("conversations"))
    said = [m for m in messages if isinstance(m, dict)] if isinstance(messages, list) else []
    users = [m.get("content", m.get("value")) for m in said if m.get("role", m.get("from")) in ("user", "human")]
    text = row.get("question") or next(iter(users), None) or row.get("prompt")
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"{path}, line {number}: no question found to check for overlap; name its field `question`.")
    return str(row.get("_id", row.get("id", ""))), text


def _words(text: str) -> frozenset[str]:
    return frozenset(normalise(text).split())
