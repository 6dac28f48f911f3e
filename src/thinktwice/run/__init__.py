"""Run: one directory, and the only module that knows its layout. Law: a reader never meets a half-written result.

config.json             the resolved config; `thinktwice run DIR/config.json` repeats the run
code.json, code.patch   commit, version, hash of every file that can change a result
environment.json        python, packages, processor, GPU, command (never a secret)
stages/<name>/          artefacts of a finished stage and manifest.json, their seal
stages/<name>.tmp/      a stage that was interrupted; never read, removed on the next attempt
stages/<name>.scratch/  what an unfinished stage may go on from (trainer checkpoints)
stages/<name>.seconds.json   how long it took so far, and the most memory it held
traces/<name>.jsonl     append-only rows, each with its own check
notes/<name>.json       what was found out about the finished run afterwards; no stage reads it, no seal covers it
progress.json           what is being done now, for whoever watches; no result
trackers/               what experiment trackers keep (`report_to`); no result
summary.json            the numbers; report.html, the page made from this directory
review/<arm>.jsonl      answers that wait for a person
critic/                 what a server said of answers, so that none is paid for twice
logs/attempt_N.log      one log an attempt
lock                    held (flock) by the process that works here
"""

import json
import logging
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from thinktwice.errors import RunError, ThinkTwiceError, nearest
from thinktwice.run import files, identity, lock, logs, provenance
from thinktwice.run.clock import DeviceProbe, Stopwatch, memory, seconds
from thinktwice.run.files import read_json, write_json, write_text
from thinktwice.run.progress import FINISHED, Attempt, Progress, Teller, read_attempt
from thinktwice.run.rows import Rows
from thinktwice.run.seals import OTHER_INPUTS, Seals
from thinktwice.types import Memory

__all__ = ["Attempt", "Progress", "Rows", "Run", "Stage", "read_json", "write_json", "write_text"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a stage works."""

    name: str
    path: Path
    """Write the artefacts here; they become `stages/<name>/` together, or not at all."""
    scratch: Path
    """Survives a kill, for work that can go on in the middle; empty at first, removed when the stage is finished."""


class Run:
    """A run directory. Open one to work in it (`Run.open`, a context manager), or read a finished one (`Run.load`).

    Example:
        with Run.open(Path("runs/first"), config) as run:
            data = run.stage("data", write_problems)
            model = run.stage("train", train, after=["data"])
    """

    def __init__(self, root: Path, *, config: Mapping[str, Any], writable: bool):
        self.root = root
        self.config = config
        self._writable = writable
        self._seals = Seals(root)
        self._lock: IO[str] | None = None
        self._handlers: list[logging.Handler] = []
        self._teller: Teller | None = None
        self._device: DeviceProbe | None = None

    # -- opening -----------------------------------------------------------------------------------------------------

    @classmethod
    def open(
        cls, root: Path, config: Mapping[str, Any], *, resume: bool = True, allow_code_change: bool = False
    ) -> "Run":
        """Create the run directory, or go on with the one that is there. Law: same config and code, or refused.

        Raises:
            RunError: the directory belongs to another config or other code, is in use, or can't be written.
        """
        config = json.loads(json.dumps(config, allow_nan=False))  # as a reader gets it back, in its order
        with files.writing(root):
            root.mkdir(parents=True, exist_ok=True)
        run = cls(root, config=config, writable=True)
        strangers = sorted(p.name for p in root.iterdir() if p.name not in ("lock", "logs") and p.suffix != ".tmp")
        fresh = not (root / "config.json").exists()
        if fresh and not set(strangers) <= {"code.json", "code.patch", "environment.json"}:
            raise RunError(f"{root} is not a run directory (it holds {', '.join(strangers[:3])}); choose another name")
        if not fresh and not resume:
            raise RunError(f"{root} already holds a run; go on with it (resume), or choose another name")
        run._lock = lock.acquire(root)
        try:
            state, patch = provenance.code_state()
            if fresh:
                files.write_text(root / "code.patch", patch)
                write_json(root / "code.json", state)
            else:
                identity.check_config(root, read_json(root / "config.json"), config)
                identity.check_code(root, state, patch, allow_code_change)
            run._handlers = logs.begin(root)
            run._record_environment()
            if fresh:
                write_json(root / "config.json", config)  # last: from here on it is a run
            for name in ("stages", "traces"):
                (root / name).mkdir(exist_ok=True)
            for left in (root / "stages").glob("*.tmp"):
                log.info("removing what an interrupted attempt left in %s", left)
                shutil.rmtree(left) if left.is_dir() else left.unlink()
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def load(cls, root: Path) -> "Run":
        """Open a run directory for reading.

        Raises:
            RunError: there is no run there; the nearest one is named.
        """
        if not (root / "config.json").is_file():
            near = [str(p.parent) for p in sorted(root.parent.glob("*/config.json"))] if root.parent.is_dir() else []
            raise RunError(f"no run at {root}.{nearest(str(root), near) if near else ''}")
        return cls(root, config=read_json(root / "config.json"), writable=False)

    def __enter__(self) -> Self:
        """Return the run itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the directory."""
        if error is not None:
            log.info("attempt ended with %s: %s", kind.__name__ if kind else "", error)
        self.close(FINISHED if error is None else _how(error))

    def close(self, ended: str = "closed") -> None:
        """Let go of the directory, so that another process can work in it; `ended` is told to those who watch."""
        if self._teller is not None:
            self._teller.close(ended)
            self._teller = None
        logs.end(self._handlers)
        self._handlers = []
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        self._writable = False

    def _record_environment(self) -> None:
        now, path = provenance.environment(), self.root / "environment.json"
        if path.exists():
            before = read_json(path)
            changed = identity.differences({**before, "command": None}, {**now, "command": None})
            if changed:
                log.warning("the environment differs from the first attempt's: %s", "; ".join(changed))
        else:
            write_json(path, now)
        log.info("environment %s", files.canonical(now))

    # -- working -----------------------------------------------------------------------------------------------------

    def begin(self, plan: Sequence[str], device: DeviceProbe | None = None) -> None:
        """Say what will be done, for those who watch (`status.read_status`); nothing depends on it.

        Args:
            plan: every stage, in the order they are done.
            device: tells how much memory the accelerator holds, which this package cannot know.
        """
        if not self._writable:
            raise RunError(f"{self.root} was opened for reading; open it with Run.open to work in it")
        self._device = device
        if self._teller is not None:
            self._teller.close("begun anew")
        self._teller = Teller(self.root / "progress.json", plan)

    def tell(self, progress: Progress) -> None:
        """Say how far the stage is; without `begin` nobody listens."""
        if self._teller is not None:
            self._teller.tell(progress)

    def stage(
        self,
        name: str,
        work: Callable[[Stage], None],
        *,
        inputs: Mapping[str, Any] | None = None,
        after: Sequence[str] = (),
        traces: Sequence[str] = (),
    ) -> Path:
        """Do `work` once, and return the directory of its artefacts. Law: a finished stage is verified, not trusted.

        The stage is skipped when its manifest is whole, every artefact has the bytes that were written, and `inputs`
        and the stages in `after` are the same as then; otherwise it is done again, and the log says why.

        Args:
            name: names the directory.
            work: writes files below `stage.path`; what it returns is ignored, what it raises passes.
            inputs: JSON values that decide the result.
            after: finished stages whose artefacts it reads.
            traces: trace files it appends to; sealed with the stage.
        """
        _check_name(name)
        if not self._writable:
            raise RunError(f"{self.root} was opened for reading; open it with Run.open to work in it")
        fingerprint = self._seals.fingerprint(inputs, after)
        final, scratch = self.root / "stages" / name, self.root / "stages" / f"{name}.scratch"
        known = self._seals.known(name)
        why = self._seals.fault(name, fingerprint)
        if why is None:
            if not known:
                log.info("stage %s: finished before", name)
            shutil.rmtree(scratch, ignore_errors=True)  # where the process died just before it did so itself
            return final
        if final.exists():
            kept = files.aside(final, "outdated" if why == OTHER_INPUTS else "damaged")
            log.warning("stage %s is done again, because %s; the old one is kept as %s", name, why, kept.name)
        self._seals.forget(name)
        self._prepare(scratch, fingerprint)
        temporary = self.root / "stages" / f"{name}.tmp"
        if temporary.exists():
            shutil.rmtree(temporary)
        with files.writing(temporary):
            temporary.mkdir()
        log.info("stage %s: begins", name)
        with Stopwatch(self._seconds_path(name), self._device), files.filling(temporary):
            work(Stage(name, temporary, scratch / "work"))
        manifest = self._seals.manifest(name, temporary, fingerprint, inputs, traces)
        write_json(temporary / "manifest.json", manifest)
        with files.writing(final):
            temporary.rename(final)
            files.sync(final.parent)
        shutil.rmtree(scratch, ignore_errors=True)
        self._seals.trust(manifest)
        log.info("stage %s: finished after %.1f s", name, self.seconds().get(name, 0.0))
        return final

    def _prepare(self, scratch: Path, fingerprint: str) -> None:
        """Keep the scratch of an interrupted attempt only if it was made from the same inputs."""
        note = scratch / "inputs.json"
        try:
            same = read_json(note) == fingerprint
        except RunError:
            same = False
        if not same and scratch.exists():
            shutil.rmtree(scratch)
        with files.writing(scratch):
            (scratch / "work").mkdir(parents=True, exist_ok=True)
        if not same:
            write_json(note, fingerprint)

    def traces(
        self, name: str, *, key: str = "key", inputs: Mapping[str, Any] | None = None, after: Sequence[str] = ()
    ) -> Rows:
        """Open `traces/<name>.jsonl`; `rows.done` holds what earlier attempts finished.

        Whoever writes says what the rows are made from: when `inputs` or the stages in `after` are not what the file
        was begun with, the old file is set aside, loudly. Without either, the file is taken as it is, to read back.
        """
        _check_name(name)
        path, note = self._trace_path(name), self.root / "traces" / f"{name}.inputs.json"
        if self._writable and (inputs is not None or after):
            fingerprint = self._seals.fingerprint(inputs, after)
            try:
                same = read_json(note) == fingerprint
            except RunError:
                same = False
            if not same:
                if path.exists():
                    kept = files.aside(path, "outdated")
                    log.warning("traces %s begin again: their inputs changed; the old ones are in %s", name, kept.name)
                write_json(note, fingerprint)
        return Rows(path, key, writable=self._writable)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write `summary.json`, whole or not at all."""
        write_json(self.root / "summary.json", summary)

    def write_note(self, name: str, note: Mapping[str, Any]) -> Path:
        """Write down what was found out about the run afterwards, whole or not at all, and return where.

        Like its page this can be done to a run that is only read: nothing that a stage made is touched.
        """
        _check_name(name)
        path = self.root / "notes" / f"{name}.json"
        with files.writing(path):
            path.parent.mkdir(exist_ok=True)
        write_json(path, note)
        return path

    # -- reading -----------------------------------------------------------------------------------------------------

    @property
    def trackers_path(self) -> Path:
        """Where experiment trackers keep their files."""
        return self.root / "trackers"

    @property
    def report_path(self) -> Path:
        """Where the page made from this run lies."""
        return self.root / "report.html"

    @property
    def environment(self) -> dict[str, Any]:
        """The machine and packages of the first attempt; empty when they were not recorded."""
        return _or_empty(self.root / "environment.json")

    @property
    def code(self) -> dict[str, Any]:
        """Commit, version and file hashes; empty when they were not recorded."""
        return _or_empty(self.root / "code.json")

    def summary(self) -> dict[str, Any] | None:
        """The numbers, or None while the run is not finished."""
        path = self.root / "summary.json"
        summary: dict[str, Any] | None = read_json(path) if path.exists() else None
        return summary

    def notes(self) -> dict[str, Any]:
        """What was found out about the run afterwards, by name."""
        return {path.stem: read_json(path) for path in sorted((self.root / "notes").glob("*.json"))}

    def stages(self) -> list[str]:
        """The finished stages, oldest first."""
        finished = [p.parent for p in (self.root / "stages").glob("*/manifest.json") if "." not in p.parent.name]
        return [p.name for p in sorted(finished, key=lambda p: (p / "manifest.json").stat().st_mtime_ns)]

    def artefact(self, stage: str, file: str) -> Path | None:
        """The path of a finished stage's file, or None when there is none."""
        path = self.root / "stages" / stage / file
        return path if path.exists() else None

    def trace_names(self) -> list[str]:
        """The names of the trace files."""
        return sorted(p.stem for p in (self.root / "traces").glob("*.jsonl"))

    def seconds(self) -> dict[str, float]:
        """Seconds spent in each stage, over all attempts, killed ones included (to within a second)."""
        return {
            path.name.removesuffix(".seconds.json"): seconds(path)
            for path in sorted((self.root / "stages").glob("*.seconds.json"))
        }

    def memory(self) -> dict[str, Memory]:
        """The most memory each stage held, in bytes, over all attempts, killed ones included; unmeasured ones left out.

        Example: `run.memory()["train-control"].host / 2**20` is MiB of main memory; `.device` is None without a GPU.
        """
        found = {
            path.name.removesuffix(".seconds.json"): memory(path)
            for path in sorted((self.root / "stages").glob("*.seconds.json"))
        }
        return {name: held for name, held in found.items() if held is not None}

    def attempt(self) -> Attempt | None:
        """What the process that works here, or worked here last, says about itself; None in an older run."""
        return read_attempt(self.root / "progress.json")

    def _seconds_path(self, name: str) -> Path:
        return self.root / "stages" / f"{name}.seconds.json"

    def _trace_path(self, name: str) -> Path:
        return self.root / "traces" / f"{name}.jsonl"


def _how(error: BaseException) -> str:
    """Say in one short line how an attempt ended."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    said = str(error).strip().splitlines()
    text = said[0] if said else ""
    return (text if isinstance(error, ThinkTwiceError) else f"{type(error).__name__}: {text}")[:300]


def _or_empty(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = read_json(path) if path.exists() else {}
    return value


def _check_name(name: str) -> None:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name) is None:
        raise ValueError(f"{name!r} names a file; use letters, digits, '-' and '_' only")
