"""Other people's right and wrong solutions, as items: the seed's CSV and GSM8K's published model solutions."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thinktwice.errors import DataError
from thinktwice.methods.transplant.data import Candidate, Item, read_items
from thinktwice.scoring import numeric
from thinktwice.tasks import reading

COLUMNS = (
    "Question",
    "Correct Answer",
    "Correct Argument",
    "Incorrect Answer",
    "Incorrect Argument",
    "Choice Answer",
    "Choice Argument",
    "Choice Answers Swapped",
)
ARGUMENT_FIRST, ANSWER_FIRST = "text-davinci-003, argument first", "text-davinci-003, answer first"
"""The two roles of the seed's one writer; the role is the label."""


@dataclass(frozen=True)
class Source:
    """Items of a file, and the split its authors tested on, where they fixed one."""

    kind: str
    items: list[Item]
    test: tuple[int, ...] = ()
    """Indices of the test items in the authors' order; empty where they fixed no split."""


def read_source(path: Path) -> Source:
    """Read a file of any kind this package knows: the seed's CSV, GSM8K's model solutions, or items of our own.

    Raises:
        DataError: it is none of them, or a row is damaged (named by its line).
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}.")
    if path.suffix == ".csv":
        items = read_arguments(path)
        return Source("the seed's arguments", items, seed_test(len(items)))
    try:
        with path.open(encoding="utf-8") as stream:
            first = json.loads(next((line for line in stream if line.strip()), "null"))
    except ValueError as error:
        raise DataError(f"{path} is neither a CSV nor JSON lines ({error}).") from None
    if isinstance(first, dict) and "ground_truth" in first:
        return Source("GSM8K's model solutions", read_solutions(path))
    if isinstance(first, dict) and "candidates" in first:
        return Source("items", read_items(path))
    raise DataError(
        f"{path} is of no known kind. Known: the seed's CSV (Question, Correct Answer, ...), GSM8K's model solutions "
        "(question, ground_truth, one field a model), and items as `thinktwice argue` writes them."
    )


def read_arguments(path: Path) -> list[Item]:
    """Read the seed's dataset.csv (`datagen-main.py`): candidates in the order in which the choice was made.

    Source: MMacDougall06/cot-correctness-detection-test.

    Raises:
        DataError: a column is missing, or a row is damaged.
    """
    items = []
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = csv.DictReader(stream)
            missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                raise DataError(f"{path} has no column {missing[0]!r}; the seed's CSV has {', '.join(COLUMNS)}.")
            for row in rows:
                if row["Question"] == "Question":
                    continue  # the seed writes its header again each time it goes on
                items.append(_argument(row, f"{path}:{rows.line_num}"))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    return items


def _argument(row: Mapping[str, str], where: str) -> Item:
    chosen, swapped = row["Choice Answer"], row["Choice Answers Swapped"]
    if chosen not in ("candidate_1", "candidate_2") or swapped not in ("True", "False"):
        raise DataError(f"{where}: the choice is {chosen!r}, swapped {swapped!r}.")
    right = Candidate(_text(row["Correct Argument"]), _number(row["Correct Answer"], where), True, ARGUMENT_FIRST)
    wrong = Candidate(_text(row["Incorrect Argument"]), _number(row["Incorrect Answer"], where), False, ANSWER_FIRST)
    question = _text(row["Question"])
    return Item(
        id=reading.content_id("argument", question),
        question=question,
        gold=right.answer,
        candidates=(wrong, right) if swapped == "True" else (right, wrong),
        argument=_text(row["Choice Argument"]),
        argued_for=int(chosen[-1]) - 1,
        source="lila",
    )


def _text(cell: str) -> str:
    return cell.replace("\\n", "\n")  # the seed escapes line breaks, and nothing else


def _number(cell: str, where: str) -> str:
    value = numeric.number(cell)
    if value is None:
        raise DataError(f"{where}: the answer {cell!r} is no number.")
    return numeric.write(value)  # 47.0 is 47


def seed_test(n: int, share: float = 0.1, seed: int = 1) -> tuple[int, ...]:
    """Return the rows that the seed tested on: `datasets`' `train_test_split(test_size=0.1, seed=1)`, in its order.

    scikit-learn's split of that name and seed is another one (on it always-slot-2 is right 57.1 % of the time, not
    50.9 %).
    """
    order = np.random.default_rng(seed).permutation(n)
    return tuple(int(index) for index in order[: int(np.ceil(share * n))])


def read_solutions(path: Path) -> list[Item]:
    """Read GSM8K's `example_model_solutions*.jsonl`: every question with one solution a model, all of them kept.

    `pairs(items, by_generator="balanced")` makes pairs in which the model's name says nothing.

    Raises:
        DataError: naming the line that is damaged.
    """
    items = []
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            if line.strip():
                items.append(_solutions(line, f"{path}:{number}"))
    return items


def _solutions(line: str, where: str) -> Item:
    try:
        row = json.loads(line)
        question, truth = str(row["question"]), str(row["ground_truth"])
        gold = numeric.stated(truth)
        candidates = tuple(
            _solution(name, value)
            for name, value in row.items()
            if isinstance(value, dict) and "solution" in value and "is_correct" in value
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{where}: no row of model solutions ({error!r}).") from None
    if gold is None:
        raise DataError(f"{where}: ground_truth states no answer (`A: 18`).")
    if not candidates:
        raise DataError(f"{where}: no field holds a model's solution ({{is_correct, solution}}).")
    return Item(
        reading.content_id("gsm8k", question), question, numeric.write(gold[0]), candidates, source="gsm8k-solutions"
    )


def _solution(name: str, value: Mapping[str, Any]) -> Candidate:
    text = str(value["solution"])
    stated = numeric.stated(text)
    return Candidate(text, numeric.write(stated[0]) if stated else "", bool(value["is_correct"]), name)
