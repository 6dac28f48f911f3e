"""The twins of BoolQ, SQuAD and Natural Instructions: questions about the encyclopedia in those datasets' own files.

`write` puts the files into a directory, where the loaders of the real datasets read them; the tasks `wiki_boolq`,
`wiki_squad` and `wiki_instructions` hand the same rows to the same converters and scorers, without a file.
Law: a twin's task is what its dataset's loader makes of its files. Train, dev and test start from different people.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from thinktwice.scoring import rouge
from thinktwice.scoring import squad as squad_score
from thinktwice.tasks import boolq, instructions, natural_instructions, reading, squad
from thinktwice.tasks.sources import Rows, arrange
from thinktwice.tasks.worlds.wiki import Split
from thinktwice.tasks.worlds.wiki.encyclopedia import Encyclopedia
from thinktwice.tasks.worlds.wiki.instruction_tasks import Version, documents
from thinktwice.tasks.worlds.wiki.passage_questions import boolq_rows, squad_document
from thinktwice.types import Problem, Task

SPLITS: tuple[Split, ...] = ("train", "dev", "test")
_PUBLISHED = {"train": "train", "dev": "validation", "test": "dev"}
"""Split -> its file's name: the published test sets have no answers, so the datasets' dev sets are tested on."""


def write(
    directory: Path | str,
    *,
    train: int = 2000,
    dev: int = 200,
    test: int = 500,
    seed: int = 0,
    encyclopedia: int = 0,
    people: int = 1008,
) -> Path:
    """Write all three twins into `boolq/`, `squad/`, `natural_instructions_v1/` and `_v2/`; return the directory.

    Read them with `load_task("boolq", path=..., dev=None)` and so on. Of Natural Instructions, the counts are of each
    of its four tasks.

    Args:
        directory: where to; made where it is not there.
        train: how many training problems of each twin.
        dev: how many dev problems.
        test: how many test problems.
        seed: other seeds, other questions.
        encyclopedia: other numbers, other encyclopedias.
        people: how many people the encyclopedia tells of.

    Raises:
        DataError: there are not so many different questions.
    """
    root, world = Path(directory), Encyclopedia(encyclopedia, people)
    for split, count in zip(SPLITS, (train, dev, test), strict=True):
        name = _PUBLISHED[split]
        rows = boolq_rows(world, split, count, seed=seed)
        _put(root / "boolq" / f"{name}.jsonl", *rows)
        _put(root / "squad" / f"{name}-v2.0.json", squad_document(world, split, count, seed))
        versions: tuple[Version, ...] = (1, 2)
        for version in versions:
            for task, document in documents(world, split, count, version, seed).items():
                _put(root / f"natural_instructions_v{version}" / split / f"{task}.json", document)
    return root


def _put(path: Path, *rows: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def boolq_twin(
    *,
    facts: tuple[int, int] = (1, 3),
    train: int = 2000,
    dev: int = 200,
    test: int = 500,
    seed: int = 0,
    encyclopedia: int = 0,
    people: int = 1008,
) -> Task:
    """BoolQ in small: true or false, about pages of the invented encyclopedia; nothing is downloaded.

    Args:
        facts: how many facts a question needs, from and to.
        train: how many training questions.
        dev: how many dev questions.
        test: how many test questions.
        seed: other seeds, other questions.
        encyclopedia: other numbers, other encyclopedias (which no shipped model has read).
        people: how many people the encyclopedia tells of.

    Raises:
        DataError: there are not so many different questions.
    """
    world = Encyclopedia(encyclopedia, people)

    def rows(split: Split, count: int) -> Rows:
        return enumerate(boolq_rows(world, split, count, facts, seed), 1)

    splits = _read("boolq", rows, boolq.problem, (train, dev, test))
    return Task("wiki_boolq", splits, boolq.score)


def squad_twin(
    *,
    measure: squad_score.Measure = "f1",
    train: int = 2000,
    dev: int = 200,
    test: int = 500,
    seed: int = 0,
    encyclopedia: int = 0,
    people: int = 1008,
) -> Task:
    """SQuAD v2.0 in small: spans of pages of the invented encyclopedia, or no answer; nothing is downloaded.

    Args:
        measure: "f1" or "em": the value of a score.
        train: how many training questions.
        dev: how many dev questions.
        test: how many test questions.
        seed: other seeds, other questions.
        encyclopedia: other numbers, other encyclopedias (which no shipped model has read).
        people: how many people the encyclopedia tells of.

    Raises:
        ConfigError: an unknown measure.
        DataError: there are not so many different questions.
    """
    world, judge = Encyclopedia(encyclopedia, people), squad.scored_by(measure)

    def rows(split: Split, count: int) -> Rows:
        return squad.questions(squad_document(world, split, count, seed), "the wiki world")

    splits = _read("squad", rows, squad.problem, (train, dev, test))
    return Task("wiki_squad", splits, judge, measure=squad.MEASURES[measure])


def instructions_twin(
    *,
    version: Version = 1,
    parts: Sequence[instructions.Part] = ("definition",),
    measure: rouge.Kind = "rougeL",
    train: int = 500,
    dev: int = 50,
    test: int = 125,
    seed: int = 0,
    encyclopedia: int = 0,
    people: int = 1008,
) -> Task:
    """Natural Instructions in small: four tasks about pages of the invented encyclopedia; nothing is downloaded.

    Args:
        version: 1 or 2: whose file format is written and read.
        parts: what stands before the input: "definition", and of version 1 "caution", "avoid", "prompt".
        measure: "rouge1", "rouge2", "rougeL" or "rougeLsum", by F.
        train: how many training instances of each of the four tasks.
        dev: how many dev instances of each.
        test: how many test instances of each.
        seed: other seeds, other instances.
        encyclopedia: other numbers, other encyclopedias (which no shipped model has read).
        people: how many people the encyclopedia tells of.

    Raises:
        ConfigError: an unknown measure.
        DataError: there are not so many different instances.
    """
    world, judge = Encyclopedia(encyclopedia, people), natural_instructions.scored_by(measure)
    found: dict[str, Sequence[Problem]] = {}
    for split, count in zip(SPLITS, (train, dev, test), strict=True):
        told = documents(world, split, count, version, seed)
        found[split] = instructions.collect(told, parts, f"the wiki world ({split})").reading.problems
    splits = arrange(natural_instructions.NAME, found, dev=None, train=None, where="the wiki world")
    return Task("wiki_instructions", splits, judge, measure=rouge.NAMES[measure])


def _read(
    name: str, rows: Callable[[Split, int], Rows], convert: reading.Convert, counts: Sequence[int]
) -> dict[str, Sequence[Problem]]:
    """Convert the rows of each split as the dataset's own loader does."""
    found: dict[str, Sequence[Problem]] = {
        split: reading.collect(rows(split, count), convert, source=f"the wiki world ({split})").problems
        for split, count in zip(SPLITS, counts, strict=True)
    }
    return arrange(name, found, dev=None, train=None, where="the wiki world")
