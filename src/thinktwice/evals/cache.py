"""Replies that were already paid for. Law: an answer is served only to the very question that produced it.

The harness's own `--use_cache` knows a request by its text alone, so a second model is served the first one's answers
(lm-evaluation-harness#4063). Here the key holds everything that decides a reply: weights, tokenizer, configuration,
method, sampling, prompt ids, random stream, and the code that decodes.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import thinktwice
from thinktwice.config import parse, to_dict
from thinktwice.errors import DataError
from thinktwice.run.files import digest, file_digest
from thinktwice.types import Trace

_DECIDES = ("decode", "engines", "methods", "resolve.py", "render.py", "types.py")


@dataclass(frozen=True)
class ReplyCache:
    """Traces by key, in one SQLite file that several processes may share."""

    path: Path

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(self._connect()) as connection, connection:
            connection.execute("CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, trace TEXT NOT NULL)")

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=60)
        try:
            connection.execute("PRAGMA schema_version")
        except sqlite3.DatabaseError as error:
            connection.close()
            raise DataError(f"{self.path} is not a reply cache ({error}). Name another file.") from None
        return connection

    def find(self, keys: Sequence[str]) -> dict[str, Trace]:
        """Return the traces that are known among `keys`."""
        found: dict[str, Trace] = {}
        with closing(self._connect()) as connection:
            for key in dict.fromkeys(keys):
                row = connection.execute("SELECT trace FROM replies WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    found[key] = parse(Trace, json.loads(row[0]), "reply cache")
        return found

    def add(self, traces: Mapping[str, Trace]) -> None:
        """Keep traces; when this returns they survive a kill. A trace that ended in an error is not kept."""
        rows = [(key, json.dumps(to_dict(trace))) for key, trace in traces.items() if trace.stop != "error"]
        with closing(self._connect()) as connection, connection:
            connection.executemany("INSERT OR REPLACE INTO replies VALUES (?, ?)", rows)


def key(**parts: Any) -> str:
    """Return the key of a request: a hash of everything that decides its reply (JSON-ready values)."""
    return digest(parts)


def code() -> str:
    """Return a hash of the package's code that decides what a reply is."""
    root = Path(thinktwice.__file__).parent
    files = sorted(
        file for name in _DECIDES for file in (root / name, *(root / name).glob("**/*.py")) if file.is_file()
    )
    return digest({str(file.relative_to(root)): file_digest(file) for file in files})
