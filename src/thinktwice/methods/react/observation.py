"""What a model is shown of what its action found. Laws: the same call gives the same text; a budget is never exceeded.

A call is carried out once a run, whoever makes it. Long pages are cut after whole sentences, and say so.
"""

import re
import threading
from bisect import bisect_right
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

from thinktwice.errors import ThinkTwiceError
from thinktwice.methods.react.episode import OPEN, SEARCH
from thinktwice.render import Render
from thinktwice.tools import Passage, Retriever

ERROR = "Error: "
"""How an observation begins that says why an action was not carried out."""
CUT = " (cut)"
"""Says that a page is longer than what is shown of it."""
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


@dataclass(frozen=True, slots=True)
class Found:
    """What a call brought."""

    passages: tuple[Passage, ...] = ()
    message: str = ""
    """Said instead, where there are none."""


class Desk:
    """Carries calls out on a retriever, each of them once."""

    def __init__(self, retriever: Retriever, k: int, pool: ThreadPoolExecutor | None = None) -> None:
        """Take a retriever, how many passages a search shows, and, for slow tools, who calls it meanwhile."""
        self._retriever, self._k, self._pool = retriever, k, pool
        self._known: dict[tuple[str, str], Future[Found]] = {}
        self._lock = threading.Lock()

    def call(self, tool: str, argument: str) -> "Future[Found]":
        """Search or open; the result is there at once unless a pool works on it. A failed call is made anew."""
        key = (tool, argument)
        with self._lock:
            known = self._known.get(key)
            if known is not None and not (known.done() and (known.cancelled() or known.exception())):
                return known
            if self._pool is not None:
                known = self._known[key] = self._pool.submit(self._carry_out, tool, argument)
                return known
            known = self._known[key] = Future()
        try:
            known.set_result(self._carry_out(tool, argument))
        except (ThinkTwiceError, OSError) as error:  # what else there is, is a programmer's error
            known.set_exception(error)
        return known

    def _carry_out(self, tool: str, argument: str) -> Found:
        if tool == SEARCH:
            found = tuple(self._retriever.search(argument, self._k))
            return Found(found, "" if found else f"Nothing was found for {argument!r}.")
        assert tool == OPEN
        page = self._retriever.open(argument)
        if page is not None:
            return Found((page,))
        near = ", ".join(passage.title for passage in self._retriever.search(argument, self._k))
        return Found((), f"There is no page {argument!r}." + (f" There is: {near}." if near else ""))


def then(result: "Future[Found]", do: Callable[[Found], tuple[int, ...]]) -> "Future[tuple[int, ...]]":
    """Return the future of what is done with a result."""
    made: Future[tuple[int, ...]] = Future()

    def finish(done: "Future[Found]") -> None:
        try:
            made.set_result(do(done.result()))
        except Exception as error:
            made.set_exception(error)

    result.add_done_callback(finish)
    return made


Count = Callable[[str], int]
"""How many tokens a text has."""


def counter(render: Render) -> Count:
    """Return a count that remembers: pages are met, and cut at the same places, again and again."""
    return lru_cache(1 << 16)(lambda text: len(render.encode(text)))


def show(
    found: Found, budget: int, render: Render, note: str = "", count: Count | None = None
) -> tuple[str, tuple[str, ...]]:
    """Return the text of an observation within `budget` tokens, and the titles of the pages it shows something of.

    A page's text follows its title, unless it begins with it. Where all is too long each page gets a fair share, and
    what one does not need goes to those after it.
    """
    count = count or counter(render)
    first = [note] if note else []
    if not found.passages:
        return _clip("\n".join([*first, found.message]), budget, render), ()
    paragraphs = [(passage.title, _paragraph(passage)) for passage in found.passages]
    whole = "\n".join([*first, *(text for _, text in paragraphs)])
    if count(whole) <= budget:
        return whole, tuple(title for title, _ in paragraphs)
    lines, titles = first, list[str]()
    spared = budget - count(CUT)  # since a page that has no room at all must be told of too
    for index, (title, text) in enumerate(paragraphs):
        room = (spared - count("\n".join([*lines, ""]))) // (len(paragraphs) - index)
        line = text if count(text) <= room else _sentences(text, room, render, count)
        if line and count("\n".join([*lines, line])) <= spared:
            lines.append(line)
            titles.append(title)
    text = "\n".join(lines)
    text = text if CUT in text else text + CUT
    return (text if count(text) <= budget else _clip(text, budget, render)), tuple(titles)


def _paragraph(passage: Passage) -> str:
    text = passage.text.strip()
    return text if text.startswith(passage.title) else f"{passage.title}: {text}".rstrip(": ")


def _sentences(text: str, room: int, render: Render, count: Count) -> str:
    """Return as many whole sentences as there is room for with the mark, or the beginning of the first."""
    ends = [found.start() for found in _SENTENCE.finditer(text)]
    fitting = bisect_right(ends, room, key=lambda end: count(text[:end] + CUT))
    if fitting:
        return text[: ends[fitting - 1]] + CUT
    return _clip(text[: ends[0]] if ends else text, room, render, CUT)


def _clip(text: str, room: int, render: Render, mark: str = "") -> str:
    """Return the beginning of a text that fits with a mark; empty where there is no room for anything."""
    ids = render.encode(text)
    if not mark and len(ids) <= room:
        return text
    mark = mark or CUT
    keep = min(len(ids), room - len(render.encode(mark)))
    while keep > 0:
        clipped = render.text(ids[:keep]).rstrip("\ufffd").rstrip() + mark
        if len(render.encode(clipped)) <= room:
            return clipped
        keep -= 1
    return ""
