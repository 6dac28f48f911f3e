"""The settings of a writing of candidates, as a file or a command line gives them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from thinktwice.engines.http import Endpoint
from thinktwice.errors import ConfigError, DataError, nearest
from thinktwice.methods.transplant.argue import Arguing
from thinktwice.tasks import load_task
from thinktwice.types import Problem, Sampling, Task

LILA = ("addsub", "singleop", "svamp", "multiarith", "asdiv", "gsm8k", "singleeq", "simuleq")
"""The seed's eight subsets of Lila, by our names."""


@dataclass(frozen=True)
class Job:
    """Who writes what, and how. Law: exactly one of `writer` and `local`.

    YAML:
        tasks: {gsm8k: {path: data/gsm8k}, svamp: {path: data/svamp/SVAMP.json, train: 700}}
        writer: {model: Qwen/Qwen3-8B, base_url: "http://localhost:8000/v1", api_key_env: LOCAL_KEY}
        sampling: {temperature: 0.8, max_new_tokens: 512}
        arguing: {samples: 8, unanimous: true}
    """

    task: dict[str, Any] = field(default_factory=dict)
    """Options of the task, where there is one."""
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Options of each, where there are several."""
    writer: Endpoint | None = None
    """The server that writes."""
    local: str | None = None
    """A model on this machine that writes: a directory, a bundled name or a hub id."""
    sampling: Sampling = field(default_factory=lambda: Sampling(temperature=0.8, max_new_tokens=1024))
    arguing: Arguing = field(default_factory=Arguing)

    def __post_init__(self) -> None:
        """Refuse nobody, and two."""
        if (self.writer is None) == (self.local is None):
            raise ConfigError(
                "name who writes, one of the two: a server with writer.model=NAME (and writer.base_url=URL), or a "
                "model on this machine with local=DIRECTORY."
            )


def tasks_of(names: str, job: Job) -> list[Task]:
    """Load the tasks that a comma-separated list names; "lila" stands for all eight.

    Raises:
        ConfigError: options for a task that is not among them.
    """
    words = [word.strip() for word in names.split(",") if word.strip()]
    chosen = [name for word in words for name in (LILA if word == "lila" else (word,))]
    for name in job.tasks:
        if name not in chosen:
            raise ConfigError(f"tasks.{name} has options but is not asked for.{nearest(name, chosen)}")
    if job.task and len(chosen) > 1:
        raise ConfigError("task=... gives options to one task; with several write tasks.NAME.OPTION=VALUE.")
    return [load_task(name, **{**job.task, **job.tasks.get(name, {})}) for name in chosen]


def problems_of(tasks: Sequence[Task], split: str, limit: int | None) -> list[tuple[Task, list[Problem]]]:
    """Return the first problems of a split of each task; a problem that two tasks share is the first one's.

    Raises:
        ConfigError: a task has no such split.
        DataError: there are none.
    """
    found: list[tuple[Task, list[Problem]]] = []
    seen: set[str] = set()
    for task in tasks:
        if split not in task.splits:
            raise ConfigError(f"task {task.name!r} has no split {split!r}.{nearest(split, task.splits)}")
        chosen = [p for p in task.splits[split] if p.id not in seen][:limit]
        seen.update(p.id for p in chosen)
        found.append((task, chosen))
    if not seen:
        names = ", ".join(task.name for task in tasks)
        raise DataError(f"there are no {split} problems of {names}; try --split test, or another path.")
    return found
