"""A run's own test problems: some to try, and whether an answer to one of them is right."""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thinktwice.config import Recipe, parse
from thinktwice.run import Run
from thinktwice.types import Problem, Score, Task

EXAMPLES_A_KIND = 2
"""Questions to try of each kind of outcome."""
KEPT = 4
"""Runs whose problems, and tasks whose scorers, stay in memory."""


@dataclass(frozen=True)
class Known:
    """A test problem, as the run's traces tell it."""

    key: str
    level: int
    question: str
    reference: str


@dataclass(frozen=True)
class Sample:
    """A test problem to try, and what became of it in the run."""

    problem: Known
    kind: str
    """Who answered it rightly there; says why it is shown."""


@dataclass(frozen=True)
class Verdict:
    """An answer to a test problem, judged."""

    right: bool | None
    """None when its task's scorer is not to be had."""
    value: float | None
    """Between 0 and 1 where the task grades answers (F1): partly right."""
    answer: str | None
    """What was taken for the answer."""
    reference: str
    why: str
    key: str
    level: int


class Problems:
    """The test problems of runs, read from their traces when they are asked for."""

    def __init__(self, *, allow_code: bool = False) -> None:
        """Read nothing yet; `allow_code` lets a task come from a file that a run names."""
        self._allow_code = allow_code
        self._runs: OrderedDict[tuple[str, int], tuple[dict[str, Known], tuple[Sample, ...]]] = OrderedDict()
        self._tasks: OrderedDict[str, tuple[Task, dict[str, Problem]]] = OrderedDict()
        self._reading, self._loading = threading.Lock(), threading.Lock()

    def samples(self, root: Path) -> tuple[Sample, ...]:
        """Return problems to try, of the headline level, by a rule that flatters no arm.

        In the order of the problems, two each: those only the headline's first arm answered, those only its control
        answered, those neither did, those both did; in each, those in which something was taken back come first.
        """
        return self._read(root)[1]

    def find(self, root: Path, question: str) -> Known | None:
        """Return the run's test problem that asks this, whatever its white space."""
        return self._read(root)[0].get(_plain(question))

    def judge(self, root: Path, known: Known, reply: str) -> Verdict:
        """Judge a reply to a test problem by the run's own task."""
        score = self._score(root, known, reply)
        if score is None:
            return Verdict(None, None, None, known.reference, "", known.key, known.level)
        right = score.value == 1
        return Verdict(right, score.value, score.answer, known.reference, score.why, known.key, known.level)

    def _read(self, root: Path) -> tuple[dict[str, Known], tuple[Sample, ...]]:
        paths = sorted((root / "traces").glob("*.jsonl"))
        stamp = str(root), max((path.stat().st_mtime_ns for path in paths), default=0)
        with self._reading:
            if stamp not in self._runs:
                self._runs[stamp] = _read(root)
                while len(self._runs) > KEPT:
                    self._runs.popitem(last=False)
            self._runs.move_to_end(stamp)
            return self._runs[stamp]

    def prepare(self, root: Path) -> None:
        """Load a run's task, which may take seconds, before an answer waits for it."""
        self._task(root)

    def _score(self, root: Path, known: Known, reply: str) -> Score | None:
        loaded = self._task(root)
        problem = loaded[1].get(_plain(known.question)) if loaded else None
        return loaded[0].score(problem, reply) if loaded and problem else None

    def _task(self, root: Path) -> tuple[Task, dict[str, Problem]] | None:
        """Return a run's task and its problems by question; None when its code may not run."""
        from thinktwice.tasks import TASKS, load_task

        spec = parse(Recipe, Run.load(root).config, str(root / "config.json")).task
        if spec.name not in TASKS and not self._allow_code:
            return None
        with self._loading:
            name = repr(spec)
            if name not in self._tasks:
                task = load_task(spec.name, **spec.options)
                self._tasks[name] = task, {_plain(p.prompt): p for split in task.splits.values() for p in split}
                while len(self._tasks) > KEPT:
                    self._tasks.popitem(last=False)
            self._tasks.move_to_end(name)
            return self._tasks[name]


def _plain(question: str) -> str:
    return " ".join(question.split())


def _read(root: Path) -> tuple[dict[str, Known], tuple[Sample, ...]]:
    """Read the headline's two arms; a run without them has its first arm's problems, and none to try."""
    run = Run.load(root)
    recipe = parse(Recipe, run.config, str(root / "config.json"))
    names = [name for name in recipe.arms if name in run.trace_names()]
    plan = recipe.headline
    pair = [plan.a, plan.b] if plan and {plan.a, plan.b} <= set(names) else names[:1]
    rows = [run.traces(name).done for name in pair]
    if not rows:
        return {}, ()
    known = {key: Known(key, int(row["level"]), row["question"], row["reference"]) for key, row in rows[0].items()}
    samples: tuple[Sample, ...] = ()
    if len(rows) == 2 and plan:
        level = [problem for problem in known.values() if problem.level == plan.level and problem.key in rows[1]]
        samples = _samples(level, rows[0], rows[1], plan.a, plan.b)
    return {_plain(problem.question): problem for problem in known.values()}, samples


def _samples(
    level: list[Known], a_rows: Mapping[str, Any], b_rows: Mapping[str, Any], a: str, b: str
) -> tuple[Sample, ...]:
    def right(rows: Mapping[str, Any], problem: Known) -> bool:
        return bool(rows[problem.key]["score"]["value"] == 1)

    def stands(problem: Known) -> bool:
        return all(step["kind"] != "undo" for step in a_rows[problem.key]["trace"]["steps"])

    ordered = sorted(level, key=stands)
    kinds: dict[tuple[bool, bool], str] = {
        (True, False): f"only {a} was right",
        (False, True): f"only {b} was right",
        (False, False): "neither was right",
        (True, True): "both were right",
    }
    return tuple(
        Sample(problem, kind)
        for outcome, kind in kinds.items()
        for problem in [p for p in ordered if (right(a_rows, p), right(b_rows, p)) == outcome][:EXAMPLES_A_KIND]
    )
