"""People's feedback: a queue of answers to look at, and what was said of them. Law: what somebody said is never lost.

Both files are JSON Lines that any editor or annotation tool can write:

    {"id": ..., "problem_id": ..., "sample": 0, "question": ..., "answer": ..., "draft": {"verdict": ..., ...} or null}
    {"id": ..., "verdict": "incorrect", "confidence": null, "step": 2, "explanation": ..., "answer": "72"}

`thinktwice review` shows the first and writes the second. An id is made of the problem and the answer's text: an answer
is looked at once, however many samples or rounds wrote it, and feedback never goes to another one.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from thinktwice.config import parse, to_dict
from thinktwice.errors import ConfigError, DataError
from thinktwice.methods.evolve.feedback import Feedback, write
from thinktwice.run.files import sync, write_text, writing

HUMAN = "human"
"""The source that is named in what a person said."""
Row = TypeVar("Row", "Item", "Review")


@dataclass(frozen=True, slots=True)
class Item:
    """An answer that a person is to look at."""

    id: str
    problem_id: str
    sample: int
    """Which of the problem's samples it was, from 0, when it was first queued."""
    question: str
    answer: str
    draft: Feedback | None = None
    """What a model said of it; offered as the default."""


@dataclass(frozen=True, slots=True)
class Review:
    """What a person said of an answer: a row of the file that `read_human` reads."""

    id: str
    """The item's."""
    verdict: Literal["correct", "incorrect", "unsure"]
    confidence: float | None = None
    step: int | None = None
    """The first wrong line of the answer, from 1; blank lines are not counted."""
    explanation: str = ""
    answer: str | None = None
    """What the answer should be."""

    def __post_init__(self) -> None:
        if self.step is not None and self.step < 1:
            raise ConfigError(f"step is {self.step}; lines are counted from 1")
        if self.confidence is not None and not 0 <= self.confidence <= 1:
            raise ConfigError(f"confidence is {self.confidence}; it must be between 0 and 1")

    @property
    def feedback(self) -> Feedback:
        """The same as feedback is passed on."""
        said = Feedback(self.verdict, self.confidence, self.step, self.explanation, self.answer)
        return Feedback(
            self.verdict, self.confidence, self.step, self.explanation, self.answer, write(said), source=HUMAN
        )


def item_id(problem_id: str, answer: str) -> str:
    """Return what names an answer to a problem: the same text has the same id, whoever wrote it, in any round."""
    return f"{problem_id}/{hashlib.sha256(answer.strip().encode()).hexdigest()[:12]}"


def item(problem_id: str, sample: int, question: str, answer: str, draft: Feedback | None = None) -> Item:
    """Return an item with its id."""
    return Item(item_id(problem_id, answer), problem_id, sample, question, answer, draft)


def write_queue(path: Path, rows: Sequence[Item]) -> int:
    """Add items to a queue, and return how many are new. Law: the file is whole, before and after a kill.

    An item that is queued already is left as it is, so that doing the same once more changes nothing.

    Raises:
        DataError: the queue holds rows that cannot be read, or an id of its is another question's.
    """
    queued: dict[str, Item] = {}
    if path.exists():
        queued, bad = read_queue(path)
        if bad:
            raise DataError(f"{path} has rows that cannot be read ({told(bad)}); mend or move it before adding to it.")
    before = len(queued)
    for row in rows:
        known = queued.setdefault(row.id, row)
        if known.question != row.question:
            raise DataError(f"{path}: the id {row.id!r} stands there with another question; choose another file.")
    if len(queued) > before or not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, "".join(_line(to_dict(each)) for each in queued.values()))
    return len(queued) - before


def read_queue(path: Path) -> tuple[dict[str, Item], dict[str, int]]:
    """Return the items of a queue by id, in order, and how many rows were bad, by reason.

    Raises:
        DataError: there is no such file.
    """
    items: dict[str, Item] = {}
    found, bad = _read(path, Item)
    for row in found:
        if items.setdefault(row.id, row) is not row:
            bad["its id stands there before"] += 1
    return items, dict(bad)


def add_review(path: Path, review: Review) -> None:
    """Write what somebody said of one answer behind the rest; when this returns it survives a power cut.

    A line that a kill left unfinished is ended first, so that it spoils nothing but itself.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = not path.exists()
    with writing(path), path.open("ab+") as stream:
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                stream.write(b"\n")
        stream.write(_line(to_dict(review)).encode())
        stream.flush()
        os.fsync(stream.fileno())
    if fresh:
        sync(path.parent)


def read_reviews(path: Path) -> tuple[dict[str, Review], dict[str, int]]:
    """Return what was said by item id, and how many rows were bad, by reason. Of two reviews the later one counts.

    Raises:
        DataError: there is no such file.
    """
    found, bad = _read(path, Review)
    return {row.id: row for row in found}, dict(bad)


def read_human(path: Path) -> tuple[dict[str, Feedback], dict[str, int]]:
    """Return people's feedback by `item_id`, and how many rows were bad, by reason; of two the later one counts.

    Raises:
        DataError: there is no such file.
    """
    found, bad = read_reviews(path)
    return {key: review.feedback for key, review in found.items()}, bad


def told(bad: Mapping[str, int]) -> str:
    """Say how many rows were bad, and why."""
    return "; ".join(f"{count}: {reason}" for reason, count in sorted(bad.items(), key=lambda each: -each[1]))


def _read(path: Path, kind: type[Row]) -> tuple[list[Row], Counter[str]]:
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}. Check the path.") from None
    rows: list[Row] = []
    bad: Counter[str] = Counter()
    for line in filter(bytes.strip, lines):
        try:
            rows.append(parse(kind, json.loads(line)))
        except ConfigError as error:
            bad[str(error)] += 1
        except ValueError:  # a UnicodeDecodeError is one, too
            bad["not a line of JSON"] += 1
    return rows, bad


def _line(row: Any) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"
