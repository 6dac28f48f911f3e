"""Candidate solutions of questions, as text: what a verifier judges. Law: a label belongs to a candidate, not a slot.

    items = read_items(Path("solutions.jsonl"))     # every candidate that was written, right and wrong
    paired = pairs(items, by_generator="balanced")  # two candidates each, one right and one wrong

One JSON line an item (`write_items`); `seed_data` reads other people's files into the same nouns.
"""

import hashlib
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from thinktwice.config import parse, to_dict
from thinktwice.errors import ConfigError, DataError
from thinktwice.run import files
from thinktwice.run.rows import CHECK
from thinktwice.tasks import steps
from thinktwice.tasks.reading import plain

Pairing = Literal["any", "within", "balanced"]
Likeness = Literal["any", "steps", "length"]

_ANSWER_ONLY = re.compile(
    r"\s*(?:####|A:|(?:so |thus |therefore,? )?(?:the )?(?:final )?answer(?: is)?:?)\s*\S.{0,30}$", re.I
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One solution of a question."""

    text: str
    answer: str
    """The answer it states; empty when it states none."""
    right: bool
    """What the task's score says of the answer."""
    generator: str = ""
    """Who wrote it, and under which prompt where one writer had several: a label that follows it is a shortcut."""
    token_ids: tuple[int, ...] = ()
    """The ids exactly as its writer drew them, the end token left out; only for a reader with the same vocabulary.
    Empty: `text` is encoded."""


@dataclass(frozen=True, slots=True)
class Item:
    """A question with candidates, in the order in which `argument` numbers them."""

    id: str
    question: str
    gold: str
    """The reference answer."""
    candidates: tuple[Candidate, ...]
    argument: str = ""
    """Why one of the candidates is the right one, in a model's words ("Candidate 1 ..."); empty where nobody argued."""
    argued_for: int | None = None
    """Index of the candidate that the argument chooses."""
    source: str = ""
    """The dataset the question comes from."""

    def __post_init__(self) -> None:
        """Refuse what cannot be judged."""
        if not self.candidates:
            raise DataError(f"item {self.id!r} has no candidates.")
        if self.argued_for is not None and not 0 <= self.argued_for < len(self.candidates):
            raise DataError(f"item {self.id!r}: argued_for={self.argued_for}, of {len(self.candidates)} candidates.")

    @property
    def right(self) -> int | None:
        """Index of the one right candidate; None when none or several are right."""
        found = [index for index, candidate in enumerate(self.candidates) if candidate.right]
        return found[0] if len(found) == 1 else None

    @property
    def is_pair(self) -> bool:
        """Whether it is one right and one wrong candidate."""
        return len(self.candidates) == 2 and self.right is not None

    @property
    def group(self) -> str:
        """Names the question whatever its spelling of spaces and case: what must never stand in train and test."""
        return plain(self.question)


def read_items(path: Path) -> list[Item]:
    """Read one item a line.

    Raises:
        DataError: naming the line that is no item, or an id that stands twice.
    """
    items: list[Item] = []
    seen: set[str] = set()
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if isinstance(row, dict):
                row.pop(CHECK, None)
            item = parse(Item, row, f"{path}:{number}")
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{number}: not JSON ({error.msg}); one item a line.") from None
        except (ConfigError, RecursionError) as error:
            raise DataError(str(error)) from None
        if item.id in seen:
            raise DataError(f"{path}:{number}: id {item.id!r} stands twice; ids must be unique.")
        seen.add(item.id)
        items.append(item)
    return items


def write_items(path: Path, items: Iterable[Item]) -> None:
    """Write one item a line, the whole file or nothing."""
    files.write_text(path, "".join(json.dumps(to_dict(item), ensure_ascii=False) + "\n" for item in items))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None


def pairs(
    items: Iterable[Item],
    *,
    by_generator: Pairing = "any",
    alike: Likeness = "any",
    most: int | None = None,
    seed: int = 0,
) -> list[Item]:
    """Return items of two candidates, one right and one wrong, in an order that a coin made of their id decides.

    A pair with an argument stays as it is, because the argument numbers its candidates. Otherwise every right candidate
    meets every wrong one that spells something else.

    Args:
        items: with any number of candidates.
        by_generator: any: whoever wrote them. within: both by one generator. balanced: within, and of two generators as
            many pairs in which the one is right as in which the other is, so that knowing who wrote a candidate says
            nothing; what is over is left out by chance.
        alike: steps: both have as many lines; length: as many lines and as many tokens (words and marks, where
            the ids are not known), so that how long a candidate is says nothing.
        most: pairs of one question at most, chosen by chance; None: all.
        seed: of chance.
    """
    found: list[Item] = []
    for item in items:
        own = [item] if item.is_pair and item.argument else _meetings(item)
        if by_generator == "within":
            own = [pair for pair in own if _same_generator(pair)]
        own = [pair for pair in own if _alike(pair, alike)]
        if most is not None and len(own) > most:
            own = random.Random(f"{seed}:{item.id}").sample(own, most)
        found += own
    return _balance(found, seed) if by_generator == "balanced" else found


def _meetings(item: Item) -> list[Item]:
    right = [(i, c) for i, c in enumerate(item.candidates) if c.right]
    wrong = [(i, c) for i, c in enumerate(item.candidates) if not c.right]
    made = []
    for i, one in right:
        for j, other in wrong:
            if one.text == other.text:
                continue  # the same words cannot be told apart by reading them
            name = f"{item.id}/{i}-{j}"
            swapped = hashlib.sha256(name.encode()).digest()[0] % 2
            both = (other, one) if swapped else (one, other)
            made.append(replace(item, id=name, candidates=both, argument="", argued_for=None))
    return made


def _alike(pair: Item, alike: Likeness) -> bool:
    one, other = pair.candidates
    if alike == "any":
        return True
    if len(one.text.splitlines()) != len(other.text.splitlines()):
        return False
    return alike == "steps" or _size(one) == _size(other)


def _size(candidate: Candidate) -> int:
    return len(candidate.token_ids) or len(re.findall(r"\w+|[^\w\s]", candidate.text))


def _same_generator(pair: Item) -> bool:
    return pair.candidates[0].generator == pair.candidates[1].generator


def _balance(found: Sequence[Item], seed: int) -> list[Item]:
    """Leave out, by chance, pairs of a direction (this generator right, that one wrong) that has more than its twin."""
    directions: dict[tuple[str, str], list[str]] = defaultdict(list)
    for pair in found:
        right, wrong = sorted(pair.candidates, key=lambda candidate: not candidate.right)
        directions[right.generator, wrong.generator].append(pair.id)
    kept: set[str] = set()
    for (one, other), names in sorted(directions.items()):
        count = len(names) if one == other else min(len(names), len(directions.get((other, one), ())))
        kept.update(random.Random(f"{seed}:{one}:{other}").sample(names, count))
    return [pair for pair in found if pair.id in kept]


def last_step_start(text: str) -> int:
    """Return where the last step of a solution begins: its last line, of a single line its last sentence.

    A last line that only states the answer ("#### 17", "A: 17", "The answer is: 17") belongs to the step before it.
    """
    ends = len(text.rstrip())
    lines = list(re.finditer(r"[^\n]*\S[^\n]*", text[:ends]))
    if len(lines) > 1:
        stated = _ANSWER_ONLY.match(lines[-1].group())
        return lines[-2].start() if stated else lines[-1].start()
    sentences = steps.sentences(text)
    if len(sentences) < 2:
        return 0
    found = [m.start() for m in re.finditer(r"\s+".join(map(re.escape, sentences[-1].split())), text)]
    return found[-1] if found else 0


def folds(items: Sequence[Item], count: int, seed: int = 0) -> list[list[int]]:
    """Split the indices of items into `count` parts of about one size, all items of a question in one part."""
    groups: dict[str, list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        groups[item.group].append(index)
    names = sorted(groups)
    random.Random(seed).shuffle(names)
    parts: list[list[int]] = [[] for _ in range(count)]
    for name in names:
        min(parts, key=len).extend(groups[name])
    return [sorted(part) for part in parts]
