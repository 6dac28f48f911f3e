"""Replies that are paid for, in one SQLite file. Law: rows are added, never changed; a damaged one is never handed out.

What holds: a reply is on the disk before `append` returns, and survives a killed process and a power cut. In one
process, and between processes of one machine, a request is claimed by one asker at a time (`claim`), so the same
request in flight twice is sent once. Machines that share the file over a network file system may both send it; then
both replies are kept and everyone gets the first.
"""

import fcntl
import hashlib
import logging
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from thinktwice.errors import DataError, RunError

log = logging.getLogger(__name__)

APPLICATION = 0x54576874  # marks the file as ours in its header
LAYOUT = 1
_TABLES = """
CREATE TABLE replies (id INTEGER PRIMARY KEY, key TEXT NOT NULL, request TEXT NOT NULL, reply TEXT NOT NULL,
                      written TEXT NOT NULL, digest TEXT NOT NULL);
CREATE INDEX replies_by_key ON replies (key);
CREATE TABLE failures (id INTEGER PRIMARY KEY, key TEXT NOT NULL, request TEXT NOT NULL, failure TEXT NOT NULL,
                       written TEXT NOT NULL);
"""
_APPEND_ONLY = "CREATE TRIGGER {table}_{verb} BEFORE {verb} ON {table} BEGIN SELECT RAISE(ABORT, 'append-only'); END;"


def key_of(request: str) -> str:
    """Return the key of a request's canonical JSON: its SHA-256."""
    return hashlib.sha256(request.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Row:
    """A request and what it brought, both as JSON."""

    request: str
    outcome: str
    failed: bool = False


class ReplyCache:
    """Replies by request, for one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            DataError: the file is damaged, cut short, or something else.
        """
        self.path = path
        if not path.exists():
            _create(path)
        self._connection = _open(path)

    def find(self, keys: Sequence[str]) -> dict[str, str]:
        """Return the replies there are, as JSON, by key."""
        found: dict[str, str] = {}
        damaged = 0
        with self._reading():
            for start in range(0, len(keys), 500):
                some = list(keys[start : start + 500])
                marks = ",".join("?" * len(some))
                query = f"SELECT key, request, reply, digest FROM replies WHERE key IN ({marks}) ORDER BY id"
                for key, request, reply, digest in self._connection.execute(query, some):
                    if digest != _digest(key, request, reply):
                        damaged += 1
                    else:
                        found.setdefault(key, reply)  # the first of two is everyone's
        if damaged:
            log.warning("%s: %d damaged replies are not used; what they answered is asked again", self.path, damaged)
        return found

    def append(self, rows: Iterable[Row]) -> None:
        """Add rows; when this returns they are on the disk.

        Raises:
            RunError: the disk is full, the file read-only, or another process holds it.
        """
        written = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for row in rows:
                key = key_of(row.request)
                if row.failed:
                    values = (key, row.request, row.outcome, written)
                    self._connection.execute(
                        "INSERT INTO failures (key, request, failure, written) VALUES (?, ?, ?, ?)", values
                    )
                else:
                    checked = (key, row.request, row.outcome, written, _digest(key, row.request, row.outcome))
                    self._connection.execute(
                        "INSERT INTO replies (key, request, reply, written, digest) VALUES (?, ?, ?, ?, ?)", checked
                    )
            self._connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise RunError(
                f"replies could not be written to {self.path} ({error}); free some space or make the file writable, "
                "and give the same command again: replies that are in it are not paid for again"
            ) from error
        except sqlite3.DatabaseError as error:
            raise _damaged(self.path, str(error)) from error
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise _damaged(self.path, str(error)) from error


def _digest(key: str, request: str, reply: str) -> str:
    return hashlib.sha256(f"{key}\n{request}\n{reply}".encode()).hexdigest()[:16]


def _create(path: Path) -> None:
    """Make the file whole before it gets its name, so that an empty one is known to be damage."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    draft.unlink(missing_ok=True)
    connection = sqlite3.connect(draft, isolation_level=None)
    try:
        connection.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; BEGIN;"
            f"PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {LAYOUT};"
            + _TABLES
            + "".join(
                _APPEND_ONLY.format(table=table, verb=verb)
                for table in ("replies", "failures")
                for verb in ("UPDATE", "DELETE")
            )
            + "COMMIT;"
        )
    finally:
        connection.close()
    try:
        with draft.open("rb") as stream:
            os.fsync(stream.fileno())
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was first
    finally:
        draft.unlink()


def _open(path: Path) -> sqlite3.Connection:
    if path.stat().st_size == 0:
        raise _damaged(path, "it is empty")
    connection = sqlite3.connect(path, isolation_level=None, timeout=60, check_same_thread=False)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (layout,) = connection.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION or layout != LAYOUT:
            connection.close()
            raise DataError(f"{path} is no reply cache of this version; name another file, or move it out of the way.")
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        connection.close()
        raise _damaged(path, str(error)) from error
    if verdict != "ok":
        connection.close()
        raise _damaged(path, str(verdict).splitlines()[-1])
    return connection


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(
        f"the reply cache {path} is damaged ({reason}); nothing was changed. Put a copy of it in its place, or what "
        f"`sqlite3 {path} .recover | sqlite3 saved.sqlite` can still read; or move it out of the way, and its replies "
        "are paid for again."
    )


_claimed: set[tuple[str, str]] = set()
_lock_files: dict[str, int] = {}
_guard = threading.Lock()


def claim(path: Path, key: str) -> bool:
    """Take the sole right to ask for a key, on this machine; False while someone else has it.

    Another process's claim is a lock on one byte of `<path>.lock`, which the kernel lifts when that process dies. Such
    locks do not tell the threads of one process apart, and closing the file anywhere in the process drops them all;
    hence the set, and a file that stays open.
    """
    name = str(path.resolve())
    with _guard:
        if (name, key) in _claimed:
            return False
        if name not in _lock_files:
            _lock_files[name] = os.open(f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.lockf(_lock_files[name], fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _byte(key))
        except (BlockingIOError, PermissionError):
            return False
        _claimed.add((name, key))
        return True


def release(path: Path, key: str) -> None:
    """Give the right back."""
    name = str(path.resolve())
    with _guard:
        fcntl.lockf(_lock_files[name], fcntl.LOCK_UN, 1, _byte(key))
        _claimed.discard((name, key))


def _byte(key: str) -> int:
    return int(key[:15], 16)  # 60 bits: two keys on one byte would only wait for each other
