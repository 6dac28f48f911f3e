"""How long a stage took, over every attempt, and the most memory it held."""

import json
import logging
import os
import resource
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from thinktwice.types import Memory

log = logging.getLogger(__name__)

DeviceProbe = Callable[[], int | None]
"""Returns the most bytes held on the accelerator since it was last asked; None where there is none."""
SAMPLE = 0.2
"""Seconds between two looks at the memory."""
WRITE = 1.0
"""Seconds between two writes: what a kill can cost."""


class Stopwatch:
    """Adds the time spent inside to a file, once a second, so that a killed attempt is counted too; and the memory.

    The file is `{"seconds", "host", "device"}`, memory in bytes; one written before memory was recorded is a number.
    """

    def __init__(self, path: Path, device: DeviceProbe | None = None):
        self._path = path
        self._device = device or (lambda: None)
        self._before = seconds(path)
        self._memory = memory(path) or Memory(0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> None:
        """Begin to count."""
        self._start = time.monotonic()
        self._device()  # what was held before is not this stage's
        self._sample()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        """Write the sum."""
        self._stop.set()
        self._thread.join()
        self._sample()
        self._write()

    def _tick(self) -> None:
        written = self._start
        while not self._stop.wait(SAMPLE):
            self._sample()
            if time.monotonic() - written >= WRITE:
                self._write()
                written = time.monotonic()

    def _sample(self) -> None:
        host, device = resident(), self._device()
        known = [held for held in (self._memory.device, device) if held is not None]
        self._memory = Memory(max(self._memory.host, host), max(known, default=None))

    def _write(self) -> None:
        value = {
            "seconds": round(self._before + time.monotonic() - self._start, 3),
            "host": self._memory.host,
            "device": self._memory.device,
        }
        temporary = self._path.with_name(f"{self._path.name}.tmp")
        try:  # a clock must not stop a training: no fsync, and a full disk is reported by whoever writes results
            temporary.write_text(json.dumps(value))
            os.replace(temporary, self._path)
        except OSError as error:
            log.debug("seconds not written: %s", error)


def seconds(path: Path) -> float:
    """Return the seconds written so far; 0 when there are none."""
    value = _read(path)
    try:
        return float(value["seconds"] if isinstance(value, dict) else value)
    except (KeyError, TypeError, ValueError):
        return 0.0


def memory(path: Path) -> Memory | None:
    """Return the most memory held so far; None when it was not recorded."""
    value = _read(path)
    try:
        return Memory(int(value["host"]), None if value["device"] is None else int(value["device"]))
    except (KeyError, TypeError, ValueError):
        return None


def resident() -> int:
    """Return the bytes of this process that are in main memory now; on macOS the most there ever were.

    Its threads count, processes that it started do not.
    """
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
        return pages * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None
