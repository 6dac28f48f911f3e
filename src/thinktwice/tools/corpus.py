"""A corpus in one SQLite file: search and open. Laws: nothing a model writes is query syntax, and ties go by title.

    >>> corpus = open_corpus("wiki")
    >>> [passage.title for passage in corpus.search("teacher of Ida Marshby", k=2)]
    >>> corpus.open("ida_marshby")

Ranking is BM25 over FTS5's porter stems (Robertson and Zaragoza 2009; k1 = 1.2, b = 0.75 are SQLite's), a word in a
title or redirect counting twice. The page whose title or redirect the query spells comes first; then pages that have
every word of the query; then, while there are fewer than k, pages that have any.

A file is opened read-only and immutable, one connection a thread and process: threads, forks and pickles are all safe.
What `build` writes (format 1): `pages(id, title, key, text)`, ids in the order of titles; `redirects(name, page, key)`;
`choices(page, place, title)` of disambiguation pages; `meta(name, value)`; and the index `words(title, names, text)`.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from thinktwice.errors import ConfigError, DataError
from thinktwice.tasks.worlds.wiki import Encyclopedia
from thinktwice.tools import Passage, Retriever
from thinktwice.tools.words import clean, fold, may_be, query_words, words_of

APPLICATION = 0x74_74_63_6F
"""SQLite's application_id of our files: "ttco"."""
FORMAT = 1
TOKENIZER = "porter unicode61 remove_diacritics 2"
WEIGHTS = "2.0, 2.0, 1.0"
"""How much a word counts in a title, in a redirect, in the text."""
SPELLED, COMPLETE = 2000.0, 1000.0
"""Added to the score of a page whose title the query spells, of one that has every word: scores are in the order of
results, whatever tier they are from."""
_TEXT_RANGE = 999.0
_MATCHING = f"SELECT rowid, -bm25(words, {WEIGHTS}) FROM words WHERE words MATCH ? ORDER BY 2 DESC, rowid LIMIT ?"


@dataclass(frozen=True, slots=True)
class Info:
    """What a corpus says about itself."""

    corpus: str
    """sha256 over the sorted pages, redirects and choices."""
    documents: int
    """Pages, disambiguation pages included."""
    redirects: int
    disambiguations: int
    characters: int
    """Length of all texts."""
    source: str
    """What it was built from, in words."""


@dataclass(frozen=True, repr=False)
class Corpus:
    """A `Retriever` over one corpus file, or over the bytes of one. Open it with `open_corpus`."""

    source: Path | bytes
    _local: threading.local = field(default_factory=threading.local, compare=False)

    def __reduce__(self) -> tuple[Callable[..., "Corpus"], tuple[Path | bytes]]:
        return Corpus, (self.source,)

    def __repr__(self) -> str:
        return f"Corpus({_name(self.source)})"

    @cached_property
    def info(self) -> Info:
        """What it holds, as written down when it was built."""
        with self._reading() as db:
            meta: dict[str, str] = dict(db.execute("SELECT name, value FROM meta"))
        try:
            documents, redirects, ambiguous, characters = (
                int(meta[name]) for name in ("documents", "redirects", "disambiguations", "characters")
            )
            return Info(meta["corpus"], documents, redirects, ambiguous, characters, meta["source"])
        except (KeyError, ValueError):
            raise _damaged(_name(self.source), "its description is not whole") from None

    @property
    def corpus(self) -> str:
        """Hash of what is searched."""
        return self.info.corpus

    def search(self, query: str, k: int = 3) -> tuple[Passage, ...]:
        """Return at most k pages, the best first; empty where nothing has a word of the query.

        Raises:
            DataError: the file is damaged.
        """
        words = query_words(query)
        if not words or k < 1:
            return ()
        asked = frozenset(words_of(query))
        tiers = ((" AND ", COMPLETE), (" OR ", 0.0)) if len(words) > 1 else (("", COMPLETE),)
        with self._reading() as db:
            spelled = _named(db, query, SPELLED)
            found = {} if spelled is None else {spelled[0]: spelled[1]}
            for join, bonus in tiers:
                if len(found) >= k:
                    break
                matching = join.join(f'"{word}"' for word in words)
                for number, score in db.execute(_MATCHING, (matching, k + len(found))).fetchall():
                    if number not in found:
                        found[number] = _page(db, number, asked, bonus + min(max(score, 0.0), _TEXT_RANGE))
        return tuple(found.values())[:k]

    def open(self, title: str) -> Passage | None:
        """Return the page a title or redirect names; several that only case or accents tell apart come as choices.

        Raises:
            DataError: the file is damaged.
        """
        with self._reading() as db:
            named = _named(db, title)
        return named[1] if named else None

    def pages(self) -> Iterator[tuple[int, str, str, tuple[str, ...]]]:
        """Yield (id, title, text, redirects) of every page, in the order of ids, which is that of titles."""
        with self._reading() as db:
            for page, title, text in db.execute("SELECT id, title, text FROM pages ORDER BY id"):
                yield page, title, text, _redirects(db, page)

    def page(self, number: int, query: str = "", score: float = 0.0) -> Passage:
        """Return a page by its id, as what a search for `query` found."""
        with self._reading() as db:
            return _page(db, number, frozenset(words_of(query)), score)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size

    def check(self) -> None:
        """Read every page; raises DataError when they are not the ones that the hash was made of."""
        from thinktwice.tools.build import digest

        with self._reading() as db:
            if digest(db) != self.corpus:
                raise _damaged(_name(self.source), "its pages have another hash than it names")
            if db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise _damaged(_name(self.source), "SQLite's own check fails")

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """Lend this thread's connection; what SQLite says about a broken file becomes one sentence."""
        try:
            yield self._connection()
        except sqlite3.DatabaseError as error:
            if "no such module" in str(error):
                raise ConfigError("this Python's SQLite has no FTS5; use one that has, as python.org's do.") from None
            raise _damaged(_name(self.source), str(error)) from error

    def _connection(self) -> sqlite3.Connection:
        """Return this thread's connection in this process; after a fork the parent's is left alone."""
        mine: dict[int, _Lent] = self._local.__dict__.setdefault("connections", {})
        lent = mine.get(os.getpid())
        if lent is None:
            lent = mine[os.getpid()] = _Lent(_connect(self.source))
        return lent.connection


class _Lent:
    """Closes a connection when its thread is gone, but never another process's."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection, self.process = connection, os.getpid()

    def __del__(self) -> None:
        if os.getpid() == self.process:
            self.connection.close()


def open_corpus(source: str | Path) -> Retriever:
    """Open what can be searched.

    Args:
        source: a corpus file; "wiki", "wiki:SEED" or "wiki:SEED:PEOPLE" for the encyclopedia of that `wiki` world,
            which is built on the spot; "bm25:FILE" for the same ranked by bm25s; "http://HOST:PORT" for a server.

    Raises:
        DataError: there is no such file, it is no corpus, or it is damaged.
        ConfigError: there is no such world, or a package is missing.
        EngineError: the server does not answer.
    """
    text = str(source)
    if text.startswith(("http://", "https://")):
        from thinktwice.tools.remote import Remote

        return Remote(text)
    if text.startswith("bm25:"):
        from thinktwice.tools.bm25 import open_bm25

        return open_bm25(text.removeprefix("bm25:"))
    return open_local(source)


def open_local(source: str | Path) -> Corpus:
    """Open a corpus file, or a wiki world as `open_corpus` does. Raises what that raises."""
    world = world_of(str(source))
    if world is not None:
        return _world(world)
    path = Path(source)
    if not path.is_file():
        raise DataError(f"there is no corpus file {path}. Make it: thinktwice corpus build SOURCE --out {path}")
    corpus = Corpus(path.resolve())
    _ = corpus.info  # a file that is no corpus is refused now
    return corpus


def world_of(source: str) -> Encyclopedia | None:
    """Return the wiki world that "wiki", "wiki:SEED" or "wiki:SEED:PEOPLE" names; None for anything else."""
    name, *numbers = source.split(":")
    if name != "wiki":
        return None
    if len(numbers) > 2 or not all(number.isdecimal() for number in numbers):
        raise ConfigError(f"{source!r} names no wiki world; write wiki, wiki:SEED or wiki:SEED:PEOPLE, as wiki:3:240.")
    return Encyclopedia(*map(int, numbers))


@cache
def _world(encyclopedia: Encyclopedia) -> Corpus:
    from thinktwice.tools.build import world_corpus

    return world_corpus(encyclopedia)


def _connect(source: Path | bytes) -> sqlite3.Connection:
    if isinstance(source, bytes):
        db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        db.deserialize(source)
        return db
    place = f"{source.as_uri()}?mode=ro&immutable=1"
    db = sqlite3.connect(place, uri=True, isolation_level=None, check_same_thread=False)
    try:
        _check(db, source)
    except BaseException:
        db.close()
        raise
    return db


def _check(db: sqlite3.Connection, path: Path) -> None:
    """Refuse what is no corpus, is of another format, or has lost its end."""
    try:
        with path.open("rb") as file:
            header = file.read(100)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}. Check its permissions.") from None
    if len(header) < 100 or int.from_bytes(header[68:72], "big") != APPLICATION:
        raise DataError(f"{path} is no corpus file. Make one: thinktwice corpus build SOURCE --out FILE")
    written = int.from_bytes(header[60:64], "big")
    if written != FORMAT:
        raise DataError(f"{path} is a corpus of format {written}; this version reads format {FORMAT}. Build it again.")
    size = int.from_bytes(header[28:32], "big") * db.execute("PRAGMA page_size").fetchone()[0]
    if path.stat().st_size < size:
        raise _damaged(str(path), f"{size - path.stat().st_size} bytes are missing at its end")
    db.execute("PRAGMA mmap_size = 1073741824")


def _name(source: Path | bytes) -> str:
    return str(source) if isinstance(source, Path) else "in memory"


def _damaged(name: str, reason: str) -> DataError:
    return DataError(f"the corpus {name} is damaged ({reason}). Build it again, or put a copy in its place.")


LONGEST_TITLE = 300
"""Characters; a longer name stands for no page (Wikipedia's titles end at 255 bytes)."""
_LOOKUPS = (
    "SELECT id, '' FROM pages WHERE title = :name",
    "SELECT page, name FROM redirects WHERE name = :name ORDER BY page",
    "SELECT id, '' FROM pages WHERE key = :key ORDER BY id",
    "SELECT page, name FROM redirects WHERE key = :key ORDER BY page, name",
)
"""A name as it is spelled comes before one that only case or accents make equal, and a title before a redirect."""


def _named(db: sqlite3.Connection, name: str, score: float = 0.0) -> tuple[int, Passage] | None:
    """Return (id, page) of what a name stands for; (0, choices) where it may be several pages."""
    spelled = {"name": clean(name), "key": fold(name)}
    for query in _LOOKUPS if spelled["key"] and len(name) <= LONGEST_TITLE else ():
        rows = db.execute(query, spelled).fetchall()
        numbers = tuple(dict.fromkeys(number for number, _ in rows))
        if len(numbers) > 1:
            choices = tuple(_page(db, number).title for number in numbers)
            return 0, Passage(spelled["name"], may_be(spelled["name"], choices), score, choices=choices)
        if numbers:
            return numbers[0], replace(_page(db, numbers[0], score=score), via=rows[0][1])
    return None


def _page(db: sqlite3.Connection, number: int, asked: frozenset[str] = frozenset(), score: float = 0.0) -> Passage:
    """Return a page; where only a redirect has the words that were asked for, it is named."""
    title, text = db.execute("SELECT title, text FROM pages WHERE id = ?", (number,)).fetchone()
    rows: list[Any] = db.execute("SELECT title FROM choices WHERE page = ? ORDER BY place", (number,)).fetchall()
    via = ""
    if asked and asked.isdisjoint(words_of(title)):
        shared = [(len(asked & set(words_of(name))), name) for name in _redirects(db, number)]
        most, best = max(shared, key=lambda pair: pair[0], default=(0, ""))
        via = best if most else ""
    return Passage(title, text, score, via, tuple(choice for (choice,) in rows))


def _redirects(db: sqlite3.Connection, number: int) -> tuple[str, ...]:
    return tuple(n for (n,) in db.execute("SELECT name FROM redirects WHERE page = ? ORDER BY name", (number,)))
