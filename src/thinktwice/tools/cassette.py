"""What a live source answered, on the disk: recorded once, replayed for ever.

Law: replaying never touches the network, and a request that was not recorded is refused by name. One JSON object a
line, only ever appended; a line that a killed process left half-written is passed over. Headers are not kept: the
contact in them is nobody's business.
"""

import fcntl
import hashlib
import json
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from thinktwice.errors import DataError

Mode = Literal["record", "replay"]


class Cassette:
    """Answers by request. Threads and processes may record into one file; each asks for what itself has not seen."""

    def __init__(self, path: Path, mode: Mode = "replay") -> None:
        """Read what is there.

        Raises:
            DataError: there is nothing to replay, or the file is no cassette.
        """
        self.path, self.mode = path, mode
        self._guard = threading.Lock()
        self._answers: dict[str, Any] = {}
        if mode == "replay" and not path.is_file():
            raise DataError(f"there is no cassette {path} to replay. Record it first, with mode='record'.")
        if path.is_file():
            self._read()

    def __reduce__(self) -> tuple[type["Cassette"], tuple[Path, Mode]]:
        return Cassette, (self.path, self.mode)

    def __len__(self) -> int:
        return len(self._answers)

    @property
    def digest(self) -> str:
        """sha256 over the sorted answers: which web it was."""
        lines = (json.dumps([key, self._answers[key]], sort_keys=True) for key in sorted(self._answers))
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def answer(self, request: Mapping[str, str], ask: Callable[[], Any]) -> Any:
        """Return the recorded answer to a request; recording, ask for one that is not there, and keep it.

        Raises:
            DataError: it was not recorded, and this is a replay; or the file cannot be written.
        """
        key = json.dumps(dict(request), sort_keys=True, ensure_ascii=False)
        with self._guard:
            if key in self._answers:
                return self._answers[key]
        if self.mode == "replay":
            raise DataError(
                f"the cassette {self.path} has no answer to {key}. Record it with mode='record', or ask what was asked."
            )
        found = ask()
        with self._guard:
            self._append(key, found)
            self._answers[key] = found
        return found

    def _append(self, key: str, found: Any) -> None:
        line = json.dumps({"request": json.loads(key), "answer": found}, ensure_ascii=False).encode("utf-8", "replace")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                file.seek(0, os.SEEK_END)
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":  # the half line of a process that was killed
                        file.write(b"\n")
                file.write(line + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise DataError(f"cannot write the cassette {self.path}: {error.strerror or error}.") from None

    def _read(self) -> None:
        broken = 0
        for line in self.path.read_bytes().split(b"\n"):
            try:
                row = json.loads(line) if line.strip() else None
                if row is not None:
                    key = json.dumps(row["request"], sort_keys=True, ensure_ascii=False)
                    self._answers.setdefault(key, row["answer"])
            except (ValueError, TypeError, KeyError):
                broken += 1
        if broken and not self._answers:
            raise DataError(f"{self.path} is no cassette. Name another file, or move it out of the way.")
