"""What a run is doing, read from its directory alone. Law: looking changes nothing, and never fails a run that works.

Any process may look, from any machine that sees the directory: no lock is taken and nothing is written.
"""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from thinktwice.config import Recipe, parse
from thinktwice.errors import ThinkTwiceError
from thinktwice.records import Interval, Summary
from thinktwice.run import Attempt, Progress, Run
from thinktwice.run.progress import FINISHED
from thinktwice.run.rows import Tail

RunState = Literal["running", "finished", "stopped"]
StageState = Literal["done", "running", "waiting"]

LIKE = {"calibrate": "solve"}
"""A kind of stage that is taken to last as long as another one, until one of its own has been done."""
VOTES = 3
"""An arm that is matched to another one's tokens answers at least this often: its stage lasts as many times longer."""


@dataclass(frozen=True)
class StageStatus:
    """How far one stage is."""

    name: str
    """`<kind>-<arm>`, such as "train-control"; "base" and "summary" belong to no arm."""
    state: StageState
    share: float
    """0 to 1; of a waiting stage, how far an interrupted attempt came."""
    seconds: float
    """Spent in it so far, over every attempt."""
    note: str = ""
    eta_s: float | None = None
    """Seconds that it will still take; None where that is not known yet."""


@dataclass(frozen=True)
class Standing:
    """The headline comparison so far: arm `a` minus arm `b` on the problems that both have answered."""

    a: str
    b: str
    level: int
    difference: float
    """Difference of accuracies, as a fraction."""
    ci: Interval
    """95 % interval of the paired difference."""
    n: int
    """Problems that both have answered."""
    of: int
    """Problems that both will answer."""


@dataclass(frozen=True)
class Status:
    """A run at one moment."""

    name: str
    """The name of its directory."""
    root: str
    """Its directory, as it was given."""
    state: RunState
    stages: tuple[StageStatus, ...]
    """In the order they are done."""
    tokens_per_second: float | None = None
    """Of the stage that is running."""
    eta_s: float | None = None
    """Seconds to the end of the run; None where that is not known yet."""
    comparison: Standing | None = None
    """None before both arms of the headline have answered a problem at its level, and without a headline."""
    updated: float = 0.0
    """When the run last said something, in seconds since the epoch."""
    why: str = ""
    """Of a stopped run: why it stopped."""
    resume: str = ""
    """Of a stopped run: the command that goes on with it."""

    @property
    def current(self) -> StageStatus | None:
        """The stage that is running."""
        return next((stage for stage in self.stages if stage.state == "running"), None)

    @property
    def seconds(self) -> float:
        """Seconds spent in all stages, over every attempt."""
        return sum(stage.seconds for stage in self.stages)


def read_status(root: Path) -> Status:
    """Return what a run is doing. To look again and again, keep a `Watcher`: it reads only what is new.

    Raises:
        RunError: there is no run there.
    """
    return Watcher(root).read()


def list_runs(runs: Path) -> list[Status]:
    """Return the status of every run below a directory, the one that said something last first.

    What cannot be read as a run is left out.
    """
    found = []
    for config in runs.glob("*/config.json"):
        try:
            found.append(read_status(config.parent))
        except ThinkTwiceError:
            continue
    return sorted(found, key=lambda status: status.updated, reverse=True)


class Watcher:
    """Reads a run's status again and again; of the answers, only the new ones."""

    def __init__(self, root: Path) -> None:
        """Open a run for watching.

        Raises:
            RunError: there is no run there.
            ConfigError: its config is not a recipe.
        """
        self._run = Run.load(root)
        self._recipe = parse(Recipe, self._run.config, str(root / "config.json"))
        self._tails: dict[str, _Answers] = {}
        self._standing: Standing | None = None

    def read(self) -> Status:
        """Return the status now."""
        attempt = self._run.attempt()
        works = attempt is not None and attempt.works
        state = self._state(attempt, works)
        stages = self._stages(attempt, state)
        told = attempt.progress if attempt and works else None
        return Status(
            self._run.root.name,
            str(self._run.root),
            state,
            stages,
            told.tokens_per_second if told else None,
            _eta(stages, self._recipe) if works else None,
            self._finished_standing() if state == "finished" else self._firming(),
            self._updated(attempt),
            _why(attempt) if state == "stopped" else "",
            resume_command(self._run.root, self._recipe.name) if state == "stopped" else "",
        )

    def _state(self, attempt: Attempt | None, works: bool) -> RunState:
        if works:
            return "running"
        summary = self._run.root / "summary.json"
        if not summary.exists():
            return "stopped"
        if attempt is None or attempt.ended == FINISHED:
            return "finished"
        return "finished" if summary.stat().st_mtime >= attempt.started else "stopped"  # killed right after it

    def _stages(self, attempt: Attempt | None, state: RunState) -> tuple[StageStatus, ...]:
        sealed = self._run.stages()
        plan = attempt.plan if attempt else tuple(sealed)
        plan = (*(name for name in sealed if name not in plan), *plan)
        seconds = self._run.seconds()
        told = attempt.progress if attempt else None
        stages = []
        for name in plan:
            spent = seconds.get(name, 0.0)
            here = told if told is not None and told.stage == name else None
            if state == "finished" or name in sealed:
                stages.append(StageStatus(name, "done", 1.0, spent))
            elif here is None:
                stages.append(StageStatus(name, "waiting", 0.0, spent))
            elif state == "running":
                stages.append(StageStatus(name, "running", here.done, spent, here.note, _left(here, spent)))
            else:
                stages.append(StageStatus(name, "waiting", here.done, spent, here.note))
        return tuple(stages)

    def _updated(self, attempt: Attempt | None) -> float:
        if attempt is not None:
            return attempt.updated
        newest = self._run.root / "summary.json"
        return (newest if newest.exists() else self._run.root / "config.json").stat().st_mtime

    def _finished_standing(self) -> Standing | None:
        try:
            summary = parse(Summary, self._run.summary() or {}, "summary.json")
        except ThinkTwiceError:
            return None
        c = summary.headline
        if c is None:
            return None
        n = summary.arms[c.a][c.level].n
        return Standing(c.a, c.b, c.level, c.difference, c.ci, n, n)

    def _firming(self) -> Standing | None:
        head = self._recipe.headline
        if head is None:
            return None
        for arm in (head.a, head.b):
            path = self._run.root / "traces" / f"{arm}.jsonl"
            self._tails.setdefault(arm, _Answers(path, head.level)).read()
        first, second = (self._tails[arm].scores for arm in (head.a, head.b))
        both = first.keys() & second.keys()
        if not both:
            return None
        if self._standing is None or self._standing.n != len(both):
            from thinktwice.scoring import stats

            values = [[scores[key] for key in both] for scores in (first, second)]
            found = stats.paired_difference(values[0], values[1], seed=self._recipe.evaluation.seed)
            of = self._recipe.evaluation.problems
            self._standing = Standing(head.a, head.b, head.level, found.value, found.ci, len(both), max(of, len(both)))
        return self._standing


class _Answers:
    """The scores of one arm at one level, read as they come."""

    def __init__(self, path: Path, level: int) -> None:
        self._tail, self._level = Tail(path), level
        self.scores: dict[str, float] = {}

    def read(self) -> None:
        """Take in what is new."""
        fresh, rows = self._tail.read()
        if fresh:
            self.scores = {}
        for row in rows:
            try:
                if row["level"] == self._level:
                    self.scores[str(row["key"])] = float(row["score"]["value"])
            except (KeyError, TypeError, ValueError):
                continue


def resume_command(root: Path, name: str) -> str:
    """Return the command that goes on with a run."""
    words = ["thinktwice", "run", str(root / "config.json")]
    if root.resolve() != (Path("runs") / name).resolve():
        words += ["--runs", str(root.parent)]
    return shlex.join(words)


def _why(attempt: Attempt | None) -> str:
    if attempt is None:
        return "not finished"
    return "process gone" if attempt.ended is None else "not finished" if attempt.ended == FINISHED else attempt.ended


def _left(progress: Progress, spent: float) -> float | None:
    """Return the seconds that a running stage will still take, where its own progress tells."""
    if progress.eta_s is not None:
        return progress.eta_s
    return spent * (1 - progress.done) / progress.done if progress.done > 0.02 and spent > 1 else None


def _eta(stages: Sequence[StageStatus], recipe: Recipe) -> float | None:
    """Return the seconds to the end of the run: a stage not begun lasts as long as those of its kind did so far."""

    def factor(name: str) -> int:
        arm = recipe.arms.get(name.partition("-")[2])
        return VOTES if name.startswith("solve-") and arm is not None and arm.match_tokens is not None else 1

    known: dict[str, list[float]] = {}
    for stage in stages:
        kind = stage.name.partition("-")[0]
        if stage.state == "done":
            known.setdefault(kind, []).append(stage.seconds / factor(stage.name))
        elif stage.state == "running" and stage.eta_s is not None:
            known.setdefault(kind, []).append((stage.seconds + stage.eta_s) / factor(stage.name))
    total = 0.0
    for stage in stages:
        if stage.state == "done" or stage.name == "summary":
            continue
        if stage.eta_s is not None:
            total += stage.eta_s
            continue
        kind = stage.name.partition("-")[0]
        like = known.get(kind) or known.get(LIKE.get(kind, kind))
        if not like:
            return None
        total += max(0.0, factor(stage.name) * sum(like) / len(like) - stage.seconds)
    return total
