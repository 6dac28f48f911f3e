"""What a run is doing, on disk, for whoever watches. Law: it decides nothing and can never stop the run.

`progress.json` is replaced, not synced, at most twice a second by a thread of its own. It is no result: it is not
sealed, and a run goes on without it.
"""

import json
import logging
import math
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from thinktwice.run.process import Process

log = logging.getLogger(__name__)

EVERY = 0.5
"""Seconds between two looks at whether there is news to write."""
PULSE = 5.0
"""Seconds after which the file is written though there is none: a sign of life."""
FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the stage is that is being worked on."""

    stage: str
    done: float
    """Share of the stage, 0 to 1."""
    note: str = ""
    tokens_per_second: float | None = None
    eta_s: float | None = None
    """Seconds to the end of the stage, where the work itself can say."""
    step: int | None = None
    """Which step of the stage `numbers` are of."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """What was measured in this step, for trackers (`report_to`)."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One process's work on a run, as it last described it."""

    process: Process
    plan: tuple[str, ...]
    """Every stage, in the order they are done."""
    started: float
    """Seconds since the epoch, like `updated`."""
    updated: float
    progress: Progress | None = None
    """None before the first stage."""
    ended: str | None = None
    """How it ended: "finished", or one sentence; None while it works, and when it was killed."""

    @property
    def works(self) -> bool:
        """Whether the process is still at it."""
        return self.ended is None and self.process.lives(self.updated)


class Teller:
    """Writes an attempt down until it is closed."""

    def __init__(self, path: Path, plan: Sequence[str]) -> None:
        """Say at once that the attempt has begun."""
        self._path = path
        self._process, self._plan, self._started = Process.this(), tuple(plan), time.time()
        self._progress: Progress | None = None
        self._written: Progress | None = None
        self._stop = threading.Event()
        self._write()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def tell(self, progress: Progress) -> None:
        """Take note; it is on disk half a second later at most."""
        self._progress = progress

    def close(self, ended: str) -> None:
        """Say how it ended."""
        self._stop.set()
        self._thread.join()
        self._write(ended)

    def _beat(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(EVERY):
            if self._progress is not self._written or time.monotonic() - last >= PULSE:
                self._write()
                last = time.monotonic()

    def _write(self, ended: str | None = None) -> None:
        progress = self._progress
        attempt = Attempt(self._process, self._plan, self._started, time.time(), progress, ended)
        temporary = self._path.with_name(f"{self._path.name}.tmp")
        try:
            temporary.write_text(json.dumps(asdict(attempt)), encoding="utf-8")
            os.replace(temporary, self._path)
        except OSError as error:  # a full disk is reported by whoever writes results
            log.debug("progress not written: %s", error)
        self._written = progress


def read_attempt(path: Path) -> Attempt | None:
    """Return what an attempt last wrote; None when there is nothing, or nothing that makes sense."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        process, told = value["process"], value["progress"]
        born = process["born"]
        return Attempt(
            Process(int(process["pid"]), str(process["host"]), None if born is None else int(born)),
            tuple(map(str, value["plan"])),
            float(value["started"]),
            float(value["updated"]),
            None if told is None else _progress(told),
            None if value["ended"] is None else str(value["ended"]),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _progress(told: dict[str, Any]) -> Progress:
    share = _finite(told["done"]) or 0.0
    return Progress(
        str(told["stage"]),
        min(1.0, max(0.0, share)),
        str(told["note"]),
        _finite(told["tokens_per_second"]),
        _finite(told["eta_s"]),
    )


def _finite(value: Any) -> float | None:
    return None if value is None or not math.isfinite(float(value)) else float(value)
