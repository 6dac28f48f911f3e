"""What a title and a query are compared by. Law: any text gives words that are safe in a query, and never an error."""

import re
import unicodedata
from collections.abc import Sequence

MOST_WORDS = 64
"""Words of a query that count, the first ones; a model may write a page of nonsense where a query belongs."""
_STOP = (
    "a an and are as at be been but by did do does for from had has have he her him his how in is it its of on or she "
    "that the their them they this to was were what when where which who whom whose why will with"
)
STOP_WORDS = frozenset(_STOP.split())
"""Words that find nothing because every page has them; they count only where a query has no others ("The Who")."""

_WORD = re.compile(r"[^\W_]+")
_ABOVE_AND_BELOW = range(200, 241)
"""Unicode combining classes of accents: what unicode61 leaves out of Latin letters, too."""


def fold(title: str) -> str:
    """Return what titles are compared by: case, accents, underscores and runs of white space do not count."""
    text = clean(title).casefold()
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKD", text)
    bare = "".join(c for c in text if unicodedata.combining(c) not in _ABOVE_AND_BELOW)
    return " ".join(unicodedata.normalize("NFKC", bare).split())


def clean(title: str) -> str:
    """Return a title on one line, as it is stored: underscores are spaces, and nothing is left that is no text."""
    text = title.encode("utf-8", "ignore").decode().replace("\0", " ").replace("_", " ")
    return " ".join(text.split())


def words_of(text: str) -> tuple[str, ...]:
    """Return the different words of a text in order."""
    return tuple(dict.fromkeys(all_words(text)))


def all_words(text: str) -> list[str]:
    """Return every word of a text, as often as it stands there: letters and digits only, in lower case."""
    return _WORD.findall(unicodedata.normalize("NFC", text).casefold())


def query_words(query: str) -> tuple[str, ...]:
    """Return the words of a query that count: without stop words unless there are no others, at most 64."""
    words = words_of(query)
    return (tuple(word for word in words if word not in STOP_WORDS) or words)[:MOST_WORDS]


def may_be(name: str, choices: Sequence[str]) -> str:
    """Return the text of a disambiguation page."""
    return f"{name} may be: {', '.join(choices)}."
