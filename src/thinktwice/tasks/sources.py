"""Where a dataset's splits come from: a directory of files, one file, or the hub.

Laws: dev is carved from train by the hash of ids; a training problem that is asked in dev or test, too, is left out of
train and counted; problems are in the order of the hash of their ids, so that the first n of a split
(`evaluation.problems`, `num_test`) are a sample without replacement, the same on every machine, and those of a smaller
n are among those of a larger one.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinktwice.errors import DataError
from thinktwice.tasks import reading
from thinktwice.types import Problem

log = logging.getLogger(__name__)

Rows = Iterator[tuple[int, Mapping[str, Any] | reading.BadRow]]


@dataclass(frozen=True, slots=True)
class Source:
    """How one dataset is published."""

    name: str
    files: Mapping[str, tuple[str, ...]]
    """Split -> the names its file may have in a directory, the preferred one first; "a.json+b.json" is both."""
    hub: str | None = None
    configs: tuple[str | None, ...] = (None,)
    hub_splits: Mapping[str, str] | None = None
    """Split -> its name on the hub."""
    rows: Callable[[Path], Rows] = reading.rows_of
    """Reads the rows of a file."""


@dataclass(frozen=True)
class Splits:
    """What a source held."""

    problems: dict[str, Sequence[Problem]]
    quarantined: int


def read_splits(
    source: Source,
    convert: reading.Convert,
    *,
    path: str | None = None,
    dev: int | None = None,
    train: int | None = None,
    revision: str | None = None,
    quarantine: str | None = None,
    tree: Callable[[Path], Rows] | None = None,
) -> Splits:
    """Read train, dev and test. A split that the source does not have is empty, and a line in the log says so.

    Args:
        source: file names and the hub's.
        convert: makes a row a problem.
        path: a directory, a single file (all of it is test), a hub id, or None for the published dataset on the hub.
        dev: how many training problems become dev; None: the source's own dev file.
        train: how many of the others are trained on; None: all. A source without training problems gives them, and
            dev, from its test problems, by hash; only when it is asked for.
        revision: the hub revision.
        quarantine: a directory for the rows that could not be read.
        tree: reads a split that is a directory of its own, train/ or test/.

    Raises:
        DataError: nothing can be read, more than 1 % of the rows are bad, or there are not so many training problems.
    """
    found: dict[str, list[Problem]] = {"train": [], "dev": [], "test": []}
    bad = 0
    for split in found:
        aside = Path(quarantine) / f"{source.name}-{split}.jsonl" if quarantine else None
        for rows, told in _rows(source, split, path, revision, tree):
            held = reading.collect(rows, convert, source=told, quarantine=aside)
            found[split] += held.problems
            bad += len(held.quarantined)
    if not found["test"]:
        raise DataError(f"{path or source.hub} has no test problems of {source.name}. {_wanted(source)}")
    return Splits(arrange(source.name, found, dev=dev, train=train, where=str(path or source.hub)), bad)


def arrange(
    name: str, found: Mapping[str, Sequence[Problem]], *, dev: int | None, train: int | None, where: str
) -> dict[str, Sequence[Problem]]:
    """Put the problems that were read in order, keep the splits apart, and carve what is asked for; see `read_splits`.

    Args:
        name: of the dataset.
        found: the problems of "train", "dev" and "test" as they were read.
        dev: how many training problems become dev; None: what was found.
        train: how many of the others are trained on; None: all.
        where: what they were read from, for messages.

    Raises:
        DataError: there are not so many training problems.
    """
    splits = {split: _ranked(name, problems) for split, problems in found.items()}
    if not splits["train"] and train:  # asked for: a set without a training part gives some of its test
        splits["test"], splits["train"] = reading.carve(splits["test"], train + (dev or 0), f"{name}-train")
    splits["train"] = _apart(name, splits)
    if not splits["train"]:
        served = ", ".join(split for split in ("dev", "test") if splits[split])
        log.warning("%s: %s has no training problems; served: %s.", name, where, served)
    elif dev is not None:
        if splits["dev"]:
            log.warning("%s: %s has %d dev problems; not used, dev=%d", name, where, len(splits["dev"]), dev)
        splits["train"], splits["dev"] = reading.carve(splits["train"], dev, f"{name}-dev")
    if train is not None and not 0 < train <= len(splits["train"]):
        raise DataError(f"task.train={train}, but there are {len(splits['train'])} training problems in {where}.")
    return {**splits, "train": splits["train"][:train]}


def _rows(
    source: Source, split: str, path: str | None, revision: str | None, tree: Callable[[Path], Rows] | None
) -> Iterator[tuple[Rows, str]]:
    """Yield the rows of each part of a split, with what to call it."""
    here = None if path is None else Path(path)
    if here is not None and here.is_file():
        if split == "test":
            yield source.rows(here), str(here)
        return
    if here is not None and here.is_dir():
        parts = ([here / part for part in name.split("+")] for name in source.files.get(split, ()))
        if files := next((paths for paths in parts if all(path.is_file() for path in paths)), None):
            yield from ((source.rows(file), str(file)) for file in files)
        elif tree is not None and (here / split).is_dir():
            yield tree(here / split), str(here / split)
        return
    if path is not None and (path.count("/") != 1 or path.startswith((".", "/", "~"))):
        raise DataError(f"no file or directory {path!r}. {_wanted(source)}")
    if (hub := path or source.hub) is None:
        raise DataError(f"{source.name} is on no hub. {_wanted(source)}")
    name = (source.hub_splits or {"train": "train", "test": "test"}).get(split)
    for config in source.configs if name else ():
        assert name is not None
        yield reading.rows_of_hub(hub, config, name, revision), f"{hub}:{config or ''}:{name}"


def _wanted(source: Source) -> str:
    names = " and ".join(files[0] for files in source.files.values())
    return f"Give path= a directory with {names}" + (f", or a hub id like {source.hub!r}." if source.hub else ".")


def _ranked(name: str, problems: Sequence[Problem]) -> list[Problem]:
    """Put problems in the order of their hashes, each once."""
    once = {problem.id: problem for problem in problems}
    return sorted(once.values(), key=lambda problem: reading.content_id(f"{name}-order", problem.id))


def _apart(name: str, found: Mapping[str, Sequence[Problem]]) -> list[Problem]:
    """Leave out of train what is asked in dev or test, too; say how many of the others have no worked solution."""
    held_out = {reading.plain(p.prompt) for split in ("dev", "test") for p in found[split]}
    apart = [p for p in found["train"] if reading.plain(p.prompt) not in held_out]
    if len(apart) < len(found["train"]):
        log.warning("%s: %d left out of train: asked in dev or test, too", name, len(found["train"]) - len(apart))
    if unsolved := sum(1 for p in apart if not p.solution):
        log.warning("%s: %d of %d training problems have no worked solution to learn", name, unsolved, len(apart))
    return apart
