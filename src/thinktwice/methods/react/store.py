"""Every episode a teacher or a student ever wrote, in one SQLite file. Law: rows are added, never changed or repeated.

A row is on the disk before `add` returns, and survives a killed process and a power cut. Its key is everything that
decides it: the problem, the policy, the corpus, the prompt, the decoding and the number of the sample. So the same work
given again is found, and anything else is other work. Several processes may write at a time; who comes second with the
same key changes nothing.
"""

import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from thinktwice.config import parse, to_dict
from thinktwice.errors import DataError, RunError
from thinktwice.run import files
from thinktwice.types import Trace

APPLICATION, LAYOUT = 0x54577261, 1
"""Mark the file as ours in its header."""
_TABLE = """
CREATE TABLE attempts (id INTEGER PRIMARY KEY, problem TEXT NOT NULL, policy TEXT NOT NULL, corpus TEXT NOT NULL,
    prompt TEXT NOT NULL, decoding TEXT NOT NULL, sample INTEGER NOT NULL, attempt TEXT NOT NULL, digest TEXT NOT NULL,
    written TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP,
    UNIQUE (problem, policy, corpus, prompt, decoding, sample));
CREATE TRIGGER attempts_update BEFORE UPDATE ON attempts BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TRIGGER attempts_delete BEFORE DELETE ON attempts BEGIN SELECT RAISE(ABORT, 'append-only'); END;
"""
_ADD = """INSERT OR IGNORE INTO attempts (problem, policy, corpus, prompt, decoding, sample, attempt, digest)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""


@dataclass(frozen=True, slots=True)
class Key:
    """What decides an episode. Law: other keys, other episodes; hashes are hex, any length."""

    problem: str
    """The problem's id."""
    policy: str
    """Hash of the weights, or the name of a server's model and its revision."""
    corpus: str
    """Hash of what was searched."""
    prompt: str
    """Hash of the ids that the episode began with."""
    decoding: str
    """Hash of how tokens were drawn and of the rules of the episode."""
    sample: int = 0
    """Which of the samples of this problem."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One episode, with its score."""

    trace: Trace
    f1: float
    answer: str | None
    """What was scored; None when there was none."""
    prompt_ids: tuple[int, ...]
    """What the episode began with."""
    sample: int = 0

    @property
    def problem_id(self) -> str:
        """Whose episode it is."""
        return self.trace.problem_id


class Store:
    """The episodes in a file, for one thread at a time; a context manager.

    Example:
        >>> with Store(Path("runs/episodes.sqlite")) as store:  # doctest: +SKIP
        ...     store.add([(key, attempt)])
    """

    def __init__(self, path: Path) -> None:
        """Open the file, or make it.

        Raises:
            DataError: there is something else, or it is damaged.
            RunError: it cannot be written.
        """
        self.path = path
        with files.writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                _create(path)
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=60)
            self._connection.execute("PRAGMA synchronous = FULL")
            (application,) = self._connection.execute("PRAGMA application_id").fetchone()
            (layout,) = self._connection.execute("PRAGMA user_version").fetchone()
        except sqlite3.OperationalError as error:
            raise RunError(f"{path} cannot be opened ({error}); choose a place that is yours") from error
        except sqlite3.DatabaseError as error:
            raise DataError(
                f"{path} is no store of episodes, or it is damaged ({error}); name another file."
            ) from error
        if (application, layout) != (APPLICATION, LAYOUT):
            self.close()
            raise DataError(f"{path} is no store of episodes of this version; name another file.")

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def __len__(self) -> int:
        with self._speaking():
            (count,) = self._connection.execute("SELECT count(*) FROM attempts").fetchone()
        return int(count)

    def add(self, attempts: Iterable[tuple[Key, Attempt]]) -> int:
        """Add episodes, all or none, and return how many are new; when this returns they are on the disk.

        Raises:
            RunError: the disk is full, or the file read-only.
        """
        rows = []
        for key, attempt in attempts:
            text = json.dumps(to_dict(attempt), ensure_ascii=False, allow_nan=False)
            rows.append((*astuple(key), text, _digest(key, text)))
        with self._speaking():
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                before = self._connection.total_changes
                self._connection.executemany(_ADD, rows)
                self._connection.execute("COMMIT")
                return self._connection.total_changes - before
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def find(self, keys: Sequence[Key]) -> dict[Key, Attempt]:
        """Return those of the episodes that are there.

        Raises:
            DataError: the file is damaged.
        """
        found = {}
        query = """SELECT attempt, digest FROM attempts WHERE problem = ? AND policy = ? AND corpus = ? AND prompt = ?
            AND decoding = ? AND sample = ?"""
        with self._speaking():
            for key in keys:
                row = self._connection.execute(query, astuple(key)).fetchone()
                if row is not None:
                    found[key] = self._read(key, *row)
        return found

    def missing(self, keys: Sequence[Key]) -> list[Key]:
        """Return those that are not there, in their order."""
        present = set()
        query = "SELECT problem, policy, corpus, prompt, decoding, sample FROM attempts WHERE problem = ?"
        with self._speaking():
            for problem in {key.problem for key in keys}:
                present |= {Key(*row) for row in self._connection.execute(query, (problem,))}
        return [key for key in keys if key not in present]

    def __iter__(self) -> Iterator[tuple[Key, Attempt]]:
        """Yield everything there is, in the order it was written."""
        query = "SELECT problem, policy, corpus, prompt, decoding, sample, attempt, digest FROM attempts ORDER BY id"
        with self._speaking():
            for *parts, text, digest in self._connection.execute(query):
                key = Key(*parts)
                yield key, self._read(key, text, digest)

    def _read(self, key: Key, text: str, digest: str) -> Attempt:
        if digest != _digest(key, text):
            raise DataError(f"{self.path}: the episode of problem {key.problem} is damaged; put a copy in its place.")
        return parse(Attempt, json.loads(text), self.path.name)

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise RunError(
                f"{self.path} could not be used ({error}); free some space or make it writable, and give the same "
                "command again: it goes on where it stopped"
            ) from error
        except sqlite3.DatabaseError as error:
            raise DataError(f"{self.path} is damaged ({error}); put a copy of it in its place.") from error


def short(value: Any) -> str:
    """Return a hash of a JSON value that is long enough for a key."""
    return files.digest(value)[:16]


def _create(path: Path) -> None:
    """Make the file whole before it gets its name, so that of two processes that make it one is first."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    draft.unlink(missing_ok=True)
    connection = sqlite3.connect(draft, isolation_level=None)
    try:
        connection.executescript(
            f"BEGIN; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {LAYOUT}; {_TABLE} COMMIT;"
        )
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was first
    finally:
        draft.unlink()


def _digest(key: Key, text: str) -> str:
    return hashlib.sha256(f"{astuple(key)}\n{text}".encode()).hexdigest()[:16]
