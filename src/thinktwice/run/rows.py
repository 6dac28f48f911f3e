"""Append-only rows, one checked JSON line each. Law: a row is either whole or it was never written."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from thinktwice.errors import RunError
from thinktwice.run import files

log = logging.getLogger(__name__)

CHECK = "check"
"""The key each line ends with: the first 16 hex digits of the SHA-256 of the rest."""


class Rows:
    """The rows of one trace file by their key; new ones are appended and confirmed by the disk.

    A torn last line (the process died while writing) is cut off; a line that was damaged later is left out, loudly, and
    the damaged file is kept beside the repaired one. Either way the row is simply not done yet.
    """

    def __init__(self, path: Path, key: str, *, writable: bool):
        self.path = path
        self.key = key
        self.done: dict[str, dict[str, Any]] = {}
        self._writable = writable
        self._read()

    def _read(self) -> None:
        lines = self.path.read_bytes().split(b"\n") if self.path.exists() else [b""]
        torn, lines = lines[-1], lines[:-1]
        damaged = 0
        for line in lines:
            row = _checked(line)
            if row is None or self.key not in row:
                damaged += 1
            else:
                self.done[str(row[self.key])] = row
        if damaged:
            log.warning("%s: %d damaged lines left out; they will be done again", self.path, damaged)
        if not self._writable or not (damaged or torn):
            return
        if damaged:
            files.aside(self.path, "damaged")
        files.write_text(self.path, "".join(map(_line, self.done.values())))

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows; when this returns they survive a power cut.

        Raises:
            RunError: the disk is full or read-only, or the run was opened for reading.
            ValueError: a row without its key, or one whose key is already there.
        """
        if not self._writable:
            raise RunError(f"{self.path} was opened for reading; open its run with Run.open to add to it")
        fresh: dict[str, dict[str, Any]] = {}
        for row in rows:
            name = str(row[self.key]) if self.key in row else None
            if name is None or name in self.done or name in fresh:
                raise ValueError(f"{self.path}: row with {self.key} {name!r} is missing its key or already there")
            fresh[name] = json.loads(json.dumps(dict(row), allow_nan=False))  # what a reader would get back
        with files.writing(self.path), self.path.open("ab") as stream:
            start = stream.tell()
            try:
                stream.write("".join(map(_line, fresh.values())).encode())
                stream.flush()
                os.fsync(stream.fileno())
            except OSError:
                os.truncate(self.path, start)
                raise
        self.done |= fresh


class Tail:
    """The rows of a file that another process may be writing. Law: it reads on from where it was, and touches nothing.

    A line that is not whole yet is left for the next time, a damaged one is left out.
    """

    def __init__(self, path: Path):
        self._path = path
        self._file: tuple[int, int] | None = None
        self._offset = 0

    def read(self) -> tuple[bool, list[dict[str, Any]]]:
        """Return the rows that are new; and True with them when the file is another one than before."""
        try:
            with self._path.open("rb") as stream:
                state = os.fstat(stream.fileno())
                fresh = (state.st_dev, state.st_ino) != self._file or state.st_size < self._offset
                if fresh:
                    self._file, self._offset = (state.st_dev, state.st_ino), 0
                stream.seek(self._offset)
                raw = stream.read()
        except OSError:
            fresh, self._file, self._offset = self._file is not None, None, 0
            return fresh, []
        whole = raw[: raw.rfind(b"\n") + 1]
        self._offset += len(whole)
        return fresh, [row for line in whole.split(b"\n") if (row := _checked(line)) is not None]


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps({**row, CHECK: files.digest(row)[:16]}, ensure_ascii=False, allow_nan=False) + "\n"


def _checked(line: bytes) -> dict[str, Any] | None:
    """Return the row of a line, or None when the line isn't what was written."""
    try:
        row = json.loads(line)
        check = row.pop(CHECK)
        return row if files.digest(row)[:16] == check else None
    except (ValueError, AttributeError, KeyError, TypeError):
        return None
