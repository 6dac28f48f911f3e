"""How long a stage took, over every attempt."""

import json
import logging
import os
import threading
import time
from pathlib import Path

log = logging.getLogger(__name__)


class Stopwatch:
    """Adds the time spent inside to a file, once a second, so that a killed attempt is counted too."""

    def __init__(self, path: Path):
        self._path = path
        self._before = seconds(path)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> None:
        """Begin to count."""
        self._start = time.monotonic()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        """Write the sum."""
        self._stop.set()
        self._thread.join()
        self._write()

    def _tick(self) -> None:
        while not self._stop.wait(1.0):
            self._write()

    def _write(self) -> None:
        temporary = self._path.with_name(f"{self._path.name}.tmp")
        try:  # a clock must not stop a training: no fsync, and a full disk is reported by whoever writes results
            temporary.write_text(json.dumps(round(self._before + time.monotonic() - self._start, 3)))
            os.replace(temporary, self._path)
        except OSError as error:
            log.debug("seconds not written: %s", error)


def seconds(path: Path) -> float:
    """Return the seconds written so far; 0 when there are none."""
    try:
        return float(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return 0.0
