"""Documents to a corpus. Law: the same documents in any order give the same corpus, with the same hash.

A title that comes twice is one page: with the longer text where the texts differ, which is counted, and with the
redirects and choices of both. A redirect leads to a page however many redirects stand between; one that leads nowhere
or in a circle is left out and counted; one that is a page's own title gives way to the page.
"""

import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from thinktwice.errors import ConfigError, DataError
from thinktwice.tasks.worlds.wiki import Encyclopedia
from thinktwice.tools.corpus import APPLICATION, FORMAT, TOKENIZER, Corpus
from thinktwice.tools.documents import Document, world_documents
from thinktwice.tools.words import clean, fold, may_be

Tell = Callable[[str, int], None]
"""Told (what is done: "read" or "indexed", how many documents so far), every thousand documents and at the end."""

EVERY = 1000

_STAGING = """
CREATE TABLE staging.pages(title TEXT, text TEXT);
CREATE TABLE staging.redirects(name TEXT, target TEXT, PRIMARY KEY (name, target)) WITHOUT ROWID;
CREATE TABLE staging.choices(title TEXT, choice TEXT, PRIMARY KEY (title, choice)) WITHOUT ROWID;
"""
_TABLES = f"""
CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE pages(id INTEGER PRIMARY KEY, title TEXT NOT NULL UNIQUE, key TEXT NOT NULL, text TEXT NOT NULL);
CREATE TABLE redirects(
    name TEXT NOT NULL, page INTEGER NOT NULL, key TEXT NOT NULL, PRIMARY KEY (name, page)) WITHOUT ROWID;
CREATE TABLE choices(page INTEGER NOT NULL, place INTEGER NOT NULL, title TEXT NOT NULL,
    PRIMARY KEY (page, place)) WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5(
    title, names, text, content = '', tokenize = '{TOKENIZER}');
"""


@dataclass(frozen=True, slots=True)
class Built:
    """What became of the documents."""

    corpus: str
    """Hash of the corpus."""
    documents: int
    redirects: int
    disambiguations: int
    repeated: int
    """Documents that said what another one of their title had said."""
    differing: int
    """Documents left out since another one of their title had more text."""
    lost: int
    """Redirects and choices that lead to no page, in a circle, or that are a page's own title."""

    def __str__(self) -> str:
        parts = [f"{self.documents:,} pages"]
        parts += [f"{self.redirects:,} redirects"] if self.redirects else []
        parts += [f"{self.disambiguations:,} disambiguation pages"] if self.disambiguations else []
        parts += [f"{self.repeated:,} repeated documents merged"] if self.repeated else []
        parts += [f"{self.differing:,} of a known title but another text left out"] if self.differing else []
        parts += [f"{self.lost:,} redirects or choices that lead to no page left out"] if self.lost else []
        return "; ".join(parts)


def build(
    documents: Iterable[Document], path: Path, source: str, *, force: bool = False, tell: Tell | None = None
) -> Built:
    """Write a corpus file, whole or not at all. Memory stays bounded, however many documents there are.

    Args:
        documents: read once.
        path: where the corpus goes; beside it about twice its size is used for a while.
        source: what the documents are, in words; kept in the corpus.
        force: replace a file that is there.
        tell: told how far it is.

    Raises:
        ConfigError: the file is there, and `force` is not set.
        DataError: there is no document, or the file cannot be written.
    """
    _refuse(path, force)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f".{path.name}.building-", dir=path.parent))
    except OSError as error:
        raise DataError(f"cannot write {path}: {error.strerror or error}.") from None
    try:
        made = place / "corpus"
        db = sqlite3.connect(made, isolation_level=None)
        try:
            built = _write(db, str(place / "staging"), documents, source, tell)
        finally:
            db.close()
        with made.open("rb") as file:
            os.fsync(file.fileno())
        _refuse(path, force)
        made.replace(path)
    except sqlite3.OperationalError as error:  # the disk is full, or gone
        raise DataError(f"cannot write {path}: {error}.") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return built


def _refuse(path: Path, force: bool) -> None:
    if path.is_dir() or (path.exists() and not force):
        told = "is a directory; name a file" if path.is_dir() else "is there already; replace it with --force"
        raise ConfigError(f"{path} {told}.")


def corpus_of(documents: Iterable[Document], source: str) -> Corpus:
    """Build a small corpus in memory; it can be pickled and shared like a file's."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    try:
        _write(db, ":memory:", documents, source, None)
        return Corpus(db.serialize())
    finally:
        db.close()


def world_corpus(encyclopedia: Encyclopedia) -> Corpus:
    """Return the corpus of one `wiki` world: a page for everyone and every place, and one for each family name."""
    return corpus_of(world_documents(encyclopedia), world_source(encyclopedia))


def world_source(encyclopedia: Encyclopedia) -> str:
    """Say in words which world it is."""
    return f"wiki world, seed {encyclopedia.seed}, {encyclopedia.people} people"


def _write(
    db: sqlite3.Connection, staging: str, documents: Iterable[Document], source: str, tell: Tell | None
) -> Built:
    """Fill an empty database. Every table is written in sorted order, so what it holds depends on nothing else."""
    db.execute("ATTACH ? AS staging", (staging,))
    for schema in ("main", "staging"):
        db.execute(f"PRAGMA {schema}.journal_mode = OFF")
        db.execute(f"PRAGMA {schema}.synchronous = OFF")
    db.create_function("fold", 1, fold, deterministic=True)
    db.executescript(_STAGING + _TABLES)
    db.execute("BEGIN")
    read = _stage(db, documents, tell)
    if not read:
        raise DataError(f"{source} has no document to search.")
    repeated, differing = _fill_pages(db)
    lost = _fill_redirects(db) + _fill_choices(db)
    _index(db, tell)
    meta = _describe(db, source)
    db.execute("COMMIT")
    db.execute("DETACH staging")
    db.execute(f"PRAGMA application_id = {APPLICATION}")
    db.execute(f"PRAGMA user_version = {FORMAT}")
    pages, redirects, ambiguous = (int(meta[name]) for name in ("documents", "redirects", "disambiguations"))
    return Built(meta["corpus"], pages, redirects, ambiguous, repeated, differing, lost)


def _stage(db: sqlite3.Connection, documents: Iterable[Document], tell: Tell | None) -> int:
    read = 0
    for document in documents:
        title = clean(document.title)
        if not fold(title):
            continue
        if document.redirect:
            _stage_redirects(db, [title], clean(document.redirect))
        else:
            text = document.text.encode("utf-8", "ignore").decode().strip()
            choices = sorted({clean(choice) for choice in document.choices})
            if choices and not text:
                text = may_be(title, choices)
            db.execute("INSERT INTO staging.pages VALUES (?, ?)", (title, text))
            _stage_redirects(db, (clean(name) for name in document.redirects), title)
            db.executemany("INSERT OR IGNORE INTO staging.choices VALUES (?, ?)", ((title, c) for c in choices))
        read += 1
        if tell and read % EVERY == 0:
            tell("read", read)
    if tell:
        tell("read", read)
    return read


def _stage_redirects(db: sqlite3.Connection, names: Iterable[str], target: str) -> None:
    rows = ((name, target) for name in names if fold(name) and name != target)
    db.executemany("INSERT OR IGNORE INTO staging.redirects VALUES (?, ?)", rows)


def _fill_pages(db: sqlite3.Connection) -> tuple[int, int]:
    """Number the pages in the order of titles; return how many documents were left out as repeated, as differing."""
    last: tuple[str, str] | None = None
    number = repeated = differing = 0
    for title, text in db.execute("SELECT title, text FROM staging.pages ORDER BY title, length(text) DESC, text"):
        before, last = last, (title, text)
        if before and before[0] == title:  # equal texts are neighbours, the longest come first
            repeated, differing = repeated + (text == before[1]), differing + (text != before[1])
            continue
        number += 1
        db.execute("INSERT INTO pages VALUES (?, ?, ?, ?)", (number, title, fold(title), text))
    db.execute("DELETE FROM staging.pages")
    db.execute("CREATE INDEX pages_by_key ON pages(key)")
    return repeated, differing


def _fill_redirects(db: sqlite3.Connection) -> int:
    """Follow every redirect to its page; return how many were left out. A circle never gets there."""
    db.execute("CREATE TABLE staging.found(name TEXT, page INTEGER, PRIMARY KEY (name, page)) WITHOUT ROWID")
    free = "r.name NOT IN (SELECT title FROM main.pages)"
    step = f"JOIN main.pages p ON p.title = r.target WHERE {free}"
    page = "p.id"
    while db.execute(
        f"INSERT OR IGNORE INTO staging.found SELECT r.name, {page} FROM staging.redirects r {step}"
    ).rowcount:
        step, page = f"JOIN staging.found f ON f.name = r.target WHERE {free}", "f.page"
    db.execute("INSERT INTO redirects SELECT name, page, fold(name) FROM staging.found ORDER BY name, page")
    db.execute("CREATE INDEX redirects_by_key ON redirects(key)")
    db.execute("CREATE INDEX redirects_by_page ON redirects(page)")
    (lost,) = db.execute(
        "SELECT count(*) FROM (SELECT DISTINCT name FROM staging.redirects "
        "EXCEPT SELECT DISTINCT name FROM staging.found)"
    ).fetchone()
    return int(lost)


def _fill_choices(db: sqlite3.Connection) -> int:
    """Keep the choices that are pages or redirects to one; return how many were left out."""
    leads = "(SELECT title FROM main.pages UNION SELECT name FROM main.redirects)"
    db.execute(
        "INSERT INTO choices SELECT p.id, row_number() OVER (PARTITION BY c.title ORDER BY c.choice) - 1, c.choice "
        f"FROM staging.choices c JOIN main.pages p ON p.title = c.title WHERE c.choice IN {leads} ORDER BY 1, 2"
    )
    (asked,), (kept,) = (
        db.execute(f"SELECT count(*) FROM {t}").fetchone() for t in ("staging.choices", "main.choices")
    )
    return int(asked) - int(kept)


def _index(db: sqlite3.Connection, tell: Tell | None) -> None:
    (documents,) = db.execute("SELECT count(*) FROM main.pages").fetchone()
    names = "SELECT group_concat(name, ' ') FROM (SELECT name FROM redirects WHERE page = p.id ORDER BY name)"
    for start in range(0, documents, EVERY):
        db.execute(
            f"INSERT INTO words(rowid, title, names, text) SELECT id, title, ({names}), text FROM main.pages p "
            "WHERE id > ? AND id <= ? ORDER BY id",
            (start, start + EVERY),
        )
        if tell:
            tell("indexed", min(start + EVERY, documents))
    db.execute("INSERT INTO words(words) VALUES ('optimize')")


def _describe(db: sqlite3.Connection, source: str) -> dict[str, str]:
    tables = {"documents": "pages", "redirects": "redirects"}
    meta = {name: str(db.execute(f"SELECT count(*) FROM main.{table}").fetchone()[0]) for name, table in tables.items()}
    meta["disambiguations"] = str(db.execute("SELECT count(DISTINCT page) FROM main.choices").fetchone()[0])
    meta["characters"] = str(db.execute("SELECT sum(length(text)) FROM main.pages").fetchone()[0])
    meta |= {"corpus": digest(db), "source": source}
    db.executemany("INSERT INTO meta VALUES (?, ?)", sorted(meta.items()))
    return meta


def digest(db: sqlite3.Connection) -> str:
    """Return the sha256 over [title, text, redirects, choices] of every page as JSON, a line each, sorted by title."""
    found = hashlib.sha256()
    for row in _lines(db):
        found.update(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
    return found.hexdigest()


def _lines(db: sqlite3.Connection) -> Iterator[tuple[str, str, list[str], list[str]]]:
    for number, title, text in db.execute("SELECT id, title, text FROM main.pages ORDER BY id"):
        redirects = [n for (n,) in db.execute("SELECT name FROM redirects WHERE page = ? ORDER BY name", (number,))]
        choices = [c for (c,) in db.execute("SELECT title FROM choices WHERE page = ? ORDER BY place", (number,))]
        yield title, text, redirects, choices
