"""Natural Instructions, v1 and v2: tasks told in words, each with its instances (Mishra, Wang et al. 2022).

A problem is one instance: its prompt the task's definition and the input, its `kind` the task's name, its `answers`
every output that counts. `read_task` gives the rest of a file, the examples that people explained. Licence: Apache-2.0.
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import get_args

from thinktwice.errors import ConfigError, DataError, nearest
from thinktwice.scoring import rouge
from thinktwice.tasks import instructions, reading
from thinktwice.tasks.instructions import Instruction, Shown, read_task
from thinktwice.tasks.sources import arrange
from thinktwice.types import Problem, Score, Task

__all__ = ["Instruction", "Shown", "natural_instructions", "read_task", "score", "scored_by"]

NAME = "natural_instructions"


def natural_instructions(
    *,
    path: str,
    test_tasks: Sequence[str] = (),
    per_task: int | None = None,
    train: int | None = None,
    dev: int | None = None,
    parts: Sequence[instructions.Part] = ("definition",),
    measure: rouge.Kind = "rougeL",
    quarantine: str | None = None,
) -> Task:
    """Natural Instructions, v1 or v2: ROUGE against the closest of all references.

    Args:
        path: a task file or a directory of them, all of it test but for what `train` and `dev` take; or a directory
            with folders train, dev (if it has one) and test of task files.
        test_tasks: names of the tasks to test on, where path is a directory of task files; the others are train.
        per_task: at most so many instances of each task in each split; None: all.
        train: how many instances are trained on; None: all there are.
        dev: how many training instances become dev; None: those in the folder dev.
        parts: what stands before the input: "definition", "caution", "avoid", "prompt".
        measure: "rouge1", "rouge2", "rougeL" or "rougeLsum", by F.
        quarantine: a directory for the rows that could not be read.

    Raises:
        ConfigError: an unknown measure, part or task.
        DataError: there is no task file, one cannot be read, or more than 1 % of the instances are bad.
    """
    judge = scored_by(measure)
    if unknown := [part for part in parts if part not in get_args(instructions.Part)]:
        raise ConfigError(f"task.parts has no {unknown[0]!r}.{nearest(unknown[0], get_args(instructions.Part))}")
    found: dict[str, Sequence[Problem]] = {"train": (), "dev": (), "test": ()}
    bad = 0
    for split, files in _files(Path(path), test_tasks).items():
        aside = Path(quarantine) / f"{NAME}-{split}.jsonl" if quarantine else None
        held = instructions.read_files(files, parts, f"{path} ({split})", aside).reading
        found[split], bad = _at_most(per_task, held.problems), bad + len(held.quarantined)
    splits = arrange(NAME, found, dev=dev, train=train, where=path)
    return Task(NAME, splits, judge, quarantined=bad, measure=rouge.NAMES[measure])


def scored_by(measure: rouge.Kind) -> partial[Score]:
    """Return the score of a measure.

    Raises:
        ConfigError: there is no such measure.
    """
    if measure not in rouge.KINDS:
        raise ConfigError(f"task.measure={measure!r} is no ROUGE.{nearest(measure, rouge.KINDS)}")
    return partial(score, measure=measure)


def score(problem: Problem, reply: str, *, measure: rouge.Kind = "rougeL") -> Score:
    """Judge a whole reply by its ROUGE against the closest reference."""
    return rouge.score(reply, problem.references, measure)


def _files(path: Path, test_tasks: Sequence[str]) -> dict[str, list[Path]]:
    """Return the task files of each split."""
    if path.is_file():
        files = {"test": [path]}
    elif (path / "test").is_dir():
        files = {split: sorted((path / split).glob("*.json")) for split in ("train", "dev", "test")}
    else:
        files = {"test": sorted(path.glob("*.json"))}
        if test_tasks:
            names = {file.stem: file for file in files["test"]}
            if unknown := [name for name in test_tasks if name not in names]:
                raise ConfigError(f"task.test_tasks: {path} has no task {unknown[0]!r}.{nearest(unknown[0], names)}")
            files = {"test": [names[name] for name in sorted(set(test_tasks))]}
            files["train"] = [file for name, file in sorted(names.items()) if name not in test_tasks]
    if not files["test"]:
        raise DataError(f"{path} holds no task files. Give path= a .json file of Natural Instructions or a directory.")
    return {split: found for split, found in files.items() if found}


def _at_most(count: int | None, problems: Sequence[Problem]) -> Sequence[Problem]:
    """Return at most `count` problems of each task, chosen by the hash of their ids."""
    if count is None:
        return problems
    taken: Counter[str] = Counter()
    chosen = []
    for problem in sorted(problems, key=lambda problem: reading.content_id(f"{NAME}-order", problem.id)):
        if taken[problem.kind] < count:
            taken[problem.kind] += 1
            chosen.append(problem)
    return chosen
