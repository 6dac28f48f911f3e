"""True/false and multiple-choice answers: which option a reply states, and whether it is the reference.

Strict: the last statement counts (`The answer is: X`, `Answer: X`), X must follow at once and be a whole word, and two
options are no answer ("A or B"). A letter somewhere in the text is nothing: "The answer is: Bad luck" does not say B,
"I do not know" does not say I. Case does not matter for words ("true"); a small letter must stand alone.
"""

import re
from collections.abc import Sequence

from thinktwice.scoring.numeric import MAX_STATEMENT
from thinktwice.types import Score

TRUE_FALSE = ("True", "False")
LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")

_MARKER = re.compile(
    r"\b(?:final[ ])?answer[ ]is\b[ ]{0,3}:?|\b(?:final[ ])?answer[ ]{0,3}[:=]|\\boxed(?=\{)", re.IGNORECASE
)
_LEAD = re.compile(r"(?:[\s*_`\"'“‘(\[{$]|\\boxed\{|\\text(?:bf)?\{|\\\(|option\b|choice\b)*", re.IGNORECASE)
_CLOSED = re.compile(r"[^\w\n]*(?:$|\n)")
"""Nothing but marks up to the end of the line."""
_PUNCTUATED = re.compile(r"[*_`}]*\s?[.):,;\]–—-]")
_ANOTHER = re.compile(r"[\s*_`).\]]*(?:\bor\b|\band\b|[/,&|])[\s*_`(\[]*(?:option\s|choice\s)?([A-Za-z]+)\b")
_ARTICLES = ("A", "I")
"""Letters that are English words: "A bank" names no option, "A. bank" and "(A) bank" do."""


def letter(index: int) -> str:
    """Return the name of the option at `index`: A, B, C..."""
    return LETTERS[index]


def _option(line: str, position: int, options: Sequence[str]) -> tuple[str, int] | None:
    """Return the option that stands at `position` as a whole word, and where it ends."""
    word = re.compile(r"[A-Za-z]+").match(line, position)
    if (
        word is None
        or line[word.end() : word.end() + 1] in ("'", "’", "_")
        or line[word.end() : word.end() + 1].isdigit()
    ):
        return None
    said, end = word.group(), word.end()
    if len(said) > 1:
        found = next((option for option in options if option.casefold() == said.casefold()), None)
        return None if found is None else (found, end)
    if said.upper() not in options:
        return None
    if said.islower():
        return (said.upper(), end) if _CLOSED.match(line, end) or line[end : end + 1] == ")" else None
    bracketed = line[position - 1 : position] in ("(", "[") and line[end : end + 1] in (")", "]")
    if said in _ARTICLES and not (bracketed or _CLOSED.match(line, end) or _PUNCTUATED.match(line, end)):
        return (said, end) if _ANOTHER.match(line, end) else None
    return said, end


def stated(reply: str, options: Sequence[str] = LETTERS) -> tuple[str, ...] | None:
    """Return the options of the last statement of an answer in `reply`, usually one; None without a statement.

    A marker that no option follows ("the answer is unclear") is no statement; the one before it counts.
    """
    for marker in reversed(list(_MARKER.finditer(reply))):
        line = reply[marker.end() : marker.end() + MAX_STATEMENT].split("\n", 1)[0]
        lead = _LEAD.match(line)
        first = _option(line, lead.end() if lead else 0, options)
        if first is None:
            continue
        said, end = first
        found = [said]
        while (another := _ANOTHER.match(line, end)) and (more := _option(line, another.start(1), options)):
            found, end = [*found, more[0]], more[1]
        return tuple(dict.fromkeys(found))
    return None


def score(reply: str, reference: str, options: Sequence[str] = LETTERS) -> Score:
    r"""Judge a reply by the option it states: 1.0 when that is the reference alone, else 0.0. Law: pure, strict.

    Args:
        reply: the visible text of a reply, without its prompt.
        reference: one of `options`.
        options: `TRUE_FALSE`, or the letters there are.

    Example:
        >>> score("Iwo Jima was a battle of 1945.\nThe answer is: True", "True", TRUE_FALSE).value
        1.0
    """
    found = stated(reply, options)
    if found is None:
        return Score(0.0, None, f"no answer found (`The answer is: X`); expected {reference}")
    answer = " or ".join(found)
    if found == (reference,):
        return Score(1.0, answer, f"stated {answer}")
    return Score(0.0, answer, f"stated {answer}; expected {reference}")
