"""The same corpus, ranked in memory by bm25s: for millions of abstracts, where FTS5 takes seconds a query.

Law: same documents, same words (FTS5's own porter stems, titles and redirects counting twice), same ties, same `open`
and the page whose title the query spells first. What differs: any word may match; stop words find only names and texts
that have no others; k1 = 1.5 (bm25s' default); and how a title's words count towards a page's length. The index is kept
beside the corpus file, in FILE.bm25, and is made anew when the corpus is another.

Lù 2024, "BM25S: Orders of magnitude faster lexical search via eager sparse scoring", arXiv:2407.03618.
"""

import json
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from thinktwice.errors import ConfigError, DataError
from thinktwice.tools import Passage
from thinktwice.tools.corpus import SPELLED, TOKENIZER, Corpus, open_local
from thinktwice.tools.words import STOP_WORDS, all_words, query_words

VERSION = 1
"""Of how documents become words; another one, another index."""
TITLE_COUNTS = 2
MANIFEST = "thinktwice.json"


def open_bm25(source: str | Path) -> "Bm25":
    """Open a corpus file, or a wiki world, for ranking by bm25s; the first time, the index is made.

    Raises:
        ConfigError: bm25s is not installed.
        DataError: there is no such corpus, or it is damaged.
    """
    found = Bm25(open_local(source))
    _ = found._index  # so that a long first time is not in the first search
    return found


@dataclass(frozen=True)
class Bm25:
    """A `Retriever` that holds the index of one corpus. Threads may share it; a pickle opens the index again."""

    pages: Corpus
    _guard: Any = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    def __reduce__(self) -> tuple[type["Bm25"], tuple[Corpus]]:
        return Bm25, (self.pages,)

    @property
    def corpus(self) -> str:
        """Hash of what is searched: that of the corpus file."""
        return self.pages.corpus

    def search(self, query: str, k: int = 3) -> tuple[Passage, ...]:
        """Return at most k pages that have a word of the query, the best first."""
        words = query_words(query)
        if not words or k < 1:
            return ()
        spelled = self.pages.open(query)
        found = {} if spelled is None else {spelled.title: replace(spelled, score=SPELLED)}
        for number, score in self._ranked(words, k + len(found)):
            passage = self.pages.page(number, query, score)
            found.setdefault(passage.title, passage)
        return tuple(found.values())[:k]

    def open(self, title: str) -> Passage | None:
        """Return the page a title or redirect names."""
        return self.pages.open(title)

    def _ranked(self, words: Sequence[str], k: int) -> list[tuple[int, float]]:
        """Return (page, score) of the k best pages; of equal ones those first whose titles are."""
        vocabulary = self._index.vocab_dict
        known = sorted({vocabulary[stem] for stem in map(_stem, words) if stem in vocabulary})
        if not known:
            return []
        scores: np.ndarray[Any, np.dtype[np.float32]] = self._index.get_scores(known)
        few = min(k, len(scores))
        least = max(np.partition(scores, -few)[-few], np.float32(1e-9))
        able = np.flatnonzero(scores >= least)
        best = able[np.argsort(-scores[able], kind="stable")][:few]
        return [(int(place) + 1, float(scores[place])) for place in best]

    @cached_property
    def _index(self) -> Any:
        with self._guard:
            bm25s = _package()
            if isinstance(self.pages.source, bytes):
                return _made(bm25s, self.pages)
            place = self.pages.source.with_name(f"{self.pages.source.name}.bm25")
            wanted = {"corpus": self.corpus, "version": VERSION, "bm25s": bm25s.__version__}
            if _manifest(place) != wanted:
                _save(_made(bm25s, self.pages), place, wanted)
            return bm25s.BM25.load(place, mmap=True, load_corpus=False, show_progress=False)


def _package() -> Any:
    try:
        import bm25s  # type: ignore[import-untyped]
    except ImportError:
        raise ConfigError("ranking by bm25s needs the bm25s package: pip install 'thinktwice[search]'") from None
    return bm25s


def _made(bm25s: Any, corpus: Corpus) -> Any:
    """Index every page: page number n is document n - 1."""
    numbers: dict[str, int] = {}
    documents = [
        np.array([numbers.setdefault(word, len(numbers)) for word in words], dtype=np.int32)
        for words in _documents(corpus)
    ]
    stems = _Stemmer()(tuple(numbers))
    vocabulary: dict[str, int] = {}
    of_word = np.array([vocabulary.setdefault(stem, len(vocabulary)) for stem in stems], dtype=np.int32)
    index = bm25s.BM25()
    ids = [of_word[document] for document in documents]
    index.index((ids, vocabulary), show_progress=False)
    return index


def _documents(corpus: Corpus) -> Iterator[list[str]]:
    for _, title, text, redirects in corpus.pages():
        heading = [word for name in (title, *redirects) for word in _counted(name)]
        yield heading * TITLE_COUNTS + _counted(text)


def _counted(text: str) -> list[str]:
    return [word for word in all_words(text) if word not in STOP_WORDS] or all_words(text)


def _manifest(place: Path) -> object:
    try:
        return json.loads((place / MANIFEST).read_text())
    except (OSError, ValueError):
        return None


def _save(index: Any, place: Path, manifest: dict[str, object]) -> None:
    """Put an index in its place, whole; of two processes that made it, the last one's stays, and it is the same."""
    try:
        fresh = Path(tempfile.mkdtemp(prefix=f".{place.name}.building-", dir=place.parent))
        try:
            index.save(fresh, show_progress=False)
            (fresh / MANIFEST).write_text(json.dumps(manifest))
            fresh.chmod(0o755)
            shutil.rmtree(place, ignore_errors=True)
            fresh.replace(place)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"cannot keep the index in {place}: {error.strerror or error}. Put the corpus where one may write."
        ) from None


class _Stemmer:
    """FTS5's own stemmer, through a table in memory."""

    def __init__(self) -> None:
        self._db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._db.executescript(
            f"CREATE VIRTUAL TABLE words USING fts5(word, content = '', tokenize = '{TOKENIZER}');"
            "CREATE VIRTUAL TABLE terms USING fts5vocab(words, instance);"
        )

    def __del__(self) -> None:
        self._db.close()

    def __call__(self, words: Sequence[str]) -> list[str]:
        """Return the stem of each word; one that SQLite sees as several has theirs, joined."""
        self._db.execute("BEGIN")
        self._db.executemany("INSERT INTO words(rowid, word) VALUES (?, ?)", enumerate(words))
        stems: dict[int, list[str]] = {}
        for place, term in self._db.execute("SELECT doc, term FROM terms ORDER BY doc, offset"):
            stems.setdefault(place, []).append(term)
        self._db.execute("ROLLBACK")
        return [" ".join(stems.get(place, [word])) for place, word in enumerate(words)]


_stemmers = threading.local()


@lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    mine: dict[int, _Stemmer] = _stemmers.__dict__.setdefault("of_process", {})
    if os.getpid() not in mine:
        mine[os.getpid()] = _Stemmer()
    return mine[os.getpid()]([word])[0]
