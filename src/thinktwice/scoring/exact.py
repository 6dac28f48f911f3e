"""Exact match of short text answers, up to what SQuAD's official script ignores."""

import re
import string

from thinktwice.types import Score

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Return `text` in lower case without ASCII punctuation, English articles and extra spaces (SQuAD's rule)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def score(reply: str, reference: str) -> Score:
    """Judge a whole reply: 1.0 when it is the reference after `normalise`, else 0.0. Law: pure.

    Example:
        >>> score("The  Eiffel Tower.", "eiffel tower").value
        1.0
    """
    found, expected = normalise(reply), normalise(reference)
    same = found == expected
    return Score(float(same), found, f"said {found!r}" if same else f"said {found!r}; expected {expected!r}")
