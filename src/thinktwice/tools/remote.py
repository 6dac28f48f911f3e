r"""A corpus on another machine, in the wire format of Search-R1's search server. Law: what its corpus finds, we find.

    POST /retrieve {"queries": ["..."], "topk": 3, "return_scores": true}
    {"result": [[{"document": {"id": "Ida Marshby", "contents": "\"Ida Marshby\"\nIda ..."}, "score": 9.3}, ...]]}

One list a query, best first; `contents` is the title in quotes, a line break, the text. Search-R1's own server
(search/retrieval_server.py: BM25, E5 over FAISS, ...) answers the same, so either may be asked. Ours (`serving`) puts
`via` and `choices` in a document that has them, answers GET /health with the corpus' hash and size, and POST /open
{"title": "..."} with {"document": ... or null}. Where a server knows no /open, a page is opened by searching its title.
"""

import json
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from thinktwice.errors import EngineError
from thinktwice.tools import Passage
from thinktwice.tools.web import Passing, Patience, Refused, Reply, address_of, ask
from thinktwice.tools.words import clean, fold

MOST_QUERIES = 256
"""In one request; more are sent in several."""
_UNKNOWN = (404, 405)
_TITLES_TRIED = 10
"""Results among which a page is looked for where a server cannot open one."""

Read = TypeVar("Read")


def document_of(passage: Passage) -> dict[str, Any]:
    """Return a passage as Search-R1's servers write it."""
    document: dict[str, Any] = {"id": passage.title, "contents": f'"{passage.title}"\n{passage.text}'}
    if passage.via:
        document["via"] = passage.via
    if passage.choices:
        document["choices"] = list(passage.choices)
    return document


def passage_of(result: Any) -> Passage:
    """Read one result, with or without a score.

    Raises:
        ValueError: it is no result.
    """
    if not isinstance(result, Mapping):
        raise ValueError("a result is no object")
    document = result.get("document", result)
    contents = document.get("contents") if isinstance(document, Mapping) else None
    if not isinstance(contents, str):
        raise ValueError("a result has no document with contents")
    title, _, text = contents.partition("\n")
    if len(title) > 1 and title[0] == title[-1] == '"':
        title = title[1:-1]
    choices = document.get("choices") or ()
    return Passage(title, text, float(result.get("score") or 0.0), str(document.get("via") or ""), tuple(choices))


@dataclass(frozen=True)
class Remote:
    """A `Retriever` that asks a server. May be shared by threads, pickled and forked: it holds no connection.

        >>> Remote("http://127.0.0.1:8000").search("teacher of Ida Marshby")

    Raises ConfigError for what is no address. Every question raises EngineError when the server stays silent.
    """

    address: str
    name: str = ""
    """What the corpus is called in traces where the server does not say; empty: by the server's address."""
    patience: Patience = field(default_factory=Patience)
    _known: dict[str, str] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        address_of(self.address)

    def __reduce__(self) -> tuple[type["Remote"], tuple[str, str, Patience]]:
        return Remote, (self.address, self.name, self.patience)

    @property
    def corpus(self) -> str:
        """The hash that the server names, else `name`, else the server's address."""
        if "corpus" not in self._known:
            health = self._health()
            told = health.get("corpus") if isinstance(health, Mapping) else None
            self._known["corpus"] = told if isinstance(told, str) and told else self.name or f"at {self._home}"
        return self._known["corpus"]

    def search(self, query: str, k: int = 3) -> tuple[Passage, ...]:
        """Return at most k pages, the best first."""
        return self.search_all([query], k)[0]

    def search_all(self, queries: Sequence[str], k: int = 3) -> list[tuple[Passage, ...]]:
        """Search for many things in one request; one result a query, in their order."""
        if k < 1:
            return [()] * len(queries)
        found: list[tuple[Passage, ...]] = []
        for start in range(0, len(queries), MOST_QUERIES):
            part = [_sendable(query) for query in queries[start : start + MOST_QUERIES]]
            results = self._post("/retrieve", {"queries": part, "topk": k, "return_scores": True}, _results)
            if len(results) != len(part):
                raise EngineError(
                    f"{self._home} answered {len(results)} of {len(part)} queries; is it a search server?"
                )
            found += (passages[:k] for passages in results)
        return found

    def open(self, title: str) -> Passage | None:
        """Return the page of a title or redirect; None when there is none."""
        if "no /open" not in self._known:
            try:
                return self._post("/open", {"title": _sendable(title)}, _opened)
            except Refused as refusal:
                if refusal.status not in _UNKNOWN:
                    raise
            self._known["no /open"] = "it has only /retrieve"
        found = self.search(clean(title), _TITLES_TRIED)
        return next((page for page in found if fold(title) in (fold(page.title), fold(page.via))), None)

    @property
    def _home(self) -> str:
        """The address without /retrieve, with which Search-R1's clients are configured."""
        return address_of(self.address).removesuffix("/retrieve")

    def _health(self) -> Any:
        try:
            return self._ask(urllib.request.Request(f"{self._home}/health"), Reply.json)
        except Refused as refusal:
            if refusal.status not in _UNKNOWN:
                raise
            return None

    def _post(self, path: str, body: Mapping[str, Any], read: Callable[[Reply], Read]) -> Read:
        data = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        return self._ask(urllib.request.Request(self._home + path, data, headers, method="POST"), read)

    def _ask(self, request: urllib.request.Request, read: Callable[[Reply], Read]) -> Read:
        return ask(request, read, self.patience, cure="Start a search server: thinktwice corpus serve FILE")


def _sendable(text: str) -> str:
    """Return a text without what UTF-8 cannot write: half a surrogate pair in what a model wrote."""
    return text.encode("utf-8", "ignore").decode()


def _results(reply: Reply) -> list[tuple[Passage, ...]]:
    value = reply.json()
    try:
        return [tuple(passage_of(result) for result in results) for results in value["result"]]
    except (KeyError, TypeError, ValueError) as error:
        raise Passing(f"not the answer of a search server: {error}") from None


def _opened(reply: Reply) -> Passage | None:
    value = reply.json()
    try:
        return None if value["document"] is None else passage_of(value)
    except (KeyError, TypeError, ValueError) as error:
        raise Passing(f"not the answer of a search server: {error}") from None
