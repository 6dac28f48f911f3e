"""Live Wikipedia, or any MediaWiki: opt-in, one request at a time, with a contact in its User-Agent.

Law: what the wiki says is data. Nothing found is empty; an error of the API or a page of HTML in place of an answer is
asked again where that may help, as long as the server asks, and is one sentence where it does not. Pages change: a
result that is to be repeated is recorded on a cassette and replayed.

    >>> wiki = MediaWiki("ada@example.org", cassette=Cassette(Path("wiki.jsonl"), "record"))
    >>> wiki.search("Arthur's Magazine", k=3)

https://www.mediawiki.org/wiki/API:Etiquette asks for serial requests, `maxlag`, and a User-Agent that names a contact.
"""

import json
import re
import threading
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from thinktwice.errors import ConfigError, EngineError
from thinktwice.retry import retry_after
from thinktwice.tools import Passage
from thinktwice.tools.cassette import Cassette
from thinktwice.tools.web import Passing, Patience, Reply, address_of, ask
from thinktwice.tools.words import clean, fold

WIKIPEDIA = "https://en.wikipedia.org/w/api.php"
LONGEST_QUERY = 300
"""Characters that CirrusSearch takes."""
MOST_EXTRACTS = 20
"""Introductions in one answer; so many results at most."""
MAX_LAG_S = 5
_PARTS = 10
"""Continuations that are followed."""
_PASSING = frozenset({"maxlag", "ratelimited", "readonly", "internal_api_error_DBQueryError", "search-error"})
_NO_TITLE = frozenset("<>[]{}|#\x1f")
_SYNTAX = re.compile(r'[:"*?~/\\|!]|(?<!\w)[-+]')
"""What CirrusSearch reads as more than words: a model's query must not become an expensive expression."""

_guards: dict[str, threading.Lock] = {}


@dataclass(frozen=True)
class MediaWiki:
    """A `Retriever` over a wiki's own search. What it raises: EngineError when the wiki does not answer."""

    contact: str
    """An e-mail or web address of yours, which the wiki's operators may write to. Kept nowhere."""
    address: str = WIKIPEDIA
    """Of api.php."""
    cassette: Cassette | None = None
    """Where answers are recorded and replayed; None: every question goes to the wiki."""
    introduction: bool = True
    """Only what stands above a page's first heading; else the whole page when it is opened."""
    patience: Patience = field(default_factory=Patience)

    def __post_init__(self) -> None:
        if not self.contact.isascii() or not self.contact.isprintable() or not set("@/") & set(self.contact):
            raise ConfigError(
                f"contact={self.contact!r}: the wiki's operators want an e-mail or web address they can write to."
            )
        address_of(self.address)

    @property
    def corpus(self) -> str:
        """Which web it was: the hash of the cassette that is replayed; else the wiki's name, for the web has none."""
        if self.cassette is not None and self.cassette.mode == "replay":
            return self.cassette.digest
        return f"live {urllib.parse.urlsplit(self.address).hostname}"

    def search(self, query: str, k: int = 3) -> tuple[Passage, ...]:
        """Return at most k (and 20) pages with their introductions, in the wiki's order."""
        words = " ".join(_SYNTAX.sub(" ", clean(query)).split())[:LONGEST_QUERY].strip()
        if not words or k < 1:
            return ()
        count = str(min(k, MOST_EXTRACTS))
        pages, vias = self._pages(
            {"generator": "search", "gsrsearch": words, "gsrnamespace": "0", "gsrlimit": count} | self._extracts(True)
        )
        ordered = sorted(pages, key=lambda page: page.get("index", 0))
        return tuple(
            self._passage(page, vias, 1.0 / place) for place, page in enumerate(ordered, 1) if "missing" not in page
        )

    def open(self, title: str) -> Passage | None:
        """Return the page of a title; redirects are followed."""
        name = clean(title)
        if not name or _NO_TITLE & set(name) or len(name.encode()) > 255:
            return None
        pages, vias = self._pages({"titles": name} | self._extracts(self.introduction))
        page = next((p for p in pages if not {"missing", "invalid", "special"} & set(p) and "title" in p), None)
        return None if page is None else self._passage(page, vias, 0.0)

    def _extracts(self, introduction: bool) -> dict[str, str]:
        asked = {"prop": "extracts|pageprops", "ppprop": "disambiguation", "redirects": "1", "explaintext": "1"}
        return asked | ({"exintro": "1", "exlimit": "max"} if introduction else {"exlimit": "1"})

    def _passage(self, page: Mapping[str, Any], vias: Mapping[str, str], score: float) -> Passage:
        title, text = str(page["title"]), str(page.get("extract") or "").strip()
        choices: tuple[str, ...] = ()
        if "disambiguation" in (page.get("pageprops") or {}):
            links, _ = self._pages({"titles": title, "prop": "links", "plnamespace": "0", "pllimit": "max"})
            choices = tuple(str(link["title"]) for found in links for link in found.get("links") or ())
        return Passage(title, text, score, vias.get(title, ""), choices)

    def _pages(self, asked: Mapping[str, str]) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """Return (pages, {title: the redirect that led there}) of all parts of an answer."""
        pages: dict[str, dict[str, Any]] = {}
        vias: dict[str, str] = {}
        more: Mapping[str, str] = {}
        for _ in range(_PARTS):
            answer = self._answer({"action": "query", "format": "json", "formatversion": "2", **asked, **more})
            query = answer.get("query") or {}
            for page in query.get("pages") or ():
                known = pages.setdefault(str(page.get("title")), {})
                known["links"] = [*known.get("links", ()), *page.get("links", ())]
                known |= {name: value for name, value in page.items() if name != "links"}
            vias |= {str(r["to"]): str(r["from"]) for r in query.get("redirects") or ()}
            more = {name: str(value) for name, value in (answer.get("continue") or {}).items()}
            if not more:
                break
        return list(pages.values()), {to: via for to, via in vias.items() if fold(to) != fold(via)}

    def _answer(self, asked: Mapping[str, str]) -> Mapping[str, Any]:
        if self.cassette is None:
            return self._ask(asked)
        found: Mapping[str, Any] = self.cassette.answer({"address": self.address, **asked}, lambda: self._ask(asked))
        return found

    def _ask(self, asked: Mapping[str, str]) -> Mapping[str, Any]:
        """Ask the wiki, after whoever is asking it now."""
        from thinktwice import __version__

        address = f"{self.address}?{urllib.parse.urlencode({**asked, 'maxlag': str(MAX_LAG_S)})}"
        agent = f"thinktwice/{__version__} ({self.contact}) Python-urllib"
        request = urllib.request.Request(address, headers={"User-Agent": agent, "Accept": "application/json"})
        with _guards.setdefault(self.address, threading.Lock()):
            return ask(request, self._read, self.patience, cure="Is the address that of an api.php?")

    def _read(self, reply: Reply) -> Mapping[str, Any]:
        answer = reply.json()
        if not isinstance(answer, dict):
            raise Passing(f"an answer that is no object but {json.dumps(answer)[:80]}")
        error = answer.get("error")
        if error is None:
            return answer
        code, told = (str(error.get(name, "")) for name in ("code", "info")) if isinstance(error, dict) else ("", "")
        if code in _PASSING or code.startswith("internal_api_error"):
            raise Passing(f"{code}: {told[:200]}", retry_after(reply.headers, self.patience.now()))
        raise EngineError(f"{self.address} refused: {code}: {told[:200]}")
